//! What kernels ask of the memory ahead of what they read, so that it is read while they compute.
//!
//! Lines are asked for in an order of their own: while a piece of eight lines is read, one line of each of the eight pages of a window ahead. A processor
//! reads ahead by itself too, but within a page: lines of eight pages make it do so in all of them at once.

use super::Rows;
use super::vector::Lanes;

/// Bytes of a cache line, of a page, of a window, and of a piece, which stands for a line of each page of a window.
const LINE: usize = 64;
const PAGE: usize = 4096;
const PAGES: usize = 8;
const WINDOW: usize = PAGES * PAGE;
const PIECE: usize = PAGES * LINE;
/// So many bytes are in the second cache of any machine.
const NEAR: usize = 1 << 19;

/// What is asked for to come to the second cache, so many bytes on: what is ahead of every piece, of every second one, of the others, or nothing.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    even: bool,
    odd: bool,
    bytes: usize,
}

impl Ahead {
    pub const ALL: Ahead = Ahead { even: true, odd: true, bytes: WINDOW };
    pub const NONE: Ahead = Ahead { even: false, odd: false, bytes: 0 };

    /// For reads of so many bytes that come again: few stay in the second cache.
    pub fn of_bytes(bytes: usize) -> Ahead {
        if bytes <= NEAR { Ahead::NONE } else { Ahead::ALL }
    }

    /// For the first and the second of two products that read a block of `bytes` one after the other: each asks for half of the block to come, where this
    /// asks for all.
    pub fn halves(self, bytes: usize) -> [Ahead; 2] {
        if !self.even || bytes > 8 * WINDOW {
            return [self; 2];
        }
        let bytes = bytes.max(WINDOW);
        [Ahead { even: true, odd: false, bytes }, Ahead { even: false, odd: true, bytes }]
    }

    /// The same for these rows: of rows that are not side by side nothing is asked.
    #[inline(always)]
    pub fn of<T>(self, x: &Rows<'_, T>) -> Ahead {
        if x.stride == x.columns { self } else { Ahead::NONE }
    }

    /// Asks for what is ahead of all features of R rows side by side, share by share: feature `k` of L has been reached, a multiple of `n` or the last.
    #[inline(always)]
    pub fn ask_of_rows<T, S: Lanes<f64>, const R: usize>(self, simd: S, rows: *const T, k: usize, l: usize) {
        // A piece at least.
        let step = <S as Lanes<f64>>::N.max(PIECE / (R * size_of::<T>()));
        if k % step == 0 {
            self.ask(simd, rows.wrapping_add(R * k), R * step.min(l - k));
        }
    }

    /// Asks for what is ahead of `n` numbers from `from` on, which are read now and follow those before.
    #[inline(always)]
    pub fn ask<T, L, S: Lanes<L>>(self, simd: S, from: *const T, n: usize) {
        if !self.even && !self.odd {
            return;
        }
        let start = from.addr();
        let end = start.wrapping_add(n * size_of::<T>());
        let mut at = start.wrapping_add(PIECE - 1) & !(PIECE - 1);
        while at < end {
            if if at & PIECE == 0 { self.even } else { self.odd } {
                let line = (at & !(WINDOW - 1)) + (at & (WINDOW - 1)) / PAGES;
                let next = from.wrapping_byte_add(line.wrapping_sub(start).wrapping_add(self.bytes));
                for page in 0..PAGES {
                    simd.fetch(next.wrapping_byte_add(page * PAGE).cast());
                }
            }
            at += PIECE;
        }
    }
}
