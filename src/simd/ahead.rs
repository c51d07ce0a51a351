//! What products ask of the memory ahead of the rows that they read.

use super::vector::AHEAD;

/// What a product asks of the memory ahead to come to the second cache: the lines of even rows, of odd ones, or of all, so many bytes on.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    even: bool,
    odd: bool,
    pub bytes: usize,
}

impl Ahead {
    pub const ALL: Ahead = Ahead { even: true, odd: true, bytes: AHEAD };

    /// For the first and the second of two products that read a block of `bytes` one after the other: each asks for half of the block to come.
    pub fn halves(bytes: usize) -> [Ahead; 2] {
        if bytes > 4 * AHEAD {
            return [Ahead::ALL; 2];
        }
        let bytes = bytes.max(AHEAD);
        [Ahead { even: true, odd: false, bytes }, Ahead { even: false, odd: true, bytes }]
    }

    /// Whether for lines of row `i`.
    #[inline(always)]
    pub fn asks(self, i: usize) -> bool {
        if i % 2 == 0 { self.even } else { self.odd }
    }
}
