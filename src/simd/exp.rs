//! `e^x`, element by element.
//!
//! 1. `x` is brought into the range where `e^x` is neither 0 nor +∞ by far; NaN stays NaN. Lanes where it is 0 take no part: computing it
//!    would take tens of times as long as a normal number.
//! 2. `t = x log₂ e`, rounded to a multiple of `2^−B`: adding `1.5 · 2^(p−1−B)` leaves the integer `k = 2^B t` in the
//!    lowest bits of the sum.
//! 3. `r = x − t ln 2`, with ln 2 as the sum of two numbers: `|r| ≤ ½ ln 2 / 2^B`.
//! 4. `e^r = 1 + p`, `p = r + r² q(r)`, q of least maximal error on that interval (Remez).
//! 5. `e^x = 2^⌊t⌋ (T + T p)`, where `T = 2^(t − ⌊t⌋)` comes from a table of `2^B` numbers that fits in a register. Results
//!    below the smallest normal number are rounded once.
//!
//! Where all results are normal numbers by far, as a rule, the table holds the bits of `T` less those that the lowest bits of k add when k
//! is moved to the exponent: one sum of integers is `P = 2^t`, and `e^x = P + P p`.
//!
//! B is 3 (f64) and 4 (f32) with AVX-512, 0 and 3 with AVX2, and 0 with NEON. Sums of exponentials, which need not be exact to the last
//! place, take 4 and 5 with AVX-512, and leave out some of these steps: see `shifted.rs`.

use super::Isa;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::map::{Function, map_of_any_size};
use super::vector::{Lanes, Powers, each};

/// `out_i = e^(x_i)`, within 1.05 units in the last place, subnormal results included.
///
/// e^(−∞) is 0, e^(+∞) is +∞, and NaN gives NaN.
///
/// # Panics
/// Unless `x` and `out` have the same length.
pub fn exp<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), out.len(), "x and out must have the same length");
    // SAFETY: both are `x.len()` long; a shared and a mutable slice don't overlap.
    T::run(isa, Exp { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() });
}

/// `x_i ← e^(x_i)`: as [`exp`], in place.
pub fn exp_in_place<T: Element>(isa: Isa, x: &mut [T]) {
    let out = x.as_mut_ptr();
    T::run(isa, Exp { x: out, out, n: x.len() });
}

/// Reads `n` numbers at `x` and writes as many to `out`, which is `x` or doesn't overlap it.
pub struct Exp<T> {
    x: *const T,
    out: *mut T,
    n: usize,
}

impl<T: Element> ElementKernel<T> for Exp<T> {
    type Output = ();

