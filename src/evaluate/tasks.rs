//! The tasks that an evaluation is split into: some blocks each, what belongs to them of the matrices, and scratch.

use super::layout::{Layout, MOST_ROWS, block_rows};
use crate::data::Shape;
use crate::error::Result;
use crate::parallel::{Context, TASKS, for_each_with, take};
use crate::workspace::{Numbers, Workspace, WorkspaceSize};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice::ChunksExactMut;

/// Entries of units, and units, that go through the kernels together.
pub(super) const ENTRIES: usize = 256;
pub(super) const UNITS: usize = 64;
const _: () = assert!(MOST_ROWS <= ENTRIES, "the numbers of a block fit");

/// Scratch of the tasks: a piece each, which stays until all are done; and rooms to work in.
#[derive(Default)]
pub(super) struct Scratch<'w> {
    pub pieces: &'w mut [f64],
    pub rooms: Rooms<'w>,
}

impl<'w> Scratch<'w> {
    /// Tasks at most, and what each needs with C columns.
    fn lengths(shape: &Shape, c: usize) -> (usize, Length) {
        (TASKS.min(Layout::most_blocks(shape)), Length::of(shape, c))
    }

    pub fn workspace(shape: &Shape, c: usize) -> WorkspaceSize {
        let (tasks, length) = Self::lengths(shape, c);
        let of = |n: usize| WorkspaceSize::of::<f64>(n.saturating_mul(tasks));
        of(length.piece).and(of(length.room)).and(of(length.copy))
    }

    pub fn new(shape: &Shape, c: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (tasks, length) = Self::lengths(shape, c);
        let pieces = ws.f64s(length.piece * tasks)?;
        Ok(Scratch { pieces, rooms: Rooms { numbers: Numbers::new(ws.room(length.room * tasks)?), copies: ws.room(length.copy * tasks)? } })
    }

    /// The pieces of the first `n` tasks.
    pub fn of_tasks(&mut self, n: usize, length: Length) -> ChunksExactMut<'_, f64> {
        self.pieces[..n * length.piece].chunks_exact_mut(length.piece)
    }
}

/// Rooms, as many as there are tasks at most. Every thread that runs tasks has one, which stays in its cache.
#[derive(Default)]
pub(super) struct Rooms<'w> {
    numbers: Numbers<'w>,
    copies: &'w mut [MaybeUninit<f64>],
}

/// What is of no use when a task is done.
pub(super) struct Room<'a> {
    /// C × `columns_length`.
    pub columns: &'a mut [f64],
    /// A number for each row of a block: shares, probabilities or log-likelihoods.
    pub column: &'a mut [f64],
    /// A block of features that are not side by side.
    pub copy: &'a mut [MaybeUninit<f64>],
}

impl<'a> Room<'a> {
    fn of(numbers: &'a mut [f64], copy: &'a mut [MaybeUninit<f64>], length: Length) -> Self {
        let (columns, column) = numbers.split_at_mut(length.columns);
        Room { columns, column, copy }
    }
}

impl Rooms<'_> {
    /// The numbers of `n` rooms.
    pub fn numbers(&mut self, n: usize, length: Length) -> &mut [f64] {
        self.numbers.ensure(n * length.room);
        &mut self.numbers[..n * length.room]
    }

    /// The first room.
    pub fn first(&mut self, length: Length) -> Room<'_> {
        self.numbers.ensure(length.room);
        Room::of(&mut self.numbers[..length.room], &mut self.copies[..length.copy], length)
    }

    /// Runs `body` for each of the tasks, on up to `threads` threads.
    pub fn for_each<T: Send>(
        &mut self,
        threads: usize,
        length: Length,
        tasks: &mut [Option<T>],
        body: impl Fn(&mut T, &mut Room<'_>) + Sync,
    ) {
        let n = threads.clamp(1, tasks.len().max(1));
        self.numbers.ensure(n * length.room);
        let (numbers, mut copies) = (self.numbers.chunks_exact_mut(length.room), &mut *self.copies);
        let mut rooms: [Option<Room<'_>>; TASKS] = [const { None }; TASKS];
        for (room, numbers) in rooms[..n].iter_mut().zip(numbers) {
            *room = Some(Room::of(numbers, take(&mut copies, length.copy), length));
        }
        for_each_with(threads, tasks, &mut rooms[..n], |task, room| {
            if let (Some(task), Some(room)) = (task, room) {
                body(task, room);
            }
        });
    }
}

/// Numbers of the scratch of a task: its piece, its room, the columns in that, and the room for a copy.
#[derive(Clone, Copy)]
pub(super) struct Length {
    pub piece: usize,
    room: usize,
    columns: usize,
    copy: usize,
}

impl Length {
    /// With C columns.
    pub fn of(shape: &Shape, c: usize) -> Self {
        let of = |per_column: usize| c.saturating_mul(per_column);
        let columns = of(columns_length(shape));
        Length {
            // A multiple of a cache line.
            piece: of(shape.columns.saturating_mul(2).saturating_add(4)).saturating_add(7) & !7,
            room: columns.saturating_add(ENTRIES),
            columns,
            copy: shape.columns.saturating_mul(block_rows(shape.columns)),
        }
    }
}

/// The piece of a task, which stays until all are done.
pub(super) struct Piece<'a> {
    /// Two C × L sums.
    pub sum: &'a mut [f64],
    pub part: &'a mut [f64],
    /// C each.
    pub m: &'a mut [f64],
    pub z: &'a mut [f64],
    pub totals: &'a mut [f64],
    pub value: &'a mut [f64],
}

