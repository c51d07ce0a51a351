//! The tall-skinny products of a block of rows: logits `S = b + X Θ`, sums `G += X^T W`, second moments `H += X^T diag(w) X`.
//!
//! Arithmetic is f64 for f32 features too. Each product is cut into tiles whose sums stay in registers; the order of the
//! additions depends on the shape and the instruction set alone.

use super::ahead::Ahead;
use super::dispatch::Kernel;
use super::vector::{F64, Features, Lanes, Simd, begins_line};
use super::{Isa, Rows};
use crate::scalar::Scalar;

/// `out[c * ld + i] = offset[i] + Σ_l x_il θ[c * L + l]` for every row i of the block and every column c of Θ.
///
/// Cost: `rows · L · C` multiply-adds, one read of the block. An offset may be −inf.
///
/// # Panics
/// Unless the rows lie inside `x.values`, `x.columns ≥ 1`, `theta` is whole columns, `offset` has a number for every row
/// and `out` has `(C − 1) · ld + rows` numbers with `ld ≥ rows`.
pub fn logits<T: Scalar>(isa: Isa, x: Rows<'_, T>, theta: &[f64], offset: Option<&[f64]>, out: &mut [f64], ld: usize) {
    logits_ahead(isa, x, theta, offset, out, ld, Ahead::ALL);
}

/// The same, which asks for other memory ahead.
pub(crate) fn logits_ahead<T: Scalar>(
    isa: Isa,
    x: Rows<'_, T>,
    theta: &[f64],
    offset: Option<&[f64]>,
    out: &mut [f64],
    ld: usize,
    ahead: Ahead,
) {
    check(&x, theta.len(), out.len(), ld);
    assert!(offset.is_none_or(|b| b.len() >= x.rows), "an offset for every row");
    isa.run(Logits { x, theta, offset, out, ld, ahead });
}

/// `g[c * L + l] += Σ_i w[c * ld + i] x_il` for every column c of W and every feature l.
///
/// Cost: `rows · L · C` multiply-adds.
///
/// # Panics
/// Unless the rows lie inside `x.values`, `x.columns ≥ 1`, `g` is whole columns and `w` has `(C − 1) · ld + rows` numbers
/// with `ld ≥ rows`.
pub fn weighted_sum<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], ld: usize, g: &mut [f64]) {
    weighted_sum_ahead(isa, x, w, ld, g, Ahead::ALL);
}

/// The same, which asks for other memory ahead.
pub(crate) fn weighted_sum_ahead<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], ld: usize, g: &mut [f64], ahead: Ahead) {
    check(&x, g.len(), w.len(), ld);
    isa.run(WeightedSum { x, w, ld, g, ahead });
}

/// `h[a * L + b] += Σ_i w_i x_ia x_ib` for b ≤ a: the lower triangle, row-major. The rest of `h` is left alone.
///
/// Cost: about `½ rows · L²` multiply-adds.
///
/// # Panics
/// Unless the rows lie inside `x.values`, `w` has a number for every row, and `h` has `L²` numbers.
pub fn gram<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], h: &mut [f64]) {
    gram_into(isa, x, w, h, x.columns);
}

/// The same where rows of H are `ld` numbers apart.
pub(crate) fn gram_into<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], h: &mut [f64], ld: usize) {
    assert!(x.fits(), "the rows must lie inside the values");
    assert!(w.len() >= x.rows, "a weight for every row");
    let last = x.columns.saturating_sub(1).checked_mul(ld).and_then(|start| start.checked_add(x.columns));
    assert!(ld >= x.columns && last.is_some_and(|n| n <= h.len()), "h is L by L");
    isa.run(Gram { x, w, h, ld });
}

