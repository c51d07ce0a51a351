//! What products ask of the memory ahead of the rows that they read.

use super::Rows;
use super::vector::{AHEAD, Lanes};

/// What a product asks of the memory ahead to come to the second cache, so many bytes on: of every eight rows the lines of the first four, of the last
/// four, or of all.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    first: bool,
    last: bool,
    pub bytes: usize,
}

impl Ahead {
    pub const ALL: Ahead = Ahead { first: true, last: true, bytes: AHEAD };
    pub const NONE: Ahead = Ahead { first: false, last: false, bytes: 0 };

    /// For the first and the second of two products that read a block of `bytes` one after the other: each asks for half of the block to come.
    pub fn halves(bytes: usize) -> [Ahead; 2] {
        if bytes > 4 * AHEAD {
            return [Ahead::ALL; 2];
        }
        let bytes = bytes.max(AHEAD);
        [Ahead { first: true, last: false, bytes }, Ahead { first: false, last: true, bytes }]
    }

    /// The same for these rows: of rows that are not side by side nothing is asked.
    #[inline(always)]
    pub fn of<T>(self, x: &Rows<'_, T>) -> Ahead {
        if x.stride == x.columns { self } else { Ahead::NONE }
    }

    /// Whether for lines of row `i`.
    #[inline(always)]
    pub fn asks(self, i: usize) -> bool {
        if i / 4 % 2 == 0 { self.first } else { self.last }
    }

    /// The share of `n` features of `count` rows from row `i` on, `stride` numbers apart and side by side, of which feature k was reached: k of them were
    /// asked for. `count` is 8, and `i` a multiple of it, or divides 4.
    #[inline(always)]
    pub fn ask<T, S: Lanes<f64>>(self, simd: S, rows: *const T, stride: usize, i: usize, count: usize, k: usize, n: usize) {
        let part = count.min(4);
        let lines = (part * n * size_of::<T>()).div_ceil(64);
        for start in (0..count).step_by(part) {
            if self.asks(if count > 4 { start } else { i }) {
                let next = rows.wrapping_add(start * stride + part * k).wrapping_byte_add(self.bytes);
                for line in 0..lines {
                    simd.fetch(next.wrapping_byte_add(64 * line).cast());
                }
            }
        }
    }

    /// Of R ≤ 8 rows, `stride` numbers apart, the lines ahead of `from`; row `i` is the first, a multiple of R, or R is 1.
    #[inline(always)]
    pub fn ask_rows<T, S: Lanes<f64>, const R: usize>(self, simd: S, from: *const T, stride: usize, i: usize) {
        let next = from.wrapping_byte_add(self.bytes);
        for start in (0..R).step_by(4) {
            if self.asks(if R > 4 { start } else { i }) {
                for r in start..R.min(start + 4) {
                    simd.fetch(next.wrapping_add(r * stride).cast());
                }
            }
        }
    }
}