/// Numbers of a column of scratch: a block, or a batch of entries and one of units.
fn columns_length(shape: &Shape) -> usize {
    if shape.units_are_rows { block_rows(shape.columns) } else { ENTRIES + UNITS }
}

pub(super) fn carve<'a>(piece: &'a mut [f64], shape: &Shape, c: usize) -> Piece<'a> {
    let l = shape.columns;
    let (sum, rest) = piece.split_at_mut(c * l);
    let (part, rest) = rest.split_at_mut(c * l);
    let (m, rest) = rest.split_at_mut(c);
    let (z, rest) = rest.split_at_mut(c);
    let (totals, rest) = rest.split_at_mut(c);
    let (value, _) = rest.split_at_mut(c);
    Piece { sum, part, m, z, totals, value }
}

/// What one task works on: some blocks, and what belongs to them of the matrices it writes.
pub(super) struct Task<'a, T> {
    pub blocks: Range<usize>,
    pub piece: &'a mut [f64],
    pub of: Matrices<'a, T>,
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
    /// Another.
    pub other_scales: &'a mut [f64],
}

impl<T> Default for Matrices<'_, T> {
    fn default() -> Self {
        Matrices { rows: &mut [], others: &mut [], sets: &mut [], other_sets: &mut [], scales: &mut [], other_scales: &mut [] }
    }
}

/// Runs `body` over the tasks, whose number is returned, each with what is its own of the matrices.
pub(super) fn each_task<T: Send>(
    layout: &Layout<'_>,
    c: usize,
    length: Length,
    scratch: &mut Scratch<'_>,
    matrices: Matrices<'_, T>,
    ctx: Context,
    body: impl Fn(&Layout<'_>, &mut Task<'_, T>, &mut Room<'_>) + Sync,
) -> usize {
    let n = layout.blocks.clamp(1, TASKS);
    let Scratch { pieces, rooms } = scratch;
    if ctx.threads > 1 && n > 1 {
        let (mut tasks, n) = tasks(layout, c, length, pieces, matrices);
        rooms.for_each(ctx.threads, length, &mut tasks[..n], |task, room| body(layout, task, room));
        return n;
    }
    // No list of tasks, which would take as long as a small block.
    let (mut room, mut next) = (rooms.first(length), cut(layout, c, length, pieces, matrices, n));
    for t in 0..n {
        body(layout, &mut next(t), &mut room);
    }
    n
}

/// The tasks, and their number.
pub(super) fn tasks<'a, T>(
    layout: &Layout<'_>,
    c: usize,
    length: Length,
    pieces: &'a mut [f64],
    matrices: Matrices<'a, T>,
) -> ([Option<Task<'a, T>>; TASKS], usize) {
    let n = layout.blocks.clamp(1, TASKS);
    let mut next = cut(layout, c, length, pieces, matrices, n);
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
    length: Length,
    mut pieces: &'a mut [f64],
    matrices: Matrices<'a, T>,
    n: usize,
) -> impl FnMut(usize) -> Task<'a, T> {
    let Matrices { mut rows, mut others, mut sets, mut other_sets, mut scales, mut other_scales } = matrices;
    let sets_of_block = layout.sets_of_block() * c;
    move |t| {
        let blocks = share(layout, t, n);
        let numbers = layout.numbers(&blocks) * c;
        let of = Matrices {
            rows: take(&mut rows, numbers),
            others: take(&mut others, numbers),
            sets: take(&mut sets, blocks.len() * sets_of_block),
            other_sets: take(&mut other_sets, blocks.len() * sets_of_block),
            scales: take(&mut scales, blocks.len() * c),
            other_scales: take(&mut other_scales, blocks.len() * c),
        };
        Task { piece: take(&mut pieces, length.piece), of, blocks }
    }
}