/// Panics unless `small` numbers make whole columns of `x.columns`, and one of `x.rows` for each fits in `large`, `ld` apart.
#[inline]
fn check<T>(x: &Rows<'_, T>, small: usize, large: usize, ld: usize) {
    assert!(x.fits(), "the rows must lie inside the values");
    assert!(x.columns > 0 && small % x.columns == 0, "whole columns");
    let last = (small / x.columns).saturating_sub(1);
    assert!(ld >= x.rows && last.checked_mul(ld).and_then(|s| s.checked_add(x.rows)).is_some_and(|n| small == 0 || n <= large), "room");
}

/// Evaluates `$body` with the constant `$name` equal to `$n`, which must be one of the numbers listed.
macro_rules! with_constant {
    ($name:ident = $n:expr, one of $($number:literal)*; $body:expr) => {
        match $n {
            $($number => {
                const $name: usize = $number;
                $body
            })*
            _ => unreachable!(),
        }
    };
}
pub(super) use with_constant;

/// Cuts `n` into the fewest parts of at most `most`, and returns the size of the first: the parts are as equal as can be.
#[inline(always)]
pub(super) fn part(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most))
}

/// Vectors of features from which logits go along them, and sums.
const ALONG: usize = 4;
const SUM_ALONG: usize = 8;
/// Numbers of features that stay in the first cache beside the rest.
const CACHED: usize = 1024;

struct Logits<'a, T> {
    x: Rows<'a, T>,
    theta: &'a [f64],
    offset: Option<&'a [f64]>,
    out: &'a mut [f64],
    ld: usize,
    ahead: Ahead,
}

impl<T: Scalar> Kernel for Logits<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, theta, offset, out, ld, .. } = self;
        for (c, atom) in theta.chunks_exact(x.columns).enumerate() {
            for i in 0..x.rows {
                let mut s = 0.0;
                for (a, b) in x.row(i).iter().zip(atom) {
                    s += a.to_f64() * b;
                }
                out[c * ld + i] = s + offset.map_or(0.0, |b| b[i]);
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let columns = self.theta.len() / self.x.columns;
        if self.x.rows == 0 {
            return;
        }
        // Along the features each tile ends in sums over lanes, across the rows each begins with a transposition: the
        // first is for many features, the second for few or for many columns.
        let wide = S::REGISTERS >= 32;
        let along = self.x.columns >= ALONG * <S as Lanes<f64>>::N && columns <= 8;
        let most = match (along, wide) {
            (false, _) => 8,
            (true, true) => 5,
            (true, false) => 2,
        };
        let mut c = 0;
        while c < columns {
            let count = part(columns - c, most);
            // SAFETY: `check` has shown that rows, columns of Θ, offsets and results lie inside their slices, and
            // c + count ≤ columns.
            unsafe {
                let theta = self.theta.as_ptr().add(c * self.x.columns);
                let out = self.out.as_mut_ptr().add(c * self.ld);
                if along {
                    with_constant!(C = count, one of 1 2 3 4 5; logits_along::<T, S, C>(simd, &self.x, theta, self.offset, out, self.ld, self.ahead));
                } else {
                    with_constant!(C = count, one of 1 2 3 4 5 6 7 8; logits_across::<T, S, C, 1>(simd, &self.x, theta, self.offset, out, self.ld, self.ahead));
                }
            }
            c += count;
        }
    }
}