    fn plain(self) {
        for i in 0..self.n {
            // SAFETY: i < n; each number is read before it is written.
            unsafe { *self.out.add(i) = T::plain_exp(*self.x.add(i)) };
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
        exp_of::<T, S, U>(simd, x)
    }
}

/// How many vectors go through exp side by side, to hide the latency of its chain of operations.
pub(super) const U: usize = 4;

/// `e^x` of every lane.
#[inline(always)]
pub(super) fn exp_of<T: Elementary, S: Powers<T>, const U: usize>(simd: S, x: [S::V; U]) -> [S::V; U] {
    if S::SCALES || simd.any_beyond(x, T::NORMAL_EXP) {
        steps::<T, S, true, ANY, U>(simd, x)
    } else {
        steps::<T, S, true, SMALL, U>(simd, x)
    }
}

/// `e^d` of every lane with a relative error of at most `ε (1 + ¼ |d|)`: ln 2 is a single number in step 3. For differences
/// `d ≤ 0` to a maximum, whose own rounding is worse. NaN gives NaN, and +∞ gives +∞ or NaN.
#[inline(always)]
pub(super) fn exp_of_difference<T: Elementary, S: Powers<T>, const U: usize>(simd: S, d: [S::V; U]) -> [S::V; U] {
    if S::SCALES || simd.any_below(d, -T::NORMAL_EXP) {
        steps::<T, S, false, NOT_LARGE, U>(simd, d)
    } else {
        exp_of_small::<T, S, U>(simd, d)
    }
}

/// [`exp_of_difference`], but 0 below `NEGLIGIBLE`: processors take tens of times as long where a result is subnormal, or 0 for being
/// smaller still. +∞ gives NaN.
#[inline(always)]
pub(super) fn exp_or_zero<T: Elementary, S: Powers<T>, const U: usize>(simd: S, d: [S::V; U]) -> [S::V; U] {
    let (least, zero) = (simd.splat(T::NEGLIGIBLE), simd.splat(T::ZERO));
    let e = exp_of_small::<T, S, U>(simd, each!(u < U, from zero; simd.max(least, d[u])));
    each!(u < U, from zero; simd.select_less(d[u], least, zero, e[u]))
}

/// The same of one number.
#[inline(always)]
pub(super) fn plain_exp_or_zero(d: f64) -> f64 {
    if d < f64::NEGLIGIBLE {
        0.0
    } else if d == f64::INFINITY {
        f64::NAN
    } else {
        libm::exp(d)
    }
}

/// [`exp_of_difference`] where no lane is below `−NORMAL_EXP`.
#[inline(always)]
pub(super) fn exp_of_small<T: Elementary, S: Powers<T>, const U: usize>(simd: S, d: [S::V; U]) -> [S::V; U] {
    steps::<T, S, false, SMALL, U>(simd, d)
}

/// [`exp_of_difference`] without a word on `d`: +∞ gives +∞.
#[inline(always)]
pub(super) fn exp_of_any<T: Elementary, S: Powers<T>>(simd: S, d: S::V) -> S::V {
    let [e] = steps::<T, S, false, ANY, 1>(simd, [d]);
    e
}

/// What is known of x: nothing; that it is far from the largest that is not +∞; that it is at most `NORMAL_EXP` in size.
const ANY: u8 = 0;
const NOT_LARGE: u8 = 1;
const SMALL: u8 = 2;

/// Steps 1 to 5, in the range `RANGE`.
#[inline(always)]
fn steps<T: Elementary, S: Powers<T>, const EXACT: bool, const RANGE: u8, const U: usize>(simd: S, mut x: [S::V; U]) -> [S::V; U] {
    let [lowest, highest] = T::EXP_RANGE;
    let (one, zero, round) = (simd.splat(T::ONE), simd.splat(T::ZERO), simd.splat(T::rounding(S::TABLE)));
    let (given, mut sum, mut t, mut y) = (x, x, x, x);
    for u in 0..U {
        if RANGE != SMALL {
            x[u] = simd.tame(x[u], simd.splat(lowest), zero);
        }
        if RANGE == ANY {
            x[u] = simd.min(simd.splat(highest), x[u]);
        }
        sum[u] = simd.mul_add(x[u], simd.splat(T::LOG2_E), round);
        t[u] = simd.sub(sum[u], round);
        if EXACT {
            // The first difference is exact.
            x[u] = simd.mul_add(t[u], simd.splat(-T::LN_2_PARTS[0]), x[u]);
            x[u] = simd.mul_add(t[u], simd.splat(-T::LN_2_PARTS[1]), x[u]);
        } else {
            x[u] = simd.mul_add(t[u], simd.splat(-T::LN_2), x[u]);
        }
    }
    let r = x;
    let q = polynomial::<T, S, U>(simd, T::polynomial(S::TABLE), r);
    for u in 0..U {
        let square = simd.mul(r[u], r[u]);
        if RANGE == SMALL && (S::TABLE > 0 || !EXACT) {
            let power = simd.power(sum[u]);
            y[u] = simd.mul_add(power, simd.mul_add(square, q[u], r[u]), power);
            continue;
        }
        y[u] = if S::TABLE > 0 {
            let root = simd.root(sum[u]);
            simd.mul_add(root, simd.mul_add(square, q[u], r[u]), root)
        } else if EXACT {
            // 1 + r as a number and what its rounding left out.
            let most = simd.add(one, r[u]);
            let rest = simd.add(simd.sub(one, most), r[u]);
            simd.add(most, simd.mul_add(square, q[u], rest))
        } else {
            simd.add(one, simd.mul_add(square, q[u], r[u]))
        };
        y[u] = match RANGE {
            SMALL => simd.scale::<true>(y[u], sum[u], t[u]),
            _ => simd.scale_or_zero(y[u], sum[u], t[u], given[u], simd.splat(lowest), zero),
        };
    }
    y
}

/// `Σ_j c_j x^j` for c of at least two terms: even and odd powers apart, which halves the chain of dependent operations.
#[inline(always)]
pub(super) fn polynomial<T: Elementary, S: Lanes<T>, const U: usize>(simd: S, c: &[T], x: [S::V; U]) -> [S::V; U] {
    let last = c.len() - 1;
    let mut square = x;
    // The sums that begin with the last coefficient and with the one before.
    let (mut one, mut other) = ([simd.splat(c[last]); U], [simd.splat(c[last - 1]); U]);
    for u in 0..U {
        square[u] = simd.mul(x[u], x[u]);
    }
    let mut j = last;
    while j >= 2 {
        j -= 2;
        for u in 0..U {
            one[u] = simd.mul_add(one[u], square[u], simd.splat(c[j]));
        }
        if j >= 1 {
            for u in 0..U {
                other[u] = simd.mul_add(other[u], square[u], simd.splat(c[j - 1]));
            }
        }
    }
    for u in 0..U {
        one[u] = if last % 2 == 1 { simd.mul_add(one[u], x[u], other[u]) } else { simd.mul_add(other[u], x[u], one[u]) };
    }
    one
}
