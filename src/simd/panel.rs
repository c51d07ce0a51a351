//! Softmax and sums of many small choice sets that stand side by side: eight sets a group, a lane a set.
//!
//! A column of a group holds alternative 0 of its eight sets, then alternative 1, …: `s[8 j + lane]`. So every step over the alternatives
//! of a set is one over whole vectors. A block has groups one after another, each of its own height J, and C columns of `rows = Σ 8 J`
//! numbers; what belongs to a set and a column stands at `(group · C + column) · 8 + lane`. Places that no alternative fills hold −∞,
//! but the first of a set that is not there, or, where all sets are of one size, every place of it.

use super::Isa;
use super::dispatch::{ElementKernel, Kernel, OfF64};
use super::exp::{exp_or_zero, plain_exp_or_zero};
use super::log::ln_of;
use super::logsumexp::finite;
use super::products::with_constant;
use super::vector::{F64, Lanes, Powers, Simd, each};

/// Choice sets of a group.
pub(crate) const SETS: usize = 8;

/// What the kernels of this file need to know of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups<'a> {
    /// Alternatives of the sets of each group, J.
    pub heights: &'a [usize],
    /// Numbers of a column: `8 J` of every group.
    pub rows: usize,
    /// Columns C.
    pub columns: usize,
}

impl Groups<'_> {
    /// Panics unless a column is whole groups, and there is room.
    fn check(&self, values: usize, sets: usize) {
        assert!(self.heights.iter().sum::<usize>() * SETS == self.rows, "whole groups");
        assert!(self.rows * self.columns <= values && self.heights.len() * self.columns * SETS <= sets, "room");
    }

    /// `(J, place in a column, number)` of every group.
    #[inline(always)]
    pub fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.heights.iter().enumerate().scan(0, |before, (group, height)| {
            let at = *before;
            *before += SETS * height;
            Some((*height, at, group))
        })
    }

    /// `(J, place of the group in the column, place of its sets)` for every group of every column.
    #[inline(always)]
    fn each_column(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let Groups { rows, columns, .. } = *self;
        self.each().flat_map(move |(height, at, group)| (0..columns).map(move |c| (height, c * rows + at, (group * columns + c) * SETS)))
    }
}

/// `s_i ← e^(s_i) / Z` and `log Z`, `Z = Σ e^(s_i)` over the alternatives of each set, 0 where it would be below about 1e-300. NaN and +∞
/// give a log Z that is not finite.
pub(crate) fn softmax_of_groups(isa: Isa, groups: Groups<'_>, s: &mut [f64], log_z: &mut [f64]) {
    groups.check(s.len(), log_z.len());
    isa.run(Softmax { groups, s, log_z });
}

/// `t = Σ ω_i` over the alternatives of each set.
pub(crate) fn sums_of_groups(isa: Isa, groups: Groups<'_>, omega: &[f64], t: &mut [f64]) {
    groups.check(omega.len(), t.len());
    isa.run(OfF64(Sums { groups, omega, t }));
}

/// `ω_i ← ω_i − t a_i`, t that of the set of i; or `ω_i = t a_i` if `FRESH`.
pub(crate) fn products_of_groups<const FRESH: bool>(isa: Isa, groups: Groups<'_>, t: &[f64], a: &[f64], omega: &mut [f64]) {
    groups.check(omega.len().min(a.len()), t.len());
    isa.run(OfF64(Products::<FRESH> { groups, t, a, omega }));
}

/// `v[l · 8 G + set] = Σ w_i x_il` over the alternatives of each of the 8 G sets of one column w, for L features of `x`, `rows` apart:
/// `groups.columns` is L.
pub(crate) fn weighted_sums_of_groups(isa: Isa, groups: Groups<'_>, w: &[f64], x: &[f64], v: &mut [f64]) {
    groups.check(x.len(), v.len());
    assert!(w.len() >= groups.rows, "a weight for every row");
    isa.run(OfF64(WeightedSums { groups, w, x, v }));
}

/// `values_c += Σ t z` and `sizes_c += Σ |t z|` over the groups of `t` and `z`, eight numbers for each of C columns: one for each place of
/// a group.
pub(crate) fn products_of_zones(isa: Isa, t: &[f64], z: &[f64], values: &mut [f64], sizes: &mut [f64]) {
    let row = values.len();
    assert!(t.len() == z.len() && row == sizes.len() && row % SETS == 0 && (t.is_empty() || row > 0 && t.len() % row == 0), "whole groups");
    isa.run(OfF64(ProductsOfZones { t, z, values, sizes }));
}

