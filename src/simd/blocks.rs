//! The exponential steps of the evaluation, on f64 blocks: class-major, one column of a block a slice.

use super::Isa;
use super::ahead::{Ahead, PIECE_OF_F64};
use super::dispatch::Kernel;
use super::elementary::Elementary;
use super::exp::{exp_or_zero, plain_exp_or_zero};
use super::log::ln_of;
use super::logsumexp::{finite, largest_of, sum_of};
use super::map::Function;
use super::vector::{F64, Lanes, Powers, Simd};

/// The largest number; NaN if there is one, and −∞ for none.
pub fn max(isa: Isa, s: &[f64]) -> f64 {
    isa.run(Max(s))
}

/// `s_i ← e^(s_i − shift)`; returns their sum.
///
/// Where `s_i − shift` is below −690 the result is 0: processors take tens of times as long for subnormal numbers. Where it is above 707 it counts as that: the
/// sum is then 1e307 or more.
/// Infinite shifts count as the largest finite number of their sign, so that a column of −∞ with its maximum −∞ gives 0. The
/// sum has one accumulator a lane: meant for blocks, of a few thousand numbers at most.
pub fn exp_shifted_sum(isa: Isa, s: &mut [f64], shift: f64) -> f64 {
    let out = s.as_mut_ptr();
    isa.run(ShiftedSum::<true> { s: out, out, n: s.len(), shift })
}

/// The same of numbers of which none is above the shift.
pub(crate) fn exp_below_sum(isa: Isa, s: &mut [f64], shift: f64) -> f64 {
    let out = s.as_mut_ptr();
    isa.run(ShiftedSum::<false> { s: out, out, n: s.len(), shift })
}

/// `out_i = e^(s_i − shift)`; returns their sum. As [`exp_shifted_sum`].
///
/// # Panics
/// Unless `s` and `out` have the same length.
pub fn exp_shifted_sum_to(isa: Isa, s: &[f64], shift: f64, out: &mut [f64]) -> f64 {
    assert_eq!(s.len(), out.len(), "s and out must have the same length");
    isa.run(ShiftedSum::<true> { s: s.as_ptr(), out: out.as_mut_ptr(), n: s.len(), shift })
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
    let room = classes.saturating_sub(1).checked_mul(ld).and_then(|s| s.checked_add(rows));
    assert!(ld >= rows && room.is_some_and(|n| classes == 0 || n <= j.len()), "room");
    isa.run(Responsibilities { j, ld, classes, log_likelihood });
}

/// What [`row_weights`] finds beside the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTotals {
    /// `Σ_i n_i ln π_i`, over the rows of positive n.
    pub value: f64,
    /// The smallest `π_i` of a row of positive n; +∞ if there is none.
    pub smallest: f64,
}

/// Row weights of counts: `π_i = Σ_k f_k a_ik`, `Ω_ik = n_i f_k a_ik / π_i`, and `totals_k = Σ_i Ω_ik`.
///
/// Column k of `a` and of `omega` is `[k * ld..][..rows]`, rows the length of `counts`, K that of `factors`. Where `π_i` is below the smallest normal
/// number, weights and value are too small to trust: see `smallest`.
///
/// # Panics
/// Unless `ld ≥ rows`, `totals` has K numbers, and `a` and `omega` have `(K − 1) · ld + rows`.
pub fn row_weights(isa: Isa, a: &[f64], ld: usize, factors: &[f64], counts: &[f64], omega: &mut [f64], totals: &mut [f64]) -> RowTotals {
    let (rows, classes) = (counts.len(), factors.len());
    let room = classes.saturating_sub(1).checked_mul(ld).and_then(|s| s.checked_add(rows));
    assert!(ld >= rows && room.is_some_and(|n| classes == 0 || n <= a.len().min(omega.len())), "room");
    assert_eq!(totals.len(), classes, "a total for every class");
    isa.run(RowWeights { a, ld, factors, counts, omega, totals })
}

