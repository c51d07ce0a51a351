//! What kernels ask of the memory ahead of what they read, so that it is read while they compute.
//!
//! As much is asked for as is read, in the order that serves the processor best. On AMD's that is the order it is read in, line by line, to
//! come to the first cache shortly before: evaluations that read memory take 0.82 to 0.91 of the time on a Zen 5 that they take where lines
//! come to the second cache, far ahead. On the others, of which an Intel processor was measured, and for rows of features on a Zen 2 or 3,
//! it is an order of their own: while a piece of eight lines is read, one line of each of the eight pages of the window ahead. A processor
//! reads ahead by itself too, but within a page: lines of eight pages make it do so in all of them at once.

use super::Rows;
use super::caches::{is_amd, is_zen2_or_3, last_cache};
use super::vector::Lanes;

/// Bytes of a cache line, of a page, of a window, and of a piece, which stands for a line of each page of a window.
const LINE: usize = 64;
const PAGE: usize = 4096;
const PAGES: usize = 8;
pub(super) const WINDOW: usize = PAGES * PAGE;
const PIECE: usize = PAGES * LINE;
/// Numbers of f64 that are read between two pieces.
pub(super) const PIECE_OF_F64: usize = PIECE / size_of::<f64>();
/// How many bytes ahead lines come to the first cache, from memory and from the last cache.
const SOON: usize = 8192;
pub(super) const NEXT: usize = 4096;
/// So many bytes are in the second cache of any machine.
const IN_SECOND: usize = 1 << 19;

/// Whether memory ahead is asked for, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ahead {
    Nothing,
    /// Line by line, to the first cache.
    Lines,
    /// The lines of every second row, so many bytes on, to the second cache.
    Half(usize),
    /// Piece by piece, to the second cache.
    Pages,
    /// Line by line, from the last cache to the first, by kernels that gain by it.
    Near,
}

impl Ahead {
    /// For reads from memory, on this machine.
    #[inline]
    pub fn of_memory() -> Ahead {
        if is_amd() { Ahead::Lines } else { Ahead::Pages }
    }

    /// For reads of so many bytes that come again: what stays in the last cache of AMD's processors comes as fast without.
    pub fn of_bytes(bytes: usize) -> Ahead {
        let near = if is_amd() { IN_SECOND.max(last_cache() / 8 * 3) } else { IN_SECOND };
        if bytes <= near { Ahead::Nothing } else { Ahead::of_memory() }
    }

    /// For reads of features, or arrays, of so many bytes, again and again: what is in the last cache of AMD's processors comes faster so.
    pub fn of_features(bytes: usize) -> Ahead {
        match Self::of_bytes(bytes) {
            Ahead::Nothing if is_amd() && bytes > IN_SECOND => Ahead::Near,
            ahead => ahead,
        }
    }

    /// The same for rows of features: evaluations take 0.64 to 0.96 of the time by pages on a Zen 2, 0.74 to 1.04 on a Zen 3. Single arrays
    /// come faster line by line to a Zen 2, as all do to a Zen 4 and 5.
    pub fn of_rows(self) -> Ahead {
        if self == Ahead::Lines && is_zen2_or_3() { Ahead::Pages } else { self }
    }

    /// Whether anything is asked for there.
    pub fn is_far(bytes: usize) -> bool {
        Self::of_bytes(bytes) != Ahead::Nothing
    }

    /// For reads of so many bytes where all that is not in the second cache comes faster so: for one read, and for choice sets side by
    /// side, whose blocks are read a feature at a time.
    pub fn beyond_second(bytes: usize) -> Ahead {
        if bytes <= IN_SECOND { Ahead::Nothing } else { Ahead::of_memory() }
    }

    /// For the first and the second of two products that read a block of `rows` rows of so many bytes one after the other: where lines are
    /// asked for, each asks for half of them, so that memory is read all the while.
    pub fn halves(self, rows: usize, bytes: usize) -> [Ahead; 2] {
        match self {
            // The first for odd rows, the second for even ones, those of the block that follows.
            Ahead::Lines => [Ahead::Half(((WINDOW / bytes.max(1)) | 1) * bytes), Ahead::Half(rows * bytes)],
            _ => [self, Ahead::Nothing],
        }
    }

