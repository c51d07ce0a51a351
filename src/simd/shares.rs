//! Row weights of counts, the shares that they are made of, and columns weighed by them.

use super::Isa;
use super::ahead::{Ahead, PIECE_OF_F64};
use super::dispatch::{ElementKernel, OfF64};
use super::log::ln_of_positive;
use super::products::with_constant;
use super::rows::columns_fit;
use super::vector::{F64, Lanes, Powers, each};
use core::mem::MaybeUninit;

/// Vectors that are weighed side by side.
const U: usize = 2;

/// What [`row_weights`] finds beside the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTotals {
    /// `Σ_i n_i ln π_i`, over the rows of positive n.
    pub value: f64,
    /// The smallest `π_i` of a row of positive n; +∞ if there is none, and 0 where an `n_i / π_i` is beyond the range of f64.
    pub smallest: f64,
}

/// Row weights of counts: `π_i = Σ_k f_k a_ik`, `Ω_ik = n_i f_k a_ik / π_i`, and `totals_k = Σ_i Ω_ik`.
///
/// Column k of `a` and of `omega` is `[k * ld..][..rows]`, rows the length of `counts`, K that of `factors`. Where `π_i` is below the
/// smallest normal number, weights and value are too small to trust: see `smallest`.
///
/// # Panics
/// Unless `ld ≥ rows`, `totals` has K numbers, and `a` and `omega` have `(K − 1) · ld + rows`.
pub fn row_weights(isa: Isa, a: &[f64], ld: usize, factors: &[f64], counts: &[f64], omega: &mut [f64], totals: &mut [f64]) -> RowTotals {
    row_weights_from(isa, a, ld, factors, counts, omega, totals, Ahead::is_far(size_of_val(a)))
}

/// The same, which asks ahead for `a` and what is beside it if that is `far`, in memory.
pub(crate) fn row_weights_from(
    isa: Isa,
    a: &[f64],
    ld: usize,
    factors: &[f64],
    counts: &[f64],
    omega: &mut [f64],
    totals: &mut [f64],
    far: bool,
) -> RowTotals {
    let (rows, classes) = (counts.len(), factors.len());
    assert!(columns_fit(classes, ld, rows, a.len().min(omega.len())), "room");
    assert_eq!(totals.len(), classes, "a total for every class");
    isa.run(OfF64(RowWeights { a, ld, factors, counts, omega, totals, far }))
}

/// Shares of counts: `share_i = n_i / π_i` and `totals_k = Σ_i f_k a_ik share_i`, with π as of [`row_weights`], of which this is all but
/// the weights. Without the totals where `totals` is empty.
///
/// # Panics
/// As [`row_weights`], `shares` in place of `omega` of the length of `counts`, and but for empty totals.
pub fn row_shares(isa: Isa, a: &[f64], ld: usize, factors: &[f64], counts: &[f64], shares: &mut [f64], totals: &mut [f64]) -> RowTotals {
    // SAFETY: nothing but numbers is written there.
    let shares = unsafe { &mut *(core::ptr::from_mut(shares) as *mut [MaybeUninit<f64>]) };
    row_shares_to(isa, a, ld, factors, counts, shares, totals, Ahead::is_far(size_of_val(a)))
}

/// The same to room for numbers; asks ahead for `a` and what is beside it if that is `far`, in memory.
pub(crate) fn row_shares_to(
    isa: Isa,
    a: &[f64],
    ld: usize,
    factors: &[f64],
    counts: &[f64],
    shares: &mut [MaybeUninit<f64>],
    totals: &mut [f64],
    far: bool,
) -> RowTotals {
    let (rows, classes) = (counts.len(), factors.len());
    assert!(columns_fit(classes, ld, rows, a.len()), "room");
    assert!(
        shares.len() == rows && (totals.is_empty() || totals.len() == classes),
        "a share for every row, and a total for every class or none"
    );
    let all = RowShares { a, ld, factors, counts, shares: shares.as_mut_ptr().cast(), totals, far };
    match classes {
        1..=8 => with_constant!(C = classes, one of 1 2 3 4 5 6 7 8; isa.run(OfF64(Classes::<C>(all)))),
        _ => isa.run(OfF64(all)),
    }
}

/// `w_i ← w_i (f share_i − g)`, `[f, g] = factors`, and `Σ_i w_i f share_i` of what stood there.
pub(crate) fn weigh_in_place(isa: Isa, w: &mut [f64], shares: &[f64], factors: [f64; 2]) -> f64 {
    assert_eq!(w.len(), shares.len(), "w and shares must have the same length");
    isa.run(OfF64(WeighInPlace { w, shares, factors }))
}

