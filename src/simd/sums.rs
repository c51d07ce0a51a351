//! Sums `G += X^T W` of a block of rows.

use super::Rows;
use super::ahead::{Ahead, piece_of_rows, rows_of_piece, with_ahead};
use super::dispatch::Kernel;
use super::products::{part, with_constant};
use super::vector::{F64, Features, Lanes, Simd};
use crate::scalar::Scalar;

/// Vectors of features from which sums go along them.
const ALONG: usize = 8;
/// Numbers of features that stay in the first cache beside the rest.
const CACHED: usize = 1024;

pub(super) struct WeightedSum<'a, T> {
    pub x: Rows<'a, T>,
    pub w: &'a [f64],
    pub ld: usize,
    pub g: &'a mut [f64],
    pub ahead: Ahead,
}

impl<T: Scalar> Kernel for WeightedSum<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, w, ld, g, .. } = self;
        for (c, sum) in g.chunks_exact_mut(x.columns).enumerate() {
            for i in 0..x.rows {
                let wi = w[c * ld + i];
                for (s, a) in sum.iter_mut().zip(x.row(i)) {
                    *s += wi * a.to_f64();
                }
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let (l, n) = (self.x.columns, <S as Lanes<f64>>::N);
        let columns = self.g.len() / l;
        let wide = S::REGISTERS >= 32;
        // Columns after the first find the rows in cache.
        let ahead = |c: usize| if c == 0 { self.ahead.of(&self.x) } else { Ahead::Nothing };
        if l >= ALONG * n && wide {
            let mut c = 0;
            while c < columns {
                let count = part(columns - c, 4);
                // SAFETY: `check` has shown that rows, weights and sums lie inside their slices; c + count ≤ columns.
                unsafe {
                    let w = self.w.as_ptr().add(c * self.ld);
                    let g = self.g.as_mut_ptr().add(c * l);
                    // What comes from memory line by line is best read nearly so, unless it is to be converted.
                    match ahead(c) {
                        Ahead::Lines if size_of::<T>() == 8 => {
                            with_constant!(C = count, one of 1 2 3 4; sum_along::<T, S, C, 2>(simd, &self.x, w, self.ld, g, Ahead::Lines));
                        }
                        ahead => with_ahead!(ahead of T;
                            with_constant!(C = count, one of 1 2 3 4; sum_along::<T, S, C, 8>(simd, &self.x, w, self.ld, g, ahead))),
                    }
                }
                c += count;
            }
            return;
        }
        // Vectors of features and columns of W in a tile: their product must fit in the registers beside the operands.
        let most_vectors = if wide { 4 } else { 2 };
        let most_columns = match part(l.div_ceil(n), most_vectors) {
            1 => 8,
            2 if wide => 8,
            _ if wide => 6,
            _ => 4,
        };
        // Where several tiles read a row, a few rows at a time, which stay in the first cache.
        let some = if columns > most_columns || l > most_vectors * n { (CACHED / l).max(32) & !7 } else { self.x.rows.max(1) };
        for start in (0..self.x.rows).step_by(some) {
            let rows = some.min(self.x.rows - start);
            let x = Rows { values: &self.x.values[start * self.x.stride..], rows, ..self.x };
            let mut k = 0;
            while k < l {
                let vectors = part((l - k).div_ceil(n), most_vectors);
                let mut c = 0;
                while c < columns {
                    let count = part(columns - c, most_columns);
                    // SAFETY: `check` has shown that rows, weights and sums lie inside their slices; k < L, the last of the
                    // tile's vectors begins below L, and c + count ≤ columns.
                    unsafe {
                        let (w, g) = (self.w.as_ptr().add(c * self.ld + start), self.g.as_mut_ptr().add(c * l));
                        let (ld, ahead) = (self.ld, ahead(c));
                        with_ahead!(ahead of T;
                            with_constant!(C = count, one of 1 2 3 4 5 6 7 8; sum_columns::<T, S, C>(simd, vectors, &x, k, w, ld, g, ahead)));
                    }
                    c += count;
                }
                k += vectors * n;
            }
        }
    }
}

/// Sums of many features, row after row: R rows at a time go through all features, whose sums stay in cache; the last rows one by one.
///
/// # Safety
/// The rows lie inside `x.values`; `w` has C columns of `x.rows` numbers, `ld` apart; `g` has C columns of L.
#[inline(always)]
unsafe fn sum_along<T: Scalar, S: Features, const C: usize, const R: usize>(
    simd: S,
    x: &Rows<'_, T>,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
) {
    let whole = x.rows - x.rows % R;
    // SAFETY: R rows at a time lie before `whole`, the others before `x.rows`; so do their weights.
    unsafe {
        for i in (0..whole).step_by(R) {
            add_rows::<T, S, C, R>(simd, x, i, w.add(i), ld, g, ahead);
        }
        for i in whole..x.rows {
            add_rows::<T, S, C, 1>(simd, x, i, w.add(i), ld, g, ahead);
        }
    }
}

