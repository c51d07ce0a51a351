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

/// Features of a row that are too few for vectors of their own.
const FEW: usize = 16;

struct Differences<'a, T, O> {
    x: Rows<'a, T>,
    origin: &'a [T],
    out: &'a mut [O],
}

impl<T: Scalar, O: Scalar> Kernel for Differences<'_, T, O> {
    type Output = ();

    #[inline(always)]
    fn plain(self) {
        let l = self.x.columns;
        if l < FEW && self.x.stride == l && l > 0 {
            // Eight rows at once, less as many copies of the origin.
            let mut origins = [self.origin[0]; 8 * FEW];
            origins.chunks_exact_mut(l).take(8).for_each(|copy| copy.copy_from_slice(self.origin));
            for (out, x) in self.out.chunks_mut(8 * l).zip(self.x.values.chunks(8 * l)) {
                out.iter_mut().zip(x).zip(&origins).for_each(|((d, x), o)| *d = O::from_f64(x.to_f64() - o.to_f64()));
            }
            return;
        }
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
