//! How a call runs: the instruction set and the threads, with pieces of fixed size and sums in a fixed order.

use crate::simd::Isa;

/// Options of a call that do not change what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The instruction set.
    pub isa: Isa,
    /// Threads to use, at least 1. More than one needs the feature `rayon`; results are the same bits for any number.
    pub threads: usize,
}

impl Default for Context {
    fn default() -> Self {
        Context { isa: Isa::detect(), threads: 1 }
    }
}

/// Runs `body(i, piece)` for the consecutive pieces of `length` values of `values`, on up to `threads` threads.
/// What `body` may touch beside its piece must be read-only or split by `i`.
pub(crate) fn for_each_piece(threads: usize, values: &mut [f64], length: usize, body: impl Fn(usize, &mut [f64]) + Sync) {
    #[cfg(feature = "rayon")]
    if threads > 1 {
        use rayon::prelude::*;
        let pieces = values.len().div_ceil(length);
        let group = pieces.div_ceil(threads);
        values.par_chunks_mut(length * group).enumerate().with_max_len(1).for_each(|(g, part)| {
            for (i, piece) in part.chunks_mut(length).enumerate() {
                body(g * group + i, piece);
            }
        });
        return;
    }
    let _ = threads;
    for (i, piece) in values.chunks_mut(length).enumerate() {
        body(i, piece);
    }
}

/// A class-major matrix of `columns` columns, `ld` values apart, whose disjoint ranges of rows may be written by several threads.
#[derive(Clone, Copy)]
pub(crate) struct SharedColumns<'a> {
    first: *mut f64,
    len: usize,
    ld: usize,
    life: core::marker::PhantomData<&'a mut [f64]>,
}

// SAFETY: access goes through `rows`, whose callers promise disjoint ranges of rows.
unsafe impl Send for SharedColumns<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedColumns<'_> {}

impl<'a> SharedColumns<'a> {
    pub fn new(values: &'a mut [f64], ld: usize) -> Self {
        SharedColumns { first: values.as_mut_ptr(), len: values.len(), ld, life: core::marker::PhantomData }
    }

    /// Rows `from..from + n` of column `c`.
    ///
    /// # Safety
    /// While the result lives, nobody else may use rows of that range in that column.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn rows(&self, c: usize, from: usize, n: usize) -> &'a mut [f64] {
        assert!(from + n <= self.ld && c * self.ld + from + n <= self.len);
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(c * self.ld + from), n) }
    }

    /// Row `i` of column `c`.
    ///
    /// # Safety
    /// While this runs, nobody else may write that row of that column.
    pub unsafe fn get(&self, c: usize, i: usize) -> f64 {
        // SAFETY: by the caller's promise; the slice ends with this line.
        let row = unsafe { self.rows(c, i, 1) };
        row[0]
    }
}
