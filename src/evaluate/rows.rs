//! What is asked for of every row, row after row: choice probabilities, and responsibilities where units are rows.

use super::layout::block_rows;
use super::layout::blocks;
use super::passes::{Evaluation, TRUSTED};
use super::posterior::Posterior;
use super::tasks::{Matrices, Task, tasks};
use crate::data::Data;
use crate::linalg::axpy;
use crate::parallel::{Context, TASKS};
use crate::simd::{ln_in_place, responsibilities};
use core::ops::Range;

/// A task, the first of its rows, and what is found of them.
type Part<'a> = (Task<'a, f64>, usize, Posterior<'a>);

impl Evaluation<'_> {
    /// Responsibilities, p × K, and log-likelihoods, p, where units are rows, after an evaluation of one start that keeps probabilities. What
    /// is empty is not asked for.
    pub fn posterior_of_rows(&mut self, data: &Data<'_>, weights: &[f64], r: &mut [f64], log_likelihoods: &mut [f64], ctx: Context) {
        self.all_rows(data, Posterior { r, log_likelihoods }, ctx, |ev, rows, joint, log_likelihoods| {
            let (n, k) = (rows.len(), weights.len());
            ev.log_joint_of_rows(data, weights, rows, joint, ctx);
            responsibilities(ctx.isa, joint, n, n, k, log_likelihoods);
        });
    }

    /// Choice probabilities `A_ik`, p × K, and `π_i = Σ_k α_k A_ik`, p, after `normalizers` of one start. What is empty is not asked for.
    pub fn probabilities_of_rows(&mut self, data: &Data<'_>, weights: &[f64], by_class: &mut [f64], mixed: &mut [f64], ctx: Context) {
        self.all_rows(data, Posterior { r: by_class, log_likelihoods: mixed }, ctx, |ev, rows, a, mixed| {
            let n = rows.len();
            ev.stored_of_rows(rows.clone(), a);
            mixed.fill(0.0);
            for (k, (a, w)) in a.chunks_exact_mut(n).zip(weights).enumerate() {
                if ev.shape.sets == 1 {
                    let factor = ev.scale[ev.layout.block_of(rows.start) * ev.columns() + k];
                    a.iter_mut().for_each(|a| *a *= factor);
                }
                axpy(*w, a, mixed);
            }
        });
    }

    /// Runs `body(rows, matrix, numbers)` over the rows of every block, some at a time: it fills the matrix, K × rows, and a number for each
    /// row, of which those that are asked for are written `to` where they belong.
    fn all_rows(
        &mut self,
        data: &Data<'_>,
        mut to: Posterior<'_>,
        ctx: Context,
        body: impl Fn(&Self, Range<usize>, &mut [f64], &mut [f64]) + Sync,
    ) {
        let (shape, c, length) = (self.shape, self.columns(), self.scratch_length());
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        {
            let (all, n) = tasks(&ev.layout, c, length, scratch.pieces, Matrices::default());
            let mut parts: [Option<Part<'_>>; TASKS] = [const { None }; TASKS];
            for (part, task) in parts.iter_mut().zip(all) {
                *part = task.map(|task| {
                    let rows = ev.rows_of_blocks(data, task.blocks.clone());
                    (task, rows.start, to.take(rows.len(), c))
                });
            }
            scratch.rooms.for_each(ctx.threads, length, &mut parts[..n], |(task, first, to), room| {
                for b in task.blocks.clone() {
                    for rows in blocks(ev.rows_of_block(data, b), block_rows(shape.columns)) {
                        let n = rows.len();
                        let (matrix, numbers) = (&mut room.columns[..n * c], &mut room.column[..n]);
                        body(ev, rows.clone(), matrix, numbers);
                        let at = rows.start - *first;
                        if let Some(to) = to.r.get_mut(at * c..(at + n) * c) {
                            for (j, row) in to.chunks_exact_mut(c).enumerate() {
                                row.iter_mut().enumerate().for_each(|(k, to)| *to = matrix[k * n + j]);
                            }
                        }
                        if let Some(to) = to.log_likelihoods.get_mut(at..at + n) {
                            to.copy_from_slice(numbers);
                        }
                    }
                }
            });
        }
        self.scratch = scratch;
    }

    /// What `a` holds of rows of a block, class after class.
    fn stored_of_rows(&self, rows: Range<usize>, out: &mut [f64]) {
        let (c, n, found) = (self.columns(), rows.len(), self.found());
        if !self.layout.is_grouped() {
            // Side by side.
            let (base, stride) = self.layout.at(rows.start, c);
            for (k, out) in out.chunks_exact_mut(n).enumerate() {
                out.copy_from_slice(found.probabilities(base + k * stride, n, c));
            }
            return;
        }
        for (j, i) in rows.enumerate() {
            let (base, stride) = self.layout.at(i, c);
            for k in 0..c {
                out[k * n + j] = found.probability(base + k * stride, c);
            }
        }
    }

    /// `log α_k + log A_ik` of rows of a block, class after class.
    fn log_joint_of_rows(&self, data: &Data<'_>, weights: &[f64], rows: Range<usize>, joint: &mut [f64], ctx: Context) {
        self.stored_of_rows(rows.clone(), joint);
        for (k, (joint, w)) in joint.chunks_exact_mut(rows.len()).zip(weights).enumerate() {
            let small = joint.iter().fold(false, |small, a| small | (*a < TRUSTED));
            ln_in_place(ctx.isa, joint);
            let log_scale = if self.shape.sets == 1 { self.log_scale[self.layout.block_of(rows.start) * self.columns() + k] } else { 0.0 };
            let log_weight = libm::log(*w);
            for (i, log) in rows.clone().zip(joint) {
                *log = log_weight + if small { self.log_probability(data, i, k) } else { *log + log_scale };
            }
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::evaluate::layout::Kind;
    use crate::testing::numbers;
    use crate::workspace::{WorkspaceBuffer, WorkspaceSize};
    use alloc::vec;
    use alloc::vec::Vec;

    /// What is found of all rows at once is what is found of each alone, in every layout, also where logits are far apart; the same bits for
    /// any number of threads, and whether both are asked for or one.
    #[test]
    fn all_rows_at_once_are_as_each_alone() {
        let (k, weights) = (3, [0.5, 0.0, 0.5]);
        for (kind, p, l, size) in
            [(Kind::One, 1003, 4, 0), (Kind::Groups, 1200, 4, 5), (Kind::Groups, 1205, 3, 0), (Kind::Whole, 900, 60, 9)]
        {
            let x = numbers(p * l, 1);
            // Sets of one size, or of 1 to 7.
            let mut offsets: Vec<usize> = vec![0];
            while offsets[offsets.len() - 1] < p {
                let next = offsets[offsets.len() - 1] + if size > 0 { size } else { 1 + offsets.len() * 5 % 7 };
                offsets.push(next.min(p));
            }
            let counts: Vec<f64> = (0..p).map(|i| (i % 3) as f64).collect();
            let sets = if kind == Kind::One { None } else { Some(&offsets[..]) };
            let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, sets, Choices::Counts(&counts)).unwrap();
            let mut buffer = WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 20)).unwrap();
            let mut ev = Evaluation::new(data.shape(), k, 1, &mut buffer.lend()).unwrap();
            for scale in [1.0, 400.0] {
                let atoms: Vec<f64> = numbers(k * l, 2).iter().map(|t| scale * t).collect();
                ev.evaluate(&data, &weights, &atoms, Context::default()).unwrap();
                assert_eq!(ev.layout.kind, kind);
                let (mut r, mut logs) = (vec![0.0; p * k], vec![0.0; p]);
                ev.posterior_of_rows(&data, &weights, &mut r, &mut logs, Context::default());
                let mut one = [0.0; 3];
                for u in 0..p {
                    let log = ev.unit_responsibilities(&data, &weights, u, &mut one);
                    assert!((log - logs[u]).abs() <= 1e-12 * (1.0 + log.abs()), "{kind:?} {u}: {log} {}", logs[u]);
                    assert!(one.iter().zip(&r[u * k..]).all(|(a, b)| (a - b).abs() < 1e-12), "{kind:?} {u}");
                }
                let (mut of_one, mut of_other) = (vec![0.0; p * k], vec![0.0; p]);
                ev.posterior_of_rows(&data, &weights, &mut of_one, &mut [], Context { threads: 3, ..Context::default() });
                ev.posterior_of_rows(&data, &weights, &mut [], &mut of_other, Context { threads: 2, ..Context::default() });
                assert!(of_one == r && of_other == logs, "{kind:?}");
                ev.probabilities_of_rows(&data, &weights, &mut of_one, &mut of_other, Context { threads: 2, ..Context::default() });
                // The same bits where features are not kept.
                let mut other_buffer = WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 20)).unwrap();
                let mut alone = Evaluation::of_probabilities(data.shape(), k, &mut other_buffer.lend()).unwrap();
                let (mut by_class, mut mixed) = (vec![0.0; p * k], vec![0.0; p]);
                alone.normalizers_alone(&data, &atoms, Context { threads: 2, ..Context::default() }).unwrap();
                alone.probabilities_of_rows(&data, &weights, &mut by_class, &mut mixed, Context::default());
                assert!(by_class == of_one && mixed == of_other && !(kind == Kind::Groups && alone.layout.is_copied()), "{kind:?}");
                for (i, (row, mixed)) in of_one.chunks_exact(k).zip(&of_other).enumerate() {
                    assert!(row.iter().enumerate().all(|(c, a)| *a == ev.probability(i, c)), "{kind:?} {i}");
                    assert!((0.5 * (row[0] + row[2]) - mixed).abs() < 1e-15, "{kind:?} {i}");
                }
            }
        }
    }
}