struct Softmax<'a> {
    groups: Groups<'a>,
    s: &'a mut [f64],
    log_z: &'a mut [f64],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    fn plain(self) {
        let Self { groups, s, log_z } = self;
        for (height, at, set) in groups.each_column() {
            let column = &mut s[at..at + SETS * height];
            for lane in 0..SETS {
                let of_set = || (lane..SETS * height).step_by(SETS);
                let max = finite(of_set().fold(f64::NEG_INFINITY, |m, i| if column[i] > m { column[i] } else { m }));
                let mut sum = 0.0;
                for i in of_set() {
                    column[i] = plain_exp_or_zero(column[i] - max);
                    sum += column[i];
                }
                let inverse = 1.0 / if sum < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { sum };
                of_set().for_each(|i| column[i] *= inverse);
                log_z[set + lane] = max + libm::log(sum);
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { groups, s, log_z } = self;
        let Groups { rows, columns, .. } = groups;
        let n = <S as Lanes<f64>>::N;
        for (height, place, group) in groups.each() {
            let mut c = 0;
            while c < columns {
                // Columns side by side, to hide the latency of exp and ln.
                let count = super::products::part(columns - c, 4);
                for lane in (0..SETS).step_by(n) {
                    // SAFETY: the entry check has shown that every column has `rows` numbers and every group its sets.
                    unsafe {
                        let at = s.as_mut_ptr().add(c * rows + place + lane);
                        let z = log_z.as_mut_ptr().add((group * columns + c) * SETS + lane);
                        with_constant!(U = count, one of 1 2 3 4; softmax_of_lanes::<S, U>(simd, at, rows, height, z));
                    }
                }
                c += count;
            }
        }
    }
}

/// A vector of sets in U columns.
///
/// # Safety
/// `s` has U columns of the group, `rows` apart, and `log_z` a place for each.
#[inline(always)]
unsafe fn softmax_of_lanes<S: Powers<f64>, const U: usize>(simd: S, s: *mut f64, rows: usize, height: usize, log_z: *mut f64) {
    // SAFETY: by the contract.
    unsafe {
        let mut max = [simd.splat(f64::MIN); U];
        for j in 0..height {
            for u in 0..U {
                max[u] = simd.max(simd.load(s.add(u * rows + j * SETS)), max[u]);
            }
        }
        for m in &mut max {
            *m = simd.min(simd.splat(f64::MAX), *m);
        }
        let mut sum: [F64<S>; U] = [simd.splat(0.0); U];
        for j in 0..height {
            let difference = each!(u < U, from simd.splat(0.0); simd.sub(simd.load(s.add(u * rows + j * SETS)), max[u]));
            let e = exp_or_zero::<f64, S, U>(simd, difference);
            for u in 0..U {
                simd.store(s.add(u * rows + j * SETS), e[u]);
                sum[u] = simd.add(sum[u], e[u]);
            }
        }
        // Where all are −∞ the sum is 0, and 0 / 0 must be 0.
        let (one, least) = (simd.splat(1.0), simd.splat(f64::MIN_POSITIVE));
        let inverse = each!(u < U, from one; simd.div(one, simd.max(least, sum[u])));
        for j in 0..height {
            for u in 0..U {
                let at = s.add(u * rows + j * SETS);
                simd.store(at, simd.mul(simd.load(at), inverse[u]));
            }
        }
        let log = ln_of::<f64, S, U>(simd, sum);
        for u in 0..U {
            simd.store(log_z.add(u * SETS), simd.add(max[u], log[u]));
        }
    }
}

struct Sums<'a> {
    groups: Groups<'a>,
    omega: &'a [f64],
    t: &'a mut [f64],
}

