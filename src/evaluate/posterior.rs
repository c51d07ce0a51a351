//! Responsibilities and log-likelihoods of units: where they go while units are worked out, and those of units that are rows.

use super::layout::block_rows;
use super::passes::{Evaluation, TRUSTED, blocks};
use super::tasks::{Matrices, Piece, Task, carve, tasks};
use crate::data::Data;
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::{ln_in_place, responsibilities};
use core::ops::Range;

/// Of some units that follow one another.
#[derive(Default)]
pub(super) struct Posterior<'a> {
    /// C numbers of each.
    pub r: &'a mut [f64],
    /// Of one start; empty where nobody asks for them.
    pub log_likelihoods: &'a mut [f64],
}

impl<'a> Posterior<'a> {
    /// Takes the first `n` units off, with C numbers each.
    pub fn take(&mut self, n: usize, c: usize) -> Posterior<'a> {
        Posterior { r: take(&mut self.r, n * c), log_likelihoods: take(&mut self.log_likelihoods, n) }
    }

    /// Some of these units.
    pub fn some(&mut self, units: Range<usize>, c: usize) -> Posterior<'_> {
        let log_likelihoods = self.log_likelihoods.get_mut(units.clone()).unwrap_or(&mut []);
        Posterior { r: &mut self.r[units.start * c..units.end * c], log_likelihoods }
    }
}

/// A task, the first of its rows, and what is found of them.
type Part<'a> = (Task<'a, f64>, usize, Posterior<'a>);

impl<'w> Evaluation<'w> {
    pub(super) fn take_posterior(&mut self) -> Posterior<'w> {
        Posterior { r: core::mem::take(&mut self.r), log_likelihoods: core::mem::take(&mut self.log_likelihoods) }
    }

    pub(super) fn give_posterior(&mut self, units: Posterior<'w>) {
        Posterior { r: self.r, log_likelihoods: self.log_likelihoods } = units;
    }

    /// Sees to it that the log-likelihoods of units are kept, U, where they come from compressed rows.
    pub fn keep_log_likelihoods(&mut self, room: &'w mut [f64]) {
        self.log_likelihoods = room;
    }

    /// Of every row, where units are rows, after an evaluation of one start that keeps probabilities: those that there is room for.
    pub fn posterior_of_rows(&mut self, data: &Data<'_>, weights: &[f64], r: &mut [f64], log_likelihoods: &mut [f64], ctx: Context) {
        let (shape, c, length) = (self.shape, self.columns(), self.scratch_length());
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        {
            let (all, n) = tasks(&ev.layout, c, length, &mut scratch, Matrices::default());
            let mut left = Posterior { r, log_likelihoods };
            let mut parts: [Option<Part<'_>>; TASKS] = [const { None }; TASKS];
            for (part, task) in parts.iter_mut().zip(all) {
                *part = task.map(|task| {
                    let rows = ev.rows_of_blocks(data, task.blocks.clone());
                    // One or the other may have no room.
                    (task, rows.start, left.take(rows.len(), c))
                });
            }
            for_each(ctx.threads, &mut parts[..n], |part| {
                let Some((task, first, of)) = part else { return };
                let Piece { columns, weight, .. } = carve(task.piece, &shape, c);
                for b in task.blocks.clone() {
                    for rows in blocks(ev.rows_of_block(data, b), block_rows(shape.columns)) {
                        let n = rows.len();
                        let (joint, log_likelihoods) = (&mut columns[..n * c], &mut weight[..n]);
                        ev.log_joint_of_rows(data, weights, rows.clone(), joint, ctx);
                        responsibilities(ctx.isa, joint, n, n, c, log_likelihoods);
                        for (j, i) in rows.enumerate() {
                            let u = i - *first;
                            if let Some(r) = of.r.get_mut(u * c..(u + 1) * c) {
                                r.iter_mut().enumerate().for_each(|(k, r)| *r = joint[k * n + j]);
                            }
                            if let Some(l) = of.log_likelihoods.get_mut(u) {
                                *l = log_likelihoods[j];
                            }
                        }
                    }
                }
            });
        }
        self.scratch = scratch;
    }

    /// `log α_k + log A_ik` of rows of a block, class after class.
    fn log_joint_of_rows(&self, data: &Data<'_>, weights: &[f64], rows: Range<usize>, joint: &mut [f64], ctx: Context) {
        let (c, n, found) = (self.columns(), rows.len(), self.found());
        for (j, i) in rows.clone().enumerate() {
            let (base, stride) = self.layout.at(i, c);
            for k in 0..c {
                joint[k * n + j] = found.probability(base + k * stride, c);
            }
        }
        for (k, (joint, w)) in joint.chunks_exact_mut(n).zip(weights).enumerate() {
            let small = joint.iter().fold(false, |small, a| small | (*a < TRUSTED));
            ln_in_place(ctx.isa, joint);
            let log_scale = if self.shape.sets == 1 { self.log_scale[self.layout.block_of(rows.start) * c + k] } else { 0.0 };
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
            }
        }
    }
}
