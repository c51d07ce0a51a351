//! The curvature of a class from a sample of what was chosen from.
//!
//! Of one choice set with many rows, the covariance of the features under class k is that of n rows drawn systematically by A_k: row i is
//! taken `⌊n F_i⌋ − ⌊n F_{i−1}⌋` times, F the running sum of A_k; of many choice sets it is the mean of `Cov_{A_sk}(x)` over n of them
//! drawn likewise by t_k. What is taken depends on logits alone, so that neither units nor shifts of features matter.

use super::layout::blocks;
use super::passes::Evaluation;
use crate::data::{Data, Shape};
use crate::simd::{self, Isa, Rows};

/// Rows gathered for one product, and rows looked at together.
const BLOCK: usize = 128;
const STRIP: usize = 4;

/// Rows that tell the curvature of one class: more save evaluations, up to where they cost as much.
pub(crate) fn sample_rows(columns: usize) -> usize {
    let l = columns;
    l.saturating_mul(4).max(l.saturating_mul(16).clamp(512, 768))
}

/// Choice sets that tell it, where there are many: of eight times as many rows, as they are not drawn by their probabilities, less the one
/// of every set that its mean takes.
fn sample_of_sets(shape: &Shape) -> usize {
    let told = (shape.rows / shape.sets.max(1)).saturating_sub(1).max(1);
    sample_rows(shape.columns).saturating_mul(8).div_ceil(told).max(32)
}

/// Whether there are enough rows, or choice sets, for a sample of them to tell as much.
pub(crate) fn sample_serves(shape: &Shape) -> bool {
    let all = match shape.sets {
        1 => shape.rows / 2 <= sample_rows(shape.columns),
        sets => sets / 2 <= sample_of_sets(shape),
    };
    !shape.is_part() && !all
}

/// Numbers of scratch of [`Evaluation::sampled_covariance`].
pub(crate) fn sample_scratch(columns: usize) -> usize {
    BLOCK.saturating_mul(columns.saturating_add(2))
}

/// Rows that are gathered for one product, with their weights, and probabilities.
struct Sample<'a> {
    rows: &'a mut [f64],
    weights: &'a mut [f64],
    a: &'a mut [f64],
}

