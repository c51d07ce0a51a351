//! Counts over one choice set in a single read of X: the likelihood with its log-normalizers left free.
//!
//! Row weights need `log Z_k`, which only the end of a read of X tells. With any numbers `ζ_k` in their place the rest follows at once. Let
//! `Ã_ik = e^{S_ik − ζ_k}`, `π̃_i = Σ_k α_k Ã_ik` and N the sum of the counts; then
//!
//! | quantity | here | formula |
//! |---|---|---|
//! | objective | `Once::value` | `F = Σ_i n_i log π̃_i + N (s + 1 − e^s Σ_k α_k m_k)` |
//! | masses | `Once::farthest` of their logarithms | `m_k = Σ_i Ã_ik = e^{log Z_k − ζ_k}` |
//! | derivatives in the logits | `W_ik` | `α_k Ã_ik (n_i / π̃_i − N e^s)` |
//! | sums of features | `chosen` | `X^T W` |
//! | derivatives in `log α_k` and `−ζ_k` | `excess` | `e_k = Σ_i W_ik = t_k − N e^s α_k m_k` |
//!
//! At the best s, `e^s Σ_k α_k m_k = 1`, F is ℓ at the weights `α'_k ∝ α_k m_k`: F has the maxima of ℓ, whatever ζ is. Responsibilities are
//! those of α' at any s.

use super::layout::zone;
use super::passes::{Evaluation, TRUSTED};
use super::tasks::{Matrices, Piece, Room, carve, each_task};
use crate::data::{Choices, Data};
use crate::error::Result;
use crate::linalg::axpy;
use crate::parallel::{Context, take};
use crate::simd::{exp_shifted_sum, row_shares, weigh_in_place};
use crate::workspace::written_or_zero;

/// `|log Z_k − ζ_k|` beyond which exponentials about ζ do not serve.
const FAR: f64 = 600.0;

/// Where a single read is made.
pub(crate) struct At<'a> {
    /// α, and θ, K × L.
    pub weights: &'a [f64],
    pub atoms: &'a [f64],
    /// ζ.
    pub zeta: &'a [f64],
    pub s: f64,
    /// Whether probabilities are kept, which second-order quantities at this point need.
    pub keep: bool,
}

/// What a single read finds, beside `chosen`, the log-normalizers, `t`, and ℓ at α', all left in the state.
pub(crate) struct Once {
    /// F.
    pub value: f64,
    /// `max_k |log Z_k − ζ_k|`.
    pub farthest: f64,
}