/// Shares of counts: `share_i = n_i / π_i` and `totals_k = Σ_i f_k a_ik share_i`, with π as of [`row_weights`], of which this is all but the weights. Without the
/// totals where `totals` is empty.
///
/// # Panics
/// As [`row_weights`], `shares` in place of `omega` of the length of `counts`, and but for empty totals.
pub fn row_shares(isa: Isa, a: &[f64], ld: usize, factors: &[f64], counts: &[f64], shares: &mut [f64], totals: &mut [f64]) -> RowTotals {
    let (rows, classes) = (counts.len(), factors.len());
    let room = classes.saturating_sub(1).checked_mul(ld).and_then(|s| s.checked_add(rows));
    assert!(ld >= rows && room.is_some_and(|n| classes == 0 || n <= a.len()), "room");
    assert!(
        shares.len() == rows && (totals.is_empty() || totals.len() == classes),
        "a share for every row, and a total for every class or none"
    );
    isa.run(RowShares { a, ld, factors, counts, shares, totals })
}

/// `w_i ← w_i (f share_i − g)`, `[f, g] = factors`, and `Σ_i w_i f share_i` of what stood there.
pub(crate) fn weigh_in_place(isa: Isa, w: &mut [f64], shares: &[f64], factors: [f64; 2]) -> f64 {
    assert_eq!(w.len(), shares.len(), "w and shares must have the same length");
    isa.run(WeighInPlace { w, shares, factors })
}

/// `out_i = a_i (f share_i − g)`, `[f, g] = factors`.
///
/// # Panics
/// Unless all have the same length.
pub fn weigh(isa: Isa, a: &[f64], shares: &[f64], factors: [f64; 2], out: &mut [f64]) {
    assert_eq!((a.len(), shares.len()), (out.len(), out.len()), "a, shares and out must have the same length");
    isa.run(Weigh { a, shares, factors, out });
}

/// `w_i ← w_i − f a_i`.
///
/// # Panics
/// Unless `w` and `a` have the same length.
pub fn subtract_scaled(isa: Isa, f: f64, a: &[f64], w: &mut [f64]) {
    assert_eq!(a.len(), w.len(), "a and w must have the same length");
    isa.run(SubtractScaled { f, a, w });
}

/// The same where there is no NaN; else any number.
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

struct Max<'a>(&'a [f64]);

impl Kernel for Max<'_> {
    type Output = f64;

    fn plain(self) -> f64 {
        self.0.iter().fold(f64::NEG_INFINITY, |m, &x| if x > m || x.is_nan() { x } else { m })
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        if has_nan(simd, self.0) {
            return f64::NAN;
        }
        // SAFETY: the numbers of a slice are readable.
        unsafe { largest_of(simd, self.0.as_ptr(), self.0.len()) }
    }
}

/// Whether a number is NaN.
#[inline(always)]
fn has_nan<S: Lanes<f64>>(simd: S, s: &[f64]) -> bool {
    let mut found = false;
    let mut i = 0;
    // SAFETY: `i + N ≤ s.len()` in the loop; below, `first` chooses the numbers that are left.
    unsafe {
        while i + S::N <= s.len() {
            found |= simd.any_nan(simd.load(s.as_ptr().add(i)));
            i += S::N;
        }
        found | simd.any_nan(simd.load_first(simd.first(s.len() - i), s.as_ptr().add(i)))
    }
}

/// Reads `n` numbers at `s` and writes as many to `out`, which is `s` or doesn't overlap it.
struct ShiftedSum<const ABOVE: bool> {
    s: *const f64,
    out: *mut f64,
    n: usize,
    shift: f64,
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
        unsafe { sum_of(simd, ExpShifted::<ABOVE>(finite(self.shift)), self.s, self.out, self.n, Ahead::All) }
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
                let at = j.as_mut_ptr().add(i);
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

struct RowWeights<'a> {
    a: &'a [f64],
    ld: usize,
    factors: &'a [f64],
    counts: &'a [f64],
    omega: &'a mut [f64],
    totals: &'a mut [f64],
}