/// `out_i = a_i (f share_i − g)`, `[f, g] = factors`.
///
/// # Panics
/// Unless all have the same length.
pub fn weigh(isa: Isa, a: &[f64], shares: &[f64], factors: [f64; 2], out: &mut [f64]) {
    assert_eq!((a.len(), shares.len()), (out.len(), out.len()), "a, shares and out must have the same length");
    weigh_columns(isa, a, a.len(), shares, [&[factors[0]], &[factors[1]]], out, Ahead::is_far(size_of_val(a)));
}

/// `out_ik = a_ik (f_k share_i − g_k)`, `[f, g] = factors`, of columns as of [`row_weights`]; asks ahead for `a` if that is `far`, in
/// memory.
///
/// # Panics
/// Unless `ld` is at least the number of `shares`, the rows, `f` and `g` have K numbers, and `a` and `out` have `(K − 1) · ld + rows`.
pub(crate) fn weigh_columns(isa: Isa, a: &[f64], ld: usize, shares: &[f64], factors: [&[f64]; 2], out: &mut [f64], far: bool) {
    let (rows, classes) = (shares.len(), factors[0].len());
    assert!(columns_fit(classes, ld, rows, a.len().min(out.len())), "room");
    assert_eq!(factors[1].len(), classes, "two factors for every class");
    isa.run(OfF64(Weigh { a, ld, shares, factors, out, far }));
}

struct RowWeights<'a> {
    a: &'a [f64],
    ld: usize,
    factors: &'a [f64],
    counts: &'a [f64],
    omega: &'a mut [f64],
    totals: &'a mut [f64],
    far: bool,
}

