//! What has been found of some blocks: probabilities and log-normalizers, and features that the layout does not keep.

use super::layout::Layout;
use crate::simd::Columns;
use core::mem::MaybeUninit;

/// Of all blocks, or of those of a task.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// Choice probabilities, as [`super::passes::Evaluation`] keeps them: all are written that anyone asks for.
    a: &'a [MaybeUninit<f64>],
    pub log_z: &'a [f64],
    /// The features of the same blocks, where the layout does not keep them.
    x: Option<&'a [f64]>,
    /// How many rows the blocks before fill, and how many log-normalizers they have.
    pub before: (usize, usize),
}

impl<'a> Found<'a> {
    /// Of all blocks after some that are `before`.
    pub fn new(a: &'a [f64], log_z: &'a [f64], x: Option<&'a [f64]>, before: (usize, usize)) -> Self {
        // SAFETY: numbers that are written may be said not to be, as long as nobody writes.
        let a = unsafe { &*(core::ptr::from_ref(a) as *const [MaybeUninit<f64>]) };
        Found { a, log_z, x, before }
    }

    /// Of all blocks, some of which have no probabilities.
    ///
    /// # Safety
    /// The probabilities of those rows are written that anyone asks for.
    pub unsafe fn of_some(a: &'a [MaybeUninit<f64>], log_z: &'a [f64]) -> Self {
        Found { a, log_z, x: None, before: (0, 0) }
    }

    /// A probability at its place in the matrix of C columns.
    #[inline(always)]
    pub fn probability(&self, at: usize, c: usize) -> f64 {
        // SAFETY: by the contract of `of_some`.
        unsafe { self.a[at - self.before.0 * c].assume_init() }
    }

    /// As many as `n` from a place on.
    pub fn probabilities(&self, at: usize, n: usize, c: usize) -> &'a [f64] {
        let a = &self.a[at - self.before.0 * c..][..n];
        // SAFETY: as above.
        unsafe { &*(core::ptr::from_ref(a) as *const [f64]) }
    }

    /// Those of block `b`.
    pub fn block(&self, layout: &Layout<'_>, b: usize, c: usize) -> &'a [f64] {
        self.probabilities(layout.start(b) * c, layout.length(b) * c, c)
    }

    /// The features of block `b`, of groups.
    pub fn features<'b>(&self, layout: &'b Layout<'_>, b: usize, columns: usize) -> Columns<'b, f64>
    where
        'a: 'b,
    {
        let rows = layout.length(b);
        match self.x {
            Some(x) => {
                let values = &x[(layout.start(b) - self.before.0) * columns..][..rows * columns];
                Columns { values, rows, columns, stride: rows }
            }
            None => layout.features_of(b, columns),
        }
    }
}
