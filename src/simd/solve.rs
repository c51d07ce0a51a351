//! Systems of a few equations with a symmetric positive definite matrix, by its factors `L D L^T`.

use super::Isa;
use super::dispatch::Kernel;
use super::products::with_constant;
use super::vector::{Lanes, Simd};
use crate::workspace::filled;
use core::mem::MaybeUninit;

/// Equations at most.
pub(crate) const FEW: usize = 32;
/// Numbers that rows are filled up to a multiple of.
const EIGHT: usize = 8;

/// Numbers of scratch of [`solve_few`]: D L^T, what becomes x, and L. L stands half a page farther than D L^T: processors take a load for
/// one that must wait if the last bits of its address are those of a store before it.
pub(crate) const fn few_scratch(n: usize) -> usize {
    let width = EIGHT * n.div_ceil(EIGHT);
    begin_of_l(width) + width * width
}

/// Where L begins: an odd number of half pages on.
const fn begin_of_l(width: usize) -> usize {
    const HALF: usize = 2048 / size_of::<f64>();
    (width * width + width).next_multiple_of(HALF) / (2 * HALF) * (2 * HALF) + HALF
}

/// Solves `A x = b` in place, A symmetric, n × n; false, with b as it may be, where a pivot is not positive, or not a normal number. Cost:
/// n³ / 6 multiply-adds, over vectors of rows that are filled up to eights.
///
/// # Panics
/// Unless `n ≤` [`FEW`], and `a`, `b` and `scratch` have n², n and [`few_scratch`] numbers.
pub(crate) fn solve_few(isa: Isa, a: &[f64], n: usize, b: &mut [f64], scratch: &mut [MaybeUninit<f64>]) -> bool {
    assert!(n <= FEW && a.len() == n * n && b.len() == n && scratch.len() >= few_scratch(n), "a matrix of few rows");
    isa.run(Solve { a, n, b, scratch })
}

struct Solve<'a> {
    a: &'a [f64],
    n: usize,
    b: &'a mut [f64],
    scratch: &'a mut [MaybeUninit<f64>],
}

impl Kernel for Solve<'_> {
    type Output = bool;

    fn plain(self) -> bool {
        let Self { a, n, b, scratch } = self;
        let u = filled(&mut scratch[..n * n], 0.0);
        u.copy_from_slice(a);
        for j in 0..n {
            let d = u[j * n + j];
            if !(d >= f64::MIN_POSITIVE && d.is_finite()) {
                return false;
            }
            b[j] /= d;
            // Above the diagonal D L^T, below it L.
            for i in j + 1..n {
                let factor = u[j * n + i] / d;
                b[i] -= u[j * n + i] * b[j];
                for k in i..n {
                    u[i * n + k] -= factor * u[j * n + k];
                }
                u[i * n + j] = factor;
            }
        }
        for i in (0..n).rev() {
            for j in 0..i {
                b[j] -= u[i * n + j] * b[i];
            }
        }
        true
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> bool {
        let Self { a, n, b, scratch } = self;
        if n == 0 {
            return true;
        }
        let scratch = scratch.as_mut_ptr().cast();
        // SAFETY: `solve_few` has shown the sizes, and n ≤ 8 · 4.
        unsafe { with_constant!(O = n.div_ceil(EIGHT), one of 1 2 3 4; solve::<S, O>(simd, a.as_ptr(), n, b.as_mut_ptr(), scratch)) }
    }
}

