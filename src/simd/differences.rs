//! Rows less one row, in f64 or f32.

use super::dispatch::Kernel;
use super::vector::Simd;
use super::{Isa, Rows};
use crate::scalar::Scalar;

/// `out = x_i − origin`, rows × L, taken in f64.
///
/// # Panics
/// Unless `origin` has L numbers and `out` rows × L.
pub(crate) fn row_differences<T: Scalar, O: Scalar>(isa: Isa, x: Rows<'_, T>, origin: &[T], out: &mut [O]) {
    assert_eq!((origin.len(), out.len()), (x.columns, x.rows * x.columns), "a number for every feature");
    isa.run(Differences { x, origin, out });
}

struct Differences<'a, T, O> {
    x: Rows<'a, T>,
    origin: &'a [T],
    out: &'a mut [O],
}

impl<T: Scalar, O: Scalar> Kernel for Differences<'_, T, O> {
    type Output = ();

    #[inline(always)]
    fn plain(self) {
        for (i, out) in self.out.chunks_exact_mut(self.x.columns).enumerate() {
            for ((d, x), o) in out.iter_mut().zip(self.x.row(i)).zip(self.origin) {
                *d = O::from_f64(x.to_f64() - o.to_f64());
            }
        }
    }

    /// The plain loop, which the compiler turns into vectors of `S`: it rounds every number by itself.
    #[inline(always)]
    fn vector<S: Simd>(self, _: S) {
        self.plain();
    }
}
