//! The products of `products.rs` for features that stand feature after feature: logits, sums, second moments.
//!
//! Vectors run along the rows, so that nothing is transposed and few features cost no empty lanes. The order of the additions depends on
//! the shape and the instruction set alone.

use super::Isa;
use super::dispatch::Kernel;
use super::products::{part, with_constant};
use super::rows::columns_fit;
use super::vector::{F64, Features, Lanes, Simd, each};
use crate::scalar::Scalar;

/// A block of rows, feature after feature: `values[l * stride + i]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a, T> {
    /// At least `(columns - 1) * stride + rows` values.
    pub values: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of features.
    pub columns: usize,
    /// Values from one feature to the next, at least `rows`.
    pub stride: usize,
}

impl<T> Columns<'_, T> {
    /// Whether every feature lies inside `values`: what the vector kernels rely on.
    fn fits(&self) -> bool {
        columns_fit(self.columns, self.stride, self.rows, self.values.len())
    }

    /// Panics unless `small` numbers make whole columns of L, and one of `rows` for each fits in `large`, `ld` apart.
    fn check(&self, small: usize, large: usize, ld: usize) {
        assert!(self.fits(), "the features must lie inside the values");
        assert!(self.columns > 0 && small % self.columns == 0, "whole columns");
        assert!(columns_fit(small / self.columns, ld, self.rows, large), "room");
    }
}

/// `out[c * ld + i] = offset[i] + Σ_l x_il θ[c * L + l]`: as [`super::logits`].
///
/// # Panics
/// Unless the features lie inside `x.values`, `theta` is whole columns, `offset` has a number for every row and `out` has
/// `(C − 1) · ld + rows` numbers with `ld ≥ rows`.
pub fn logits_of_columns<T: Scalar>(isa: Isa, x: Columns<'_, T>, theta: &[f64], offset: Option<&[f64]>, out: &mut [f64], ld: usize) {
    logits_of_columns_ahead(isa, x, theta, offset, out, ld, 0);
}

/// The same, which asks for the lines so many bytes `ahead` of what is read, if that is not 0.
pub(crate) fn logits_of_columns_ahead<T: Scalar>(
    isa: Isa,
    x: Columns<'_, T>,
    theta: &[f64],
    offset: Option<&[f64]>,
    out: &mut [f64],
    ld: usize,
    ahead: usize,
) {
    x.check(theta.len(), out.len(), ld);
    assert!(offset.is_none_or(|b| b.len() >= x.rows), "an offset for every row");
    T::run(isa, Logits { x, theta, offset, out, ld, ahead });
}

/// `g[c * L + l] += Σ_i w[c * ld + i] x_il`: as [`super::weighted_sum`].
///
/// # Panics
/// Unless the features lie inside `x.values`, `g` is whole columns and `w` has `(C − 1) · ld + rows` numbers with `ld ≥ rows`.
pub fn weighted_sum_of_columns<T: Scalar>(isa: Isa, x: Columns<'_, T>, w: &[f64], ld: usize, g: &mut [f64]) {
    weighted_sum_of_columns_ahead(isa, x, w, ld, g, 0);
}

/// The same, which asks for the lines so many bytes `ahead` of what is read, if that is not 0.
pub(crate) fn weighted_sum_of_columns_ahead<T: Scalar>(isa: Isa, x: Columns<'_, T>, w: &[f64], ld: usize, g: &mut [f64], ahead: usize) {
    x.check(g.len(), w.len(), ld);
    T::run(isa, WeightedSum { x, w, ld, g, ahead });
}

/// `h[a * L + b] += Σ_i w_i x_ia x_ib` for b ≤ a, the lower triangle: as [`super::gram`].
///
/// # Panics
/// Unless the features lie inside `x.values`, `w` has a number for every row, and `h` has `L²` numbers.
pub fn gram_of_columns<T: Scalar>(isa: Isa, x: Columns<'_, T>, w: &[f64], h: &mut [f64]) {
    assert!(x.fits(), "the features must lie inside the values");
    assert!(w.len() >= x.rows, "a weight for every row");
    assert!(x.columns.checked_mul(x.columns).is_some_and(|n| n <= h.len()), "h is L by L");
    T::run(isa, Gram { x, w, h });
}