impl ElementKernel<f64> for RowWeights<'_> {
    type Output = RowTotals;

    fn plain(self) -> RowTotals {
        let Self { a, ld, factors, counts, omega, totals, .. } = self;
        totals.fill(0.0);
        plain_shares(a, ld, factors, counts, |i, share| {
            for ((k, f), total) in factors.iter().enumerate().zip(&mut *totals) {
                omega[k * ld + i] = f * a[k * ld + i] * share;
                *total += omega[k * ld + i];
            }
        })
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) -> RowTotals {
        let Self { a, ld, factors, counts, omega, totals, far } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = counts.len();
        let zero: F64<S> = simd.splat(0.0);
        let found = over_shares::<S, 0>(simd, a, ld, factors, counts, far, |i, [], share| {
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

/// The plain twin of [`over_shares`], row by row.
fn plain_shares(a: &[f64], ld: usize, factors: &[f64], counts: &[f64], mut write: impl FnMut(usize, f64)) -> RowTotals {
    let (mut value, mut smallest, mut largest) = (0.0, f64::INFINITY, 0.0);
    for (i, &n) in counts.iter().enumerate() {
        let pi = factors.iter().enumerate().fold(0.0, |pi, (k, f)| pi + f * a[k * ld + i]);
        let known = if pi < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { pi };
        write(i, n / known);
        largest = f64::max(largest, n / known);
        value += n * libm::log(known);
        if n > 0.0 && pi < smallest {
            smallest = pi;
        }
    }
    RowTotals { value, smallest: if largest == f64::INFINITY { 0.0 } else { smallest } }
}

/// The loop of [`row_weights`] and [`row_shares`] of K classes, or any number if K is 0: `write(i, a, n / π)` for the vector of rows from i
/// on, with its probabilities unless K is 0; and the totals.
#[inline(always)]
fn over_shares<S: Powers<f64>, const K: usize>(
    simd: S,
    a: &[f64],
    ld: usize,
    factors: &[f64],
    counts: &[f64],
    far: bool,
    mut write: impl FnMut(usize, [F64<S>; K], F64<S>),
) -> RowTotals {
    let (n, rows) = (<S as Lanes<f64>>::N, counts.len());
    let zero: F64<S> = simd.splat(0.0);
    let (tiny, infinity) = (simd.splat(f64::MIN_POSITIVE), simd.splat(f64::INFINITY));
    let (mut value, mut smallest, mut largest) = (zero, infinity, zero);
    let memory = Ahead::of_memory();
    let mut of_counts = memory.of_numbers(counts.as_ptr(), rows);
    let mut i = 0;
    while i < rows {
        let first = simd.first(rows - i);
        let whole = i + n <= rows;
        // SAFETY: `first` chooses rows before `rows`, and the callers' entry checks have shown that every class has them.
        let (known, pi, count) = unsafe {
            let load = |p: *const f64| if whole { simd.load(p) } else { simd.load_first(first, p) };
            let (mut pi, mut known) = (zero, [zero; K]);
            for (k, known) in known.iter_mut().enumerate() {
                *known = load(a.as_ptr().add(k * ld + i));
                pi = simd.mul_add(*known, simd.splat(factors[k]), pi);
            }
            if K == 0 {
                for (k, f) in factors.iter().enumerate() {
                    pi = simd.mul_add(load(a.as_ptr().add(k * ld + i)), simd.splat(*f), pi);
                }
            }
            if far {
                memory.ask(simd, a.as_ptr().wrapping_add(factors.len() * i), factors.len() * n);
                if i % PIECE_OF_F64 == 0 {
                    of_counts.piece(simd);
                }
                of_counts.line(simd, counts.as_ptr().add(i));
            }
            (known, pi, load(counts.as_ptr().add(i)))
        };
        let positive = simd.max(tiny, pi);
        let share = simd.div(count, positive);
        write(i, known, share);
        largest = simd.max(largest, share);
        let [log] = ln_of_positive::<f64, S, 1>(simd, [positive]);
        value = simd.mul_add(count, log, value);
        smallest = simd.min(smallest, simd.select_less(zero, count, pi, infinity));
        i += n;
    }
    let negative = simd.sub(zero, smallest);
    let smallest = if simd.largest(largest) == f64::INFINITY { 0.0 } else { -simd.largest(negative) };
    RowTotals { value: simd.sum(value), smallest }
}

/// Writes the vector of rows from i on, of so many rows.
///
/// # Safety
/// There must be room for them at `to`.
#[inline(always)]
unsafe fn store_rows<S: Lanes<f64>>(simd: S, to: *mut f64, i: usize, rows: usize, v: F64<S>) {
    // SAFETY: by the contract; `first` chooses those that are left.
    unsafe {
        match i + S::N <= rows {
            true => simd.store(to.add(i), v),
            false => simd.store_first(simd.first(rows - i), to.add(i), v),
        }
    }
}

/// `shares` has room for as many numbers as `counts`.
struct RowShares<'a> {
    a: &'a [f64],
    ld: usize,
    factors: &'a [f64],
    counts: &'a [f64],
    shares: *mut f64,
    totals: &'a mut [f64],
    far: bool,
}

impl ElementKernel<f64> for RowShares<'_> {
    type Output = RowTotals;

    fn plain(self) -> RowTotals {
        let Self { a, ld, factors, counts, shares, totals, .. } = self;
        totals.fill(0.0);
        plain_shares(a, ld, factors, counts, |i, share| {
            // SAFETY: row i has one.
            unsafe { shares.add(i).write(share) };
            for ((k, f), total) in factors.iter().enumerate().zip(&mut *totals) {
                *total += f * a[k * ld + i] * share;
            }
        })
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) -> RowTotals {
        let Self { a, ld, factors, counts, shares, totals, far } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = counts.len();
        let found = over_shares::<S, 0>(simd, a, ld, factors, counts, far, |i, [], share| {
            // SAFETY: as many shares as rows; `first` chooses those that are left.
            unsafe { store_rows(simd, shares, i, rows, share) }
        });
        for ((k, total), f) in totals.iter_mut().enumerate().zip(factors) {
            let mut sum = [simd.splat(0.0); 2];
            let column = a[k * ld..][..rows].as_ptr();
            let mut i = 0;
            // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left. All shares have been written.
            unsafe {
                while i + 2 * n <= rows {
                    for (u, sum) in sum.iter_mut().enumerate() {
                        *sum = simd.mul_add(simd.load(column.add(i + u * n)), simd.load(shares.add(i + u * n)), *sum);
                    }
                    i += 2 * n;
                }
                while i < rows {
                    let first = simd.first(rows - i);
                    sum[0] = simd.mul_add(simd.load_first(first, column.add(i)), simd.load_first(first, shares.add(i)), sum[0]);
                    i += n;
                }
            }
            *total = f * simd.sum(simd.add(sum[0], sum[1]));
        }
        found
    }
}

/// The same of K classes, whose numbers stay in registers.
struct Classes<'a, const K: usize>(RowShares<'a>);

impl<const K: usize> ElementKernel<f64> for Classes<'_, K> {
    type Output = RowTotals;

    fn plain(self) -> RowTotals {
        self.0.plain()
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) -> RowTotals {
        let RowShares { a, ld, factors, counts, shares, totals, far } = self.0;
        let rows = counts.len();
        let mut sums = [simd.splat(0.0); K];
        let found = over_shares::<S, K>(simd, a, ld, factors, counts, far, |i, a, share| {
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum = simd.mul_add(a, share, *sum);
            }
            // SAFETY: as many shares as rows; `first` chooses those that are left.
            unsafe { store_rows(simd, shares, i, rows, share) }
        });
        for ((total, f), sum) in totals.iter_mut().zip(factors).zip(sums) {
            *total = f * simd.sum(sum);
        }
        found
    }
}

