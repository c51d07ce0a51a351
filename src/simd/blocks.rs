//! The exponential steps of the evaluation, on f64 blocks: class-major, one column of a block a slice.

use super::Isa;
use super::ahead::Ahead;
use super::dispatch::{ElementKernel, Kernel, OfF64};
use super::elementary::Elementary;
use super::exp::{exp_or_zero, plain_exp_or_zero};
use super::log::ln_of;
use super::logsumexp::{finite, largest_of, sum_of};
use super::map::Function;
use super::rows::columns_fit;
use super::vector::{F64, Lanes, Powers, Simd};
use core::mem::MaybeUninit;

/// `s_i ← e^(s_i − shift)`; returns their sum.
///
/// Where `s_i − shift` is below −690 the result is 0: processors take tens of times as long for subnormal numbers. Where it is above 707 it
/// counts as that: the sum is then 1e307 or more. Infinite shifts count as the largest finite number of their sign, so that a column of −∞
/// with its maximum −∞ gives 0. The sum has one accumulator a lane: meant for blocks, of a few thousand numbers at most.
pub fn exp_shifted_sum(isa: Isa, s: &mut [f64], shift: f64) -> f64 {
    let out = s.as_mut_ptr();
    isa.run(ShiftedSum::<true> { s: out, out, n: s.len(), shift, ahead: [Ahead::of_bytes(size_of_val(&*s)), Ahead::Nothing] })
}

/// Of every column of `s`, which is in the first cache, the largest number (any where there is a NaN), and the sum of `e^(s_i − largest)`,
/// as of [`exp_shifted_sum`], each also written to `out`, which is asked for ahead. Column k is `[k * ld..][..rows]`; what is left of the
/// `ld` numbers in `out` is 0.
///
/// # Panics
/// Unless `ld ≥ rows`, there are as many `largest` as `sums`, and `s` and `out` have as many times `ld` numbers.
pub(crate) fn exp_below_largest(
    isa: Isa,
    s: &[f64],
    ld: usize,
    rows: usize,
    out: &mut [MaybeUninit<f64>],
    [largest, sums]: [&mut [f64]; 2],
    ahead: Ahead,
) {
    let n = largest.len().checked_mul(ld);
    assert!(ld >= rows && sums.len() == largest.len() && n == Some(s.len()) && n == Some(out.len()), "room");
    isa.run(BelowLargest { s, ld, rows, out: out.as_mut_ptr().cast(), largest, sums, ahead });
}

/// `out_i = e^(s_i − shift)`; returns their sum. As [`exp_shifted_sum`].
///
/// # Panics
/// Unless `s` and `out` have the same length.
pub fn exp_shifted_sum_to(isa: Isa, s: &[f64], shift: f64, out: &mut [f64]) -> f64 {
    assert_eq!(s.len(), out.len(), "s and out must have the same length");
    isa.run(ShiftedSum::<true> { s: s.as_ptr(), out: out.as_mut_ptr(), n: s.len(), shift, ahead: [Ahead::of_bytes(size_of_val(s)); 2] })
}

/// Responsibilities `r_ik = e^(J_ik) / Σ_k e^(J_ik)` in place of `J_ik = log α_k + log P(i | k)`, and `log Σ_k e^(J_ik)`.
///
/// `j[k * ld + i]` is row i of class k. A row that is −∞ in every class gives r = 0 and −∞; one with NaN or +∞ gives NaN. Results below
/// `e^−690` of the largest are 0.
///
/// # Panics
/// Unless `ld ≥ rows`, `j` has `(classes − 1) · ld + rows` numbers and `log_likelihood` has `rows`.
pub fn responsibilities(isa: Isa, j: &mut [f64], ld: usize, rows: usize, classes: usize, log_likelihood: &mut [f64]) {
    assert_eq!(log_likelihood.len(), rows, "a log-likelihood for every row");
    assert!(columns_fit(classes, ld, rows, j.len()), "room");
    isa.run(Responsibilities { j, ld, classes, log_likelihood });
}