/// C columns of logits, vectors along the features: four rows at a time, sums over lanes at the end.
///
/// # Safety
/// `x.rows ≥ 1`; the rows lie inside `x.values`; `theta` has C columns; `offset` a number for each row; `out` C columns of
/// `x.rows` numbers, `ld` apart.
#[inline(always)]
unsafe fn logits_along<T: Scalar, S: Features, const C: usize>(
    simd: S,
    x: &Rows<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    ahead: Ahead,
) {
    const R: usize = 4;
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let whole = l - l % n;
    let first = simd.first(l % n);
    let zero: F64<S> = simd.splat(0.0);
    let mut i = 0;
    while i < x.rows {
        let count = R.min(x.rows - i);
        let mut sums = [[zero; C]; R];
        // SAFETY: past the last row its own pointer is taken again, so that every row is one of the block; features below
        // `whole` are whole vectors, and from there on `first` chooses those below L. Row i + r is stored for r < count only.
        unsafe {
            let rows: [*const T; R] = core::array::from_fn(|r| x.values.as_ptr().add((i + r.min(count - 1)) * x.stride));
            let mut k = 0;
            while k < whole {
                let atom: [F64<S>; C] = core::array::from_fn(|c| simd.load(theta.add(c * l + k)));
                for r in 0..R {
                    let v = simd.load_as_f64(rows[r].add(k));
                    if begins_line::<T>(n, k) && ahead.asks(r) {
                        <S as Lanes<f64>>::fetch(simd, rows[r].add(k).wrapping_byte_add(ahead.bytes).cast());
                    }
                    for c in 0..C {
                        sums[r][c] = simd.mul_add(v, atom[c], sums[r][c]);
                    }
                }
                k += n;
            }
            if k < l {
                let atom: [F64<S>; C] = core::array::from_fn(|c| simd.load_first(first, theta.add(c * l + k)));
                for r in 0..R {
                    let v = simd.load_first_as_f64(first, rows[r].add(k));
                    for c in 0..C {
                        sums[r][c] = simd.mul_add(v, atom[c], sums[r][c]);
                    }
                }
            }
            let b: [f64; R] = core::array::from_fn(|r| offset.map_or(0.0, |b| *b.get_unchecked(i + r.min(count - 1))));
            let finish = |c: usize, mut s: [f64; R]| {
                for r in 0..R {
                    s[r] += b[r];
                }
                let to = out.add(c * ld + i);
                if count == R {
                    to.cast::<[f64; R]>().write_unaligned(s);
                } else {
                    core::ptr::copy_nonoverlapping(s.as_ptr(), to, count);
                }
            };
            let column = |c: usize| core::array::from_fn(|r| sums[r][c]);
            for c in (0..C - C % 2).step_by(2) {
                let [s, t] = simd.sum_each_of_two([column(c), column(c + 1)]);
                finish(c, s);
                finish(c + 1, t);
            }
            if C % 2 == 1 {
                finish(C - 1, simd.sum_each(column(C - 1)));
            }
        }
        i += R;
    }
}

/// C columns of logits, vectors across the rows: V squares of N rows by N features at a time are transposed in registers, and share what is read of Θ.
///
/// # Safety
/// As for [`logits_along`].
#[inline(always)]
unsafe fn logits_across<T: Scalar, S: Features, const C: usize, const V: usize>(
    simd: S,
    x: &Rows<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    ahead: Ahead,
) {
    let n = <S as Lanes<f64>>::N;
    let mut i = 0;
    // SAFETY: whole squares lie before `x.rows`; the last ones choose the rows that are left.
    unsafe {
        while i + V * n <= x.rows {
            squares_across::<T, S, C, V>(simd, x, theta, offset, out, ld, i, n, ahead);
            i += V * n;
        }
        while i < x.rows {
            squares_across::<T, S, C, 1>(simd, x, theta, offset, out, ld, i, x.rows - i, ahead);
            i += n;
        }
    }
}

