//! `ln x`, element by element.
//!
//! `x = 2^k m` with m near 1; with `f = m − 1` and `s = f / (2 + f)`, `ln m = f − f²/2 + s (f²/2 + R(s²))`, where R is the
//! polynomial of FreeBSD's `e_log.c`. The error stays below 1 unit in the last place, subnormal arguments included.

use super::Isa;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::polynomial;
use super::map::{Function, map_of_any_size};
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
pub struct Ln<T> {
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
        // SAFETY: as the struct says.
        unsafe {
            map_of_any_size::<T, S, _, U>(simd, OfEach, x, out, n);
        }
    }
}

/// The function itself.
#[derive(Clone, Copy)]
struct OfEach;

impl<T: Elementary> Function<T> for OfEach {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, x: [S::V; U]) -> [S::V; U] {
        ln_of::<T, S, U>(simd, x)
    }
}

/// How many vectors go through ln side by side.
const U: usize = 2;

/// `ln x` of every lane.
#[inline(always)]
pub(super) fn ln_of<T: Elementary, S: Powers<T>, const U: usize>(simd: S, x: [S::V; U]) -> [S::V; U] {
    let mut y = ln_of_positive::<T, S, U>(simd, x);
    for u in 0..U {
        // What is below the smallest positive number is 0, or negative.
        let (zero, smallest) = (simd.splat(T::ZERO), simd.splat(T::SMALLEST));
        y[u] = simd.select_less(x[u], smallest, simd.select_less(x[u], zero, simd.splat(T::NAN), simd.splat(-T::INFINITY)), y[u]);
    }
    y
}

/// The same of positive numbers.
#[inline(always)]
pub(super) fn ln_of_positive<T: Elementary, S: Powers<T>, const U: usize>(simd: S, x: [S::V; U]) -> [S::V; U] {
    let (mut k, mut f, mut s, mut square, mut y) = (x, x, x, x, x);
    for u in 0..U {
        let (power, m) = simd.parts(x[u]);
        k[u] = power;
        f[u] = simd.sub(m, simd.splat(T::ONE));
        s[u] = simd.div(f[u], simd.add(simd.splat(T::TWO), f[u]));
        square[u] = simd.mul(s[u], s[u]);
    }
    let series = polynomial::<T, S, U>(simd, T::LOG, square);
    for u in 0..U {
        let r = simd.mul(square[u], series[u]);
        let half = simd.mul(simd.mul(simd.splat(T::HALF), f[u]), f[u]);
        // k ln 2 + f − (f²/2 − (s (f²/2 + R) + the low part of k ln 2)), from the small to the large.
        let low = simd.mul_add(s[u], simd.add(half, r), simd.mul(k[u], simd.splat(T::LN_2_PARTS[1])));
        y[u] = simd.mul_add(k[u], simd.splat(T::LN_2_PARTS[0]), simd.sub(f[u], simd.sub(half, low)));
        // +∞ and NaN as they are.
        y[u] = simd.select_less(x[u], simd.splat(T::INFINITY), y[u], x[u]);
    }
    y
}