/// `w_i ← w_i − f a_i`.
///
/// # Panics
/// Unless `w` and `a` have the same length.
pub fn subtract_scaled(isa: Isa, f: f64, a: &[f64], w: &mut [f64]) {
    assert_eq!(a.len(), w.len(), "a and w must have the same length");
    isa.run(OfF64(SubtractScaled { f, a, w }));
}

/// The largest number, −∞ for none; any number where there is a NaN.
pub(crate) fn largest(isa: Isa, s: &[f64]) -> f64 {
    isa.run(Largest(s))
}

struct Largest<'a>(&'a [f64]);

impl Kernel for Largest<'_> {
    type Output = f64;

    fn plain(self) -> f64 {
        self.0.iter().fold(f64::NEG_INFINITY, |m, &x| if x > m { x } else { m })
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        // SAFETY: the numbers of a slice are readable.
        unsafe { largest_of(simd, self.0.as_ptr(), self.0.len()) }
    }
}

/// Reads `n` numbers at `s` and writes as many to `out`, which is `s` or doesn't overlap it.
struct ShiftedSum<const ABOVE: bool> {
    s: *const f64,
    out: *mut f64,
    n: usize,
    shift: f64,
    ahead: [Ahead; 2],
}

/// `e^(x − shift)` as [`exp_or_zero`] has it; where x may be above the shift, no more than the largest exponential that is safe.
#[derive(Clone, Copy)]
struct ExpShifted<const ABOVE: bool>(f64);

impl<const ABOVE: bool> Function<f64> for ExpShifted<ABOVE> {
    #[inline(always)]
    fn of<S: Powers<f64>, const U: usize>(self, simd: S, mut x: [S::V; U]) -> [S::V; U] {
        for x in &mut x {
            *x = simd.sub(*x, simd.splat(self.0));
            if ABOVE {
                *x = simd.min(simd.splat(f64::NORMAL_EXP), *x);
            }
        }
        exp_or_zero::<f64, S, U>(simd, x)
    }
}

impl<const ABOVE: bool> Kernel for ShiftedSum<ABOVE> {
    type Output = f64;

    fn plain(self) -> f64 {
        let shift = finite(self.shift);
        let mut sum = 0.0;
        for i in 0..self.n {
            // SAFETY: i < n; each number is read before it is written.
            unsafe {
                let d = *self.s.add(i) - shift;
                let e = plain_exp_or_zero(if ABOVE && d > f64::NORMAL_EXP { f64::NORMAL_EXP } else { d });
                *self.out.add(i) = e;
                sum += e;
            }
        }
        sum
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        // SAFETY: as the struct says.
        unsafe { sum_of(simd, ExpShifted::<ABOVE>(finite(self.shift)), self.s, self.out, self.n, self.ahead) }
    }
}

/// `out` has room for as many numbers as `s`.
struct BelowLargest<'a> {
    s: &'a [f64],
    ld: usize,
    rows: usize,
    out: *mut f64,
    largest: &'a mut [f64],
    sums: &'a mut [f64],
    ahead: Ahead,
}

impl BelowLargest<'_> {
    /// Column k, and where it goes, after which there is 0.
    #[inline(always)]
    fn column(&self, k: usize) -> (&[f64], *mut f64) {
        // SAFETY: `out` has room for every column.
        unsafe {
            let out = self.out.add(k * self.ld);
            out.add(self.rows).write_bytes(0, self.ld - self.rows);
            (&self.s[k * self.ld..][..self.rows], out)
        }
    }
}