/// Adds R rows from row i on, whose weights begin at `w`.
///
/// # Safety
/// As for [`sum_along`]; `i + R ≤ x.rows`.
#[inline(always)]
unsafe fn add_rows<T: Scalar, S: Features, const C: usize, const R: usize>(
    simd: S,
    x: &Rows<'_, T>,
    i: usize,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let whole = l - l % n;
    // SAFETY: features below `whole` are whole vectors, and from there on `first` chooses those below L.
    unsafe {
        let rows = x.values.as_ptr().add(i * x.stride);
        let weights: [[F64<S>; C]; R] = core::array::from_fn(|r| core::array::from_fn(|c| simd.splat(*w.add(c * ld + r))));
        let mut ahead = ahead.of_numbers(rows, R * l);
        let mut k = 0;
        while k < whole {
            if k % piece_of_rows::<T>(R, n) == 0 {
                ahead.piece(simd);
            }
            let mut sums: [F64<S>; C] = core::array::from_fn(|c| simd.load(g.add(c * l + k)));
            for r in 0..R {
                ahead.line_of_row(simd, i + r, rows.add(r * x.stride + k));
                let v = simd.load_as_f64(rows.add(r * x.stride + k));
                for c in 0..C {
                    sums[c] = simd.mul_add(weights[r][c], v, sums[c]);
                }
            }
            for c in 0..C {
                simd.store(g.add(c * l + k), sums[c]);
            }
            k += n;
        }
        if k < l {
            ahead.piece(simd);
            let first = simd.first(l - k);
            let mut sums: [F64<S>; C] = core::array::from_fn(|c| simd.load_first(first, g.add(c * l + k)));
            for r in 0..R {
                ahead.line_of_row(simd, i + r, rows.add(r * x.stride + k));
                let v = simd.load_first_as_f64(first, rows.add(r * x.stride + k));
                for c in 0..C {
                    sums[c] = simd.mul_add(weights[r][c], v, sums[c]);
                }
            }
            for c in 0..C {
                simd.store_first(first, g.add(c * l + k), sums[c]);
            }
        }
    }
}

/// Chooses the tile of `vectors` vectors by C columns, and how many rows have sums of their own, so that enough
/// independent additions are under way.
///
/// # Safety
/// As for [`sum_tile`].
#[inline(always)]
unsafe fn sum_columns<T: Scalar, S: Features, const C: usize>(
    simd: S,
    vectors: usize,
    x: &Rows<'_, T>,
    k: usize,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
) {
    // SAFETY: by the contract.
    unsafe {
        match vectors {
            1 if C <= 2 => sum_tile::<T, S, 1, C, 4>(simd, x, k, w, ld, g, ahead),
            1 if C <= 4 => sum_tile::<T, S, 1, C, 2>(simd, x, k, w, ld, g, ahead),
            1 => sum_tile::<T, S, 1, C, 1>(simd, x, k, w, ld, g, ahead),
            2 if C <= 2 => sum_tile::<T, S, 2, C, 2>(simd, x, k, w, ld, g, ahead),
            2 => sum_tile::<T, S, 2, C, 1>(simd, x, k, w, ld, g, ahead),
            3 if C <= 6 => sum_tile::<T, S, 3, C, 1>(simd, x, k, w, ld, g, ahead),
            4 if C <= 6 => sum_tile::<T, S, 4, C, 1>(simd, x, k, w, ld, g, ahead),
            _ => unreachable!(),
        }
    }
}

/// The sums of V vectors of features from feature k on and C columns of W, kept in registers over all rows.
/// Of what is ahead the share of these features is asked for.
///
/// # Safety
/// The rows lie inside `x.values`; feature `k + (V − 1) N < L`; `w` has C columns of `x.rows` numbers, `ld` apart; `g` has C
/// columns of L.
#[inline(always)]
unsafe fn sum_tile<T: Scalar, S: Features, const V: usize, const C: usize, const U: usize>(
    simd: S,
    x: &Rows<'_, T>,
    k: usize,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let first = simd.first(l - k - (V - 1) * n);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[[zero; C]; V]; U];
    // The share of these features in what is ahead of all rows.
    let width = (V * n).min(l - k);
    let mut ahead = ahead.of_numbers(x.values.as_ptr().wrapping_add(k * x.rows), width * x.rows);
    let (some, mut due) = (rows_of_piece::<T>(width), 0);
    // SAFETY: rows i + u < x.rows; all vectors but the last are whole, and `first` chooses the features below L of that one.
    unsafe {
        let mut i = 0;
        while i < x.rows {
            if i >= due {
                ahead.piece(simd);
                due += some;
            }
            for u in 0..U {
                if i + u < x.rows {
                    let row = x.values.as_ptr().add((i + u) * x.stride + k);
                    let mut features = [zero; V];
                    for v in 0..V {
                        let from = row.add(v * n);
                        ahead.line_of_row(simd, i + u, from);
                        features[v] = if v + 1 < V { simd.load_as_f64(from) } else { simd.load_first_as_f64(first, from) };
                    }
                    for c in 0..C {
                        let weight = simd.splat(*w.add(c * ld + i + u));
                        for v in 0..V {
                            sums[u][v][c] = simd.mul_add(weight, features[v], sums[u][v][c]);
                        }
                    }
                }
            }
            i += U;
        }
        for c in 0..C {
            for v in 0..V {
                let mut sum = sums[0][v][c];
                for u in 1..U {
                    sum = simd.add(sum, sums[u][v][c]);
                }
                let to = g.add(c * l + k + v * n);
                if v + 1 < V {
                    simd.store(to, simd.add(simd.load(to), sum));
                } else {
                    simd.store_first(first, to, simd.add(simd.load_first(first, to), sum));
                }
            }
        }
    }
}
