//! Counts over one choice set, most of whose alternatives were chosen: value and gradient in two reads of X and no matrix of row weights.
//!
//! Beside the probabilities, row weights depend on `share_i = n_i / π_i` alone, `π_i = Σ_k α_k A_ik`: `Ω_ik = α_k A_ik share_i`, and the
//! gradient is `X^T (Ω − t ∘ A)` with `Ω_ik − t_k A_ik = A_ik (α_k share_i − t_k)`.

use super::choices::Sums;
use super::layout::zone;
use super::passes::{Evaluation, TRUSTED};
use super::tasks::{Matrices, Piece, carve, each_task};
use crate::data::{Choices, Data};
use crate::linalg::axpy;
use crate::parallel::{Context, take};
use crate::simd::{Ahead, row_shares_to, subtract_scaled, weigh_columns};
use crate::workspace::filled;

impl Evaluation<'_> {
    /// Whether shares serve: counts over one choice set.
    pub(super) fn has_shares(&self) -> bool {
        self.shares.capacity() > 0
    }

    /// Whether the probabilities of one choice set come from memory again.
    pub(super) fn probabilities_are_far(&self) -> bool {
        Ahead::is_far((self.layout.start(self.layout.blocks) * self.columns()).saturating_mul(size_of::<f64>()))
    }

    /// Value, shares, and `Σ_i Ω_ik` in `class_weight` and `class_choices`, after `normalizers`.
    pub(super) fn counts_at_once(&mut self, data: &Data<'_>, weights: &[f64], ctx: Context) {
        let (shape, c, kk, starts) = (self.shape, self.columns(), self.classes, self.starts);
        let Choices::Counts(counts) = *data.choices() else { return };
        let (length, far) = (self.scratch_length(), self.probabilities_are_far());
        let room = self.shares.take();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices = Matrices { rows: room, ..Matrices::default() };
        let n = each_task(&ev.layout, starts, length, &mut scratch, matrices, ctx, |layout, task, room| {
            let Piece { m: factors, z: class_weight, totals, value, .. } = carve(task.piece, &shape, c);
            let columns = &mut *room.columns;
            class_weight.fill(0.0);
            value.fill(0.0);
            let mut shares = &mut *task.of.rows;
            for b in task.blocks.clone() {
                let (at, ld, range) = (layout.start(b), layout.block, layout.rows(b));
                let shares = take(&mut shares, ld * starts);
                for (k, f) in factors.iter_mut().enumerate() {
                    *f = weights[k] * ev.scale[b * c + k];
                }
                for (start, shares) in shares.chunks_exact_mut(ld).enumerate() {
                    let of = start * kk..(start + 1) * kk;
                    let a = &ev.a[at * c..][of.start * ld..of.end * ld];
                    let (counts, (shares, unused)) = (&counts[range.clone()], shares.split_at_mut(range.len()));
                    filled(unused, 0.0);
                    let found = row_shares_to(ctx.isa, a, ld, &factors[of.clone()], counts, shares, &mut totals[of.clone()], far);
                    if found.smallest >= TRUSTED {
                        value[start] += found.value;
                    } else {
                        let omega = &mut columns[of.start * ld..of.end * ld];
                        value[start] += ev.counts_anew(ev.found(), data, b, start, weights, counts, omega, &mut totals[of.clone()]);
                        // No share tells these weights.
                        filled(shares, f64::NAN);
                    }
                    for (sum, total) in class_weight[of.clone()].iter_mut().zip(&totals[of]) {
                        *sum += total;
                    }
                }
            }
        });
        self.scratch = scratch;
        // SAFETY: the tasks have filled every block.
        unsafe { self.shares.give_back(room, self.layout.start(self.layout.blocks) * starts) };
        // Sums over the tasks, in their order.
        self.class_weight[..c].fill(0.0);
        self.value.fill(0.0);
        for piece in self.scratch.of_tasks(n, length) {
            let Piece { z, value, .. } = carve(piece, &shape, c);
            axpy(1.0, z, &mut self.class_weight[..c]);
            axpy(1.0, &value[..starts], &mut self.value[..starts]);
        }
        self.class_choices[..c].copy_from_slice(&self.class_weight[..c]);
    }

    /// The gradient `X^T (Ω − t ∘ A)` in one read, left in `chosen`; `mean` is 0. After [`Evaluation::counts_at_once`] and with t set.
    pub(super) fn gradient_of_shares(&mut self, data: &Data<'_>, weights: &[f64], ctx: Context) {
        let (shape, c, l, kk) = (self.shape, self.columns(), self.shape.columns, self.classes);
        let Choices::Counts(counts) = *data.choices() else { return };
        self.passes += 1;
        let (length, far) = (self.scratch_length(), self.probabilities_are_far());
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let n = each_task(&ev.layout, c, length, &mut scratch, Matrices::<f64>::default(), ctx, |layout, task, room| {
            let Piece { sum, totals, m: factors, z: subtracted, .. } = carve(task.piece, &shape, c);
            let columns = &mut *room.columns;
            sum.fill(0.0);
            for b in task.blocks.clone() {
                let (at, ld, range) = (layout.start(b), layout.block, layout.rows(b));
                let n = range.len();
                for start in 0..ev.starts {
                    let of = start * kk..(start + 1) * kk;
                    let shares = &ev.shares[at * ev.starts + start * ld..][..n];
                    let anew = shares[0].is_nan();
                    if anew {
                        let omega = &mut columns[of.start * ld..of.end * ld];
                        ev.counts_anew(ev.found(), data, b, start, weights, &counts[range.clone()], omega, &mut totals[of.clone()]);
                    }
                    for k in of.clone() {
                        let scale = ev.scale[b * c + k];
                        (factors[k], subtracted[k]) = (weights[k] * scale, ev.t[zone(0, k, c)] * scale);
                    }
                    let (a, out) = (&ev.a[at * c..][of.start * ld..of.end * ld], &mut columns[of.start * ld..of.end * ld]);
                    if anew {
                        for ((a, out), t) in a.chunks_exact(ld).zip(out.chunks_exact_mut(ld)).zip(&subtracted[of]) {
                            subtract_scaled(ctx.isa, *t, &a[..n], &mut out[..n]);
                        }
                    } else {
                        weigh_columns(ctx.isa, a, ld, shares, [&factors[of.clone()], &subtracted[of]], out, far);
                    }
                }
                data.features().block(range, room.copy).weighted_sum(ctx.isa, columns, ld, sum, data.features().ahead());
            }
        });
        self.scratch = scratch;
        self.add_sums(n, Sums::Difference);
        self.mean[..c * l].fill(0.0);
    }
}
