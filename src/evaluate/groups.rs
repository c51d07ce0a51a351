//! The first read of choice sets side by side: logits and log-normalizers.

use super::passes::Evaluation;
use super::tasks::{Matrices, Task, carve, tasks};
use crate::data::Data;
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::panel::softmax_of_groups;
use crate::simd::{self, all_finite};
use crate::workspace::written_or_zero;
use core::mem::MaybeUninit;

/// A task, and room for a block of features that the layout does not keep.
type Part<'a> = (Task<'a, MaybeUninit<f64>>, &'a mut [MaybeUninit<f64>]);

impl Evaluation<'_> {
    /// Of features that the layout has not copied, each task copies those of a block when it comes to it. Probabilities that are not to be
    /// kept take turns in one place. Whether all log-normalizers are known to be finite.
    pub(super) fn normalizers_of_groups(&mut self, data: &Data<'_>, probabilities: bool, ctx: Context) -> bool {
        let (shape, c, l) = (self.shape, self.columns(), self.shape.columns);
        let (length, numbers) = (self.scratch_length(), self.layout.start(self.layout.blocks));
        let copied = self.layout.is_copied();
        let copies: &mut [MaybeUninit<f64>] = if copied { &mut [] } else { self.layout.features.take() };
        let written = self.a.reached() >= numbers * c;
        let room = self.a.take();
        let Self { layout, log_z, atoms, scratch, .. } = self;
        let (layout, atoms) = (&*layout, &atoms[..c * l]);
        let (all, n) = tasks(layout, c, length, scratch.pieces, Matrices { rows: &mut *room, sets: log_z, ..Matrices::default() });
        let mut parts: [Option<Part<'_>>; TASKS] = [const { None }; TASKS];
        let mut left = &mut *copies;
        for (part, task) in parts.iter_mut().zip(all) {
            *part = task.map(|task| {
                let longest = task.blocks.clone().map(|b| layout.length(b)).max().unwrap_or(0);
                let copy = take(&mut left, longest * l);
                (task, copy)
            });
        }
        for_each(ctx.threads, &mut parts[..n], |part| {
            let Some((task, copy)) = part else { return };
            let (mut rows, mut log_z) = (&mut *task.of.rows, &mut *task.of.sets);
            for b in task.blocks.clone() {
                let n = layout.length(b);
                let room = if probabilities { take(&mut rows, n * c) } else { &mut rows[..n * c] };
                // SAFETY: `written` says that all blocks have been before.
                let a = unsafe { written_or_zero(room, written) };
                let (x, ahead) = match copied {
                    true => (layout.features_of(b, l), layout.ahead(n * l)),
                    false => layout.copy_block(data, ctx.isa, b, &mut copy[..n * l]),
                };
                simd::logits_of_columns_ahead(ctx.isa, x, atoms, layout.offsets(b), a, n, ahead);
                softmax_of_groups(ctx.isa, layout.groups(b, c), a, take(&mut log_z, layout.sets_of_block() * c));
            }
            carve(task.piece, &shape, c).value[0] = if all_finite(ctx.isa, task.of.sets) { 1.0 } else { 0.0 };
        });
        // SAFETY: the tasks have filled every block; no features are kept that were not before.
        unsafe {
            self.a.give_back(room, if probabilities { numbers * c } else { 0 });
            if !copied {
                self.layout.features.give_back(copies, 0);
            }
        }
        self.scratch.of_tasks(n, length).all(|piece| carve(piece, &shape, c).value[0] == 1.0)
    }
}