/// V squares of rows from row i on, of the last one the first `left` rows.
///
/// # Safety
/// As for [`logits_along`]; the rows lie before `x.rows`, and V is 1 unless all are there.
#[inline(always)]
unsafe fn squares_across<T: Scalar, S: Features, const C: usize, const V: usize>(
    simd: S,
    x: &Rows<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    i: usize,
    left: usize,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let whole = l - l % n;
    let first = simd.first(l % n);
    let count = n.min(left);
    let some = simd.first(count);
    // SAFETY: past the last row its own pointer is taken again, so that every row is one of the block; features below
    // `whole` are whole vectors, and from there on `first` chooses those below L. `some` chooses rows of the block.
    unsafe {
        let start = x.values.as_ptr().add(i * x.stride);
        let mut sums = [[simd.splat(0.0); V]; C];
        if let Some(b) = offset {
            sums = [core::array::from_fn(|v| simd.load_first(some, b.as_ptr().add(i + v * n))); C];
        }
        let mut squares = [simd.square(simd.splat(0.0)); V];
        let mut k = 0;
        while k < whole {
            for v in 0..V {
                for (r, to) in squares[v].as_mut().iter_mut().enumerate() {
                    let from = start.add((v * n + r.min(count - 1)) * x.stride + k);
                    *to = simd.load_as_f64(from);
                    if begins_line::<T>(n, k) && ahead.asks(r) {
                        <S as Lanes<f64>>::fetch(simd, from.wrapping_byte_add(ahead.bytes).cast());
                    }
                }
                squares[v] = simd.transpose(squares[v]);
            }
            for j in 0..n {
                for c in 0..C {
                    let t = simd.splat(*theta.add(c * l + k + j));
                    for v in 0..V {
                        sums[c][v] = simd.mul_add(squares[v].as_ref()[j], t, sums[c][v]);
                    }
                }
            }
            k += n;
        }
        if k < l {
            for v in 0..V {
                for (r, to) in squares[v].as_mut().iter_mut().enumerate() {
                    *to = simd.load_first_as_f64(first, start.add((v * n + r.min(count - 1)) * x.stride + k));
                }
                squares[v] = simd.transpose(squares[v]);
            }
            for j in 0..l - k {
                for c in 0..C {
                    let t = simd.splat(*theta.add(c * l + k + j));
                    for v in 0..V {
                        sums[c][v] = simd.mul_add(squares[v].as_ref()[j], t, sums[c][v]);
                    }
                }
            }
        }
        for c in 0..C {
            for v in 0..V {
                let to = out.add(c * ld + i + v * n);
                if count == n {
                    simd.store(to, sums[c][v]);
                } else {
                    simd.store_first(some, to, sums[c][v]);
                }
            }
        }
    }
}

