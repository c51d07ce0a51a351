//! Where rows stand in the matrices of an evaluation: in blocks, class after class inside each, so that a block is one piece of memory.
//!
//! | layout | choice sets | a block |
//! |---|---|---|
//! | `One` | one | a fixed number of consecutive rows |
//! | `Groups` | many small ones, about as large as one another | groups of eight sets side by side, filled up to J alternatives each; features are copied feature after feature |
//! | `Whole` | any | whole sets, as many as fit, or one that may be larger |
//!
//! Row i of class c is number `base + c · stride` of a matrix, with `(base, stride)` from [`Layout::at`]. What belongs to a choice set and a class stands at
//! [`zone`].

use super::passes::set_groups;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::simd::panel::{Groups, SETS};
use crate::workspace::{Numbers, Workspace, WorkspaceSize, filled};
use core::ops::Range;

/// Rows of a block at most, where sets do not ask for more.
pub(crate) const MOST_ROWS: usize = 256;
/// Features up to which choice sets go side by side: more fill whole vectors as they are.
const FEW_COLUMNS: usize = 48;
/// Alternatives up to which choice sets go side by side.
pub(super) const SMALL_SET: usize = 64;

/// Rows of a block: fewer where a row is long, so that a block stays in cache.
pub(crate) fn block_rows(columns: usize) -> usize {
    (16384 / columns.max(1)).clamp(32, MOST_ROWS) & !7
}

/// The place of choice set `s` and class `c` of C: sets in groups of eight, class after class.
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
    /// Alternatives of a set, J.
    Groups(usize),
    Whole,
}

/// Where the rows of some data stand.
#[derive(Debug)]
pub(crate) struct Layout<'w> {
    pub kind: Kind,
    /// Rows of a block; of `Whole`, about as many.
    pub block: usize,
    pub blocks: usize,
    sets: usize,
    rows: usize,
    /// `Groups`: two for each row, the numbers before its block and its place in it; `Whole`: the block of each row.
    place: &'w mut [usize],
    /// `Whole`: the first row of each block, and the number of rows.
    first: &'w mut [usize],
    /// `Groups`: the features less their mean in the choice set, L × block in each block.
    pub features: Numbers<'w>,
    /// `Groups`: offsets, −∞ where no alternative is, but 0 for the first of a set that is not there.
    pub offset: &'w mut [f64],
    /// `Groups`: counts, where units are rows.
    pub counts: &'w mut [f64],
    /// The features that `prepare` has last seen; 0 before.
    source: usize,
}

/// Rows that `Groups` may fill up to: half as many again as there are.
fn most_places(rows: usize) -> usize {
    rows.saturating_add(rows / 2).saturating_add(SMALL_SET * SETS)
}

/// `(block, blocks)` of groups of `height` alternatives.
fn groups(shape: &Shape, height: usize) -> (usize, usize) {
    let group = SETS * height;
    let all = shape.sets.div_ceil(SETS);
    let in_block = (MOST_ROWS / group).clamp(1, all.max(1));
    (in_block * group, all.div_ceil(in_block))
}

fn kind(shape: &Shape) -> Kind {
    let height = shape.largest_set;
    if shape.sets == 1 {
        return Kind::One;
    }
    let (block, blocks) = groups(shape, height.clamp(1, SMALL_SET));
    match Layout::may_group(shape) && (1..=SMALL_SET).contains(&height) && block.saturating_mul(blocks) <= most_places(shape.rows) {
        true => Kind::Groups(height),
        false => Kind::Whole,
    }
}

impl<'w> Layout<'w> {
    /// Whether choice sets may stand side by side, if they are small.
    pub fn may_group(shape: &Shape) -> bool {
        shape.sets > 1 && shape.columns <= FEW_COLUMNS
    }