impl Kernel for RowWeights<'_> {
    type Output = RowTotals;

    fn plain(self) -> RowTotals {
        let Self { a, ld, factors, counts, omega, totals } = self;
        let (mut value, mut smallest) = (0.0, f64::INFINITY);
        totals.fill(0.0);
        for (i, &n) in counts.iter().enumerate() {
            let pi = factors.iter().enumerate().fold(0.0, |pi, (k, f)| pi + f * a[k * ld + i]);
            let known = if pi < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { pi };
            let share = n / known;
            for (k, f) in factors.iter().enumerate() {
                omega[k * ld + i] = f * a[k * ld + i] * share;
                totals[k] += omega[k * ld + i];
            }
            value += n * libm::log(known);
            if n > 0.0 && pi < smallest {
                smallest = pi;
            }
        }
        RowTotals { value, smallest }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> RowTotals {
        self.over_vectors(simd)
    }
}

impl RowWeights<'_> {
    #[inline(always)]
    fn over_vectors<S: Powers<f64>>(self, simd: S) -> RowTotals {
        let Self { a, ld, factors, counts, omega, totals } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = counts.len();
        let zero: F64<S> = simd.splat(0.0);
        let found = over_shares(simd, a, ld, factors, counts, |i, share| {
            let (first, whole) = (simd.first(rows - i), i + n <= rows);
            for (k, f) in factors.iter().enumerate() {
                // SAFETY: `first` chooses rows before `rows`, and the entry check has shown that every class has them.
                unsafe {
                    let (from, to) = (a.as_ptr().add(k * ld + i), omega.as_mut_ptr().add(k * ld + i));
                    let a = if whole { simd.load(from) } else { simd.load_first(first, from) };
                    let weight = simd.mul(simd.mul(a, simd.splat(*f)), share);
                    match whole {
                        true => simd.store(to, weight),
                        false => simd.store_first(first, to, weight),
                    }
                }
            }
        });
        for (k, total) in totals.iter_mut().enumerate() {
            let mut sum = [zero; 2];
            let column = omega[k * ld..][..rows].as_ptr();
            let mut i = 0;
            // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
            unsafe {
                while i + 2 * n <= rows {
                    sum = [simd.add(sum[0], simd.load(column.add(i))), simd.add(sum[1], simd.load(column.add(i + n)))];
                    i += 2 * n;
                }
                while i < rows {
                    sum[0] = simd.add(sum[0], simd.load_first(simd.first(rows - i), column.add(i)));
                    i += n;
                }
            }
            *total = simd.sum(simd.add(sum[0], sum[1]));
        }
        found
    }
}

/// The loop of [`row_weights`] and [`row_shares`]: `write(i, n / π)` for the vector of rows from i on, and the totals.
#[inline(always)]
fn over_shares<S: Powers<f64>>(
    simd: S,
    a: &[f64],
    ld: usize,
    factors: &[f64],
    counts: &[f64],
    mut write: impl FnMut(usize, F64<S>),
) -> RowTotals {
    let (n, rows) = (<S as Lanes<f64>>::N, counts.len());
    let zero: F64<S> = simd.splat(0.0);
    let (tiny, infinity) = (simd.splat(f64::MIN_POSITIVE), simd.splat(f64::INFINITY));
    let (mut value, mut smallest) = (zero, infinity);
    let mut ahead = Ahead::All.of_numbers(counts.as_ptr(), rows);
    let mut i = 0;
    while i < rows {
        let first = simd.first(rows - i);
        let whole = i + n <= rows;
        // SAFETY: `first` chooses rows before `rows`, and the callers' entry checks have shown that every class has them.
        let (pi, count) = unsafe {
            let load = |p: *const f64| if whole { simd.load(p) } else { simd.load_first(first, p) };
            let mut pi = zero;
            for (k, f) in factors.iter().enumerate() {
                let from = a.as_ptr().add(k * ld + i);
                pi = simd.mul_add(load(from), simd.splat(*f), pi);
            }
            Ahead::All.ask(simd, a.as_ptr().wrapping_add(factors.len() * i), factors.len() * n);
            if i % PIECE_OF_F64 == 0 {
                ahead.ask(simd);
            }
            (pi, load(counts.as_ptr().add(i)))
        };
        let known = simd.max(tiny, pi);
        write(i, simd.div(count, known));
        let [log] = ln_of::<f64, S, 1>(simd, [known]);
        value = simd.mul_add(count, log, value);
        smallest = simd.min(smallest, simd.select_less(zero, count, pi, infinity));
        i += n;
    }
    let negative = simd.sub(zero, smallest);
    RowTotals { value: simd.sum(value), smallest: -simd.largest(negative) }
}