impl ElementKernel<f64> for Sums<'_> {
    type Output = ();

    fn plain(self) {
        let Self { groups, omega, t } = self;
        for (height, at, set) in groups.each_column() {
            for lane in 0..SETS {
                t[set + lane] = (0..height).fold(0.0, |sum, j| sum + omega[at + j * SETS + lane]);
            }
        }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let Self { groups, omega, t } = self;
        for (height, at, set) in groups.each_column() {
            for lane in (0..SETS).step_by(S::N) {
                // SAFETY: as in `softmax_of_groups`.
                unsafe {
                    let from = omega.as_ptr().add(at + lane);
                    let mut sum = simd.splat(0.0);
                    for j in 0..height {
                        sum = simd.add(sum, simd.load(from.add(j * SETS)));
                    }
                    simd.store(t.as_mut_ptr().add(set + lane), sum);
                }
            }
        }
    }
}

struct Products<'a, const FRESH: bool> {
    groups: Groups<'a>,
    t: &'a [f64],
    a: &'a [f64],
    omega: &'a mut [f64],
}

impl<const FRESH: bool> ElementKernel<f64> for Products<'_, FRESH> {
    type Output = ();

    fn plain(self) {
        let Self { groups, t, a, omega } = self;
        for (height, at, set) in groups.each_column() {
            for i in 0..SETS * height {
                let product = t[set + i % SETS] * a[at + i];
                omega[at + i] = if FRESH { product } else { omega[at + i] - product };
            }
        }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let Self { groups, t, a, omega } = self;
        for (height, at, set) in groups.each_column() {
            for lane in (0..SETS).step_by(S::N) {
                // SAFETY: as in `softmax_of_groups`.
                unsafe {
                    let minus_t = simd.sub(simd.splat(0.0), simd.load(t.as_ptr().add(set + lane)));
                    let t = simd.load(t.as_ptr().add(set + lane));
                    for j in 0..height {
                        let i = at + j * SETS + lane;
                        let a = simd.load(a.as_ptr().add(i));
                        let to = omega.as_mut_ptr().add(i);
                        simd.store(to, if FRESH { simd.mul(t, a) } else { simd.mul_add(minus_t, a, simd.load(to)) });
                    }
                }
            }
        }
    }
}

struct ProductsOfZones<'a> {
    t: &'a [f64],
    z: &'a [f64],
    values: &'a mut [f64],
    sizes: &'a mut [f64],
}

impl ElementKernel<f64> for ProductsOfZones<'_> {
    type Output = ();

    fn plain(self) {
        let row = self.values.len().max(1);
        for (i, (t, z)) in self.t.iter().zip(self.z).enumerate() {
            self.values[i % row] += t * z;
            self.sizes[i % row] += (t * z).abs();
        }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let Self { t, z, values, sizes } = self;
        let row = values.len();
        let mut at = 0;
        while at < t.len() {
            for i in (0..row).step_by(S::N) {
                // SAFETY: the entry check has shown that t and z are as long as one another and whole rows, of which each is whole vectors,
                // as are values and sizes.
                unsafe {
                    let product = simd.mul(simd.load(t.as_ptr().add(at + i)), simd.load(z.as_ptr().add(at + i)));
                    let (value, size) = (values.as_mut_ptr().add(i), sizes.as_mut_ptr().add(i));
                    simd.store(value, simd.add(simd.load(value), product));
                    let magnitude = simd.max(product, simd.sub(simd.splat(0.0), product));
                    simd.store(size, simd.add(simd.load(size), magnitude));
                }
            }
            at += row;
        }
    }
}

struct WeightedSums<'a> {
    groups: Groups<'a>,
    w: &'a [f64],
    x: &'a [f64],
    v: &'a mut [f64],
}