impl Evaluation<'_> {
    /// The lower triangle of the covariance of the features under class `k`, `H_k / t_k`, as far as a sample tells it, after an evaluation.
    /// `sum`: L numbers.
    pub fn sampled_covariance(&self, data: &Data<'_>, k: usize, isa: Isa, h: &mut [f64], sum: &mut [f64], scratch: &mut [f64]) {
        let (rows, rest) = scratch.split_at_mut(BLOCK * self.shape.columns);
        let (weights, rest) = rest.split_at_mut(BLOCK);
        let sample = Sample { rows, weights, a: &mut rest[..BLOCK] };
        h.fill(0.0);
        sum.fill(0.0);
        let taken = match self.shape.sets {
            1 => self.sample_rows(data, k, isa, h, sum, sample),
            _ => self.sample_sets(data, k, isa, h, sum, sample),
        };
        if taken > 0.0 {
            h.iter_mut().for_each(|h| *h /= taken);
        }
    }

    /// Adds `Σ x x^T − (Σ x) (Σ x)^T / n` over a sample of n rows; how many they are.
    fn sample_rows(&self, data: &Data<'_>, k: usize, isa: Isa, h: &mut [f64], sum: &mut [f64], scratch: Sample<'_>) -> f64 {
        let Sample { rows, weights, a } = scratch;
        let (l, p) = (self.shape.columns, self.shape.rows);
        let n = sample_rows(l) as f64;
        let origin = data.origin(0);
        let (mut cumulated, mut taken, mut held) = (0.0, 0.0, 0);
        let mut picked = [0; BLOCK];
        let mut add = |picked: &[usize], weights: &[f64]| {
            let held = picked.len();
            let rows = &mut rows[..held * l];
            data.features().differences_of(picked, origin, rows);
            let x = Rows { values: &*rows, rows: held, columns: l, stride: l };
            simd::gram(isa, x, weights, h);
            simd::weighted_sum(isa, x, weights, held.max(1), sum);
        };
        for from in (0..p).step_by(BLOCK) {
            let a = &mut a[..BLOCK.min(p - from)];
            self.probabilities(k, from, a);
            for (part, a) in a.chunks(STRIP).enumerate() {
                // Most strips have no row that is taken.
                let before = cumulated;
                cumulated += n * a.iter().sum::<f64>();
                if cumulated - taken < 1.0 {
                    continue;
                }
                let mut so_far = before;
                for (i, a) in a.iter().enumerate() {
                    so_far += n * a;
                    if so_far - taken >= 1.0 {
                        (picked[held], weights[held]) = (from + part * STRIP + i, libm::floor(so_far) - taken);
                        taken += weights[held];
                        held += 1;
                        if held == BLOCK {
                            add(&picked, weights);
                            held = 0;
                        }
                    }
                }
            }
        }
        add(&picked[..held], &weights[..held]);
        if taken > 0.0 {
            simd::gram(isa, Rows { values: sum, rows: 1, columns: l, stride: l }, &[-1.0 / taken], h);
        }
        taken
    }

    /// Adds `Σ_i A x x^T − μ μ^T` of every set of a sample; how many they are.
    fn sample_sets(&self, data: &Data<'_>, k: usize, isa: Isa, h: &mut [f64], mean: &mut [f64], scratch: Sample<'_>) -> f64 {
        let Sample { rows, weights, a } = scratch;
        let (l, features) = (self.shape.columns, data.features());
        let each = sample_of_sets(&self.shape) as f64 / self.class_choices[k];
        let (mut cumulated, mut taken, mut held) = (0.0, 0.0, 0);
        let mut add = |rows: &[f64], weights: &[f64]| {
            simd::gram(isa, Rows { values: rows, rows: weights.len(), columns: l, stride: l }, weights, h);
        };
        for s in 0..self.shape.sets {
            cumulated += each * self.t(s, k);
            // A class without choices has no share of them.
            if cumulated - taken < 1.0 || cumulated.is_nan() {
                continue;
            }
            let times = libm::floor(cumulated) - taken;
            taken += times;
            let origin = data.origin(s);
            mean.fill(0.0);
            for part in blocks(data.set(s), BLOCK / 2) {
                let n = part.len();
                // With room for the mean.
                if held + n >= BLOCK {
                    add(&rows[..held * l], &weights[..held]);
                    held = 0;
                }
                let (a, x) = (&mut a[..n], &mut rows[held * l..(held + n) * l]);
                self.probabilities(k, part.start, a);
                features.differences(isa, part, origin, x);
                simd::weighted_sum(isa, Rows { values: &*x, rows: n, columns: l, stride: l }, a, n, mean);
                weights[held..held + n].iter_mut().zip(&*a).for_each(|(w, a)| *w = times * a);
                held += n;
            }
            rows[held * l..(held + 1) * l].copy_from_slice(mean);
            weights[held] = -times;
            held += 1;
        }
        add(&rows[..held * l], &weights[..held]);
        taken
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::parallel::Context;
    use crate::testing::numbers;
    use crate::workspace::{WorkspaceBuffer, WorkspaceSize};
    use alloc::vec;
    use alloc::vec::Vec;

    /// Of one choice set, of small ones side by side, and of ones that stand as they are, of equal and unequal sizes and larger than a
    /// block, with alternatives that are not available.
    #[test]
    fn a_sample_tells_the_curvature_of_classes() {
        let uneven: Vec<usize> = (0..9000).map(|s| 1 + s * 7919 % 9).collect();
        for (sizes, l) in [(vec![6000], 3), (vec![4; 12_000], 3), (uneven, 5), (vec![6; 9000], 50), (vec![300; 400], 2)] {
            let (sets, p) = (sizes.len(), sizes.iter().sum::<usize>());
            let offsets: Vec<usize> = (0..=sets).map(|s| sizes[..s].iter().sum()).collect();
            let x: Vec<f64> = numbers(p * l, 3).iter().map(|x| 2.0 * x + 40.0).collect();
            let last = |i: usize| offsets.binary_search(&(i + 1)).is_ok();
            let b: Vec<f64> = (0..p).map(|i| if i % 5 == 0 && !last(i) { f64::NEG_INFINITY } else { 0.0 }).collect();
            let n: Vec<f64> = (0..p).map(|i| if b[i] == 0.0 { (i % 3) as f64 } else { 0.0 }).collect();
            let features = Features::row_major(&x[..], p, l).unwrap();
            let data = Data::new(features, Some(&b), (sets > 1).then_some(&offsets), Choices::Counts(&n)).unwrap();
            let (shape, ctx) = (data.shape(), Context::default());
            assert!(sample_serves(&shape));
            let mut memory = WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 23)).unwrap();
            let mut ws = memory.lend();
            let mut ev = Evaluation::new(shape, 2, 1, &mut ws).unwrap();
            let atoms: Vec<f64> = numbers(2 * l, 8).iter().map(|t| 2.0 * t / libm::sqrt(l as f64)).collect();
            ev.evaluate(&data, &[0.4, 0.6], &atoms, ctx).unwrap();
            let mut all = vec![0.0; 2 * l * l];
            ev.class_curvature(&data, &mut all, ctx, ws).unwrap();
            for (k, all) in all.chunks_exact(l * l).enumerate() {
                let (mut h, mut sum, mut scratch) = (vec![f64::NAN; l * l], vec![0.0; l], vec![0.0; sample_scratch(l)]);
                ev.sampled_covariance(&data, k, ctx.isa, &mut h, &mut sum, &mut scratch);
                let t = ev.class_choices[k];
                let lower = || (0..l).flat_map(|a| (0..=a).map(move |b| a * l + b));
                let scale = (0..l).map(|a| all[a * l + a]).sum::<f64>() / l as f64;
                let worst = lower().map(|i| (t * h[i] - all[i]).abs()).fold(0.0, f64::max);
                assert!(worst < 0.2 * scale, "{} sets, {l} features, class {k}: {worst} of {scale}", sizes.len());
            }
        }
    }
}
