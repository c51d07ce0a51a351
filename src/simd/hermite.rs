//! Sums of truncated generating functions of Hermite polynomials, with which moment equations are projected: see `moments/equations.rs`.

use super::Isa;
use super::dispatch::{ElementKernel, OfF64};
use super::vector::{F64, Lanes, Powers};

/// Orders at most.
pub(crate) const MOST_ORDERS: usize = 9;
/// Vectors at once.
const U: usize = 4;

/// With `E_n = Σ_{r≤n} H_r(c_i; s) / r!`, `H_{r+1} = c H_r − r s H_{r−1}`, c_i = `c[i] − shift`, and R = `order`: `out_i = ρ_i E_{R−1}`,
/// and `[Σ ρ_i (E_R − 1), Σ ρ_i E_{R−1}, Σ ρ_i E_{R−2}]`.
///
/// # Panics
/// Unless `c`, `rho` and `out` have the same length, and `order` is from 2 to [`MOST_ORDERS`].
pub(crate) fn hermite_sums(isa: Isa, c: &[f64], shift: f64, s: f64, order: usize, rho: &[f64], out: &mut [f64]) -> [f64; 3] {
    assert!(c.len() == rho.len() && c.len() == out.len(), "as many numbers");
    assert!((2..=MOST_ORDERS).contains(&order), "order");
    let (mut falls, mut shares) = ([0.0; MOST_ORDERS], [0.0; MOST_ORDERS]);
    let mut share = 1.0;
    for r in 0..order {
        share /= (r + 1) as f64;
        (falls[r], shares[r]) = (r as f64 * s, share);
    }
    isa.run(OfF64(HermiteSums { c, shift, falls: &falls[..order], shares: &shares[..order], rho, out }))
}

struct HermiteSums<'a> {
    c: &'a [f64],
    shift: f64,
    /// `r s` and `1 / (r + 1)!`, r from 0 to R − 1.
    falls: &'a [f64],
    shares: &'a [f64],
    rho: &'a [f64],
    out: &'a mut [f64],
}

impl ElementKernel<f64> for HermiteSums<'_> {
    type Output = [f64; 3];

    fn plain(self) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for ((c, rho), out) in self.c.iter().zip(self.rho).zip(self.out) {
            let (c, mut h, mut before) = (c - self.shift, 1.0, 0.0);
            let (mut all, mut but_one, mut but_two) = (1.0, 0.0, 0.0);
            for (fall, share) in self.falls.iter().zip(self.shares) {
                (h, before) = (c * h - fall * before, h);
                (all, but_one, but_two) = (all + h * share, all, but_one);
            }
            *out = rho * but_one;
            sums[0] += rho * (all - 1.0);
            sums[1] += *out;
            sums[2] += rho * but_two;
        }
        sums
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) -> [f64; 3] {
        let n = self.c.len();
        let zero = simd.splat(0.0);
        let mut sums = [[zero; U]; 3];
        let mut i = 0;
        // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n, and elsewhere ρ is 0.
        unsafe {
            let (from, rho, out) = (self.c.as_ptr(), self.rho.as_ptr(), self.out.as_mut_ptr());
            while i + U * S::N <= n {
                let (mut c, mut r) = ([zero; U], [zero; U]);
                for u in 0..U {
                    (c[u], r[u]) = (simd.load(from.add(i + u * S::N)), simd.load(rho.add(i + u * S::N)));
                }
                let middle = self.add(simd, c, r, &mut sums);
                for u in 0..U {
                    simd.store(out.add(i + u * S::N), middle[u]);
                }
                i += U * S::N;
            }
            while i < n {
                let first = simd.first(n - i);
                let (mut c, mut r) = ([zero; U], [zero; U]);
                (c[0], r[0]) = (simd.load_first(first, from.add(i)), simd.load_first(first, rho.add(i)));
                let middle = self.add(simd, c, r, &mut sums);
                simd.store_first(first, out.add(i), middle[0]);
                i += S::N;
            }
        }
        let mut totals = [0.0; 3];
        for (total, sums) in totals.iter_mut().zip(sums) {
            for u in 0..U {
                *total += simd.sum(sums[u]);
            }
        }
        totals
    }
}

impl HermiteSums<'_> {
    /// Adds U vectors to the sums, and returns `ρ E_{R−1}`.
    #[inline(always)]
    fn add<S: Lanes<f64>>(&self, simd: S, c: [F64<S>; U], rho: [F64<S>; U], sums: &mut [[F64<S>; U]; 3]) -> [F64<S>; U] {
        let (zero, one, shift) = (simd.splat(0.0), simd.splat(1.0), simd.splat(self.shift));
        let (mut x, mut h, mut before) = ([zero; U], [one; U], [zero; U]);
        let (mut all, mut but_one, mut but_two) = ([one; U], [zero; U], [zero; U]);
        for u in 0..U {
            x[u] = simd.sub(c[u], shift);
        }
        for r in 0..self.falls.len() {
            let (fall, share) = (simd.splat(-self.falls[r]), simd.splat(self.shares[r]));
            for u in 0..U {
                (h[u], before[u]) = (simd.mul_add(x[u], h[u], simd.mul(fall, before[u])), h[u]);
                (all[u], but_one[u], but_two[u]) = (simd.mul_add(h[u], share, all[u]), all[u], but_one[u]);
            }
        }
        for u in 0..U {
            but_one[u] = simd.mul(rho[u], but_one[u]);
            sums[0][u] = simd.mul_add(rho[u], simd.sub(all[u], one), sums[0][u]);
            sums[1][u] = simd.add(sums[1][u], but_one[u]);
            sums[2][u] = simd.mul_add(rho[u], but_two[u], sums[2][u]);
        }
        but_one
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::testing::numbers;
    use alloc::vec;

    /// Against powers: `H_2 = c² − s`, `H_3 = c³ − 3 s c`, and against the plain twin.
    #[test]
    fn sums_are_those_of_the_polynomials_on_every_instruction_set() {
        for n in [0, 1, 7, 32, 100, 133] {
            let (c, rho) = (numbers(n, 1), numbers(n, 2));
            let (shift, s) = (0.3, 0.8);
            let mut direct = [0.0; 3];
            for (c, rho) in c.iter().zip(&rho) {
                let c = c - shift;
                let (h2, h3) = (c * c - s, c * c * c - 3.0 * s * c);
                direct[0] += rho * (c + h2 / 2.0 + h3 / 6.0);
                direct[1] += rho * (1.0 + c + h2 / 2.0);
                direct[2] += rho * (1.0 + c);
            }
            for order in 2..=MOST_ORDERS {
                let mut wanted = vec![0.0; n];
                let plain = hermite_sums(Isa::Scalar, &c, shift, s, order, &rho, &mut wanted);
                assert!(order != 3 || plain.iter().zip(direct).all(|(a, b)| (a - b).abs() < 1e-12), "{plain:?} {direct:?}");
                assert!((wanted.iter().sum::<f64>() - plain[1]).abs() < 1e-12);
                for isa in Isa::available() {
                    let mut out = vec![f64::NAN; n];
                    let sums = hermite_sums(isa, &c, shift, s, order, &rho, &mut out);
                    assert!(sums.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-12), "{} {n} {order}", isa.name());
                    assert!(out.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-13), "{} {n} {order}", isa.name());
                }
            }
        }
    }
}
