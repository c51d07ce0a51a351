//! `factor · e^(x − shift)` where that is a normal number: exp with the shift taken off while x is rounded, at no cost of its own.
//!
//! Let `τ` be `shift · log₂ e` rounded to a multiple of `2^−B`. Adding `1.5 · 2^(p−1−B) − τ` in step 2 of exp leaves `2^B t` in the lowest
//! bits of the sum, for `t + τ ≈ x log₂ e`; then `r = x − (t + τ) ln 2`, and with what τ differs from the shift as a factor too,
//! `f = factor · e^(τ ln 2 − shift)`,
//!
//! `factor · e^(x − shift) = 2^t f e^r`,
//!
//! where f is a factor of the coefficients of the polynomial.

use super::elementary::Elementary;
use super::exp::polynomial;
use super::vector::Powers;

/// The function for a shift and a factor, at most 1, of vectors of one instruction set. Its relative error is that of x and the shift as
/// they are, a few ε.
#[derive(Clone, Copy)]
pub(super) struct Shifted<T> {
    /// `1.5 · 2^(p−1−B) − τ`
    round: T,
    /// Those of `f e^r`.
    coefficients: [T; MOST],
    /// Where x is between these, the result is a normal number by far.
    pub lowest: T,
    pub highest: T,
}

/// Coefficients at most.
const MOST: usize = 12;
/// The power from which on even and odd ones are added apart: one chain of so many operations takes longer than what it takes more.
const LONG: usize = 8;

impl<T: Elementary> Shifted<T> {
    /// None where the shift is NaN, or too large for the sums above to be exact.
    #[inline(always)]
    pub fn new<S: Powers<T>>(shift: T, factor: f64) -> Option<Self> {
        let (fine, round) = (f64::rounding(S::FINE), T::rounding(S::FINE).to_f64());
        let x = shift.to_f64();
        // A quarter of the numbers that round as they should; and up to 2^26 the first product below is exact.
        let most = (round / 6.0).min((1 << 26) as f64);
        if x.is_nan() || libm::fabs(x * f64::LOG2_E) >= most {
            return None;
        }
        let tau = x * f64::LOG2_E + fine - fine;
        let ln_2 = T::LN_2.to_f64();
        let high = f64::from_bits(ln_2.to_bits() >> 30 << 30);
        let f = factor * libm::exp((tau * high - x) + tau * (ln_2 - high));
        let q = T::polynomial(S::FINE);
        let mut coefficients = [T::ZERO; MOST];
        coefficients[0] = T::from_f64(f);
        coefficients[1] = T::from_f64(f * T::slope(S::FINE).to_f64());
        for (c, q) in coefficients[2..].iter_mut().zip(q) {
            *c = T::from_f64(f * q.to_f64());
        }
        let below = T::NORMAL_EXP.to_f64() + if factor == 1.0 { 0.0 } else { libm::log(factor).min(0.0) };
        Some(Shifted {
            round: T::from_f64(round - tau),
            coefficients,
            lowest: T::from_f64(x - below),
            highest: T::from_f64(x + T::HEADROOM.to_f64()),
        })
    }

    /// `e^(shift − x)`, which takes sums relative to the shift of which the largest terms are those near x to be relative to x: with what
    /// the difference leaves out, and what the reduction above has left out of those terms, whose `2^t` stood for `e^(t LN_2)`.
    pub fn power_between(shift: T, x: T) -> f64 {
        let (a, b) = (shift.to_f64(), x.to_f64());
        let d = a - b;
        // Knuth's two-sum.
        let part = d - a;
        let rest = (a - (d - part)) - (b + part);
        let e = libm::exp(d);
        e + e * (rest + d * T::LN_2_LACKS)
    }

    /// The function of every lane, all between `lowest` and `highest`.
    #[inline(always)]
    pub fn of<S: Powers<T>, const M: usize>(&self, simd: S, x: [S::V; M]) -> [S::V; M] {
        let (powers, mut y) = self.parts(simd, x);
        for u in 0..M {
            y[u] = simd.mul(powers[u], y[u]);
        }
        y
    }

    /// That plus `sum`.
    #[inline(always)]
    pub fn add<S: Powers<T>, const M: usize>(&self, simd: S, x: [S::V; M], mut sum: [S::V; M]) -> [S::V; M] {
        let (powers, y) = self.parts(simd, x);
        for u in 0..M {
            sum[u] = simd.mul_add(powers[u], y[u], sum[u]);
        }
        sum
    }

    /// `2^t` and `f e^r`.
    #[inline(always)]
    fn parts<S: Powers<T>, const M: usize>(&self, simd: S, x: [S::V; M]) -> ([S::V; M], [S::V; M]) {
        let last = T::polynomial(S::FINE).len() + 1;
        let round = simd.splat(self.round);
        let (mut rounded, mut r, mut y) = (x, x, [simd.splat(self.coefficients[last]); M]);
        for u in 0..M {
            rounded[u] = simd.mul_add(x[u], simd.splat(T::LOG2_E), round);
            r[u] = simd.mul_add(simd.sub(rounded[u], round), simd.splat(-T::LN_2), x[u]);
        }
        if last >= LONG {
            y = polynomial::<T, S, M>(simd, &self.coefficients[..=last], r);
        } else {
            for c in (0..last).rev() {
                for u in 0..M {
                    y[u] = simd.mul_add(y[u], r[u], simd.splat(self.coefficients[c]));
                }
            }
        }
        for u in 0..M {
            rounded[u] = simd.fine_power(rounded[u]);
        }
        (rounded, y)
    }
}
