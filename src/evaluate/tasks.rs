//! The tasks that an evaluation is split into: some blocks each, what belongs to them of the matrices, and scratch of their own.

use super::layout::{Layout, MOST_ROWS, block_rows};
use crate::data::Shape;
use crate::parallel::{Context, TASKS, for_each, take};
use core::mem::MaybeUninit;
use core::ops::Range;

/// Entries of units, and units, that go through the kernels together.
pub(super) const ENTRIES: usize = 256;
pub(super) const UNITS: usize = 64;
const _: () = assert!(MOST_ROWS <= ENTRIES, "the counts of a block fit");

/// Scratch of the tasks: a piece each, and room for a block of features that are not side by side.
#[derive(Default)]
pub(super) struct Scratch<'w> {
    pub pieces: &'w mut [f64],
    pub copies: &'w mut [MaybeUninit<f64>],
}

/// Scratch of one task.
pub(super) struct Piece<'a> {
    /// Two C × L sums.
    pub sum: &'a mut [f64],
    pub part: &'a mut [f64],
    /// C each.
    pub m: &'a mut [f64],
    pub z: &'a mut [f64],
    pub totals: &'a mut [f64],
    pub value: &'a mut [f64],
    /// C × `columns_length`.
    pub columns: &'a mut [f64],
    /// A block of counts or log-likelihoods.
    pub weight: &'a mut [f64],
}

/// Numbers of a column of scratch: a block, or a batch of entries and one of units.
fn columns_length(shape: &Shape) -> usize {
    if shape.units_are_rows { block_rows(shape.columns) } else { ENTRIES + UNITS }
}

pub(super) fn piece(shape: &Shape, c: usize) -> usize {
    let per_column = shape.columns.saturating_mul(2).saturating_add(4).saturating_add(columns_length(shape));
    c.saturating_mul(per_column).saturating_add(ENTRIES)
}

/// Numbers of a block of features.
pub(super) fn copy_length(shape: &Shape) -> usize {
    shape.columns.saturating_mul(block_rows(shape.columns))
}

pub(super) fn carve<'a>(piece: &'a mut [f64], shape: &Shape, c: usize) -> Piece<'a> {
    let l = shape.columns;
    let (sum, rest) = piece.split_at_mut(c * l);
    let (part, rest) = rest.split_at_mut(c * l);
    let (m, rest) = rest.split_at_mut(c);
    let (z, rest) = rest.split_at_mut(c);
    let (totals, rest) = rest.split_at_mut(c);
    let (value, rest) = rest.split_at_mut(c);
    let (columns, weight) = rest.split_at_mut(c * columns_length(shape));
    Piece { sum, part, m, z, totals, value, columns, weight }
}

/// What one task works on: some blocks, and what belongs to them of the matrices it writes.
pub(super) struct Task<'a, T> {
    pub blocks: Range<usize>,
    pub piece: &'a mut [f64],
    /// Room for a block of features.
    pub copy: &'a mut [MaybeUninit<f64>],
    /// A matrix over rows.
    pub rows: &'a mut [T],
    /// Another.
    pub others: &'a mut [T],
    /// A matrix over choice sets.
    pub sets: &'a mut [f64],
    /// Another.
    pub other_sets: &'a mut [f64],
    /// Blocks × C.
    pub scales: &'a mut [f64],
}

/// Blocks of task `t` of `n`.
pub(super) fn share(layout: &Layout<'_>, t: usize, n: usize) -> Range<usize> {
    t * layout.blocks / n..(t + 1) * layout.blocks / n
}

/// Matrices that tasks write, each its own part; those that are empty stay so.
pub(super) struct Matrices<'a, T> {
    /// Over rows.
    pub rows: &'a mut [T],
    /// Over rows, too.
    pub others: &'a mut [T],
    /// Over choice sets, of `Groups`.
    pub sets: &'a mut [f64],
    /// Over choice sets, too.
    pub other_sets: &'a mut [f64],
    /// Blocks × C.
    pub scales: &'a mut [f64],
}

impl<T> Default for Matrices<'_, T> {
    fn default() -> Self {
        Matrices { rows: &mut [], others: &mut [], sets: &mut [], other_sets: &mut [], scales: &mut [] }
    }
}

/// Runs `body` over the tasks, whose number is returned, each with what is its own of the matrices.
pub(super) fn each_task<T: Send>(
    layout: &Layout<'_>,
    c: usize,
    length: usize,
    scratch: &mut Scratch<'_>,
    matrices: Matrices<'_, T>,
    ctx: Context,
    body: impl Fn(&Layout<'_>, &mut Task<'_, T>) + Sync,
) -> usize {
    if layout.blocks <= 1 {
        // No list of tasks, which would take as long as a small block.
        body(layout, &mut cut(layout, c, length, scratch, matrices, 1)(0));
        return 1;
    }
    let (mut tasks, n) = tasks(layout, c, length, scratch, matrices);
    for_each(ctx.threads, &mut tasks[..n], |task| {
        if let Some(task) = task {
            body(layout, task);
        }
    });
    n
}

/// The tasks, and their number.
pub(super) fn tasks<'a, T>(
    layout: &Layout<'_>,
    c: usize,
    length: usize,
    scratch: &'a mut Scratch<'_>,
    matrices: Matrices<'a, T>,
) -> ([Option<Task<'a, T>>; TASKS], usize) {
    let n = layout.blocks.clamp(1, TASKS);
    let mut next = cut(layout, c, length, scratch, matrices, n);
    let mut tasks: [Option<Task<'a, T>>; TASKS] = [const { None }; TASKS];
    for (t, task) in tasks.iter_mut().enumerate().take(n) {
        *task = Some(next(t));
    }
    (tasks, n)
}

/// Makes `n` tasks, one after the other from number 0 on.
fn cut<'a, T>(
    layout: &Layout<'_>,
    c: usize,
    length: usize,
    scratch: &'a mut Scratch<'_>,
    matrices: Matrices<'a, T>,
    n: usize,
) -> impl FnMut(usize) -> Task<'a, T> {
    let Matrices { mut rows, mut others, mut sets, mut other_sets, mut scales } = matrices;
    let (mut pieces, mut copies) = (&mut *scratch.pieces, &mut *scratch.copies);
    let copy_length = copies.len() / n;
    let sets_of_block = layout.sets_of_block() * c;
    move |t| {
        let blocks = share(layout, t, n);
        let numbers = layout.numbers(&blocks) * c;
        Task {
            piece: take(&mut pieces, length),
            copy: take(&mut copies, copy_length),
            rows: take(&mut rows, numbers),
            others: take(&mut others, numbers),
            sets: take(&mut sets, blocks.len() * sets_of_block),
            other_sets: take(&mut other_sets, blocks.len() * sets_of_block),
            scales: take(&mut scales, blocks.len() * c),
            blocks,
        }
    }
}