impl ElementKernel<f64> for WeightedSums<'_> {
    type Output = ();

    fn plain(self) {
        let Self { groups, w, x, v } = self;
        let (rows, sets) = (groups.rows, groups.heights.len() * SETS);
        for l in 0..groups.columns {
            for (height, at, group) in groups.each() {
                for lane in 0..SETS {
                    let of_set = (0..height).map(|j| at + j * SETS + lane);
                    v[l * sets + group * SETS + lane] = of_set.fold(0.0, |sum, i| sum + w[i] * x[l * rows + i]);
                }
            }
        }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) {
        let Self { groups, w, x, v } = self;
        let (rows, sets) = (groups.rows, groups.heights.len() * SETS);
        for l in 0..groups.columns {
            for (height, at, group) in groups.each() {
                for lane in (0..SETS).step_by(S::N) {
                    // SAFETY: as in `softmax_of_groups`.
                    unsafe {
                        let (w, x) = (w.as_ptr().add(at + lane), x.as_ptr().add(l * rows + at + lane));
                        let mut sum = simd.splat(0.0);
                        for j in 0..height {
                            sum = simd.mul_add(simd.load(w.add(j * SETS)), simd.load(x.add(j * SETS)), sum);
                        }
                        simd.store(v.as_mut_ptr().add(l * sets + group * SETS + lane), sum);
                    }
                }
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    /// Numbers in (−range, range) that differ from place to place.
    fn numbers(n: usize, range: f64) -> Vec<f64> {
        (0..n).map(|i| range * libm::sin(1.0 + 12.9898 * i as f64)).collect()
    }

    /// Some weights, or none for no columns.
    fn s_or_zero(omega: &[f64], rows: usize) -> Vec<f64> {
        if omega.is_empty() { vec![0.0; rows] } else { omega[..rows].to_vec() }
    }

    #[test]
    fn every_instruction_set_agrees_with_the_plain_one() {
        for height in 1..12 {
            for columns in 0..9 {
                let heights = [height, 1, height + 2];
                let groups = Groups { heights: &heights, rows: heights.iter().sum::<usize>() * SETS, columns };
                let n = groups.rows * columns;
                let (mut s, omega) = (numbers(n, 30.0), numbers(n, 2.0));
                // A set with two alternatives out of reach, and one without alternatives.
                for j in 1..height.min(3) {
                    (0..columns).for_each(|c| s[c * groups.rows + j * SETS + 3] = f64::NEG_INFINITY);
                }
                (0..height).for_each(|j| (0..columns).for_each(|c| s[c * groups.rows + j * SETS + 5] = f64::NEG_INFINITY));
                let run = |isa| {
                    let (mut a, mut z, mut t) = (s.clone(), vec![0.0; 3 * columns * SETS], vec![0.0; 3 * columns * SETS]);
                    softmax_of_groups(isa, groups, &mut a, &mut z);
                    sums_of_groups(isa, groups, &omega, &mut t);
                    let (mut rest, mut fresh) = (omega.clone(), vec![f64::NAN; n]);
                    products_of_groups::<false>(isa, groups, &t, &a, &mut rest);
                    products_of_groups::<true>(isa, groups, &t, &a, &mut fresh);
                    let mut v = vec![f64::NAN; 3 * SETS * columns];
                    weighted_sums_of_groups(isa, groups, &s_or_zero(&omega, groups.rows), &omega, &mut v);
                    let (mut values, mut sizes) = (vec![1.0; columns * SETS], vec![2.0; columns * SETS]);
                    products_of_zones(isa, &t, &t.iter().rev().copied().collect::<Vec<_>>(), &mut values, &mut sizes);
                    [a, z, t, rest, fresh, v, values, sizes]
                };
                let plain = run(Isa::Scalar);
                for isa in Isa::available() {
                    for (quantity, (got, wanted)) in run(isa).iter().zip(&plain).enumerate() {
                        for (x, y) in got.iter().zip(wanted) {
                            let near = x == y || (x - y).abs() <= 1e-14 * (1.0 + y.abs());
                            assert!(near, "{} {height} {columns} quantity {quantity}: {x} {y}", isa.name());
                        }
                    }
                }
                for (c, a) in plain[0].chunks_exact(groups.rows.max(1)).enumerate() {
                    let total: f64 = (0..height).map(|j| a[j * SETS]).sum();
                    assert!((total - 1.0).abs() < 1e-14, "{c}");
                    assert!((0..height).all(|j| a[j * SETS + 5] == 0.0));
                }
            }
        }
    }

    #[test]
    fn logits_that_overflow_give_no_finite_normalizer() {
        let groups = Groups { heights: &[2], rows: 16, columns: 1 };
        for isa in Isa::available() {
            for bad in [f64::NAN, f64::INFINITY] {
                let (mut s, mut z) = (vec![1.0; 16], vec![0.0; 8]);
                s[9] = bad;
                softmax_of_groups(isa, groups, &mut s, &mut z);
                assert!(!z[1].is_finite() && z[0].is_finite(), "{} {bad}: {z:?}", isa.name());
            }
        }
    }
}
