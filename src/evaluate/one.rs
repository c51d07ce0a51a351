//! The first read of one choice set: logits block by block, and the log-normalizers that the states of the blocks make.
//!
//! A block's state is its maximum m and `Σ e^{S − m}`; those of all blocks are merged at the end, where `log Z = m + log Σ e^{S − m}`. With
//! the mean features every task has a state of its own, `Σ e^{S − m} x` about the largest logit so far (online softmax).

use super::layout::zone;
use super::passes::Evaluation;
use super::tasks::{Length, Matrices, Piece, carve, each_task};
use crate::data::Data;
use crate::error::Result;
use crate::linalg::axpy;
use crate::parallel::{Context, take};
use crate::simd::{Ahead, exp_below_largest, exp_in_place};
use crate::workspace::written_or_zero;

/// Blocks whose states are merged at a time.
const MERGED: usize = 16;

impl Evaluation<'_> {
    /// Logits and log-normalizers, and the mean features `Σ_i A_ic x_i` if wanted.
    pub(super) fn normalizers_of_one_set(&mut self, data: &Data<'_>, mean: bool, ctx: Context) -> Result<()> {
        let (shape, c, l, classes) = (self.shape, self.columns(), self.shape.columns, self.classes);
        let Evaluation { layout, a, log_scale, scale, log_z, atoms, scratch, mean: means, .. } = self;
        let atoms = &atoms[..c * l];
        let length = Length::of(&shape, c);
        let room = a.take();
        // The maximum m of every block, and its `Σ e^{S − m}`.
        let (tops, totals) = (&mut log_scale[..layout.blocks * c], &mut scale[..layout.blocks * c]);
        let matrices = Matrices { rows: room, scales: tops, other_scales: totals, ..Matrices::default() };
        let ahead = data.features().ahead();
        let tasks = each_task(layout, c, length, scratch, matrices, ctx, |layout, task, room| {
            let Piece { sum, part, m, totals: shares, .. } = carve(task.piece, &shape, c);
            let columns = &mut room.columns[..c * layout.block];
            if mean {
                sum.fill(0.0);
                m.fill(f64::NEG_INFINITY);
            }
            let (mut a, mut tops, mut totals) = (&mut *task.of.rows, &mut *task.of.scales, &mut *task.of.other_scales);
            for b in task.blocks.clone() {
                let (range, block) = (layout.rows(b), layout.block);
                let (a, tops, totals, n) = (take(&mut a, block * c), take(&mut tops, c), take(&mut totals, c), range.len());
                let x = data.features().block(range.clone(), room.copy);
                x.logits(ctx.isa, atoms, data.offset().map(|b| &b[range.clone()]), columns, block, ahead);
                if data.hides_infinite(ctx.isa, range, columns.chunks_exact(block).map(|logits| &logits[..n])) {
                    columns[0] = f64::NAN;
                }
                // NaN where a logit is.
                exp_below_largest(ctx.isa, columns, block, n, a, [&mut *tops, totals], ahead);
                if mean {
                    // SAFETY: all have just been written.
                    let a = unsafe { written_or_zero(a, true) };
                    part.fill(0.0);
                    x.weighted_sum(ctx.isa, a, block, part, Ahead::Nothing);
                    for (k, sum) in sum.chunks_exact_mut(l).enumerate() {
                        if tops[k] > m[k] {
                            let fall = libm::exp(m[k] - tops[k]);
                            sum.iter_mut().for_each(|v| *v *= fall);
                            m[k] = tops[k];
                        }
                        shares[k] = below(tops[k], m[k]);
                    }
                    exp_in_place(ctx.isa, shares);
                    for (k, (sum, part)) in sum.chunks_exact_mut(l).zip(part.chunks_exact(l)).enumerate() {
                        // Rows that all have probability 0 add 0, or NaN where a feature is not finite.
                        axpy(shares[k], part, sum);
                    }
                }
            }
        });
        // SAFETY: the tasks have filled every block.
        unsafe { a.give_back(room, layout.blocks * layout.block * c) };
        let (tops, totals) = (&mut log_scale[..layout.blocks * c], &mut scale[..layout.blocks * c]);
        // The states (m, Σ e^{S − m}) of the blocks, merged some at a time, so that errors grow the less with their number.
        let (m, room) = scratch.rooms.numbers(1, length).split_at_mut(c);
        let (z, room) = room.split_at_mut(c);
        m.fill(f64::NEG_INFINITY);
        for tops in tops.chunks_exact(c) {
            m.iter_mut().zip(tops).for_each(|(m, top)| *m = if top > m { *top } else { *m });
        }
        z.fill(0.0);
        for (tops, totals) in tops.chunks(MERGED * c).zip(totals.chunks_mut(MERGED * c)) {
            let (some, sums) = room[..tops.len() + c].split_at_mut(tops.len());
            for (some, tops) in some.chunks_exact_mut(c).zip(tops.chunks_exact(c)) {
                some.iter_mut().zip(tops).zip(&*m).for_each(|((below_m, top), m)| *below_m = below(*top, *m));
            }
            exp_in_place(ctx.isa, some);
            sums.fill(0.0);
            for (shares, totals) in some.chunks_exact(c).zip(totals.chunks_exact(c)) {
                sums.iter_mut().zip(shares).zip(totals).for_each(|((sum, share), total)| *sum += share * total);
            }
            axpy(1.0, sums, z);
        }
        for (k, m) in m.iter().enumerate() {
            log_z[zone(0, k, c)] = *m;
        }
        scale[..c].copy_from_slice(z);
        means[..c * l].fill(0.0);
        if mean {
            // The states (m, Σ e^{S − m} x) of the tasks, in their order.
            for piece in scratch.of_tasks(tasks, length) {
                let Piece { sum, m, .. } = carve(piece, &shape, c);
                for (k, (mean, sum)) in means.chunks_exact_mut(l).zip(sum.chunks_exact(l)).enumerate() {
                    // A task without a maximum adds 0, or NaN where a feature is not finite.
                    axpy(libm::exp(below(m[k], log_z[zone(0, k, c)])), sum, mean);
                }
            }
        }
        Self::merge_normalizers(data, classes, log_z, &mut scale[..c], &mut means[..c * l], scratch.pieces)?;
        let (ends, room) = scratch.rooms.numbers(1, length).split_at_mut(c);
        let (logs, _) = room.split_at_mut(c);
        for (k, z) in scale[..c].iter().enumerate() {
            let (m, log) = (log_z[zone(0, k, c)], libm::log(*z));
            (ends[k], logs[k], log_z[zone(0, k, c)]) = (m, log, m + log);
            if mean {
                means[k * l..(k + 1) * l].iter_mut().for_each(|v| *v /= z);
            }
        }
        for tops in log_scale[..layout.blocks * c].chunks_exact_mut(c) {
            // Not by log Z, which large logits round: the probabilities must sum to 1.
            tops.iter_mut().zip(&*ends).zip(&*logs).for_each(|((s, m), log)| *s = (*s - m) - log);
        }
        scale[..layout.blocks * c].copy_from_slice(&log_scale[..layout.blocks * c]);
        exp_in_place(ctx.isa, &mut scale[..layout.blocks * c]);
        Ok(())
    }
}

/// `s − m` for s ≤ m; −∞ of −∞, also where that is all there is.
fn below(s: f64, m: f64) -> f64 {
    if s == f64::NEG_INFINITY { s } else { s - m }
}