    /// The same for these rows: of rows that are not side by side nothing is asked.
    #[inline(always)]
    pub fn of<T>(self, x: &Rows<'_, T>) -> Ahead {
        if x.stride == x.columns { self } else { Ahead::Nothing }
    }

    /// The bytes of `n` numbers, for kernels that ask for lines so far ahead, or 0 where they are not to.
    #[inline(always)]
    pub fn by<T>(self, n: usize) -> usize {
        if self == Ahead::Lines { n * size_of::<T>() } else { 0 }
    }

    /// What is ahead of `n` numbers from `from` on, which are read now and follow those before, to be asked for bit by bit.
    #[inline(always)]
    pub fn of_numbers<T>(self, from: *const T, n: usize) -> Asking<T> {
        let start = from.addr();
        let piece = start.wrapping_add(PIECE - 1) / PIECE;
        let end = start.wrapping_add(n * size_of::<T>()).wrapping_add(PIECE - 1) / PIECE;
        let line = piece / (WINDOW / PIECE) * WINDOW + piece % (WINDOW / PIECE) * LINE;
        Asking {
            lines: match self {
                // Beside what is read in another order.
                Ahead::Lines if n * size_of::<T>() <= 2 * SOON => SOON + n * size_of::<T>(),
                Ahead::Lines => SOON,
                Ahead::Half(bytes) => bytes,
                _ => 0,
            },
            skipped: usize::from(matches!(self, Ahead::Half(_))),
            left: if self == Ahead::Pages { end.wrapping_sub(piece) } else { 0 },
            next: from.wrapping_byte_add(line.wrapping_add(WINDOW).wrapping_sub(start)),
        }
    }

    /// Asks for all of that.
    #[inline(always)]
    pub fn ask<T, L, S: Lanes<L>>(self, simd: S, from: *const T, n: usize) {
        let mut asking = self.of_numbers(from, n);
        if asking.lines > 0 {
            for line in 0..(n * size_of::<T>()).div_ceil(LINE) {
                asking.line(simd, from.wrapping_byte_add(line * LINE));
            }
        }
        while asking.left > 0 {
            asking.piece(simd);
        }
    }
}

/// Evaluates `$body`, in code of its own where nothing is asked for ahead of numbers of type `$t`: asking takes about as many instructions as
/// the products do, but where numbers are converted their time is hidden.
macro_rules! with_ahead {
    ($ahead:ident of $t:ty; $body:expr) => {
        match $ahead {
            Ahead::Nothing | Ahead::Near if size_of::<$t>() == 8 => {
                let $ahead = Ahead::Nothing;
                $body
            }
            $ahead => $body,
        }
    };
}
pub(super) use with_ahead;

/// The same with a constant that says whether lines come to the first cache, which `$body` asks for itself.
macro_rules! with_near {
    ($near:ident, $ahead:ident of $t:ty; $body:expr) => {
        match $ahead {
            Ahead::Near => {
                const $near: bool = true;
                let $ahead = Ahead::Nothing;
                $body
            }
            $ahead => {
                const $near: bool = false;
                with_ahead!($ahead of $t; $body)
            }
        }
    };
}
pub(super) use with_near;

/// What is still to be asked for.
pub(crate) struct Asking<T> {
    /// How many bytes ahead lines are; 0 where pieces are asked for, or nothing.
    lines: usize,
    /// 1 where odd rows ask for nothing.
    skipped: usize,
    /// Pieces that are left, and the line of the first page for the next one.
    left: usize,
    next: *const T,
}

impl<T> Asking<T> {
    /// Asks for the line ahead of `at`, if line by line.
    #[inline(always)]
    pub fn line<L, S: Lanes<L>>(&self, simd: S, at: *const T) {
        if self.lines > 0 {
            let line = at.wrapping_byte_add(self.lines).cast();
            if self.skipped == 0 { simd.fetch_near(line) } else { simd.fetch(line) }
        }
    }

