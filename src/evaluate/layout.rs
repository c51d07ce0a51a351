//! Where rows stand in the matrices of an evaluation: in blocks, class after class inside each, so that a block is one piece of memory.
//!
//! | layout | choice sets | a block |
//! |---|---|---|
//! | `One` | one | a fixed number of consecutive rows |
//! | `Groups` | many small ones | some sets, in groups of eight side by side; features are copied feature after feature |
//! | `Whole` | any | whole sets, as many as fit, or one that may be larger |
//!
//! The eight sets of a group are filled up to the alternatives of the largest, J. So that they are about as large as one another, the sets
//! of a block stand in the order of their sizes, the largest first.
//!
//! Row i of class c is number `base + c · stride` of a matrix, with `(base, stride)` from [`Layout::at`]. What belongs to a choice set and
//! a class stands at [`Layout::zone`].

use super::copy::Copied;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::parallel::{Context, TASKS};
use crate::simd::panel::{Groups, SETS};
use crate::simd::{Ahead, Columns};
use crate::workspace::{Numbers, Workspace, WorkspaceSize};
use core::ops::Range;

/// Rows of a block at most, where sets do not ask for more.
pub(crate) const MOST_ROWS: usize = 256;
/// Features up to which choice sets go side by side: more fill whole vectors as they are.
pub(super) const FEW_COLUMNS: usize = 48;
/// Alternatives up to which choice sets go side by side.
pub(super) const SMALL_SET: usize = 256;

/// Rows of a block: fewer where a row is long, so that a block stays in cache.
pub(crate) fn block_rows(columns: usize) -> usize {
    (16384 / columns.max(1)).clamp(32, MOST_ROWS) & !7
}

/// The place of class `c` of C and of choice set `s`, as sets stand in the blocks: in groups of eight, class after class.
pub(crate) fn zone(s: usize, c: usize, columns: usize) -> usize {
    (s / SETS * columns + c) * SETS + s % SETS
}

/// How many numbers a matrix of [`zone`]s has for each class.
fn zones(sets: usize) -> usize {
    sets.div_ceil(SETS).saturating_mul(SETS)
}

/// The kinds of the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    One,
    Groups,
    Whole,
}

/// Where the rows of some data stand.
#[derive(Debug)]
pub(crate) struct Layout<'w> {
    pub kind: Kind,
    /// `One`: rows of a block; `Whole`: about as many.
    pub block: usize,
    pub blocks: usize,
    pub(super) sets: usize,
    rows: usize,
    /// `Groups`: the block of each row, and its place in it.
    pub(super) place: &'w mut [[u32; 2]],
    /// `Whole`: the block of each row.
    block_of: &'w mut [usize],
    /// But for `One`, how many numbers a class has before each block, and in all.
    pub(super) first: &'w mut [usize],
    /// `Groups`: choice sets of a block.
    pub(super) in_block: usize,
    /// `Groups`: alternatives of the sets of each group, J.
    pub(super) heights: &'w mut [usize],
    /// `Groups` of sets of unequal sizes: which one each choice set is, as they stand in the blocks.
    pub(super) position: &'w mut [usize],
    /// `Groups`: the features less their mean in the choice set, L × block in each block.
    pub features: Numbers<'w>,
    /// `Groups`: offsets, −∞ where a set has no more alternatives; empty where all are 0.
    pub(super) offset: Numbers<'w>,
    /// `Groups`: counts, where units are rows.
    pub counts: &'w mut [f64],
    /// The features that `prepare` has last seen; 0 before.
    source: usize,
}

/// Rows that `Groups` may fill up to: half as many again as there are, and what may be left of the last block.
fn most_places(rows: usize, sets: usize) -> usize {
    let of_group = rows.div_ceil(sets.max(1)).min(SMALL_SET) * SETS;
    rows.saturating_add(rows / 2).saturating_add(2 * of_group + MOST_SETS)
}

/// Rows of features there is room for, of so many `places`: all of them, or those of a block of `Groups` of every task.
fn rows_of_features(shape: &Shape, places: usize, all: bool) -> usize {
    if all { places } else { places.min(TASKS.saturating_mul(most_block_rows(shape))) }
}

/// Choice sets of a block of `Groups`, if there are `rows` in `sets`: as many as have about 256 rows; where they are not all as large, as
/// have about 512, and eight groups at least, so that there are some of about each size.
fn sets_in_block(rows: usize, sets: usize, alike: bool) -> usize {
    let group = rows.div_ceil(sets.max(1)).saturating_mul(SETS).max(1);
    let least = if alike { 1 } else { 8 };
    let most = (if alike { MOST_ROWS } else { 2 * MOST_ROWS } / group).clamp(least, MOST_SETS / SETS);
    most.min(sets.div_ceil(SETS).max(1)) * SETS
}