impl Kernel for BelowLargest<'_> {
    type Output = ();

    fn plain(self) {
        for k in 0..self.largest.len() {
            let (s, out) = self.column(k);
            let shift = Largest(s).plain();
            let sum = ShiftedSum::<false> { s: s.as_ptr(), out, n: s.len(), shift, ahead: [Ahead::Nothing; 2] }.plain();
            (self.largest[k], self.sums[k]) = (shift, sum);
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        // What reads of the last cache go through has pushed the last results out of the second.
        let ahead = if self.ahead == Ahead::Near { Ahead::Lines } else { self.ahead };
        for k in 0..self.largest.len() {
            let (s, out) = self.column(k);
            // SAFETY: a column is readable, and there is room for as many numbers at `out`.
            unsafe {
                let shift = largest_of(simd, s.as_ptr(), s.len());
                let below = ExpShifted::<false>(finite(shift));
                let sum = sum_of(simd, below, s.as_ptr(), out, s.len(), [Ahead::Nothing, ahead]);
                (self.largest[k], self.sums[k]) = (shift, sum);
            }
        }
    }
}

struct Responsibilities<'a> {
    j: &'a mut [f64],
    ld: usize,
    classes: usize,
    log_likelihood: &'a mut [f64],
}

impl Kernel for Responsibilities<'_> {
    type Output = ();

    fn plain(self) {
        let Self { j, ld, classes, log_likelihood } = self;
        for (i, value) in log_likelihood.iter_mut().enumerate() {
            let max = finite((0..classes).fold(f64::NEG_INFINITY, |m, k| if j[k * ld + i] > m { j[k * ld + i] } else { m }));
            let mut sum = 0.0;
            for k in 0..classes {
                j[k * ld + i] = plain_exp_or_zero(j[k * ld + i] - max);
                sum += j[k * ld + i];
            }
            let inverse = 1.0 / if sum < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { sum };
            for k in 0..classes {
                j[k * ld + i] *= inverse;
            }
            *value = max + libm::log(sum);
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { j, ld, classes, log_likelihood } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = log_likelihood.len();
        let mut i = 0;
        while i < rows {
            // SAFETY: `first` chooses rows before `rows`, and the entry check has shown that every class has them.
            unsafe {
                let at = j.as_mut_ptr().wrapping_add(i);
                let to = log_likelihood.as_mut_ptr().add(i);
                if i + n <= rows {
                    some_responsibilities::<S, false>(simd, Lanes::<f64>::first(simd, n), at, ld, classes, to);
                } else {
                    some_responsibilities::<S, true>(simd, Lanes::<f64>::first(simd, rows - i), at, ld, classes, to);
                }
            }
            i += n;
        }
    }
}

/// One vector of rows; only the first of them if `PART`.
///
/// # Safety
/// The first rows must be readable and writable in each of the classes, `ld` apart from `j` on, and at `log_likelihood`; all
/// rows of a vector unless `PART`.
#[inline(always)]
unsafe fn some_responsibilities<S: Powers<f64>, const PART: bool>(
    simd: S,
    first: S::First,
    j: *mut f64,
    ld: usize,
    classes: usize,
    log_likelihood: *mut f64,
) {
    // SAFETY: by the contract.
    unsafe {
        let load = |p: *const f64| if PART { simd.load_first(first, p) } else { simd.load(p) };
        let store = |p: *mut f64, v: F64<S>| if PART { simd.store_first(first, p, v) } else { simd.store(p, v) };
        let mut max = simd.splat(f64::MIN);
        for k in 0..classes {
            max = simd.max(load(j.add(k * ld)), max);
        }
        let max = simd.min(simd.splat(f64::MAX), max);
        // Two classes at a time, to hide the latency of exp.
        let mut sum = simd.splat(0.0);
        let mut k = 0;
        while k + 2 <= classes {
            let (a, b) = (j.add(k * ld), j.add((k + 1) * ld));
            let [ea, eb] = exp_or_zero::<f64, S, 2>(simd, [simd.sub(load(a), max), simd.sub(load(b), max)]);
            store(a, ea);
            store(b, eb);
            sum = simd.add(sum, simd.add(ea, eb));
            k += 2;
        }
        if k < classes {
            let [e] = exp_or_zero::<f64, S, 1>(simd, [simd.sub(load(j.add(k * ld)), max)]);
            store(j.add(k * ld), e);
            sum = simd.add(sum, e);
        }
        // Where all are −∞ the sum is 0, and 0 / 0 must be 0.
        let inverse = simd.div(simd.splat(1.0), simd.max(simd.splat(f64::MIN_POSITIVE), sum));
        for k in 0..classes {
            store(j.add(k * ld), simd.mul(load(j.add(k * ld)), inverse));
        }
        let [log] = ln_of::<f64, S, 1>(simd, [sum]);
        store(log_likelihood, simd.add(max, log));
    }
}