struct Weigh<'a> {
    a: &'a [f64],
    ld: usize,
    shares: &'a [f64],
    factors: [&'a [f64]; 2],
    out: &'a mut [f64],
    far: bool,
}

impl ElementKernel<f64> for Weigh<'_> {
    type Output = ();

    fn plain(self) {
        let Self { a, ld, shares, factors: [f, g], out, .. } = self;
        for (k, (f, g)) in f.iter().zip(g).enumerate() {
            for ((out, a), share) in out[k * ld..].iter_mut().zip(&a[k * ld..]).zip(shares) {
                *out = a * (f * share - g);
            }
        }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let Self { a, ld, shares, factors: [f, g], out, far } = self;
        for (k, (f, g)) in f.iter().zip(g).enumerate() {
            // SAFETY: the entry check has shown that there are so many rows in every column.
            unsafe {
                let (a, out) = (a.as_ptr().add(k * ld), out.as_mut_ptr().add(k * ld));
                match far {
                    true => weigh_column::<S, true>(simd, a, shares, [*f, *g], out),
                    false => weigh_column::<S, false>(simd, a, shares, [*f, *g], out),
                }
            }
        }
    }
}

/// One column of [`weigh_columns`].
///
/// # Safety
/// As many numbers as `shares` must be readable at `a` and writable at `out`.
#[inline(always)]
unsafe fn weigh_column<S: Lanes<f64>, const FAR: bool>(simd: S, a: *const f64, shares: &[f64], [f, g]: [f64; 2], out: *mut f64) {
    let (n, rows, shares) = (<S as Lanes<f64>>::N, shares.len(), shares.as_ptr());
    let (f, minus_g) = (simd.splat(f), simd.splat(-g));
    let mut ahead = if FAR { Ahead::of_memory() } else { Ahead::Nothing }.of_numbers(a, rows);
    let mut i = 0;
    // SAFETY: whole vectors lie before `rows`; `first` chooses the rows that are left.
    unsafe {
        while i + U * n <= rows {
            if FAR && i % PIECE_OF_F64 == 0 {
                ahead.piece(simd);
            }
            let weight = each!(u < U, from f; simd.mul_add(f, simd.load(shares.add(i + u * n)), minus_g));
            for (u, weight) in weight.into_iter().enumerate() {
                let at = i + u * n;
                if FAR {
                    ahead.line(simd, a.add(at));
                }
                simd.store(out.add(at), simd.mul(simd.load(a.add(at)), weight));
            }
            i += U * n;
        }
        while i < rows {
            let first = simd.first(rows - i);
            let weight = simd.mul_add(f, simd.load_first(first, shares.add(i)), minus_g);
            simd.store_first(first, out.add(i), simd.mul(simd.load_first(first, a.add(i)), weight));
            i += n;
        }
    }
}

struct WeighInPlace<'a> {
    w: &'a mut [f64],
    shares: &'a [f64],
    factors: [f64; 2],
}

impl ElementKernel<f64> for WeighInPlace<'_> {
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
    fn vector<S: Powers<f64>>(self, simd: S) -> f64 {
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

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// All columns at once, near and far, and nothing beside them.
    #[test]
    fn columns_are_weighed_as_each_alone() {
        for isa in Isa::available() {
            for (rows, classes) in (0..70).flat_map(|rows| (0..7).map(move |classes| (rows, classes))) {
                let ld = rows + 5;
                let a = crate::testing::numbers(classes * ld, 1);
                let shares = crate::testing::numbers(rows, 2);
                let (f, g) = (crate::testing::numbers(classes, 3), crate::testing::numbers(classes, 4));
                for far in [false, true] {
                    let mut out = alloc::vec![7.0; classes * ld];
                    weigh_columns(isa, &a, ld, &shares, [&f, &g], &mut out, far);
                    for (k, out) in out.chunks_exact(ld).enumerate() {
                        let mut alone = alloc::vec![7.0; rows];
                        weigh(isa, &a[k * ld..][..rows], &shares, [f[k], g[k]], &mut alone);
                        assert!(alone == out[..rows] && out[rows..].iter().all(|x| *x == 7.0), "{isa:?} {rows} {classes}");
                        let plain =
                            alone.iter().zip(&a[k * ld..]).zip(&shares).all(|((w, a), s)| (w - a * (f[k] * s - g[k])).abs() < 1e-15);
                        assert!(plain, "{isa:?} {rows} {classes}");
                    }
                }
            }
        }
    }

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