/// Choice sets of a block of `Groups` at most.
pub(super) const MOST_SETS: usize = MOST_ROWS;

/// Rows that a block of `Groups` fills at most.
pub(super) fn most_block_rows(shape: &Shape) -> usize {
    most_places(shape.rows, shape.sets).min(sets_in_block(shape.rows, shape.sets, false).saturating_mul(SMALL_SET))
}

/// Goes through the blocks of `Groups` of choice sets, of which set s has `size(s)` alternatives: `block(b, order, heights)` has its sets
/// in their order, those that are not there last, and the heights of its groups.
pub(super) fn each_block(sets: usize, in_block: usize, size: impl Fn(usize) -> usize, mut block: impl FnMut(usize, &[usize], &[usize])) {
    let (mut order, mut heights) = ([0; MOST_SETS], [0; MOST_SETS / SETS]);
    let size = |set: usize| if set < sets { size(set) } else { 0 };
    for b in 0..sets.div_ceil(in_block) {
        let (order, heights) = (&mut order[..in_block], &mut heights[..in_block / SETS]);
        let here = b * in_block..(b + 1) * in_block;
        // By their sizes, those of one size as they come.
        if here.clone().skip(1).all(|set| size(set) <= size(set - 1)) {
            order.iter_mut().zip(here).for_each(|(o, set)| *o = set);
        } else {
            // How many are larger, and then where the next one of a size goes.
            let mut next = [0; SMALL_SET + 1];
            here.clone().for_each(|set| next[..size(set)].iter_mut().for_each(|n| *n += 1));
            for set in here {
                order[next[size(set)]] = set;
                next[size(set)] += 1;
            }
        }
        heights.iter_mut().zip(order.chunks_exact(SETS)).for_each(|(height, group)| *height = size(group[0]).max(1));
        block(b, order, heights);
    }
}

/// How many rows `Groups` fill up to, where choice sets end at `offsets[1..]`; none where that is too many, or a set is large.
pub(crate) fn grouped_rows(offsets: &[usize], largest: usize) -> Option<usize> {
    let (sets, rows) = (offsets.len() - 1, offsets[offsets.len() - 1]);
    if sets < 2 || largest > SMALL_SET {
        return None;
    }
    let size = |set: usize| offsets[set + 1] - offsets[set];
    let alike = largest.checked_mul(sets) == Some(rows);
    let mut places = 0;
    each_block(sets, sets_in_block(rows, sets, alike), size, |_, _, heights| places += heights.iter().sum::<usize>() * SETS);
    (places <= most_places(rows, sets)).then_some(places)
}

fn kind(shape: &Shape) -> Kind {
    match shape.grouped_rows {
        _ if shape.sets == 1 => Kind::One,
        Some(_) if Layout::may_group(shape) => Kind::Groups,
        _ => Kind::Whole,
    }
}

impl<'w> Layout<'w> {
    /// Whether choice sets may stand side by side, if they are small.
    pub fn may_group(shape: &Shape) -> bool {
        shape.sets > 1 && shape.columns <= FEW_COLUMNS && u32::try_from(shape.sets).is_ok()
    }