    /// The same for what is read of row `i`.
    #[inline(always)]
    pub fn line_of_row<L, S: Lanes<L>>(&self, simd: S, i: usize, at: *const T) {
        if i & self.skipped == 0 {
            self.line(simd, at);
        }
    }

    /// Asks for what is ahead of the next piece, if any is left.
    #[inline(always)]
    pub fn piece<L, S: Lanes<L>>(&mut self, simd: S) {
        if let Some(line) = self.next() {
            for page in 0..PAGES {
                simd.fetch(line.wrapping_byte_add(page * PAGE).cast());
            }
        }
    }

    /// The line of the first page for the next piece.
    #[inline(always)]
    fn next(&mut self) -> Option<*const T> {
        self.left = self.left.checked_sub(1)?;
        let line = self.next;
        self.next = line.wrapping_byte_add(LINE);
        if self.next.addr() % PAGE < LINE {
            self.next = self.next.wrapping_byte_add(WINDOW - PAGE);
        }
        Some(line)
    }
}

/// How many numbers of each of `rows` rows side by side are read between two pieces, a multiple of `n`: a piece at most, or `n`.
#[inline(always)]
pub(super) const fn piece_of_rows<T>(rows: usize, n: usize) -> usize {
    let share = PIECE / (rows * size_of::<T>());
    if share > n { share / n * n } else { n }
}

/// How many rows of `numbers` numbers are read between two pieces: a piece at most, or a row.
#[inline(always)]
pub(super) fn rows_of_piece<T>(numbers: usize) -> usize {
    (PIECE / (numbers * size_of::<T>())).max(1)
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec;

    /// However a long read is cut, and wherever a window begins.
    #[test]
    fn every_line_ahead_is_asked_for_once_and_before_it_is_read() {
        let windows = 5;
        let bytes = vec![0u8; (windows + 1) * WINDOW];
        let begin = bytes.as_ptr().align_offset(WINDOW);
        for shares in [&[1, 511, 64][..], &[400], &[24576], &[PIECE, 8, 3 * PIECE + 72], &[4096, 100]] {
            let (mut at, mut asked) = (0, vec![0; windows * WINDOW / LINE]);
            for n in shares.iter().cycle() {
                let n = (*n).min((windows - 1) * WINDOW - at);
                let mut ahead = Ahead::Pages.of_numbers(bytes[begin + at..].as_ptr(), n);
                while let Some(line) = ahead.next() {
                    for page in 0..PAGES {
                        let from = line.addr() - bytes[begin..].as_ptr().addr() + page * PAGE;
                        assert!(from % LINE == 0 && from >= at + n.min(PIECE), "{from} at {at}");
                        asked[from / LINE] += 1;
                    }
                }
                at += n;
                if at == (windows - 1) * WINDOW {
                    break;
                }
            }
            assert!(asked[..WINDOW / LINE].iter().all(|n| *n == 0), "of the first window nothing");
            assert!(asked[WINDOW / LINE..].iter().all(|n| *n == 1), "of all others every line once");
            assert!([Ahead::Nothing, Ahead::Lines].iter().all(|ahead| ahead.of_numbers(bytes.as_ptr(), bytes.len()).next().is_none()));
        }
    }

    #[test]
    fn what_stays_in_a_cache_is_not_asked_for() {
        assert_eq!([IN_SECOND, usize::MAX].map(Ahead::of_bytes), [Ahead::Nothing, Ahead::of_memory()]);
    }

    #[test]
    fn pieces_of_rows() {
        assert_eq!(
            [piece_of_rows::<f64>(4, 8), piece_of_rows::<f64>(8, 8), piece_of_rows::<f32>(4, 8), piece_of_rows::<f64>(1, 8)],
            [16, 8, 32, 64]
        );
        assert_eq!([rows_of_piece::<f64>(16), rows_of_piece::<f64>(18), rows_of_piece::<f32>(16), rows_of_piece::<f64>(900)], [4, 3, 8, 1]);
    }
}