/// Two pivots at a time, so that every row below is read and written once for both. Rows stand in eights: those of D L^T from the eight of
/// the diagonal on, and those of L up to it.
///
/// # Safety
/// `n ≤ 8 O ≤ FEW`; `a` and `b` have n² and n numbers; `u` has room for [`few_scratch`] of them.
#[inline(always)]
unsafe fn solve<S: Lanes<f64>, const O: usize>(simd: S, a: *const f64, n: usize, b: *mut f64, u: *mut f64) -> bool {
    let width = EIGHT * O;
    // SAFETY: both lie in the scratch.
    let [x, l] = unsafe { [u.add(width * width), u.add(begin_of_l(width))] };
    // SAFETY: n rows of `width` numbers lie in the scratch, and vectors of a row or of x before `width`, whole since N divides 8. All of them
    // are written before they are read. Of a and b numbers below n are touched.
    unsafe {
        // The vectors of the eights up to that of number i, and from it on.
        let up_to = |i: usize| (0..i - i % EIGHT + EIGHT).step_by(S::N);
        let from = |i: usize| (i - i % EIGHT..width).step_by(S::N);
        read(simd, b, from(0), n, x);
        for i in 0..n {
            read(simd, a.add(i * n), from(i), n, u.add(i * width));
            // What follows of the eight of the diagonal stays 0.
            for k in (0..EIGHT).step_by(S::N) {
                simd.store(l.add(i * width + i - i % EIGHT + k), simd.splat(0.0));
            }
        }
        let is_pivot = |d: f64| d >= f64::MIN_POSITIVE && d.is_finite();
        let mut j = 0;
        while j + 1 < n {
            let (first, second) = (u.add(j * width), u.add((j + 1) * width));
            let rows = [first.cast_const(), second.cast_const()];
            let (d, beside) = (*first.add(j), *first.add(j + 1));
            let inverse = 1.0 / d;
            let factor = beside * inverse;
            let e = *second.add(j + 1) - factor * beside;
            if !(is_pivot(d) && is_pivot(e)) {
                return false;
            }
            let inverses = [inverse, 1.0 / e];
            *l.add((j + 1) * width + j) = factor;
            fall(simd, [factor], [first.cast_const()], from(j + 1), second);
            let xj = *x.add(j) * inverse;
            let xj = [xj, (*x.add(j + 1) - xj * beside) * inverses[1]];
            (*b.add(j), *b.add(j + 1)) = (xj[0], xj[1]);
            fall(simd, xj, rows, from(j), x);
            for i in j + 2..n {
                let factors = [*first.add(i) * inverses[0], *second.add(i) * inverses[1]];
                (*l.add(i * width + j), *l.add(i * width + j + 1)) = (factors[0], factors[1]);
                fall(simd, factors, rows, from(i), u.add(i * width));
            }
            j += 2;
        }
        if j < n {
            let d = *u.add(j * width + j);
            if !is_pivot(d) {
                return false;
            }
            *b.add(j) = *x.add(j) / d;
        }
        read(simd, b, from(0), n, x);
        let mut i = n;
        while i >= 2 {
            i -= 2;
            let rows = [l.add((i + 1) * width).cast_const(), l.add(i * width).cast_const()];
            let last = *x.add(i + 1);
            let factors = [last, *x.add(i) - last * *rows[0].add(i)];
            fall(simd, factors, rows, up_to(i), x);
        }
        for k in (0..width).step_by(S::N) {
            simd.store_first(simd.first(n.saturating_sub(k)), b.wrapping_add(k), simd.load(x.add(k)));
        }
    }
    true
}

/// Takes rows, each times its factor, off the numbers at `to`, in the vectors that begin at `at`.
///
/// # Safety
/// Vectors of the rows are readable there, and those at `to` writable; they are no rows.
#[inline(always)]
unsafe fn fall<S: Lanes<f64>, const R: usize>(
    simd: S,
    factors: [f64; R],
    rows: [*const f64; R],
    at: impl Iterator<Item = usize>,
    to: *mut f64,
) {
    for k in at {
        // SAFETY: by the contract.
        unsafe {
            let mut v = simd.load(to.add(k));
            for r in 0..R {
                v = simd.mul_add(simd.splat(-factors[r]), simd.load(rows[r].add(k)), v);
            }
            simd.store(to.add(k), v);
        }
    }
}

/// Writes the n numbers at `of` to `to`, and 0 after them, in the vectors that begin at `at`.
///
/// # Safety
/// `of` has n numbers; vectors at `to` are writable.
#[inline(always)]
unsafe fn read<S: Lanes<f64>>(simd: S, of: *const f64, at: impl Iterator<Item = usize>, n: usize, to: *mut f64) {
    for k in at {
        // SAFETY: by the contract, as `first` chooses numbers below n.
        unsafe { simd.store(to.add(k), simd.load_first(simd.first(n.saturating_sub(k)), of.wrapping_add(k))) };
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::testing::numbers;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn systems_of_every_size_are_solved_by_every_instruction_set() {
        for isa in Isa::available() {
            for n in 0..=FEW {
                let x = numbers(n * (n + 3), n as u64 + 1);
                let rows = |i: usize| &x[i * (n + 3)..(i + 1) * (n + 3)];
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let mut a: Vec<f64> =
                    (0..n * n).map(|at| dot(rows(at / n), rows(at % n)) + if at / n == at % n { 0.5 } else { 0.0 }).collect();
                let known = numbers(n, 5);
                let mut scratch = vec![MaybeUninit::uninit(); few_scratch(n)];
                let mut b: Vec<f64> = (0..n).map(|i| dot(&a[i * n..(i + 1) * n], &known)).collect();
                assert!(solve_few(isa, &a, n, &mut b, &mut scratch), "{isa:?} {n}");
                b.iter().zip(&known).for_each(|(b, x)| assert!((b - x).abs() <= 1e-9, "{isa:?} {n} {b} {x}"));
                // Not positive definite at the first row or the last, or not a number, on the diagonal or beside it.
                for (at, bad) in [(0, -1.0), (0, 1e-310), (n * n, -1.0), (n * n, f64::NAN), (n * n, f64::INFINITY), (n, f64::NAN)] {
                    if n > 1 {
                        let (i, j) = ((at.max(1) - 1) / n, (at.max(1) - 1) % n);
                        let was = (a[i * n + j], a[j * n + i]);
                        (a[i * n + j], a[j * n + i]) = (bad, bad);
                        assert!(!solve_few(isa, &a, n, &mut b, &mut scratch), "{isa:?} {n} {i} {j} {bad}");
                        (a[i * n + j], a[j * n + i]) = was;
                    }
                }
            }
        }
    }
}