struct WeightedSum<'a, T> {
    x: Rows<'a, T>,
    w: &'a [f64],
    ld: usize,
    g: &'a mut [f64],
    ahead: Ahead,
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
        if l >= SUM_ALONG * n && wide {
            let mut c = 0;
            while c < columns {
                let count = part(columns - c, 4);
                // SAFETY: `check` has shown that rows, weights and sums lie inside their slices; c + count ≤ columns.
                unsafe {
                    let w = self.w.as_ptr().add(c * self.ld);
                    let g = self.g.as_mut_ptr().add(c * l);
                    with_constant!(C = count, one of 1 2 3 4; sum_along::<T, S, C>(simd, &self.x, w, self.ld, g, self.ahead));
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
        let tiles = columns.div_ceil(most_columns).max(1);
        let some = if columns > most_columns || l > most_vectors * n { (CACHED / l).max(32) } else { self.x.rows.max(1) };
        for start in (0..self.x.rows).step_by(some) {
            let rows = some.min(self.x.rows - start);
            let x = Rows { values: &self.x.values[start * self.x.stride..], rows, ..self.x };
            let mut k = 0;
            while k < l {
                let vectors = part((l - k).div_ceil(n), most_vectors);
                let mut c = 0;
                while c < columns {
                    let count = part(columns - c, most_columns);
                    // What is ahead is asked for by the tiles that read the same features in turn, each a part of it.
                    let begin = |v: &usize| begins_line::<T>(n, k + v * n);
                    let ask = (0..vectors).filter(begin).enumerate().filter(|(j, _)| j % tiles == c / count % tiles);
                    let ask = ask.fold(0, |ask, (_, v)| ask | 1u32 << v);
                    // SAFETY: `check` has shown that rows, weights and sums lie inside their slices; k < L, the last of the
                    // tile's vectors begins below L, and c + count ≤ columns.
                    unsafe {
                        let w = self.w.as_ptr().add(c * self.ld + start);
                        let g = self.g.as_mut_ptr().add(c * l);
                        with_constant!(C = count, one of 1 2 3 4 5 6 7 8; sum_columns::<T, S, C>(simd, vectors, &x, k, w, self.ld, g, ask, self.ahead));
                    }
                    c += count;
                }
                k += vectors * n;
            }
        }
    }
}

/// Sums of many features, row after row: four rows at a time go through all features, whose sums stay in cache.
///
/// # Safety
/// The rows lie inside `x.values`; `w` has C columns of `x.rows` numbers, `ld` apart; `g` has C columns of L.
#[inline(always)]
unsafe fn sum_along<T: Scalar, S: Features, const C: usize>(simd: S, x: &Rows<'_, T>, w: *const f64, ld: usize, g: *mut f64, ahead: Ahead) {
    const R: usize = 4;
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let whole = l - l % n;
    let first = simd.first(l % n);
    let mut i = 0;
    while i < x.rows {
        let count = R.min(x.rows - i);
        // SAFETY: past the last row it is taken again, with weight 0, so that every row is one of the block; features below `whole` are whole
        // vectors, and from there on `first` chooses those below L.
        unsafe {
            let rows: [*const T; R] = core::array::from_fn(|r| x.values.as_ptr().add((i + r.min(count - 1)) * x.stride));
            let weights: [[F64<S>; C]; R] =
                core::array::from_fn(|r| core::array::from_fn(|c| simd.splat(if r < count { *w.add(c * ld + i + r) } else { 0.0 })));
            let mut k = 0;
            while k < whole {
                let mut sums: [F64<S>; C] = core::array::from_fn(|c| simd.load(g.add(c * l + k)));
                for r in 0..R {
                    let v = simd.load_as_f64(rows[r].add(k));
                    if begins_line::<T>(n, k) && ahead.asks(r) {
                        <S as Lanes<f64>>::fetch(simd, rows[r].add(k).wrapping_byte_add(ahead.bytes).cast());
                    }
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
                let mut sums: [F64<S>; C] = core::array::from_fn(|c| simd.load_first(first, g.add(c * l + k)));
                for r in 0..R {
                    let v = simd.load_first_as_f64(first, rows[r].add(k));
                    for c in 0..C {
                        sums[c] = simd.mul_add(weights[r][c], v, sums[c]);
                    }
                }
                for c in 0..C {
                    simd.store_first(first, g.add(c * l + k), sums[c]);
                }
            }
        }
        i += R;
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
    ask: u32,
    ahead: Ahead,
) {
    // SAFETY: by the contract.
    unsafe {
        match vectors {
            1 if C <= 2 => sum_tile::<T, S, 1, C, 4>(simd, x, k, w, ld, g, ask, ahead),
            1 if C <= 4 => sum_tile::<T, S, 1, C, 2>(simd, x, k, w, ld, g, ask, ahead),
            1 => sum_tile::<T, S, 1, C, 1>(simd, x, k, w, ld, g, ask, ahead),
            2 if C <= 2 => sum_tile::<T, S, 2, C, 2>(simd, x, k, w, ld, g, ask, ahead),
            2 => sum_tile::<T, S, 2, C, 1>(simd, x, k, w, ld, g, ask, ahead),
            3 if C <= 6 => sum_tile::<T, S, 3, C, 1>(simd, x, k, w, ld, g, ask, ahead),
            4 if C <= 6 => sum_tile::<T, S, 4, C, 1>(simd, x, k, w, ld, g, ask, ahead),
            _ => unreachable!(),
        }
    }
}

/// The sums of V vectors of features from feature k on and C columns of W, kept in registers over all rows. The vectors of `ask`, by bits, are
/// those of which the rows ahead are asked for.
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
    ask: u32,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let first = simd.first(l - k - (V - 1) * n);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[[zero; C]; V]; U];
    // SAFETY: rows i + u < x.rows; all vectors but the last are whole, and `first` chooses the features below L of that one.
    unsafe {
        let mut i = 0;
        while i < x.rows {
            for u in 0..U {
                if i + u < x.rows {
                    let row = x.values.as_ptr().add((i + u) * x.stride + k);
                    let mut features = [zero; V];
                    for v in 0..V {
                        let from = row.add(v * n);
                        if ask >> v & 1 == 1 && ahead.asks(i + u) {
                            <S as Lanes<f64>>::fetch(simd, from.wrapping_byte_add(ahead.bytes).cast());
                        }
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

struct Gram<'a, T> {
    x: Rows<'a, T>,
    w: &'a [f64],
    h: &'a mut [f64],
    ld: usize,
}

impl<T: Scalar> Kernel for Gram<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, w, h, ld } = self;
        let l = x.columns;
        for (i, &wi) in w.iter().enumerate().take(x.rows) {
            let row = x.row(i);
            for a in 0..l {
                let wa = wi * row[a].to_f64();
                for b in 0..=a {
                    h[a * ld + b] += wa * row[b].to_f64();
                }
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let (l, n) = (self.x.columns, <S as Lanes<f64>>::N);
        let (height, most) = if S::REGISTERS >= 32 { (8, 3) } else { (4, 2) };
        let mut a = 0;
        while a < l {
            let count = if l - a >= height || l - a > 4 {
                height
            } else if l - a > 2 {
                4
            } else {
                2
            };
            let end = (a + count).min(l);
            let mut b = 0;
            while b < end {
                let vectors = part((end - b).div_ceil(n), most);
                // SAFETY: the entry checks put rows, weights and H inside their slices; a < L and b + (vectors − 1) N < L.
                unsafe {
                    let (w, h) = (self.w.as_ptr(), self.h.as_mut_ptr());
                    match count {
                        8 => with_constant!(V = vectors, one of 1 2 3; gram_tile::<T, S, 8, V>(simd, &self.x, w, a, b, h, self.ld)),
                        4 => with_constant!(V = vectors, one of 1 2 3; gram_tile::<T, S, 4, V>(simd, &self.x, w, a, b, h, self.ld)),
                        _ => with_constant!(V = vectors, one of 1 2 3; gram_tile::<T, S, 2, V>(simd, &self.x, w, a, b, h, self.ld)),
                    }
                }
                b += vectors * n;
            }
            a += count;
        }
    }
}

/// Rows a to a + A of H, as far as there are any, in V vectors of columns from b on; only the part with column ≤ row is
/// written.
///
/// # Safety
/// The rows lie inside `x.values`; `w` has a number for each; a < L; `b + (V − 1) N < L`; `h` has L rows of L numbers, `ld` apart.
#[inline(always)]
unsafe fn gram_tile<T: Scalar, S: Features, const A: usize, const V: usize>(
    simd: S,
    x: &Rows<'_, T>,
    w: *const f64,
    a: usize,
    b: usize,
    h: *mut f64,
    ld: usize,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let first = simd.first(l - b - (V - 1) * n);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[zero; A]; V];
    // SAFETY: past the last feature it is taken again, so that every number read is a feature; all vectors but the last are
    // whole, and `first` chooses the features below L of that one. In row `a + r` of H, `a + r < L`, columns at most
    // `a + r` are touched.
    unsafe {
        for i in 0..x.rows {
            let row = x.values.as_ptr().add(i * x.stride);
            let weight = simd.splat(*w.add(i));
            let mut features = [zero; V];
            for v in 0..V {
                let from = row.add(b + v * n);
                let feature = if v + 1 < V { simd.load_as_f64(from) } else { simd.load_first_as_f64(first, from) };
                features[v] = simd.mul(weight, feature);
            }
            for r in 0..A {
                let other = simd.splat((*row.add((a + r).min(l - 1))).to_f64());
                for v in 0..V {
                    sums[v][r] = simd.mul_add(features[v], other, sums[v][r]);
                }
            }
        }
        for r in 0..A.min(l - a) {
            for v in 0..V {
                let column = b + v * n;
                if column <= a + r {
                    let some = simd.first(a + r + 1 - column);
                    let to = h.add((a + r) * ld + column);
                    simd.store_first(some, to, simd.add(simd.load_first(some, to), sums[v][r]));
                }
            }
        }
    }
}
