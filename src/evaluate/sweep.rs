//! An evaluation of small choice sets side by side in one read of their features, where the choices of units stand in the order of the rows.
//!
//! Each task goes through its blocks once, a window of some blocks after the other: logits, probabilities and log-normalizers of the window;
//! responsibilities of the units that have no choice beyond it; and then, of all blocks that wait for no unit any more, t, row weights and
//! sums, while all of it is in cache. Units whose choices are in several tasks have their responsibilities afterwards, and then the blocks
//! that those chose in have their sums.
//!
//! The features stand side by side from the first evaluation on; of one by itself, which keeps none, each task copies those of a block when it
//! comes to it.
//!
//! The formulas are those of [`super::passes`], which does the same in as many passes over all blocks as there are steps.

use super::curvature::curvature_tasks;
use super::found::Found;
use super::layout::Layout;
use super::panel::groups_piece;
use super::passes::Evaluation;
use super::posterior::Posterior;
use super::sums::Curvature;
use super::tasks::{Matrices, Piece, Room, Scratch, Task, carve, share, tasks};
use super::units::{OfUnits, Own};
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::linalg::{axpy, symmetrize};
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::panel::softmax_of_groups;
use crate::simd::{self, all_finite};
use crate::workspace::{Workspace, filled, written_or_zero};
use core::mem::MaybeUninit;
use core::ops::Range;

/// Numbers of features and probabilities of a window, which stays in the second cache.
const WINDOW: usize = 1 << 15;

/// Up to so many bytes of features stay in a cache when they are copied, and z of the units is worth having for a single evaluation.
const CACHED: usize = 8 << 20;

/// Whether an evaluation by itself had better keep the features side by side.
pub(crate) fn keeps_features(data: &Data<'_>) -> bool {
    data.features().bytes() <= CACHED
}

/// What a sweep is to find beside value, responsibilities, t and gradient.
pub(crate) enum Beside<'a, 'w> {
    /// No t and no gradient either; the probabilities, if they are asked for.
    Value { probabilities: bool },
    /// t and the gradient alone.
    Nothing,
    /// The probabilities, as second-order quantities need them.
    Probabilities,
    /// `X^T Ω` and `X^T (t ∘ A)` each for itself.
    Parts,
    /// Those, and the curvature of the classes, C × L × L; its workspace is [`Evaluation::curvature_workspace`].
    Curvature(&'a mut [f64], Workspace<'w>),
}

/// The same, as the tasks need it.
#[derive(Clone, Copy)]
struct Leaves {
    sums: bool,
    probabilities: bool,
    features: bool,
    parts: bool,
}

/// What a task works on.
struct Sweep<'a> {
    task: Task<'a, MaybeUninit<f64>>,
    own: &'a Own,
    /// What is found of its own units.
    units: Posterior<'a>,
    /// Room for features that the layout does not keep; else empty.
    x: &'a mut [MaybeUninit<f64>],
    curvature: Curvature<'a>,
}

/// The blocks of a task, of which those that are not `clean` still have no sums.
struct Rest<'a> {
    blocks: Range<usize>,
    clean: Range<usize>,
    a: &'a mut [MaybeUninit<f64>],
    omega: &'a mut [MaybeUninit<f64>],
    x: &'a mut [MaybeUninit<f64>],
    t: &'a mut [f64],
    piece: &'a mut [f64],
    curvature: Curvature<'a>,
}

/// The curvature's sums of all tasks, C × L × L each, and their scratch; all empty where it is not wanted.
struct Curvatures<'a> {
    h: &'a mut [f64],
    others: &'a mut [f64],
    scratch: &'a mut [f64],
}

impl Curvatures<'_> {
    fn of_tasks(&mut self, n: usize) -> impl Iterator<Item = Curvature<'_>> {
        let Curvatures { h, others, scratch } = self;
        let (length, piece) = (h.len(), scratch.len() / n);
        let (mut first, mut others, mut scratch) = (&mut **h, &mut **others, &mut **scratch);
        (0..n).map(move |task| {
            let h = if task == 0 { core::mem::take(&mut first) } else { take(&mut others, length) };
            Curvature { h, scratch: take(&mut scratch, piece) }
        })
    }
}