struct RowShares<'a> {
    a: &'a [f64],
    ld: usize,
    factors: &'a [f64],
    counts: &'a [f64],
    shares: &'a mut [f64],
    totals: &'a mut [f64],
}

impl Kernel for RowShares<'_> {
    type Output = RowTotals;

    fn plain(self) -> RowTotals {
        let Self { a, ld, factors, counts, shares, totals } = self;
        let (mut value, mut smallest) = (0.0, f64::INFINITY);
        totals.fill(0.0);
        for (i, &n) in counts.iter().enumerate() {
            let pi = factors.iter().enumerate().fold(0.0, |pi, (k, f)| pi + f * a[k * ld + i]);
            let known = if pi < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { pi };
            shares[i] = n / known;
            for ((k, f), total) in factors.iter().enumerate().zip(&mut *totals) {
                *total += f * a[k * ld + i] * shares[i];
            }
            value += n * libm::log(known);
            if n > 0.0 && pi < smallest {
                smallest = pi;
            }
        }
        RowTotals { value, smallest }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> RowTotals {
        self.over_vectors(simd)
    }
}

impl RowShares<'_> {
    #[inline(always)]
    fn over_vectors<S: Powers<f64>>(self, simd: S) -> RowTotals {
        let Self { a, ld, factors, counts, shares, totals } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = counts.len();
        let zero: F64<S> = simd.splat(0.0);
        // SAFETY: as many shares as rows; `first` chooses those that are left.
        let found = over_shares(simd, a, ld, factors, counts, |i, share| unsafe {
            match i + n <= rows {
                true => simd.store(shares.as_mut_ptr().add(i), share),
                false => simd.store_first(simd.first(rows - i), shares.as_mut_ptr().add(i), share),
            }
        });
        for ((k, total), f) in totals.iter_mut().enumerate().zip(factors) {
            let f = simd.splat(*f);
            let mut sum = [zero; 2];
            let (column, shares) = (a[k * ld..][..rows].as_ptr(), shares.as_ptr());
            let mut i = 0;
            // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
            unsafe {
                while i + 2 * n <= rows {
                    for (u, sum) in sum.iter_mut().enumerate() {
                        *sum = simd.mul_add(simd.mul(f, simd.load(column.add(i + u * n))), simd.load(shares.add(i + u * n)), *sum);
                    }
                    i += 2 * n;
                }
                while i < rows {
                    let first = simd.first(rows - i);
                    let weight = simd.mul(f, simd.load_first(first, column.add(i)));
                    sum[0] = simd.mul_add(weight, simd.load_first(first, shares.add(i)), sum[0]);
                    i += n;
                }
            }
            *total = simd.sum(simd.add(sum[0], sum[1]));
        }
        found
    }
}

struct Weigh<'a> {
    a: &'a [f64],
    shares: &'a [f64],
    factors: [f64; 2],
    out: &'a mut [f64],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    fn plain(self) {
        let [f, g] = self.factors;
        for ((out, a), share) in self.out.iter_mut().zip(self.a).zip(self.shares) {
            *out = a * (f * share - g);
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        self.over_vectors(simd);
    }
}

impl Weigh<'_> {
    #[inline(always)]
    fn over_vectors<S: Lanes<f64>>(self, simd: S) {
        let (n, rows) = (<S as Lanes<f64>>::N, self.out.len());
        let (f, minus_g) = (simd.splat(self.factors[0]), simd.splat(-self.factors[1]));
        let (a, shares, out) = (self.a.as_ptr(), self.shares.as_ptr(), self.out.as_mut_ptr());
        let mut ahead = Ahead::All.of_numbers(a, rows);
        let mut i = 0;
        // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
        unsafe {
            while i + n <= rows {
                if i % PIECE_OF_F64 == 0 {
                    ahead.ask(simd);
                }
                simd.store(out.add(i), simd.mul(simd.load(a.add(i)), simd.mul_add(f, simd.load(shares.add(i)), minus_g)));
                i += n;
            }
            if i < rows {
                let first = simd.first(rows - i);
                let weight = simd.mul_add(f, simd.load_first(first, shares.add(i)), minus_g);
                simd.store_first(first, out.add(i), simd.mul(simd.load_first(first, a.add(i)), weight));
            }
        }
    }
}