    /// What [`Layout::new`] takes at most, whatever the sizes of the sets.
    pub fn workspace(shape: &Shape, choices: bool) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        if shape.sets == 1 {
            return WorkspaceSize::EMPTY;
        }
        let places = most_places(shape.rows, shape.sets);
        let of_sizes = WorkspaceSize::of::<usize>;
        let places_of_rows = WorkspaceSize::of::<[u32; 2]>(shape.rows).or(of_sizes(shape.rows));
        let index = places_of_rows.and(of_sizes(shape.sets.saturating_add(1)));
        let index = index.and(of_sizes(shape.sets.saturating_add(MOST_SETS) / SETS)).and(of_sizes(shape.sets));
        match Layout::may_group(shape) {
            true => {
                let features = rows_of_features(shape, places, choices);
                index.and(of(features.saturating_mul(shape.columns)).and(of(places)).and(of(places)))
            }
            false => index,
        }
    }

    /// Numbers that a matrix has for each class at most: over rows, and over choice sets.
    pub fn most_numbers(shape: &Shape) -> (usize, usize) {
        let block = block_rows(shape.columns).min(shape.rows.max(1).saturating_add(7) & !7);
        let rows = shape.rows.div_ceil(block).saturating_mul(block);
        let rows = if Layout::may_group(shape) { rows.max(most_places(shape.rows, shape.sets)) } else { rows };
        // The last block of groups may have more sets than there are.
        let sets = if Layout::may_group(shape) { shape.sets.saturating_add(MOST_SETS) } else { shape.sets };
        (rows, zones(sets))
    }

    /// Blocks at most.
    pub fn most_blocks(shape: &Shape) -> usize {
        let of_rows = shape.rows.div_ceil(block_rows(shape.columns)).max(1);
        if shape.sets == 1 { of_rows } else { shape.sets.max(of_rows) }
    }

    /// Without `choices` there is room for the features of a block of every task alone: see [`Layout::copy_block`].
    pub fn new(shape: &Shape, choices: bool, ws: &mut Workspace<'w>) -> Result<Self> {
        let (rows, sets, l) = (shape.rows, shape.sets, shape.columns);
        let kind = kind(shape);
        let plain = block_rows(l).min(rows.max(1).next_multiple_of(8));
        let grouped = kind == Kind::Groups;
        let alike = shape.largest_set.checked_mul(sets) == Some(rows);
        let in_block = if grouped { sets_in_block(rows, sets, alike) } else { 0 };
        let (blocks, places) = match kind {
            Kind::One => (rows.div_ceil(plain), 0),
            Kind::Groups => (sets.div_ceil(in_block), shape.grouped_rows.unwrap_or(0)),
            // Known when the sets are.
            Kind::Whole => (0, 0),
        };
        let first = match kind {
            Kind::One => 0,
            Kind::Groups => blocks + 1,
            Kind::Whole => sets + 1,
        };
        Ok(Layout {
            kind,
            block: if kind == Kind::Whole { block_rows(l) } else { plain },
            blocks,
            sets,
            rows,
            place: ws.fill(if grouped { rows } else { 0 }, [0; 2])?,
            block_of: ws.fill(if kind == Kind::Whole { rows } else { 0 }, 0)?,
            first: ws.fill(first, 0)?,
            in_block,
            heights: ws.fill(blocks * in_block / SETS, 0)?,
            position: ws.fill(if grouped && !alike { sets } else { 0 }, 0)?,
            features: Numbers::new(ws.room(rows_of_features(shape, places, choices) * l)?),
            offset: Numbers::new(ws.room(places)?),
            counts: ws.f64s(if shape.units_are_rows { places } else { 0 })?,
            source: 0,
        })
    }

    /// Whether [`Layout::prepare`] has nothing to do.
    pub fn is_ready(&self, data: &Data<'_>) -> bool {
        self.kind == Kind::One || self.source == data.features().address()
    }

    /// Whether it has copied what `Groups` copy.
    pub fn is_copied(&self) -> bool {
        self.source != 0
    }

    /// Whatever the features are next, they are others.
    pub(super) fn forget(&mut self) {
        self.source = 0;
    }

    /// Takes note of the choice sets, and copies what `Groups` copy, at the first call and when the features are others. Choices and choice
    /// sets must be the same every time. In as many tasks as there are `states`: each shows every block that is `copied` to its own.
    pub fn prepare<S: Send>(&mut self, data: &Data<'_>, states: &mut [S], ctx: Context, copied: impl Fn(&mut S, Copied<'_>) + Sync) {
        if self.is_ready(data) {
            return;
        }
        self.source = data.features().address();
        match self.kind {
            Kind::One => {}
            Kind::Groups => self.copy(data, states, ctx, copied),
            Kind::Whole => {
                self.blocks = 0;
                for group in set_groups(data, 0..self.sets, self.block) {
                    let rows = data.set(group.start).start..data.set(group.end - 1).end;
                    self.first[self.blocks] = rows.start;
                    self.block_of[rows].fill(self.blocks);
                    self.blocks += 1;
                }
                self.first[self.blocks] = self.rows;
            }
        }
    }

    /// The rows of some blocks of `Groups` as the caller has them, in whatever order they stand there.
    pub fn rows_of(&self, data: &Data<'_>, blocks: Range<usize>) -> Range<usize> {
        let end = (blocks.end * self.in_block).min(self.sets);
        let first = |set: usize| data.set_offsets().map_or(0, |o| o[set]);
        first((blocks.start * self.in_block).min(end))..first(end)
    }

    /// The rows of block `b` as the caller has them; not of `Groups`.
    pub fn rows(&self, b: usize) -> Range<usize> {
        match self.kind {
            Kind::Whole => self.first[b]..self.first[b + 1],
            _ => b * self.block..((b + 1) * self.block).min(self.rows),
        }
    }

    /// How many numbers a class has in the blocks before `b`.
    pub fn start(&self, b: usize) -> usize {
        if self.kind == Kind::One { b * self.block } else { self.first[b] }
    }

    /// How many numbers a class has in some blocks.
    pub fn numbers(&self, blocks: &Range<usize>) -> usize {
        self.start(blocks.end) - self.start(blocks.start)
    }

    /// Numbers of a class in block `b`.
    pub fn length(&self, b: usize) -> usize {
        self.start(b + 1) - self.start(b)
    }

    /// Numbers of a class in the largest block.
    pub fn longest(&self) -> usize {
        (0..self.blocks).map(|b| self.length(b)).max().unwrap_or(0)
    }

    /// `Groups`: the features of block `b`, of which there are `l`.
    pub fn features_of(&self, b: usize, l: usize) -> Columns<'_, f64> {
        let rows = self.length(b);
        Columns { values: &self.features[self.start(b) * l..][..rows * l], rows, columns: l, stride: rows }
    }

    /// Choice sets of block `b`, those of `Groups` that are not there included.
    pub fn sets(&self, data: &Data<'_>, b: usize) -> Range<usize> {
        match self.kind {
            Kind::One => 0..1,
            Kind::Groups => b * self.in_block..(b + 1) * self.in_block,
            Kind::Whole => data.first_set_from(self.first[b])..data.first_set_from(self.first[b + 1]),
        }
    }

    /// `Groups`: choice sets of a block; else 0.
    pub fn sets_of_block(&self) -> usize {
        self.in_block
    }

    /// Whether choice sets stand side by side.
    pub fn is_grouped(&self) -> bool {
        self.kind == Kind::Groups
    }

    /// `Groups`: how far ahead of a block of `n` features lines are asked for while it is read from memory: in the block that follows.
    pub fn ahead(&self, n: usize) -> usize {
        Ahead::beyond_second(size_of_val(&*self.features)).by::<f64>(n)
    }

    /// `Groups`: the offsets of block `b`; none where all are 0.
    pub fn offsets(&self, b: usize) -> Option<&[f64]> {
        if self.offset.is_empty() { None } else { Some(&self.offset[self.start(b)..self.start(b + 1)]) }
    }

    /// The groups of block `b` with C columns.
    pub fn groups(&self, b: usize, columns: usize) -> Groups<'_> {
        let n = self.in_block / SETS;
        Groups { heights: &self.heights[b * n..(b + 1) * n], rows: self.length(b), columns }
    }

    /// Which one choice set `s` is, as they stand in the blocks.
    #[inline(always)]
    pub fn position(&self, s: usize) -> usize {
        self.position.get(s).copied().unwrap_or(s)
    }

    /// The place of choice set `s` and class `c` of C.
    #[inline(always)]
    pub fn zone(&self, s: usize, c: usize, columns: usize) -> usize {
        zone(self.position(s), c, columns)
    }

    /// The block of row `i`.
    #[inline]
    pub fn block_of(&self, i: usize) -> usize {
        match self.kind {
            Kind::One => i / self.block,
            Kind::Groups => self.place[i][0] as usize,
            Kind::Whole => self.block_of[i],
        }
    }

    /// `(base, stride)` of row `i` in a matrix of C columns.
    #[inline(always)]
    pub fn at(&self, i: usize, columns: usize) -> (usize, usize) {
        let (b, place) = match self.kind {
            Kind::One => return (i / self.block * self.block * columns + i % self.block, self.block),
            Kind::Groups => (self.place[i][0] as usize, self.place[i][1] as usize),
            Kind::Whole => (self.block_of[i], i - self.first[self.block_of[i]]),
        };
        (self.first[b] * columns + place, self.first[b + 1] - self.first[b])
    }

    /// The features of row `i` as the means of choice sets count them: those of `Groups` are less their mean in the set.
    pub fn row(&self, data: &Data<'_>, i: usize, out: &mut [f64]) {
        if !self.is_grouped() {
            return data.features().copy(i..i + 1, out);
        }
        let (from, stride) = self.at(i, out.len());
        out.iter_mut().zip(self.features[from..].iter().step_by(stride)).for_each(|(out, x)| *out = *x);
    }

    /// `Groups`: feature `k` of row `i`, less the mean in its choice set.
    pub fn centered(&self, i: usize, k: usize, columns: usize) -> f64 {
        let (from, stride) = self.at(i, columns);
        self.features[from + k * stride]
    }

    /// The logit of row `i` less its offset, `x·θ`, with the features the layout has: those of `Groups` are less their mean in the set.
    pub fn dot(&self, data: &Data<'_>, i: usize, atom: &[f64]) -> f64 {
        let dot = |feature: &dyn Fn(usize) -> f64| atom.iter().enumerate().map(|(k, t)| t * feature(k)).sum();
        let x = data.features();
        if !self.is_grouped() {
            return dot(&|k| x.get(i, k));
        }
        if !self.features.is_empty() {
            return dot(&|k| self.centered(i, k, atom.len()));
        }
        // Not copied, or not any more: less the set's first, then less the mean of the rows that are available, as the copy has it.
        let available = |j: &usize| data.available(*j);
        let s = data.set_of(i);
        let (set, origin) = (data.set(s), data.origin(s));
        let count = set.clone().filter(available).count().max(1) as f64;
        let mean = |k: usize| set.clone().filter(available).map(|j| x.get(j, k) - x.get(origin, k)).sum::<f64>() / count;
        dot(&|k| x.get(i, k) - x.get(origin, k) - mean(k))
    }
}