pub struct Logits<'a, T> {
    x: Columns<'a, T>,
    theta: &'a [f64],
    offset: Option<&'a [f64]>,
    out: &'a mut [f64],
    ld: usize,
    ahead: usize,
}

impl<T: Scalar> Kernel for Logits<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, theta, offset, out, ld, .. } = self;
        for (c, atom) in theta.chunks_exact(x.columns).enumerate() {
            for i in 0..x.rows {
                let mut s = 0.0;
                for (l, t) in atom.iter().enumerate() {
                    s += x.values[l * x.stride + i].to_f64() * t;
                }
                out[c * ld + i] = s + offset.map_or(0.0, |b| b[i]);
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let columns = self.theta.len() / self.x.columns;
        let most = if S::REGISTERS >= 32 { 6 } else { 4 };
        let mut ahead = self.ahead;
        let mut c = 0;
        while c < columns {
            let count = part(columns - c, most);
            // SAFETY: the entry check has shown that features, columns of Θ, offsets and results lie inside their slices, and c + count ≤
            // columns.
            unsafe {
                let theta = self.theta.as_ptr().add(c * self.x.columns);
                let out = self.out.as_mut_ptr().add(c * self.ld);
                with_constant!(C = count, one of 1 2 3 4 5 6; logits_columns::<T, S, C>(simd, &self.x, theta, self.offset, out, self.ld, ahead));
            }
            c += count;
            // The columns to come find the rows in cache.
            ahead = 0;
        }
    }
}

/// C columns of logits, in tiles of four or two vectors of rows, then one. So many bytes `ahead` of what is read lines are asked for, if
/// that is not 0.
///
/// # Safety
/// The features lie inside `x.values`; `theta` has C columns; `offset` a number for each row; `out` C columns of `x.rows` numbers, `ld`
/// apart.
#[inline(always)]
unsafe fn logits_columns<T: Scalar, S: Features, const C: usize>(
    simd: S,
    x: &Columns<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    ahead: usize,
) {
    let n = <S as Lanes<f64>>::N;
    let mut i = 0;
    // SAFETY: whole tiles lie before `x.rows`; the last one chooses the rows that are left.
    unsafe {
        if S::REGISTERS >= 32 {
            while i + 4 * n <= x.rows {
                logits_tile::<T, S, C, 4>(simd, x, theta, offset, out, ld, i, n, ahead);
                i += 4 * n;
            }
        }
        while i + 2 * n <= x.rows {
            logits_tile::<T, S, C, 2>(simd, x, theta, offset, out, ld, i, n, ahead);
            i += 2 * n;
        }
        while i < x.rows {
            logits_tile::<T, S, C, 1>(simd, x, theta, offset, out, ld, i, x.rows - i, ahead);
            i += n;
        }
    }
}

/// V vectors of rows from row i on by C columns; of the last vector the first `left` rows.
///
/// # Safety
/// As for [`logits_columns`]; the rows lie before `x.rows`.
#[inline(always)]
unsafe fn logits_tile<T: Scalar, S: Features, const C: usize, const V: usize>(
    simd: S,
    x: &Columns<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    i: usize,
    left: usize,
    ahead: usize,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let first = simd.first(left);
    let part = left < n;
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[zero; V]; C];
    // SAFETY: by the contract, vectors are whole unless `part`, when V is 1 and `first` chooses the rows.
    unsafe {
        if let Some(b) = offset {
            let b = each!(v < V, from zero; {
                let from = b.as_ptr().add(i + v * n);
                if part { simd.load_first(first, from) } else { simd.load(from) }
            });
            sums = [b; C];
        }
        let mut from = x.values.as_ptr().add(i);
        for j in 0..l {
            let features = each!(v < V, from zero; {
                let from = from.add(v * n);
                if ahead > 0 {
                    simd.fetch(from.wrapping_byte_add(ahead).cast());
                }
                if part { simd.load_first_as_f64(first, from) } else { simd.load_as_f64(from) }
            });
            for c in 0..C {
                let t = simd.splat(*theta.add(c * l + j));
                for v in 0..V {
                    sums[c][v] = simd.mul_add(features[v], t, sums[c][v]);
                }
            }
            from = from.wrapping_add(x.stride);
        }
        for c in 0..C {
            for v in 0..V {
                let to = out.add(c * ld + i + v * n);
                if part {
                    simd.store_first(first, to, sums[c][v]);
                } else {
                    simd.store(to, sums[c][v]);
                }
            }
        }
    }
}