struct WeighInPlace<'a> {
    w: &'a mut [f64],
    shares: &'a [f64],
    factors: [f64; 2],
}

impl Kernel for WeighInPlace<'_> {
    type Output = f64;

    fn plain(self) -> f64 {
        let [f, g] = self.factors;
        let mut total = 0.0;
        for (w, share) in self.w.iter_mut().zip(self.shares) {
            total += *w * (f * share);
            *w *= f * share - g;
        }
        total
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        self.over_vectors(simd)
    }
}

impl WeighInPlace<'_> {
    #[inline(always)]
    fn over_vectors<S: Lanes<f64>>(self, simd: S) -> f64 {
        let (n, rows) = (<S as Lanes<f64>>::N, self.w.len());
        let (f, g) = (simd.splat(self.factors[0]), simd.splat(self.factors[1]));
        let (w, shares) = (self.w.as_mut_ptr(), self.shares.as_ptr());
        let mut sums = [simd.splat(0.0); 2];
        let mut i = 0;
        // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
        unsafe {
            while i + 2 * n <= rows {
                for (u, sum) in sums.iter_mut().enumerate() {
                    let (at, a) = (w.add(i + u * n), simd.load(w.add(i + u * n)));
                    let share = simd.mul(f, simd.load(shares.add(i + u * n)));
                    *sum = simd.mul_add(a, share, *sum);
                    simd.store(at, simd.mul(a, simd.sub(share, g)));
                }
                i += 2 * n;
            }
            while i < rows {
                let first = simd.first(rows - i);
                let a = simd.load_first(first, w.add(i));
                let share = simd.mul(f, simd.load_first(first, shares.add(i)));
                sums[0] = simd.mul_add(a, share, sums[0]);
                simd.store_first(first, w.add(i), simd.mul(a, simd.sub(share, g)));
                i += n;
            }
        }
        simd.sum(simd.add(sums[0], sums[1]))
    }
}

struct SubtractScaled<'a> {
    f: f64,
    a: &'a [f64],
    w: &'a mut [f64],
}

impl Kernel for SubtractScaled<'_> {
    type Output = ();

    fn plain(self) {
        self.w.iter_mut().zip(self.a).for_each(|(w, a)| *w -= self.f * a);
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        self.over_vectors(simd);
    }
}

impl SubtractScaled<'_> {
    #[inline(always)]
    fn over_vectors<S: Lanes<f64>>(self, simd: S) {
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
    use alloc::vec::Vec;

    #[test]
    fn shares_and_weights_in_place_are_those_of_the_plain_way_on_every_instruction_set() {
        for isa in Isa::available() {
            for rows in 0..70 {
                let ld = rows + 3;
                let a: Vec<f64> = (0..3 * ld).map(|i| ((i * 37) % 101) as f64 / 101.0 + 1e-3).collect();
                let counts: Vec<f64> = (0..rows).map(|i| (i % 5) as f64).collect();
                let factors = [0.5, 1.5, 0.25];
                let (mut shares, mut alone, mut totals) = (alloc::vec![0.0; rows], alloc::vec![0.0; rows], [0.0; 3]);
                let found = row_shares(isa, &a, ld, &factors, &counts, &mut shares, &mut totals);
                let same = row_shares(isa, &a, ld, &factors, &counts, &mut alone, &mut []);
                assert!(shares == alone && found == same);
                for (k, f) in factors.iter().enumerate() {
                    let (mut w, mut out) = (a[k * ld..][..rows].to_vec(), alloc::vec![0.0; rows]);
                    weigh(isa, &w, &shares, [*f, 0.75], &mut out);
                    let total = weigh_in_place(isa, &mut w, &shares, [*f, 0.75]);
                    assert!((total - totals[k]).abs() <= 1e-14 * totals[k], "{rows}");
                    for (x, y) in w.iter().zip(&out) {
                        assert!((x - y).abs() <= 1e-14 * (1.0 + y.abs()), "{rows} {x} {y}");
                    }
                }
            }
        }
    }
}