struct SubtractScaled<'a> {
    f: f64,
    a: &'a [f64],
    w: &'a mut [f64],
}

impl ElementKernel<f64> for SubtractScaled<'_> {
    type Output = ();

    fn plain(self) {
        self.w.iter_mut().zip(self.a).for_each(|(w, a)| *w -= self.f * a);
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let (n, rows) = (<S as Lanes<f64>>::N, self.w.len());
        let minus = simd.splat(-self.f);
        let (a, w) = (self.a.as_ptr(), self.w.as_mut_ptr());
        let mut i = 0;
        // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
        unsafe {
            while i + n <= rows {
                simd.store(w.add(i), simd.mul_add(minus, simd.load(a.add(i)), simd.load(w.add(i))));
                i += n;
            }
            if i < rows {
                let first = simd.first(rows - i);
                simd.store_first(first, w.add(i), simd.mul_add(minus, simd.load_first(first, a.add(i)), simd.load_first(first, w.add(i))));
            }
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::testing::numbers;
    use alloc::vec;
    use alloc::vec::Vec;

    /// Every column as by itself: its largest number, its exponentials and their sum, and 0 after them; one of −∞ and one with NaN, too.
    #[test]
    fn exponentials_below_the_largest_are_those_of_each_column() {
        for isa in Isa::available() {
            for (rows, columns) in (1..70).flat_map(|rows| (0..4).map(move |columns| (rows, columns))) {
                let ld = rows + 3;
                let mut s: Vec<f64> = numbers(columns * ld, rows as u64).iter().map(|x| 9.0 * x).collect();
                for (k, column) in s.chunks_exact_mut(ld).enumerate().skip(1) {
                    column[..rows].iter_mut().take(if k == 1 { rows } else { 1 }).for_each(|x| *x = f64::NEG_INFINITY);
                    column[rows / 2] = if k == 3 { f64::NAN } else { column[rows / 2] };
                    column[rows..].fill(1e300);
                }
                let mut out = vec![MaybeUninit::new(7.0); columns * ld];
                let (mut tops, mut sums) = (vec![7.0; columns], vec![7.0; columns]);
                exp_below_largest(isa, &s, ld, rows, &mut out, [&mut tops, &mut sums], Ahead::of_memory());
                // SAFETY: all were numbers from the start.
                let out: Vec<f64> = out.iter().map(|x| unsafe { x.assume_init() }).collect();
                for (k, (s, out)) in s.chunks_exact(ld).zip(out.chunks_exact(ld)).enumerate() {
                    assert!(out[rows..].iter().all(|x| *x == 0.0), "{isa:?} {rows}");
                    if k == 3 {
                        assert!(sums[k].is_nan(), "{isa:?} {rows}");
                        continue;
                    }
                    let mut alone = vec![0.0; rows];
                    assert_eq!(tops[k], largest(isa, &s[..rows]), "{isa:?} {rows}");
                    let sum = exp_shifted_sum_to(isa, &s[..rows], tops[k], &mut alone);
                    assert!(sum == sums[k] && alone == out[..rows], "{isa:?} {rows}");
                }
            }
        }
    }
}