pub struct WeightedSum<'a, T> {
    x: Columns<'a, T>,
    w: &'a [f64],
    ld: usize,
    g: &'a mut [f64],
    ahead: usize,
}

impl<T: Scalar> Kernel for WeightedSum<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, w, ld, g, .. } = self;
        for (c, sum) in g.chunks_exact_mut(x.columns).enumerate() {
            for (l, s) in sum.iter_mut().enumerate() {
                let mut total = 0.0;
                for i in 0..x.rows {
                    total += w[c * ld + i] * x.values[l * x.stride + i].to_f64();
                }
                *s += total;
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let l = self.x.columns;
        let columns = self.g.len() / l;
        // Four features by C columns of W in a tile.
        let most = if S::REGISTERS >= 32 { 6 } else { 2 };
        let mut ahead = self.ahead;
        let mut c = 0;
        while c < columns {
            let count = part(columns - c, most);
            let mut j = 0;
            while j < l {
                // SAFETY: the entry check has shown that features, weights and sums lie inside their slices; j < L and c + count ≤ columns.
                unsafe {
                    let w = self.w.as_ptr().add(c * self.ld);
                    let g = self.g.as_mut_ptr().add(c * l);
                    with_constant!(C = count, one of 1 2 3 4 5 6; sum_tile::<T, S, C>(simd, &self.x, j, w, self.ld, g, ahead));
                }
                j += 4;
            }
            c += count;
            ahead = 0;
        }
    }
}

/// The sums of features j to j + 3, as far as there are any, with C columns of W. As for [`logits_columns`], lines are asked for.
///
/// # Safety
/// The features lie inside `x.values`; j < L; `w` has C columns of `x.rows` numbers, `ld` apart; `g` has C columns of L.
#[inline(always)]
unsafe fn sum_tile<T: Scalar, S: Features, const C: usize>(
    simd: S,
    x: &Columns<'_, T>,
    j: usize,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: usize,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[zero; 4]; C];
    // SAFETY: past the last feature it is taken again, so that every number read is a feature; whole vectors lie before `x.rows`, and
    // `first` chooses the rows that are left.
    unsafe {
        let from: [*const T; 4] = core::array::from_fn(|f| x.values.as_ptr().add((j + f).min(l - 1) * x.stride));
        let mut i = 0;
        while i + n <= x.rows {
            let features = each!(f < 4, from zero; {
                if ahead > 0 {
                    simd.fetch(from[f].add(i).wrapping_byte_add(ahead).cast());
                }
                simd.load_as_f64(from[f].add(i))
            });
            for c in 0..C {
                let weight = simd.load(w.add(c * ld + i));
                for f in 0..4 {
                    sums[c][f] = simd.mul_add(weight, features[f], sums[c][f]);
                }
            }
            i += n;
        }
        if i < x.rows {
            let first = simd.first(x.rows - i);
            let features = each!(f < 4, from zero; simd.load_first_as_f64(first, from[f].add(i)));
            for c in 0..C {
                let weight = simd.load_first(first, w.add(c * ld + i));
                for f in 0..4 {
                    sums[c][f] = simd.mul_add(weight, features[f], sums[c][f]);
                }
            }
        }
        for c in 0..C {
            let four = simd.sum_each(sums[c]);
            for (f, sum) in four.iter().enumerate().take(l - j) {
                *g.add(c * l + j + f) += sum;
            }
        }
    }
}

