//! The copy of small choice sets side by side, feature after feature, that [`super::layout::Kind::Groups`] works on: made by all threads.

use super::layout::{Layout, MOST_SETS, each_block};
use super::tasks::share;
use crate::data::Data;
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::panel::SETS;
use crate::simd::{Columns, Isa};
use crate::workspace::{filled, written_or_zero};
use core::mem::MaybeUninit;
use core::ops::Range;

/// A block that was just copied, those of its task before it too.
pub(crate) struct Copied<'a> {
    /// The rows of the task as far as it is, as the caller has them.
    pub rows: Range<usize>,
    place: &'a [[u32; 2]],
    features: Columns<'a, f64>,
}

impl Copied<'_> {
    /// Adds `f` times row `i` of the block, as [`Layout::row`] has it.
    pub fn add_row(&self, i: usize, f: f64, out: &mut [f64]) {
        let at = self.place[i - self.rows.start][1] as usize;
        let x = self.features.values[at..].iter().step_by(self.features.stride);
        out.iter_mut().zip(x).for_each(|(out, x)| *out += f * x);
    }
}

/// What a task copies: some blocks, and what belongs to them.
struct Part<'a, S> {
    blocks: Range<usize>,
    place: &'a mut [[u32; 2]],
    /// Empty where they are copied later.
    features: &'a mut [MaybeUninit<f64>],
    /// Empty where all are 0.
    offset: &'a mut [MaybeUninit<f64>],
    /// Empty but where units are rows.
    counts: &'a mut [f64],
    state: &'a mut S,
}