/// `range` in consecutive pieces of at most `block`.
pub(crate) fn blocks(range: Range<usize>, block: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(block).map(move |i| i..(i + block).min(end))
}

/// Consecutive sets that fit into a block together, or one set that may be larger.
pub(crate) fn set_groups<'a>(data: &'a Data<'_>, sets: Range<usize>, block: usize) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut next = sets.start;
    core::iter::from_fn(move || {
        if next >= sets.end {
            return None;
        }
        let from = next;
        let first = data.set(from).start;
        next += 1;
        while next < sets.end && data.set(next).end - first <= block {
            next += 1;
        }
        Some(from..next)
    })
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    /// Offsets of choice sets of some sizes.
    fn offsets(sizes: &[usize]) -> Vec<usize> {
        (0..=sizes.len()).map(|s| sizes[..s].iter().sum()).collect()
    }

    #[test]
    fn blocks_hold_every_set_once_the_largest_first() {
        let uneven: Vec<usize> = (0..1003).map(|s| 1 + (s * s * 7 + s) % 23).collect();
        for (sizes, alike) in [(uneven, false), (vec![5; 1003], true), (vec![3], false), (vec![1; 300], true)] {
            let (rows, sets) = (sizes.iter().sum::<usize>(), sizes.len());
            let in_block = sets_in_block(rows, sets, alike);
            assert!(in_block % SETS == 0 && in_block <= MOST_SETS);
            let (mut seen, mut places) = (vec![], 0);
            each_block(
                sets,
                in_block,
                |s| sizes[s],
                |b, order, heights| {
                    assert!(order.iter().all(|s| (b * in_block..(b + 1) * in_block).contains(s)));
                    let size = |s: &usize| sizes.get(*s).copied().unwrap_or(0);
                    assert!(order.windows(2).all(|w| (size(&w[1]), w[0]) < (size(&w[0]), w[1])), "by size, then as they come: {order:?}");
                    for (group, height) in order.chunks(SETS).zip(heights) {
                        assert_eq!(group.iter().map(size).max().unwrap().max(1), *height);
                        places += SETS * height;
                    }
                    seen.extend(order.iter().copied().filter(|s| *s < sets));
                },
            );
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..sets));
            if sets > 1 {
                assert_eq!(grouped_rows(&offsets(&sizes), *sizes.iter().max().unwrap()), Some(places));
                assert!(places <= most_places(rows, sets));
            }
        }
    }

    #[test]
    fn sets_stand_side_by_side_unless_that_fills_too_many_rows_or_one_is_large() {
        let of = |sizes: &[usize]| grouped_rows(&offsets(sizes), *sizes.iter().max().unwrap());
        let even: Vec<usize> = (0..4000).map(|s| 2 + s * 7919 % 19).collect();
        let rows = even.iter().sum::<usize>();
        assert!(of(&even).unwrap() < rows * 6 / 5, "a fifth more at most");
        assert_eq!(of(&[7; 64]), Some(7 * 64));
        // One of a hundred among small ones costs a group of that height.
        let mut one = vec![5; 4000];
        one[1234] = 100;
        assert!((20_000..21_500).contains(&of(&one).unwrap()));
        one[1234] = SMALL_SET + 1;
        assert_eq!(of(&one), None);
        // A large one in every block is too many.
        let many: Vec<usize> = (0..4000).map(|s| if s % 64 == 0 { 256 } else { 1 }).collect();
        assert_eq!(of(&many), None);
        assert_eq!(of(&[9]), None);
    }
}
