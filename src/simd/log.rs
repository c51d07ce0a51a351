//! `ln x`, element by element.
//!
//! `x = 2^k m` with m near 1; with `f = m − 1` and `s = f / (2 + f)`, `ln m = f − f²/2 + s (f²/2 + R(s²))`, where R is the
//! polynomial of FreeBSD's `e_log.c`. The error stays below 1 unit in the last place, subnormal arguments included.

use super::Isa;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::polynomial;
use super::vector::Powers;

/// `out_i = ln x_i`, within 1 unit in the last place.
///
/// ln 0 is −∞, ln +∞ is +∞; negative numbers and NaN give NaN.
///
/// # Panics
/// Unless `x` and `out` have the same length.
pub fn ln<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), out.len(), "x and out must have the same length");
    T::run(isa, Ln { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() });
}

/// `x_i ← ln x_i`: as [`ln`], in place.
pub fn ln_in_place<T: Element>(isa: Isa, x: &mut [T]) {
    let out = x.as_mut_ptr();
    T::run(isa, Ln { x: out, out, n: x.len() });
}

/// Reads `n` numbers at `x` and writes as many to `out`, which is `x` or doesn't overlap it.
struct Ln<T> {
    x: *const T,
    out: *mut T,
    n: usize,
}

impl<T: Element> ElementKernel<T> for Ln<T> {
    type Output = ();

    fn plain(self) {
        for i in 0..self.n {
            // SAFETY: i < n; each number is read before it is written.
            unsafe { *self.out.add(i) = T::plain_ln(*self.x.add(i)) };
        }
    }

    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) {
        let Self { x, out, n } = self;
        let mut i = 0;
        // SAFETY: `i + N ≤ n` in the first loop; below, `first` chooses numbers before n. Each vector is read before it is
        // written.
        unsafe {
            while i + S::N <= n {
                simd.store(out.add(i), ln_of(simd, simd.load(x.add(i))));
                i += S::N;
            }
            if i < n {
                let first = simd.first(n - i);
                simd.store_first(first, out.add(i), ln_of(simd, simd.load_first(first, x.add(i))));
            }
        }
    }
}

/// `ln x` of every lane.
#[inline(always)]
pub(super) fn ln_of<T: Elementary, S: Powers<T>>(simd: S, x: S::V) -> S::V {
    let (k, m) = simd.parts(x);
    let f = simd.sub(m, simd.splat(T::ONE));
    let s = simd.div(f, simd.add(simd.splat(T::TWO), f));
    let square = simd.mul(s, s);
    let [series] = polynomial::<T, S, 1>(simd, T::LOG, [square]);
    let r = simd.mul(square, series);
    let half = simd.mul(simd.mul(simd.splat(T::HALF), f), f);
    // k ln 2 + f − (f²/2 − (s (f²/2 + R) + the low part of k ln 2)), from the small to the large.
    let low = simd.mul_add(s, simd.add(half, r), simd.mul(k, simd.splat(T::LN_2_PARTS[1])));
    let y = simd.mul_add(k, simd.splat(T::LN_2_PARTS[0]), simd.sub(f, simd.sub(half, low)));
    // +∞ and NaN as they are; what is left below the smallest positive number is 0, or negative.
    let (zero, smallest) = (simd.splat(T::ZERO), simd.splat(T::SMALLEST));
    let y = simd.select_less(x, simd.splat(T::INFINITY), y, x);
    simd.select_less(x, smallest, simd.select_less(x, zero, simd.splat(T::NAN), simd.splat(-T::INFINITY)), y)
}