impl Evaluation<'_> {
    /// Whether a sweep serves: where two thirds of the blocks wait for no unit of other tasks.
    pub(super) fn sweep_serves(&mut self, data: &Data<'_>) -> bool {
        if !self.layout.is_grouped() || data.splits_units() || !self.is_ordered(data) {
            return false;
        }
        self.find_own(data);
        let n = self.layout.blocks.clamp(1, TASKS);
        let clean = |(t, own): (usize, &Own)| self.clean_blocks(data, own, &share(&self.layout, t, n)).len();
        3 * self.own[..n].iter().enumerate().map(clean).sum::<usize>() >= 2 * self.layout.blocks
    }

    /// Whether it may find the curvature too: where there is room for the sums of as many tasks.
    pub(crate) fn sweep_serves_em(&mut self, data: &Data<'_>, curvature: bool) -> bool {
        let room = !curvature || curvature_tasks(&self.shape, self.columns()) >= self.layout.blocks.min(TASKS);
        room && !data.is_part() && self.sweep_serves(data)
    }

    /// Numbers of t, for each class, where sweeps may serve a race.
    pub(crate) fn sets_of_race(shape: &Shape) -> usize {
        if Layout::may_group(shape) { Layout::most_numbers(shape).1 } else { 0 }
    }

    /// Value, responsibilities, t, and the parts of the gradient of this rank: `chosen` and `mean`, or their difference and 0. `features`:
    /// whether they stay side by side; else each task copies them block by block as it goes.
    pub(crate) fn sweep(
        &mut self,
        data: &Data<'_>,
        weights: &[f64],
        atoms: &[f64],
        beside: Beside<'_, '_>,
        features: bool,
        ctx: Context,
    ) -> Result<()> {
        data.reduced()?;
        self.passes += 1;
        let leaves = Leaves {
            sums: !matches!(beside, Beside::Value { .. }),
            probabilities: matches!(beside, Beside::Probabilities | Beside::Value { probabilities: true }),
            features,
            parts: matches!(beside, Beside::Parts | Beside::Curvature(..)),
        };
        match leaves.features {
            true => self.prepare(data, ctx),
            false => {
                self.find_own(data);
                self.layout.index(data, ctx);
            }
        }
        let (shape, c, l, kk, length) = (self.shape, self.columns(), self.shape.columns, self.classes, self.scratch_length());
        self.atoms[..c * l].copy_from_slice(&atoms[..c * l]);
        let n = self.layout.blocks.clamp(1, TASKS);
        let leaves = Leaves { parts: leaves.parts || self.by_units(), ..leaves };
        let mut curvatures = Curvatures { h: &mut [], others: &mut [], scratch: &mut [] };
        if let Beside::Curvature(h, mut ws) = beside {
            let piece = groups_piece(l, c, self.layout.sets_of_block(), self.layout.longest());
            let h = &mut h[..c * l * l];
            curvatures = Curvatures { others: ws.f64s((n - 1) * h.len())?, scratch: ws.f64s(n * piece)?, h };
            curvatures.h.fill(0.0);
        }
        let numbers = self.layout.start(self.layout.blocks) * c;
        // What was written before by those who keep it is not written again before it is used.
        let written = self.a.reached() >= numbers;
        let (a, omega) = (self.a.take(), self.omega.take());
        let features: &mut [MaybeUninit<f64>] = if leaves.features { &mut [] } else { self.layout.features.take() };
        let (log_z, t) = (core::mem::take(&mut self.log_z), core::mem::take(&mut self.t));
        let mut units = self.take_posterior();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        {
            let matrices = Matrices { rows: &mut *a, others: &mut *omega, sets: &mut *log_z, other_sets: &mut *t, ..Matrices::default() };
            let (tasks, _) = tasks(&ev.layout, c, length, scratch.pieces, matrices);
            let all = units.r.len() / c;
            let (mut left, mut next, mut x) = (units.some(0..all, c), 0, &mut *features);
            let mut sweeps: [Option<Sweep<'_>>; TASKS] = [const { None }; TASKS];
            for (((sweep, task), own), curvature) in sweeps.iter_mut().zip(tasks).zip(&ev.own).zip(curvatures.of_tasks(n)) {
                left.take(own.units.start - next, c);
                let units = left.take(own.units.len(), c);
                next = own.units.end;
                *sweep = task.map(|task| Sweep { x: take(&mut x, ev.layout.numbers(&task.blocks) * l), task, own, units, curvature });
            }
            scratch.rooms.for_each(ctx.threads, length, &mut sweeps[..n], |sweep, room| {
                ev.sweep_task(data, weights, sweep, room, leaves, written, ctx);
            });
        }
        self.log_z = log_z;
        self.give_posterior(units);
        self.sweep_rest(data, weights, [&mut *a, &mut *omega, &mut *features], t, &mut scratch, &mut curvatures, leaves, ctx);
        (self.t, self.kept) = (t, leaves.probabilities);
        // SAFETY: if they are kept, the tasks have written the probabilities of every block; of nothing nothing is written.
        unsafe {
            self.a.give_back(a, if leaves.probabilities { numbers } else { 0 });
            self.omega.give_back(omega, 0);
            if !leaves.features {
                self.layout.features.give_back(features, 0);
            }
        }
        // Sums over the tasks, in their order.
        for sums in [&mut self.class_weight[..c], &mut self.class_choices[..c], &mut self.chosen[..c * l], &mut self.mean[..c * l]] {
            sums.fill(0.0);
        }
        self.value.fill(0.0);
        let mut finite = true;
        for piece in scratch.of_tasks(n, length) {
            let Piece { sum, part, m, z, totals, value } = carve(piece, &shape, c);
            axpy(1.0, z, &mut self.class_weight[..c]);
            axpy(1.0, totals, &mut self.class_choices[..c]);
            axpy(1.0, &value[..c / kk], &mut self.value[..c / kk]);
            axpy(1.0, part, &mut self.chosen[..c * l]);
            axpy(1.0, sum, if leaves.parts { &mut self.mean[..c * l] } else { &mut self.chosen[..c * l] });
            finite &= m[0] == 1.0;
        }
        self.scratch = scratch;
        let Curvatures { h, others, .. } = curvatures;
        others.chunks_exact(h.len().max(1)).for_each(|other| axpy(1.0, other, h));
        h.chunks_exact_mut((l * l).max(1)).for_each(|h| symmetrize(h, l));
        self.check_logits(data, finite)?;
        self.sum_choices(data)?;
        self.check_value()
    }

    /// The blocks of a task. Probabilities that are not to be kept, and features of clean blocks, take turns in the places of the first ones.
    fn sweep_task(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        sweep: &mut Sweep<'_>,
        room: &mut Room<'_>,
        leaves: Leaves,
        written: bool,
        ctx: Context,
    ) {
        let Sweep { task, own, units: found_of, x: copies, curvature } = sweep;
        let (layout, c, l) = (&self.layout, self.columns(), self.shape.columns);
        let (blocks, clean) = (task.blocks.clone(), self.clean_blocks(data, own, &task.blocks));
        let (before, sets) = (layout.start(blocks.start), layout.sets_of_block() * c);
        let Piece { sum, part, m: factors, z, totals, value } = carve(task.piece, &self.shape, c);
        [&mut *sum, &mut *part, z, totals, value].into_iter().for_each(|v| v.fill(0.0));
        let units = OfUnits { class_weight: z, class_choices: totals, chosen: part };
        let mut sums = self.begin(data, clean.start, &blocks, task.of.others, units, sum, leaves.parts, curvature.lend());
        // Block b stands `shift` rows before its place; those that are held stand between `from` and `high`, all written.
        let (place, mut shift) = (|b: usize| layout.start(b) - before, 0);
        let (mut from, mut high) = (0, if written { place(blocks.end) } else { 0 });
        let (mut unit, mut done, mut held) = (own.units.start, clean.start, 0);
        let shift_rows = |a: &mut [MaybeUninit<f64>], copies: &mut [MaybeUninit<f64>], rows: Range<usize>, to: usize| {
            a.copy_within(rows.start * c..rows.end * c, to * c);
            if !leaves.features {
                copies.copy_within(rows.start * l..rows.end * l, to * l);
            }
        };
        for b in blocks.clone() {
            if b == clean.end && shift > 0 {
                shift_rows(task.of.rows, copies, place(done) - shift..place(b) - shift, place(done));
                (shift, from, high) = (0, place(done), high.max(place(b)));
            }
            let n = layout.length(b);
            let here = place(b) - shift..place(b + 1) - shift;
            if here.end > high {
                filled(&mut task.of.rows[here.start.max(high) * c..here.end * c], 0.0);
                high = here.end;
            }
            // SAFETY: this is before `high`, and not before `from`.
            let a = unsafe { written_or_zero(&mut task.of.rows[here.start * c..here.end * c], true) };
            let log_z = &mut task.of.sets[(b - blocks.start) * sets..][..sets];
            let (x, ahead) = match leaves.features {
                false => layout.copy_block(data, ctx.isa, b, &mut copies[here.start * l..here.end * l]),
                true => (layout.features_of(b, l), layout.ahead(n * l)),
            };
            simd::logits_of_columns_ahead(ctx.isa, x, &self.atoms[..c * l], layout.offsets(b), a, n, ahead);
            softmax_of_groups(ctx.isa, layout.groups(b, c), a, log_z);
            held += n * (l + 2 * c);
            if b + 1 < blocks.end && held < WINDOW && !self.shape.units_are_rows {
                continue;
            }
            held = 0;
            // SAFETY: as above; features are written with the probabilities.
            let (a, x) = unsafe {
                let a = written_or_zero(&mut task.of.rows[from * c..here.end * c], true);
                (a, if leaves.features { None } else { Some(&*written_or_zero(&mut copies[from * l..here.end * l], true)) })
            };
            let found = Found::new(a, task.of.sets, x, (before + shift + from, blocks.start * sets));
            if self.shape.units_are_rows {
                let t = &mut task.of.other_sets[(b - blocks.start) * sets..][..sets];
                self.sums_of_counts(found, data, weights, b, t, factors, value, &mut sums, leaves.sums, ctx);
                done = b + 1;
            } else {
                let (first, mut ready) = (unit, (b + 1).min(clean.end));
                unit = self.ended(data, unit..own.units.end, layout.rows_of(data, b..b + 1).end, &mut ready);
                let mut of_these = found_of.some(first - own.units.start..unit - own.units.start, c);
                self.units_of(found, data, weights, first, &mut of_these, value, room.columns, room.column, ctx);
                self.add_units(data, first, of_these.r, &mut sums.units);
                for b in (done..ready).filter(|_| leaves.sums) {
                    let t = &mut task.of.other_sets[(b - blocks.start) * sets..][..sets];
                    self.sums_of_block(found, data, b, (found_of.r, own.units.start), t, &mut sums, ctx);
                }
                done = ready.max(done);
            }
            let less = if !leaves.probabilities && clean.contains(&b) { place(done) - shift - place(clean.start) } else { 0 };
            if less > 0 {
                shift_rows(task.of.rows, copies, place(done) - shift..place(b + 1) - shift, place(clean.start));
                shift += less;
            }
        }
        factors[0] = if all_finite(ctx.isa, task.of.sets) { 1.0 } else { 0.0 };
    }

    /// The first of some units with a choice from row `end` on, or the end of them. Blocks from that of its first choice on are not `ready`.
    fn ended(&self, data: &Data<'_>, units: Range<usize>, end: usize, ready: &mut usize) -> usize {
        for u in units.clone() {
            let mut rows = data.entries(u).map(|(i, _)| i);
            let Some(first) = rows.next() else { continue };
            if rows.last().unwrap_or(first) >= end {
                if first < end {
                    *ready = self.layout.block_of(first).min(*ready);
                }
                return u;
            }
        }
        units.end
    }

    /// The units whose choices are in several tasks, and the blocks that wait for them.
    fn sweep_rest(
        &mut self,
        data: &Data<'_>,
        weights: &[f64],
        [a, omega, x]: [&mut [MaybeUninit<f64>]; 3],
        t: &mut [f64],
        scratch: &mut Scratch<'_>,
        curvatures: &mut Curvatures<'_>,
        leaves: Leaves,
        ctx: Context,
    ) {
        if self.shape.units_are_rows {
            return;
        }
        let (shape, c, l, length) = (self.shape, self.columns(), self.shape.columns, self.scratch_length());
        let n = self.layout.blocks.clamp(1, TASKS);
        {
            let mut all = self.take_posterior();
            let Scratch { pieces, rooms } = &mut *scratch;
            let (Piece { part, z, totals, value, .. }, room) = (carve(&mut pieces[..length.piece], &shape, c), rooms.first(length));
            let mut units = OfUnits { class_weight: z, class_choices: totals, chosen: part };
            // SAFETY: they have chosen in blocks that are not clean, which were written where they belong.
            let found = unsafe { Found::of_some(a, self.log_z) };
            for pair in self.own[..n].windows(2) {
                let (first, mut of_these) = (pair[0].units.end, all.some(pair[0].units.end..pair[1].units.start, c));
                self.units_of(found, data, weights, first, &mut of_these, value, room.columns, room.column, ctx);
                self.add_units(data, first, of_these.r, &mut units);
            }
            self.give_posterior(all);
        }
        if !leaves.sums {
            return;
        }
        let (mut a, mut omega, mut x, mut t, mut pieces) = (a, omega, x, t, &mut *scratch.pieces);
        let mut tasks: [Option<Rest<'_>>; TASKS] = [const { None }; TASKS];
        let (sets, mut waiting) = (self.layout.sets_of_block() * c, false);
        for ((i, rest), curvature) in tasks.iter_mut().enumerate().zip(curvatures.of_tasks(n)) {
            let blocks = share(&self.layout, i, n);
            let numbers = self.layout.numbers(&blocks);
            let (a, omega, x) = (take(&mut a, numbers * c), take(&mut omega, numbers * c), take(&mut x, numbers * l));
            let (t, piece) = (take(&mut t, blocks.len() * sets), take(&mut pieces, length.piece));
            let clean = self.clean_blocks(data, &self.own[i], &blocks);
            waiting |= clean != blocks;
            *rest = Some(Rest { blocks, clean, a, omega, x, t, piece, curvature });
        }
        if !waiting {
            return;
        }
        let ev = &*self;
        for_each(ctx.threads, &mut tasks[..n], |rest| {
            let Some(Rest { blocks, clean, a, omega, x, t, piece, curvature }) = rest else { return };
            let place = |b: usize| ev.layout.start(b) - ev.layout.start(blocks.start);
            let Piece { sum, part, z, totals, .. } = carve(piece, &shape, c);
            for range in [blocks.start..clean.start, clean.end..blocks.end].into_iter().filter(|range| !range.is_empty()) {
                let units = OfUnits { class_weight: &mut *z, class_choices: &mut *totals, chosen: &mut *part };
                let mut sums = ev.begin(data, range.start, &range, omega, units, sum, leaves.parts, curvature.lend());
                for b in range {
                    let t = &mut t[(b - blocks.start) * sets..][..sets];
                    let here = place(b)..place(b + 1);
                    // SAFETY: blocks that are not clean were written where they belong.
                    let (a, x) = unsafe {
                        let a = written_or_zero(&mut a[here.start * c..here.end * c], true);
                        (a, if leaves.features { None } else { Some(&*written_or_zero(&mut x[here.start * l..here.end * l], true)) })
                    };
                    let found = Found::new(a, ev.log_z, x, (ev.layout.start(b), 0));
                    ev.sums_of_block(found, data, b, (ev.r, 0), t, &mut sums, ctx);
                }
            }
        });
    }

    /// The blocks of a task that no unit has chosen in which has choices in other tasks, too.
    fn clean_blocks(&self, data: &Data<'_>, own: &Own, blocks: &Range<usize>) -> Range<usize> {
        let (all, block_of) = (self.layout.rows_of(data, blocks.clone()), |i| data.set_of(i) / self.layout.sets_of_block());
        let start = if own.rows.start > all.start { block_of(own.rows.start - 1) + 1 } else { blocks.start };
        let end = if own.rows.end < all.end { block_of(own.rows.end) } else { blocks.end };
        start..end.max(start)
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::testing::numbers;
    use crate::workspace::{WorkspaceBuffer, WorkspaceSize};
    use alloc::vec;
    use alloc::vec::Vec;

    /// Choices in `sets` that units made one after another, unit u in `length(u)` of them.
    fn units(sets: usize, mut length: impl FnMut(usize) -> usize) -> Vec<usize> {
        let mut indptr = vec![0];
        while indptr[indptr.len() - 1] < sets {
            indptr.push((indptr[indptr.len() - 1] + length(indptr.len())).min(sets));
        }
        indptr
    }

    fn close(a: &[f64], b: &[f64], what: &str) {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 1e-11 * (1.0 + a.abs()), "{what} {i}: {a} {b}");
        }
    }

    /// One read finds what the passes find, whatever the sizes of sets and the lengths of units: none across tasks, some, one that has most
    /// of the choices; and whether probabilities are kept or not, or not even features, the first time and again, for any number of
    /// threads.
    #[test]
    fn a_sweep_finds_what_the_passes_find() {
        let (l, kk) = (3, 2);
        for (case, starts) in (0..9).flat_map(|case| [(case, 1), (case, 3)]) {
            // Units across tasks need many blocks, so that most of them wait for none.
            let sets = if case == 8 { 8000 } else { 1500 };
            let c = kk * starts;
            // Sets of one size, of others, and so small that units are more than a quarter of the rows.
            let size = |s: usize| match case {
                0 | 1 | 6 => 6,
                2 | 3 | 7 => 1 + (s * s + 3 * s) % 9,
                _ => 2 + s % 2,
            };
            let offsets: Vec<usize> = (0..=sets).map(|s| (0..s).map(size).sum()).collect();
            let p = offsets[sets];
            let chosen: Vec<usize> = (0..sets).map(|s| offsets[s] + s * 7 % size(s)).collect();
            let b: Vec<f64> = (0..p).map(|i| if i % 11 == 5 && !chosen.contains(&i) { f64::NEG_INFINITY } else { 0.1 }).collect();
            let indptr = units(sets, |u| match case {
                0 => 4,
                1 | 8 => 2 + u % 9,
                2 => 2 + u % 200,
                3 => 1400,
                4 => 1 + u % 2,
                _ => 1,
            });
            let times: Vec<f64> = (0..sets).map(|e| [1.0, 2.0, 0.0, 0.5][e % 4]).collect();
            let w: Vec<f64> = (0..indptr.len().max(sets) + 1).map(|u| [1.0, 0.0, 2.5][u % 3]).collect();
            let counts: Vec<f64> = (0..p).map(|i| if chosen.contains(&i) { 2.0 } else { 0.0 }).collect();
            let choices = match case {
                5 => Choices::SparseCounts { indices: &chosen, counts: &w[1..sets + 1] },
                6 | 7 => Choices::Counts(&counts),
                1 | 2 => Choices::Units { indptr: &indptr, indices: &chosen, counts: Some(&times), weights: Some(&w[..indptr.len() - 1]) },
                _ => Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None },
            };
            let x = numbers(p * l, 1);
            let offset = if case % 2 == 1 { Some(&b[..]) } else { None };
            let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), offset, Some(&offsets), choices).unwrap();
            let alpha: Vec<f64> = (0..c).map(|k| [0.3, 0.7][k % 2]).collect();
            let buffers = || WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 20)).unwrap();
            let (mut of_one, mut of_other, mut of_third, mut of_curvature) = (buffers(), buffers(), buffers(), buffers());
            let mut sweep = Evaluation::new(data.shape(), c / starts, starts, &mut of_one.lend()).unwrap();
            let mut passes = Evaluation::new(data.shape(), c / starts, starts, &mut of_other.lend()).unwrap();
            let mut log_likelihoods = vec![f64::NAN; if starts == 1 && !data.shape().units_are_rows { data.shape().units } else { 0 }];
            let mut alone = Evaluation::new(data.shape(), c / starts, starts, &mut of_third.lend()).unwrap();
            alone.keep_log_likelihoods(&mut log_likelihoods);
            // Passes are for any order.
            passes.ordered = Some(false);
            assert!(!passes.sweep_serves(&data));
            let serves = sweep.sweep_serves_em(&data, true);
            // Units that end with the blocks, and one that most blocks wait for.
            assert!((case != 0 && case != 8) || serves);
            assert!(case != 3 || !serves);
            for round in 0..4 {
                let ctx = Context { threads: 1 + round, ..Context::default() };
                let theta = numbers(c * l, 4 + round as u64);
                passes.evaluate_apart(&data, &alpha, &theta, Context::default()).unwrap();
                let (mut h, mut expected) = (vec![f64::NAN; c * l * l], vec![0.0; c * l * l]);
                passes.class_curvature(&data, &mut expected, Context::default(), of_curvature.lend()).unwrap();
                let mut before: Vec<Vec<f64>> = vec![];
                for beside in [Beside::Parts, Beside::Probabilities, Beside::Curvature(&mut h, of_curvature.lend()), Beside::Parts] {
                    let keep = matches!(beside, Beside::Probabilities);
                    sweep.sweep(&data, &alpha, &theta, beside, true, ctx).unwrap();
                    let (mut one, mut other) = (vec![0.0; c * l], vec![0.0; c * l]);
                    sweep.atom_gradient(&mut one);
                    passes.atom_gradient(&mut other);
                    close(&one, &other, "gradient");
                    close(&sweep.value[..starts], &passes.value[..starts], "value");
                    close(sweep.r, passes.r, "responsibilities");
                    close(&sweep.class_weight[..c], &passes.class_weight[..c], "class weights");
                    close(&sweep.class_choices[..c], &passes.class_choices[..c], "class choices");
                    let of_sets = |ev: &Evaluation<'_>| -> Vec<f64> {
                        (0..sets).flat_map(|s| (0..c).flat_map(move |k| [(s, k)])).flat_map(|(s, k)| [ev.t(s, k), ev.log_z(s, k)]).collect()
                    };
                    close(&of_sets(&sweep), &of_sets(&passes), "t and log Z");
                    if keep {
                        let a = |ev: &Evaluation<'_>| -> Vec<f64> { (0..p * c).map(|i| ev.probability(i / c, i % c)).collect() };
                        close(&a(&sweep), &a(&passes), "probabilities");
                    } else {
                        close(&sweep.chosen[..c * l], &passes.chosen[..c * l], "chosen");
                    }
                    if round == 0 {
                        before.push(one);
                    }
                }
                close(&h, &expected, "curvature");
                // The last time so that some probabilities are too small to have logarithms.
                let far: Vec<f64> = theta.iter().map(|t| if round == 3 { 300.0 * t } else { *t }).collect();
                passes.evaluate(&data, &alpha, &far, Context::default()).unwrap();
                let again = |alone: &mut Evaluation<'_>, ctx| match serves {
                    true => alone.sweep(&data, &alpha, &far, Beside::Nothing, false, ctx).unwrap(),
                    false => alone.evaluate_alone(&data, &alpha, &far, ctx).unwrap(),
                };
                again(&mut alone, ctx);
                assert!(!alone.layout.is_copied() || !serves, "case {case}");
                let (mut one, mut other) = (vec![0.0; c * l], vec![0.0; c * l]);
                alone.atom_gradient(&mut one);
                passes.atom_gradient(&mut other);
                close(&one, &other, "gradient alone");
                close(&alone.value[..starts], &passes.value[..starts], "value alone");
                close(alone.r, passes.r, "responsibilities alone");
                close(&alone.class_weight[..c], &passes.class_weight[..c], "class weights alone");
                for (u, log) in alone.log_likelihoods.iter().enumerate() {
                    let expected = passes.unit_responsibilities(&data, &alpha, u, &mut vec![0.0; kk]);
                    close(&[*log], &[expected], "log-likelihood of a unit");
                }
                again(&mut alone, Context::default());
                alone.atom_gradient(&mut other);
                assert!(one.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()), "case {case}, alone");
                if serves {
                    // Features that are not kept have curvature, too.
                    h.fill(f64::NAN);
                    let curvature = Beside::Curvature(&mut h, of_curvature.lend());
                    alone.sweep(&data, &alpha, &theta, curvature, false, ctx).unwrap();
                    assert!(!alone.layout.is_copied());
                    close(&h, &expected, "curvature alone");
                    close(&alone.chosen[..c * l], &sweep.chosen[..c * l], "chosen alone");
                    close(&alone.mean[..c * l], &sweep.mean[..c * l], "mean alone");
                }
                if round == 0 {
                    // The same bits for more threads.
                    for (beside, before) in [Beside::Parts, Beside::Probabilities].into_iter().zip(&before) {
                        sweep.sweep(&data, &alpha, &theta, beside, true, Context { threads: 3, ..ctx }).unwrap();
                        let mut again = vec![0.0; c * l];
                        sweep.atom_gradient(&mut again);
                        assert!(again.iter().zip(before).all(|(a, b)| a.to_bits() == b.to_bits()), "case {case}");
                    }
                    assert!(before[0] == before[3], "case {case}");
                }
            }
        }
    }
}