impl Layout<'_> {
    /// Finds the place of every row, with all that is copied but the features, which are left to [`Layout::copy_block`].
    pub(super) fn index(&mut self, data: &Data<'_>, ctx: Context) {
        self.forget();
        let n = self.blocks.clamp(1, TASKS);
        self.copy_all(data, &mut [(); TASKS][..n], &mut [], ctx, |(), _| {});
    }

    /// Copies the choice sets of every block, in as many tasks as there are `states`; shows each block to the state of its task when it is
    /// `copied`.
    pub(super) fn copy<S: Send>(&mut self, data: &Data<'_>, states: &mut [S], ctx: Context, copied: impl Fn(&mut S, Copied<'_>) + Sync) {
        let features = self.features.take();
        let numbers = self.copy_all(data, states, features, ctx, copied) * data.features().columns();
        // SAFETY: every block is filled.
        unsafe { self.features.give_back(features, numbers) };
    }

    /// How many rows the blocks fill.
    fn copy_all<S: Send>(
        &mut self,
        data: &Data<'_>,
        states: &mut [S],
        mut features: &mut [MaybeUninit<f64>],
        ctx: Context,
        copied: impl Fn(&mut S, Copied<'_>) + Sync,
    ) -> usize {
        let l = data.features().columns();
        self.arrange(data);
        // Sets of the same size need no word on where they end.
        let has_offsets = data.offset().is_some() || !self.position.is_empty();
        let (places, place, counts) = (self.start(self.blocks), core::mem::take(&mut self.place), core::mem::take(&mut self.counts));
        let offset = self.offset.take();
        let (layout, n) = (&*self, states.len());
        {
            let (mut place, mut counts, mut offset) = (&mut *place, &mut *counts, &mut *offset);
            let mut parts: [Option<Part<'_, S>>; TASKS] = [const { None }; TASKS];
            for ((t, part), state) in parts.iter_mut().enumerate().zip(states) {
                let blocks = share(layout, t, n);
                let numbers = layout.numbers(&blocks);
                *part = Some(Part {
                    place: take(&mut place, layout.rows_of(data, blocks.clone()).len()),
                    features: take(&mut features, numbers * l),
                    offset: take(&mut offset, if has_offsets { numbers } else { 0 }),
                    counts: take(&mut counts, numbers),
                    state,
                    blocks,
                });
            }
            for_each(ctx.threads, &mut parts[..n], |part| {
                if let Some(part) = part {
                    layout.copy_part(data, ctx.isa, part, &copied);
                }
            });
        }
        (self.place, self.counts) = (place, counts);
        // SAFETY: every block is filled.
        unsafe { self.offset.give_back(offset, if has_offsets { places } else { 0 }) };
        places
    }

    /// Finds where the choice sets of every block go.
    fn arrange(&mut self, data: &Data<'_>) {
        let Layout { sets, in_block, first, heights, position, .. } = self;
        each_block(
            *sets,
            *in_block,
            |set| data.set(set).len(),
            |b, order, of_block| {
                first[b + 1] = first[b] + of_block.iter().sum::<usize>() * SETS;
                heights[b * of_block.len()..][..of_block.len()].copy_from_slice(of_block);
                for (at, set) in order.iter().enumerate() {
                    if let Some(position) = position.get_mut(*set) {
                        *position = b * *in_block + at;
                    }
                }
            },
        );
    }

    fn copy_part<S>(&self, data: &Data<'_>, isa: Isa, part: &mut Part<'_, S>, copied: &impl Fn(&mut S, Copied<'_>)) {
        let l = data.features().columns();
        let (from, before) = (self.rows_of(data, part.blocks.clone()).start, self.start(part.blocks.start));
        for b in part.blocks.clone() {
            let (rows, here) = (self.length(b), self.start(b) - before);
            let offsets = match part.offset.is_empty() {
                true => &mut [][..],
                false => filled(&mut part.offset[here..here + rows], f64::NEG_INFINITY),
            };
            let features = part.features.get_mut(here * l..(here + rows) * l).unwrap_or(&mut []);
            self.each_group(data, b, |height, at, sets| {
                for (lane, set) in sets.iter().enumerate() {
                    if set.is_empty() && !offsets.is_empty() {
                        // Something finite, so that nothing of it is NaN.
                        offsets[at + lane] = 0.0;
                    }
                    for (j, i) in set.clone().enumerate() {
                        let to = at + j * SETS + lane;
                        part.place[i - from] = [b as u32, to as u32];
                        if !offsets.is_empty() {
                            offsets[to] = data.offset().map_or(0.0, |b| b[i]);
                        }
                        if !part.counts.is_empty() {
                            part.counts[here + to] = data.unit_weight(i);
                        }
                    }
                }
                if !features.is_empty() {
                    // Only differences inside a set matter.
                    data.features().centered_sets(isa, data.offset(), sets, height, &mut features[at..], rows, true);
                }
            });
            if !features.is_empty() {
                // SAFETY: all groups were just written, every feature of every place.
                let values = unsafe { written_or_zero(features, true) };
                let features = Columns { values, rows, columns: l, stride: rows };
                copied(part.state, Copied { rows: from..self.rows_of(data, b..b + 1).end, place: part.place, features });
            }
        }
    }

    /// The groups of block `b`, as the caller has them: `group(height, at, sets)` of each, with the place where it begins and the rows of its
    /// sets, none of those that are not there.
    fn each_group(&self, data: &Data<'_>, b: usize, mut group: impl FnMut(usize, usize, &[Range<usize>; SETS])) {
        let in_block = self.sets_of_block();
        // What stands where: nothing where no set is.
        let mut order = [usize::MAX; MOST_SETS];
        for set in b * in_block..((b + 1) * in_block).min(self.sets) {
            order[self.position(set) - b * in_block] = set;
        }
        for (height, at, g) in self.groups(b, 0).each() {
            let order = &order[g * SETS..][..SETS];
            group(height, at, &core::array::from_fn(|s| if order[s] < self.sets { data.set(order[s]) } else { 0..0 }));
        }
    }

    /// Copies the features of block `b` to `room`, for use at once; and how far ahead of them those of the next block stand, whose lines may
    /// come while these are in cache.
    pub(super) fn copy_block<'r>(
        &self,
        data: &Data<'_>,
        isa: Isa,
        b: usize,
        room: &'r mut [MaybeUninit<f64>],
    ) -> (Columns<'r, f64>, usize) {
        let (x, rows) = (data.features(), self.length(b));
        self.each_group(data, b, |height, at, sets| x.centered_sets(isa, data.offset(), sets, height, &mut room[at..], rows, false));
        // SAFETY: every group fills the room of its rows.
        let values = unsafe { written_or_zero(room, true) };
        let ahead = x.ahead_of(values.as_ptr(), self.rows_of(data, b..b + 1).end);
        (Columns { values, rows, columns: x.columns(), stride: rows }, ahead)
    }
}
