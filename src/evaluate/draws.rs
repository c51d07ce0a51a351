//! The observed information of counts over one choice set, where every unit is the draws of one alternative and scores are `x_i − μ_k`.
//!
//! With `q_ikm = w_i r_ik r_im` for two classes and `−w_i r_ik (1 − r_ik)` for one, every block is
//! `Σ_i q_ikm (x_i − μ_k)(x_i − μ_m)^T`, the second moments of the features themselves: no scores are formed, and the products of two classes are symmetric.

use super::block_rows;
use super::passes::{Evaluation, blocks, normalize};
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::linalg::symmetrize;
use crate::simd::{self, Isa, Rows};
use crate::workspace::{Workspace, WorkspaceSize};

/// Pairs of classes k ≥ m: (k, m) is number k (k + 1) / 2 + m.
fn pairs(classes: usize) -> usize {
    classes.saturating_mul(classes.saturating_add(1)) / 2
}

/// Below this a product of weight and probability may have lost digits.
const TRUSTED: f64 = 1e-200;

/// Takes the units of positive weight off `units`, up to a block: the numbers of their rows, and their weights.
fn gather(data: &Data<'_>, units: &mut impl Iterator<Item = usize>, index: &mut [usize], w: &mut [f64]) -> usize {
    let mut n = 0;
    for u in units.take(w.len()) {
        (w[n], index[n]) = (data.unit_weight(u), data.entries(u).next().map_or(0, |e| e.0));
        n += 1;
    }
    n
}

/// The runs of consecutive numbers in `index`, as ranges of places.
fn runs(index: &[usize]) -> impl Iterator<Item = core::ops::Range<usize>> + '_ {
    let mut from = 0;
    core::iter::from_fn(move || {
        let first = from;
        from += (first < index.len()) as usize;
        while from > first && from < index.len() && index[from] == index[from - 1] + 1 {
            from += 1;
        }
        (from > first).then_some(first..from)
    })
}

impl Evaluation<'_> {
    /// Whether [`Evaluation::information_of_draws`] serves: not the parts of a larger whole, whose rows have no origin in common.
    pub(super) fn has_draws_over_one_set(shape: &Shape) -> bool {
        shape.units_are_draws && shape.sets == 1 && !shape.is_part()
    }

    /// Workspace of [`Evaluation::information_of_draws`] for K classes.
    pub(super) fn information_of_draws_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, n, block) = (shape.columns, pairs(classes), block_rows(shape.columns));
        let pairs = of(n.saturating_mul(l.saturating_mul(l))).and(of(n.saturating_mul(l))).and(of(n)).and(of(n.saturating_mul(block)));
        let units = of(block.saturating_mul(l)).and(of(classes.saturating_mul(block))).and(of(block)).and(of(block));
        pairs.and(units).and(WorkspaceSize::of::<usize>(block)).and(of(classes.saturating_mul(l))).and(of(classes))
    }

    /// The observed information in the packed parameters, as [`Evaluation::information`] gives it, its lower triangle. `complete`: the curvature of the
    /// classes.
    pub(super) fn information_of_draws(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        complete: &[f64],
        out: &mut [f64],
        isa: Isa,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d, block, pairs) = (c - 1, c - 1 + c * l, block_rows(l), pairs(c));
        let (moments, sums, masses, q) = (ws.f64s(pairs * l * l)?, ws.f64s(pairs * l)?, ws.f64s(pairs)?, ws.f64s(pairs * block)?);
        let (rows, r, total, w) = (ws.f64s(block * l)?, ws.f64s(c * block)?, ws.f64s(block)?, ws.f64s(block)?);
        let index = ws.fill(block, 0usize)?;
        let (means, log_joint) = (ws.f64s(c * l)?, ws.f64s(c)?);
        let origin = data.first_available(0);
        for range in blocks(0..self.shape.rows, block) {
            let n = range.len();
            data.features().differences(range.clone(), origin, &mut rows[..n * l]);
            for k in 0..c {
                self.probabilities(k, range.start, &mut r[k * block..][..n]);
            }
            simd::weighted_sum(isa, Rows { values: &*rows, rows: n, columns: l, stride: l }, r, block, means);
        }
        let mut units = (0..self.shape.units).filter(|&u| data.unit_weight(u) > 0.0);
        loop {
            let n = gather(data, &mut units, index, w);
            if n == 0 {
                break;
            }
            for run in runs(&index[..n]) {
                let first = index[run.start];
                data.features().differences(first..first + run.len(), origin, &mut rows[run.start * l..run.end * l]);
                for k in 0..c {
                    self.probabilities(k, first, &mut r[k * block + run.start..][..run.len()]);
                }
            }
            // Responsibilities from probabilities where they are not too small, else from their logarithms.
            total[..n].fill(0.0);
            for (r, w) in r.chunks_exact_mut(block).zip(weights) {
                for (r, total) in r.iter_mut().zip(&mut total[..n]) {
                    *r *= w;
                    *total += *r;
                }
            }
            for j in 0..n {
                if total[j] >= TRUSTED {
                    continue;
                }
                for k in 0..c {
                    log_joint[k] = libm::log(weights[k]) + self.log_probability(data, index[j], k);
                }
                normalize(log_joint);
                r[j..].iter_mut().step_by(block).zip(&*log_joint).for_each(|(r, p)| *r = *p);
                total[j] = 1.0;
            }
            for r in r.chunks_exact_mut(block) {
                r.iter_mut().zip(&total[..n]).for_each(|(r, total)| *r /= total);
            }
            let x = Rows { values: &*rows, rows: n, columns: l, stride: l };
            let mut pair = 0;
            for k in 0..c {
                for m in 0..=k {
                    let q = &mut q[pair * block..][..n];
                    let (rk, rm) = (&r[k * block..][..n], &r[m * block..][..n]);
                    for j in 0..n {
                        q[j] = w[j] * rk[j] * if k == m { rk[j] - 1.0 } else { rm[j] };
                    }
                    masses[pair] += q.iter().sum::<f64>();
                    simd::gram(isa, x, q, &mut moments[pair * l * l..(pair + 1) * l * l]);
                    pair += 1;
                }
            }
            simd::weighted_sum(isa, x, q, block, sums);
        }
        let all = data.total_weight();
        out.fill(0.0);
        let mut pair = 0;
        for k in 0..c {
            for m in 0..=k {
                let (moment, sum, mass) = (&mut moments[pair * l * l..(pair + 1) * l * l], &sums[pair * l..(pair + 1) * l], masses[pair]);
                let (mk, mm) = (&means[k * l..(k + 1) * l], &means[m * l..(m + 1) * l]);
                symmetrize(moment, l);
                for a in 0..l {
                    let row = &mut out[(e + k * l + a) * d + e + m * l..][..l];
                    let moment = &moment[a * l..(a + 1) * l];
                    for b in 0..l {
                        row[b] = moment[b] - sum[a] * mm[b] - mk[a] * sum[b] + mass * mk[a] * mm[b];
                    }
                    if k == m {
                        row.iter_mut().zip(&complete[(k * l + a) * l..]).for_each(|(x, c)| *x += c);
                    }
                    // The log-odds of m against the atom of k, and of k against the atom of m.
                    if m < e {
                        out[(e + k * l + a) * d + m] = sum[a] - mass * mk[a];
                    }
                    if k < e && k != m {
                        out[(e + m * l + a) * d + k] = sum[a] - mass * mm[a];
                    }
                }
                if k < e {
                    out[k * d + m] = mass + all * weights[k] * (if k == m { 1.0 } else { 0.0 } - weights[m]);
                }
                pair += 1;
            }
        }
        Ok(())
    }
}