impl Evaluation<'_> {
    /// Whether single reads serve: counts over one choice set, all of it here or split by rows.
    pub fn once_serves(&self, data: &Data<'_>) -> bool {
        self.has_shares() && self.starts == 1 && (!data.is_part() || data.splits_rows())
    }

    /// F, its derivatives and α' at a point; `None` where a number is not finite, or a probability too small for the fast way.
    pub fn once(&mut self, data: &Data<'_>, at: At<'_>, found: &mut [f64], excess: &mut [f64], ctx: Context) -> Result<Option<Once>> {
        let (shape, k, l) = (self.shape, self.classes, self.shape.columns);
        let Choices::Counts(counts) = *data.choices() else { return Ok(None) };
        data.reduced()?;
        self.passes += 1;
        self.atoms[..k * l].copy_from_slice(at.atoms);
        let ahead = data.features().ahead();
        let expected = data.total_weight() * libm::exp(at.s);
        let length = self.scratch_length();
        let written = self.a.reached() >= self.layout.blocks * self.layout.block * k;
        let room = self.a.take();
        let Evaluation { layout, scratch, .. } = self;
        let kept = if at.keep { &mut *room } else { &mut [] };
        let matrices = Matrices { rows: kept, ..Matrices::default() };
        let n = each_task(layout, k, length, scratch, matrices, ctx, |layout, task, room| {
            let Piece { sum, part, z: masses, value, .. } = carve(task.piece, &shape, k);
            let Room { columns, column: shares, copy } = room;
            let t = &mut part[..k];
            [&mut *sum, masses, t, value].into_iter().for_each(|v| v.fill(0.0));
            let mut kept = &mut *task.of.rows;
            for b in task.blocks.clone() {
                let (range, ld) = (layout.rows(b), layout.block);
                let (columns, shares) = (&mut columns[..ld * k], &mut shares[..range.len()]);
                let x = data.features().block(range.clone(), copy);
                let [first, second] = data.features().halves(ahead, range.len());
                x.logits(ctx.isa, at.atoms, data.offset().map(|b| &b[range.clone()]), columns, ld, first);
                for ((column, mass), zeta) in columns.chunks_exact_mut(ld).zip(&mut *masses).zip(at.zeta) {
                    // NaN where a logit is, 1e307 or more where one is far above ζ.
                    *mass += exp_shifted_sum(ctx.isa, &mut column[..range.len()], *zeta);
                }
                if at.keep {
                    // SAFETY: `written` says that all blocks have been before.
                    let kept = unsafe { written_or_zero(take(&mut kept, ld * k), written) };
                    for (to, from) in kept.chunks_exact_mut(ld).zip(columns.chunks_exact(ld)) {
                        to[..range.len()].copy_from_slice(&from[..range.len()]);
                    }
                }
                let rows = row_shares(ctx.isa, columns, ld, at.weights, &counts[range], shares, &mut []);
                value[0] += if rows.smallest >= TRUSTED { rows.value } else { f64::NAN };
                for ((column, f), t) in columns.chunks_exact_mut(ld).zip(at.weights).zip(&mut *t) {
                    *t += weigh_in_place(ctx.isa, &mut column[..shares.len()], shares, [*f, expected * f]);
                }
                x.weighted_sum(ctx.isa, columns, ld, sum, second);
            }
        });
        let written = if at.keep { self.layout.blocks * self.layout.block * k } else { 0 };
        // SAFETY: where probabilities are kept, the tasks have filled every block.
        unsafe { self.a.give_back(room, written) };
        self.kept = at.keep;
        self.chosen[..k * l].fill(0.0);
        self.mean[..k * l].fill(0.0);
        // Sums over the tasks, in their order: masses, t and the value go to the other ranks together.
        let mut value = 0.0;
        excess.fill(0.0);
        found.fill(0.0);
        for piece in self.scratch.of_tasks(n, length) {
            let Piece { sum, part, z, value: more, .. } = carve(piece, &shape, k);
            axpy(1.0, sum, &mut self.chosen[..k * l]);
            axpy(1.0, z, excess);
            axpy(1.0, &part[..k], found);
            value += more[0];
        }
        let message = &mut self.scratch.pieces[..2 * k + 1];
        message[..k].copy_from_slice(excess);
        message[k..2 * k].copy_from_slice(found);
        message[2 * k] = value;
        data.sum(message)?;
        data.sum(&mut self.chosen[..k * l])?;
        let (masses, rest) = message.split_at_mut(k);
        let (t, value) = (&rest[..k], rest[k]);
        let total: f64 = at.weights.iter().zip(&*masses).map(|(w, m)| w * m).sum();
        let mut farthest: f64 = 0.0;
        for j in 0..k {
            let log = libm::log(masses[j]);
            if !value.is_finite() || log.is_nan() || log.abs() > FAR {
                return Ok(None);
            }
            farthest = farthest.max(log.abs());
            excess[j] = t[j] - expected * at.weights[j] * masses[j];
            found[j] = at.weights[j] * masses[j] / total;
            self.log_z[zone(0, j, k)] = at.zeta[j] + log;
            (self.class_weight[j], self.class_choices[j]) = (t[j], t[j]);
            for b in 0..self.layout.blocks {
                (self.log_scale[b * k + j], self.scale[b * k + j]) = (-log, 1.0 / masses[j]);
            }
        }
        self.set_t(|ev, k| ev.class_choices[k]);
        let n = data.total_weight();
        self.value[0] = value - n * libm::log(total);
        Ok(Some(Once { value: value + n * (at.s + 1.0) - expected * total, farthest }))
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::Features;
    use crate::testing::numbers;
    use crate::workspace::{WorkspaceBuffer, WorkspaceSize};
    use alloc::vec::Vec;

    /// Everything a single read finds is what its formulas say, and what an evaluation in full finds at α'.
    #[test]
    fn a_single_read_finds_what_its_formulas_say_and_what_an_evaluation_finds_at_its_weights() {
        // One block or several, rows that are long or short, with alternatives that are not available and some that were not chosen.
        for (p, l, k) in [(40, 3, 2), (700, 13, 3), (1200, 70, 4), (5, 2, 1)] {
            let x: Vec<f64> = numbers(p * l, 1).iter().map(|x| 2.0 * x + 0.3).collect();
            let single: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let offset: Vec<f64> = numbers(p, 2).iter().enumerate().map(|(i, b)| if i % 7 == 3 { f64::NEG_INFINITY } else { *b }).collect();
            let counts: Vec<f64> =
                numbers(p, 3).iter().enumerate().map(|(i, n)| if i % 7 == 3 { 0.0 } else { (9.0 * n + 3.0).max(0.0).floor() }).collect();
            let of_f32 = Features::row_major(&single[..], p, l).unwrap();
            let of_columns: Vec<f64> = (0..p * l).map(|i| x[i % p * l + i / p]).collect();
            let of_columns = Features::column_major(&of_columns[..], p, l).unwrap();
            for features in [Features::row_major(&x[..], p, l).unwrap(), of_f32, of_columns] {
                let data = Data::new(features, Some(&offset), None, Choices::Counts(&counts)).unwrap();
                let ctx = Context::default();
                let buffers = || WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 20)).unwrap();
                let (mut of_one, mut of_other) = (buffers(), buffers());
                let mut one = Evaluation::new(data.shape(), k, 1, &mut of_one.lend()).unwrap();
                let mut full = Evaluation::new(data.shape(), k, 1, &mut of_other.lend()).unwrap();
                assert!(one.once_serves(&data));
                let weights: Vec<f64> = [0.4, 0.3, 0.2, 0.1][..k].iter().map(|w| w / [0.4, 0.7, 0.9, 1.0][k - 1]).collect();
                let (atoms, zeta, s) = (numbers(k * l, 4), numbers(k, 5).iter().map(|z| 5.0 + z).collect::<Vec<_>>(), 0.2);
                let (mut found, mut excess) = (alloc::vec![0.0; k], alloc::vec![0.0; k]);
                let at = At { weights: &weights, atoms: &atoms, zeta: &zeta, s, keep: true };
                let once = one.once(&data, at, &mut found, &mut excess, ctx).unwrap().unwrap();

                // The formulas.
                let near =
                    |a: f64, b: f64, what: &str| assert!((a - b).abs() <= 1e-9 * (1.0 + a.abs()), "{what} of {p} x {l} x {k}: {a} {b}");
                let a = |i: usize, j: usize| {
                    let dot: f64 = (0..l).map(|m| features.get(i, m) * atoms[j * l + m]).sum();
                    libm::exp(offset[i] + dot - zeta[j])
                };
                let n: f64 = counts.iter().sum();
                let masses: Vec<f64> = (0..k).map(|j| (0..p).map(|i| a(i, j)).sum()).collect();
                let total: f64 = weights.iter().zip(&masses).map(|(w, m)| w * m).sum();
                let mut value = n * (s + 1.0 - libm::exp(s) * total);
                let (mut e, mut d) = (alloc::vec![0.0; k], alloc::vec![0.0; k * l]);
                for i in (0..p).filter(|i| offset[*i] > f64::NEG_INFINITY) {
                    let pi: f64 = (0..k).map(|j| weights[j] * a(i, j)).sum();
                    value += counts[i] * libm::log(pi);
                    for j in 0..k {
                        let w = weights[j] * a(i, j) * (counts[i] / pi - n * libm::exp(s));
                        e[j] += w;
                        (0..l).for_each(|m| d[j * l + m] += w * features.get(i, m));
                    }
                }
                near(value, once.value, "F");
                near(masses.iter().fold(0.0, |f: f64, m| f.max(libm::log(*m).abs())), once.farthest, "the farthest");
                (0..k).for_each(|j| near(e[j], excess[j], "e"));
                (0..k * l).for_each(|j| near(d[j], one.chosen[j], "sums"));

                // The evaluation in full, at α'.
                full.evaluate(&data, &found, &atoms, ctx).unwrap();
                near(full.value[0], one.value[0], "the log-likelihood");
                for j in 0..k {
                    near(found[j], weights[j] * masses[j] / total, "weights");
                    near(full.log_z(0, j), one.log_z(0, j), "log Z");
                    near(full.t(0, j), one.t(0, j), "t");
                    near(full.class_choices[j], one.class_choices[j], "choices");
                    (0..p).for_each(|i| near(full.probability(i, j), one.probability(i, j), "probabilities"));
                }

                // The same bits for any number of threads, and without the probabilities.
                let (sums, of_weights) = (one.chosen.to_vec(), found.clone());
                let at = At { weights: &weights, atoms: &atoms, zeta: &zeta, s, keep: false };
                let again = one.once(&data, at, &mut found, &mut excess, Context { threads: 3, ..ctx }).unwrap().unwrap();
                assert!(again.value.to_bits() == once.value.to_bits() && sums == one.chosen && of_weights == found);
            }
        }
    }

    #[test]
    fn a_single_read_says_where_it_does_not_serve() {
        let counts = [3.0, 1.0, 0.0];
        let mut buffer = WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 16)).unwrap();
        let far = [720.0, 1000.0, 1450.0, 3000.0].map(|x| ([0.0, 1.0, x], 0.0));
        let others = [([0.0, 1.0, f64::NAN], 0.0), ([0.0, 1.0, 2.0], -800.0), ([0.0, 1.0, 2.0], 800.0), ([0.0, -2000.0, 2.0], 0.0)];
        for (x, zeta) in far.into_iter().chain(others) {
            let data = Data::new(Features::row_major(&x[..], 3, 1).unwrap(), None, None, Choices::Counts(&counts));
            // Data with NaN are refused where they are looked through.
            let Ok(data) = data else { continue };
            let mut ev = Evaluation::new(data.shape(), 1, 1, &mut buffer.lend()).unwrap();
            let at = At { weights: &[1.0], atoms: &[1.0], zeta: &[zeta], s: 0.0, keep: false };
            let once = ev.once(&data, at, &mut [0.0], &mut [0.0], Context::default()).unwrap();
            assert!(once.is_none(), "{x:?} {zeta}");
        }
    }
}
