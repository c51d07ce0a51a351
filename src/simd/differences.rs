//! Rows less one row, in f64 or f32, and sums of such.

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

/// `out += Σ_j times_j (x_i − origin)`, i = `rows[j]`, in f64 and in their order; but for rows whose multiplicity is 0. Without `times`, 1.
///
/// # Panics
/// Unless the rows are among those of x, `times` has a number for each, and `origin` and `out` have L.
pub(crate) fn add_row_differences<T: Scalar>(
    isa: Isa,
    x: Rows<'_, T>,
    rows: &[usize],
    times: Option<&[f64]>,
    origin: &[f64],
    out: &mut [f64],
) {
    assert!(times.is_none_or(|t| t.len() == rows.len()), "a multiplicity for every row");
    assert_eq!((origin.len(), out.len()), (x.columns, x.columns), "a number for every feature");
    // Of few features the loops about long vectors take longer than they save.
    let isa = if x.columns < FEW { Isa::Scalar } else { isa };
    isa.run(Sums { x, rows, times, origin, out });
}

struct Sums<'a, T> {
    x: Rows<'a, T>,
    rows: &'a [usize],
    times: Option<&'a [f64]>,
    origin: &'a [f64],
    out: &'a mut [f64],
}

impl<T: Scalar> Kernel for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn plain(self) {
        for (j, i) in self.rows.iter().enumerate() {
            let times = self.times.map_or(1.0, |t| t[j]);
            if times != 0.0 {
                for ((out, x), o) in self.out.iter_mut().zip(self.x.row(*i)).zip(self.origin) {
                    *out += times * (x.to_f64() - o);
                }
            }
        }
    }

    /// As above.
    #[inline(always)]
    fn vector<S: Simd>(self, _: S) {
        self.plain();
    }
}