    /// What [`Layout::new`] takes at most, whatever the sizes of the sets.
    pub fn workspace(shape: &Shape) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        if shape.sets == 1 {
            return WorkspaceSize::EMPTY;
        }
        let places = most_places(shape.rows);
        let index = WorkspaceSize::of::<usize>(shape.rows.saturating_mul(2)).and(WorkspaceSize::of::<usize>(shape.sets.saturating_add(1)));
        match Layout::may_group(shape) {
            true => index.and(of(places.saturating_mul(shape.columns)).and(of(places)).and(of(places))),
            false => index,
        }
    }

    /// Numbers that a matrix has for each class at most: over rows, and over choice sets.
    pub fn most_numbers(shape: &Shape) -> (usize, usize) {
        let block = block_rows(shape.columns).min(shape.rows.max(1).saturating_add(7) & !7);
        let rows = shape.rows.div_ceil(block).saturating_mul(block);
        let rows = if Layout::may_group(shape) { rows.max(most_places(shape.rows)) } else { rows };
        // The last block of groups may have more sets than there are.
        let sets = if Layout::may_group(shape) { shape.sets.saturating_add(MOST_ROWS) } else { shape.sets };
        (rows, zones(sets))
    }

    /// Blocks at most.
    pub fn most_blocks(shape: &Shape) -> usize {
        let of_rows = shape.rows.div_ceil(block_rows(shape.columns)).max(1);
        if shape.sets == 1 { of_rows } else { shape.sets.max(of_rows) }
    }

    pub fn new(shape: &Shape, ws: &mut Workspace<'w>) -> Result<Self> {
        let (rows, sets, l) = (shape.rows, shape.sets, shape.columns);
        let kind = kind(shape);
        let plain = block_rows(l).min(rows.max(1).next_multiple_of(8));
        let (block, blocks) = match kind {
            Kind::One => (plain, rows.div_ceil(plain)),
            Kind::Groups(height) => groups(shape, height),
            // Known when the sets are.
            Kind::Whole => (block_rows(l), 0),
        };
        let places = if matches!(kind, Kind::Groups(_)) { block * blocks } else { 0 };
        let index = match kind {
            Kind::One => 0,
            Kind::Groups(_) => 2 * rows,
            Kind::Whole => rows,
        };
        Ok(Layout {
            kind,
            block,
            blocks,
            sets,
            rows,
            place: ws.fill(index, 0)?,
            first: ws.fill(if kind == Kind::Whole { sets + 1 } else { 0 }, 0)?,
            features: Numbers::new(ws.room(places * l)?),
            offset: ws.f64s(places)?,
            counts: ws.f64s(if shape.units_are_rows { places } else { 0 })?,
            source: 0,
        })
    }

    /// Takes note of the choice sets, and copies what `Groups` copy, at the first call and when the features are others. Choices and choice sets must be
    /// the same every time. Whether it copied.
    pub fn prepare(&mut self, data: &Data<'_>) -> bool {
        let source = data.features().address();
        if self.kind == Kind::One || self.source == source {
            return false;
        }
        self.source = source;
        match self.kind {
            Kind::One => {}
            Kind::Groups(height) => self.copy(data, height),
            Kind::Whole => {
                self.blocks = 0;
                for group in set_groups(data, 0..self.sets, self.block) {
                    let rows = data.set(group.start).start..data.set(group.end - 1).end;
                    self.first[self.blocks] = rows.start;
                    self.place[rows].fill(self.blocks);
                    self.blocks += 1;
                }
                self.first[self.blocks] = self.rows;
            }
        }
        self.is_grouped()
    }

    fn copy(&mut self, data: &Data<'_>, height: usize) {
        let (block, l, features) = (self.block, data.features().columns(), data.features());
        let sets = block / height;
        self.offset.fill(f64::NEG_INFINITY);
        let room = self.features.take();
        for b in 0..self.blocks {
            let (before, mut whole) = (b * block, false);
            let of_block = filled(&mut room[before * l..][..block * l], 0.0);
            for set in b * sets..(b + 1) * sets {
                let first = (set - b * sets) / SETS * SETS * height + set % SETS;
                if set % SETS == 0 {
                    // All alternatives of the sets side by side are there.
                    whole = data.offset().is_none() && (set..set + SETS).all(|s| s < self.sets && data.set(s).len() == height);
                }
                if set >= self.sets {
                    self.offset[before + first] = 0.0;
                    continue;
                }
                let (rows, reference) = (data.set(set), data.first_available(set));
                for (j, i) in rows.clone().enumerate() {
                    let place = first + j * SETS;
                    (self.place[2 * i], self.place[2 * i + 1]) = (before, place);
                    self.offset[before + place] = data.offset().map_or(0.0, |b| b[i]);
                    if !self.counts.is_empty() {
                        self.counts[before + place] = data.unit_weight(i);
                    }
                }
                // Only differences inside a set matter.
                let columns = &mut of_block[first..];
                match data.offset() {
                    _ if whole && set % SETS > 0 => {}
                    _ if whole => features.centered_sets::<SETS>(core::array::from_fn(|s| data.set(set + s).start), height, columns, block),
                    None => features.centered_columns(rows, reference, |_| true, columns, block, SETS),
                    Some(_) => features.centered_columns(rows, reference, |i| data.available(i), columns, block, SETS),
                }
            }
        }
        // SAFETY: every block is filled.
        unsafe { self.features.give_back(room, self.blocks * block * l) };
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
        if self.kind == Kind::Whole { self.first[b] } else { b * self.block }
    }

    /// Numbers of a class in block `b`.
    pub fn length(&self, b: usize) -> usize {
        self.start(b + 1) - self.start(b)
    }

    /// Choice sets of block `b`, those of `Groups` that are not there included.
    pub fn sets(&self, data: &Data<'_>, b: usize) -> Range<usize> {
        match self.kind {
            Kind::One => 0..1,
            Kind::Groups(height) => {
                let sets = self.block / height;
                b * sets..(b + 1) * sets
            }
            Kind::Whole => data.first_set_from(self.first[b])..data.first_set_from(self.first[b + 1]),
        }
    }

    /// `Groups`: choice sets of a block.
    pub fn sets_of_block(&self) -> usize {
        if let Kind::Groups(height) = self.kind { self.block / height } else { 0 }
    }

    /// Whether choice sets stand side by side.
    pub fn is_grouped(&self) -> bool {
        matches!(self.kind, Kind::Groups(_))
    }

    /// The groups of a block of C columns.
    pub fn groups(&self, columns: usize) -> Groups {
        let Kind::Groups(height) = self.kind else { unreachable!("only groups have groups") };
        Groups { rows: self.block, height, columns }
    }

    /// The block of row `i`.
    #[inline]
    pub fn block_of(&self, i: usize) -> usize {
        match self.kind {
            Kind::One => i / self.block,
            Kind::Groups(_) => self.place[2 * i] / self.block,
            Kind::Whole => self.place[i],
        }
    }

    /// `(base, stride)` of row `i` in a matrix of C columns.
    #[inline(always)]
    pub fn at(&self, i: usize, columns: usize) -> (usize, usize) {
        match self.kind {
            Kind::One => (i / self.block * self.block * columns + i % self.block, self.block),
            Kind::Groups(_) => (self.place[2 * i] * columns + self.place[2 * i + 1], self.block),
            Kind::Whole => {
                let b = self.place[i];
                (self.first[b] * columns + i - self.first[b], self.first[b + 1] - self.first[b])
            }
        }
    }

    /// The features of row `i` as the means of choice sets count them: those of `Groups` are less their mean in the set.
    pub fn row(&self, data: &Data<'_>, i: usize, out: &mut [f64]) {
        if !self.is_grouped() {
            return data.features().copy(i..i + 1, out);
        }
        let from = self.place[2 * i] * out.len() + self.place[2 * i + 1];
        out.iter_mut().zip(self.features[from..].iter().step_by(self.block)).for_each(|(out, x)| *out = *x);
    }

    /// `Groups`: adds `f` times row `i`, as [`Layout::row`] has it.
    pub fn add_row(&self, i: usize, f: f64, out: &mut [f64]) {
        let from = self.place[2 * i] * out.len() + self.place[2 * i + 1];
        out.iter_mut().zip(self.features[from..].iter().step_by(self.block)).for_each(|(out, x)| *out += f * x);
    }

    /// `Groups`: feature `k` of row `i`, less the mean in its choice set.
    pub fn centered(&self, i: usize, k: usize, columns: usize) -> f64 {
        self.features[self.place[2 * i] * columns + k * self.block + self.place[2 * i + 1]]
    }

    /// The logit of row `i` less its offset, `x·θ`, with the features the layout has: those of `Groups` are less their mean in the set.
    pub fn dot(&self, data: &Data<'_>, i: usize, atom: &[f64]) -> f64 {
        let feature = |k: usize| match self.kind {
            Kind::Groups(_) => self.centered(i, k, atom.len()),
            _ => data.features().get(i, k),
        };
        atom.iter().enumerate().map(|(k, t)| t * feature(k)).sum()
    }
}