pub struct Gram<'a, T> {
    x: Columns<'a, T>,
    w: &'a [f64],
    h: &'a mut [f64],
}

impl<T: Scalar> Kernel for Gram<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, w, h } = self;
        let at = |l: usize, i: usize| x.values[l * x.stride + i].to_f64();
        for a in 0..x.columns {
            for b in 0..=a {
                let mut sum = 0.0;
                for (i, w) in w.iter().enumerate().take(x.rows) {
                    sum += w * at(a, i) * at(b, i);
                }
                h[a * x.columns + b] += sum;
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { x, w, h } = self;
        let (l, w, h) = (x.columns, w.as_ptr(), h.as_mut_ptr());
        // Rows of a tile at once.
        let most = if S::REGISTERS >= 32 { 4 } else { 2 };
        for a in (0..l).step_by(4) {
            let rows = (l - a).min(4);
            // SAFETY: the entry check put features, weights and H inside their slices; a + rows ≤ L, b + 4 ≤ a and r + count ≤ rows.
            unsafe {
                for b in (0..a).step_by(4) {
                    for r in (0..rows).step_by(most) {
                        let count = (rows - r).min(most);
                        with_constant!(A = count, one of 1 2 3 4; gram_tile::<T, S, A, false>(simd, &x, w, a + r, b, h));
                    }
                }
                with_constant!(A = rows, one of 1 2 3 4; gram_tile::<T, S, A, true>(simd, &x, w, a, a, h));
            }
        }
    }
}

/// Rows a to a + A − 1 of H and columns b to b + 3; or, on the `DIAGONAL`, those of the A columns from b = a on that are at most the row.
///
/// # Safety
/// The features lie inside `x.values`; `w` has a number for each row; `h` has L² numbers; a + A ≤ L, and b + 4 ≤ a or, on the diagonal, b =
/// a.
#[inline(always)]
unsafe fn gram_tile<T: Scalar, S: Features, const A: usize, const DIAGONAL: bool>(
    simd: S,
    x: &Columns<'_, T>,
    w: *const f64,
    a: usize,
    b: usize,
    h: *mut f64,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[zero; 4]; A];
    let columns = if DIAGONAL { A } else { 4 };
    let of_row = |r: usize| if DIAGONAL { r + 1 } else { 4 };
    // SAFETY: features a to a + A − 1 and b to b + columns − 1 are below L; whole vectors lie before `x.rows`, and `first` chooses the rows
    // that are left. Of H only rows below L and columns at most the row are written.
    unsafe {
        let (left, right) = (x.values.as_ptr().add(a * x.stride), x.values.as_ptr().add(b * x.stride));
        let mut i = 0;
        while i < x.rows {
            let first = simd.first(x.rows - i);
            let whole = i + n <= x.rows;
            let load = |p: *const T| if whole { simd.load_as_f64(p.add(i)) } else { simd.load_first_as_f64(first, p.add(i)) };
            let weight = if whole { simd.load(w.add(i)) } else { simd.load_first(first, w.add(i)) };
            let mut features = [zero; 4];
            for (f, feature) in features.iter_mut().enumerate().take(columns) {
                *feature = load(right.add(f * x.stride));
            }
            for r in 0..A {
                let row = if DIAGONAL { features[r] } else { load(left.add(r * x.stride)) };
                let row = simd.mul(weight, row);
                for f in 0..of_row(r) {
                    sums[r][f] = simd.mul_add(row, features[f], sums[r][f]);
                }
            }
            i += n;
        }
        for r in 0..A {
            let four = simd.sum_each(sums[r]);
            for (f, sum) in four.iter().enumerate().take(of_row(r)) {
                *h.add((a + r) * l + b + f) += sum;
            }
        }
    }
}
