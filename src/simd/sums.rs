//! Sums `G += X^T W` of a block of rows.

use super::ahead::{Ahead, piece_of_rows, rows_of_piece, with_ahead, with_near};
use super::along::has_pairs;
use super::dispatch::Kernel;
use super::products::{part, with_constant};
use super::vector::{F64, Features, Lanes, Simd, each};
use super::{Isa, Rows};
use crate::scalar::Scalar;

/// Vectors of features from which sums may go along them, and from which they do.
const ALONG: usize = 8;
const ALWAYS_ALONG: usize = 17;
/// Numbers of features that stay in the first cache beside the rest, and in the second.
const FIRST: usize = 1600;
const SECOND: usize = 1 << 14;

pub struct WeightedSum<'a, T> {
    pub x: Rows<'a, T>,
    pub w: &'a [f64],
    pub ld: usize,
    pub g: &'a mut [f64],
    pub(super) ahead: Ahead,
    /// Whose kernel this is.
    pub isa: Isa,
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
    fn vector<S: Simd>(self, _: S) {
        let Self { x, w, ld, g, isa, .. } = self;
        let (l, n) = (x.columns, <S as Lanes<f64>>::N);
        let columns = g.len() / l;
        let wide = S::REGISTERS >= 32;
        // Columns after the first find the rows in cache.
        let ahead = |c: usize| if c == 0 { self.ahead.of(&x) } else { Ahead::Nothing };
        // Numbers that are to be converted cost least in tiles, and so do rows of broken vectors, and many sums to store and read again.
        let converted = size_of::<T>() < size_of::<f64>();
        let least = if l % n == 0 && columns <= 4 && !converted { ALONG } else { ALWAYS_ALONG };
        if wide && l >= least * n {
            // More rows, or more columns of numbers that are to be converted, would have more weights than fit in the registers.
            let most = if converted { 4 } else { 6 };
            let mut c = 0;
            while c < columns {
                let count = part(columns - c, most);
                let of = WeightedSum { x, w: &w[c * ld..], ld, g: &mut g[c * l..(c + count) * l], ahead: ahead(c), isa };
                // What comes from memory line by line is best read nearly so, unless it is to be converted.
                match of.ahead == Ahead::Lines && !converted {
                    true => with_constant!(C = count, one of 1 2 3 4 5 6; isa.run(Along::<T, C, 2>(of))),
                    false if count > if converted { 2 } else { 4 } => {
                        with_constant!(C = count, one of 3 4 5 6; isa.run(Along::<T, C, 4>(of)))
                    }
                    false => with_constant!(C = count, one of 1 2 3 4; isa.run(Along::<T, C, 8>(of))),
                }
                c += count;
            }
            return;
        }
        let all = if has_pairs::<S>(l) { l / n } else { l.div_ceil(n) };
        let vectors = part(all, if wide { 4 } else { 2 });
        let most = most_columns(S::REGISTERS, vectors);
        // Rows that stay in the second cache while the columns go through them.
        let some = if columns > most { (SECOND / l).max(256) } else { x.rows.max(1) };
        for start in (0..x.rows).step_by(some) {
            let x = Rows { values: &x.values[start * x.stride..], rows: some.min(x.rows - start), ..x };
            let mut c = 0;
            while c < columns {
                let count = part(columns - c, most);
                let of = WeightedSum { x, w: &w[c * ld + start..], ld, g: &mut g[c * l..(c + count) * l], ahead: ahead(c), isa };
                with_constant!(C = count, one of 1 2 3 4 5 6 7 8; sum_columns::<T, C>(vectors, of));
                c += count;
            }
        }
    }
}

/// Sums of many features in C columns, R rows at a time. Kernels like this one, for so many columns, have their addresses in registers:
/// those of all of them together would not fit.
struct Along<'a, T, const C: usize, const R: usize>(WeightedSum<'a, T>);

impl<T: Scalar, const C: usize, const R: usize> Kernel for Along<'_, T, C, R> {
    type Output = ();

    fn plain(self) {
        self.0.plain();
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let WeightedSum { x, w, ld, g, ahead, .. } = self.0;
        // SAFETY: `check` has shown that rows, weights and sums lie inside their slices.
        unsafe { with_ahead!(ahead of T; sum_along::<T, S, C, R>(simd, &x, w.as_ptr(), ld, g.as_mut_ptr(), ahead)) }
    }
}

/// Columns of W beside so many vectors of features in a tile, at most: their product must fit in the registers beside the operands.
const fn most_columns(registers: usize, vectors: usize) -> usize {
    match vectors {
        1 => 8,
        2 if registers >= 32 => 8,
        3 | 4 if registers >= 32 => 6,
        2 => 5,
        _ => 0,
    }
}

/// Sums of C columns in tiles of V vectors of features, then of W; U rows have sums of their own.
struct Tiles<'a, T, const V: usize, const W: usize, const C: usize, const U: usize>(WeightedSum<'a, T>);

impl<T: Scalar, const V: usize, const W: usize, const C: usize, const U: usize> Kernel for Tiles<'_, T, V, W, C, U> {
    type Output = ();

    fn plain(self) {
        self.0.plain();
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        // No code for tiles that these registers do not hold.
        if C > most_columns(S::REGISTERS, V) {
            unreachable!();
        }
        let WeightedSum { x, w, ld, g, ahead, .. } = self.0;
        let (w, g) = (w.as_ptr(), g.as_mut_ptr());
        // SAFETY: `check` has shown that rows, weights and sums lie inside their slices.
        unsafe {
            // Small tiles gain nothing by lines that come to the first cache.
            if V < 3 {
                with_ahead!(ahead of T; sum_tiles::<T, S, V, W, C, U, false>(simd, &x, w, ld, g, ahead));
            } else {
                with_near!(NEAR, ahead of T; sum_tiles::<T, S, V, W, C, U, NEAR>(simd, &x, w, ld, g, ahead));
            }
        }
    }
}

/// Chooses tiles of at most `vectors` vectors, and how many rows have sums of their own, so that enough additions are under way at a time.
fn sum_columns<T: Scalar, const C: usize>(vectors: usize, of: WeightedSum<'_, T>) {
    let isa = of.isa;
    match vectors {
        1 if C <= 2 => isa.run(Tiles::<T, 1, 1, C, 4>(of)),
        1 if C <= 4 => isa.run(Tiles::<T, 1, 1, C, 2>(of)),
        1 => isa.run(Tiles::<T, 1, 1, C, 1>(of)),
        2 if C <= 2 => isa.run(Tiles::<T, 2, 1, C, 2>(of)),
        2 => isa.run(Tiles::<T, 2, 1, C, 1>(of)),
        3 if C <= 6 => isa.run(Tiles::<T, 3, 2, C, 1>(of)),
        4 if C <= 6 => isa.run(Tiles::<T, 4, 3, C, 1>(of)),
        _ => unreachable!(),
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
        let zero = simd.splat(0.0);
        let weights = each!(r < R, from [zero; C]; each!(c < C, from zero; simd.splat(*w.add(c * ld + r))));
        let mut ahead = ahead.of_numbers(rows, R * l);
        let mut k = 0;
        while k < whole {
            if k % piece_of_rows::<T>(R, n) == 0 {
                ahead.piece(simd);
            }
            let mut sums = each!(c < C, from zero; simd.load(g.add(c * l + k)));
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
            let mut sums = [simd.splat(0.0); C];
            for c in 0..C {
                sums[c] = simd.load_first(first, g.add(c * l + k));
            }
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

/// The sums of C columns in tiles of V vectors, then of W. Where several tiles read a row, they go through a few rows at a time, which stay
/// in the first cache.
///
/// # Safety
/// The rows lie inside `x.values`; `w` has C columns of `x.rows` numbers, `ld` apart; `g` has C columns of L.
#[inline(always)]
unsafe fn sum_tiles<T: Scalar, S: Features, const V: usize, const W: usize, const C: usize, const U: usize, const NEAR: bool>(
    simd: S,
    x: &Rows<'_, T>,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    // One or two features more than whole vectors hold go by pairs.
    let pairs = has_pairs::<S>(l);
    let end = if pairs { l - l % n } else { l };
    let vectors = end.div_ceil(n);
    let tiles = vectors.div_ceil(V);
    // Features before the tiles of W vectors.
    let wide = if V > W { (vectors - tiles * W) * V * n } else { end };
    let some = if tiles > 1 || pairs { (FIRST / l).max(32) & !7 } else { x.rows };
    // The bytes from these rows to the next.
    let next = some * l * size_of::<T>();
    let mut of_pairs: [F64<S>; C] = [simd.splat(0.0); C];
    let mut start = 0;
    // SAFETY: rows from `start` on; each tile begins below L, and its last vector does; those after whole fours, and features from `end` on,
    // are rows and features, too.
    unsafe {
        while start < x.rows {
            let rows = some.min(x.rows - start);
            let (from, w) = (x.values.as_ptr().add(start * x.stride), w.add(start));
            let mut k = 0;
            while k < end {
                let width = if k < wide { V * n } else { W * n };
                let whole = if S::CHOOSES { 0 } else { x.readable(start, rows, k + width) };
                if k < wide {
                    sum_tile::<T, S, V, C, U, NEAR>(simd, from, (whole, rows), x.stride, l, k, w, ld, g, ahead, next);
                } else {
                    sum_tile::<T, S, W, C, U, NEAR>(simd, from, (whole, rows), x.stride, l, k, w, ld, g, ahead, next);
                }
                k += width;
            }
            if pairs {
                add_pairs::<T, S, C, NEAR>(simd, from, rows - rows % 4, x.stride, l, end, w, ld, &mut of_pairs, ahead, next);
            }
            start += rows;
        }
        if pairs {
            let whole = x.rows - x.rows % 4;
            for (c, sum) in of_pairs.iter().enumerate() {
                for (k, half) in (end..l).zip(simd.sum_of_halves(*sum)) {
                    let mut sum = half;
                    for i in whole..x.rows {
                        sum += *w.add(c * ld + i) * x.values.get_unchecked(i * x.stride + k).to_f64();
                    }
                    *g.add(c * l + k) += sum;
                }
            }
        }
    }
}

/// The sums of V vectors of features from feature k on and C columns of W, kept in registers over all rows.
/// Asks ahead for the share of these features; if NEAR, in the rows that begin `next` bytes on.
///
/// # Safety
/// `rows` rows of L features at `x`, `stride` apart; feature `k + (V − 1) N < L`; all V vectors of the first `whole` rows may be read whole;
/// `w` has C columns of `rows` numbers, `ld` apart; `g` has C columns of L.
#[inline(always)]
unsafe fn sum_tile<T: Scalar, S: Features, const V: usize, const C: usize, const U: usize, const NEAR: bool>(
    simd: S,
    x: *const T,
    (whole, rows): (usize, usize),
    stride: usize,
    l: usize,
    k: usize,
    w: *const f64,
    ld: usize,
    g: *mut f64,
    ahead: Ahead,
    next: usize,
) {
    let n = <S as Lanes<f64>>::N;
    let first = simd.first(l - k - (V - 1) * n);
    let zero: F64<S> = simd.splat(0.0);
    let mut sums = [[[zero; C]; V]; U];
    let whole = whole - whole % U;
    // SAFETY: by the contract.
    unsafe {
        if !S::CHOOSES {
            // What they hold past L comes to lanes that are not stored.
            sum_rows::<T, S, V, C, U, NEAR, true>(simd, x, (0, whole), rows, stride, l, k, first, w, ld, &mut sums, ahead, next);
        }
        sum_rows::<T, S, V, C, U, NEAR, false>(simd, x, (whole, rows), rows, stride, l, k, first, w, ld, &mut sums, ahead, next);
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

/// Adds the rows `from..to` of `rows` to the sums of [`sum_tile`], which are of multiples of U rows from 0 on; if WHOLE, last vectors are
/// read whole.
///
/// # Safety
/// As for [`sum_tile`]; `from` and, if WHOLE, `to` are multiples of U.
#[inline(always)]
unsafe fn sum_rows<T: Scalar, S: Features, const V: usize, const C: usize, const U: usize, const NEAR: bool, const WHOLE: bool>(
    simd: S,
    x: *const T,
    (from, to): (usize, usize),
    rows: usize,
    stride: usize,
    l: usize,
    k: usize,
    first: <S as Lanes<f64>>::First,
    w: *const f64,
    ld: usize,
    sums: &mut [[[F64<S>; C]; V]; U],
    ahead: Ahead,
    next: usize,
) {
    let n = <S as Lanes<f64>>::N;
    // The share of these features in what is ahead of all rows.
    let width = (V * n).min(l - k);
    let share = x.wrapping_add(k * rows + from * width);
    let mut ahead = ahead.of_numbers(share, width * (to - from));
    let (some, mut due) = (rows_of_piece::<T>(width), from);
    // SAFETY: rows i + u < to; all vectors but the last are whole, and `first` chooses the features below L of that one, if it is not WHOLE.
    unsafe {
        let (mut row, mut share, mut w) = (x.wrapping_add(from * stride + k), share, w.add(from));
        let mut i = from;
        while i < to {
            if !NEAR && i >= due {
                ahead.piece(simd);
                due += some;
            }
            for u in 0..U {
                if WHOLE || i + u < to {
                    let weights = each!(c < C, from simd.splat(0.0); simd.splat(*w.add(c * ld + u)));
                    for v in 0..V {
                        let from = row.add(u * stride + v * n);
                        match NEAR {
                            true => simd.fetch_near(share.wrapping_add(u * width + v * n).wrapping_byte_add(next).cast()),
                            false => ahead.line_of_row(simd, i + u, from),
                        }
                        let features = if WHOLE || v + 1 < V { simd.load_as_f64(from) } else { simd.load_first_as_f64(first, from) };
                        for c in 0..C {
                            sums[u][v][c] = simd.mul_add(weights[c], features, sums[u][v][c]);
                        }
                    }
                }
            }
            i += U;
            (row, share, w) = (row.wrapping_add(U * stride), share.wrapping_add(U * width), w.wrapping_add(U));
        }
    }
}

/// Adds the products of the one or two features from feature k on with C columns of W, pairs of four rows at a time. As for [`sum_tile`],
/// lines are asked for.
///
/// # Safety
/// `rows` rows of L features at `x`, `stride` apart, a multiple of four; `k < L ≤ k + 2`; `w` has C columns of `rows` numbers, `ld` apart.
#[inline(always)]
unsafe fn add_pairs<T: Scalar, S: Features, const C: usize, const NEAR: bool>(
    simd: S,
    x: *const T,
    rows: usize,
    stride: usize,
    l: usize,
    k: usize,
    w: *const f64,
    ld: usize,
    sums: &mut [F64<S>; C],
    ahead: Ahead,
    next: usize,
) {
    let (first, width) = (simd.first(l - k), l - k);
    let share = x.wrapping_add(k * rows);
    let mut ahead = ahead.of_numbers(share, width * rows);
    let (some, mut due) = (rows_of_piece::<T>(width), 0);
    // SAFETY: by the contract.
    unsafe {
        for i in (0..rows).step_by(4) {
            if !NEAR && i >= due {
                ahead.piece(simd);
                due += some;
            }
            let at = share.wrapping_add(i * width);
            match NEAR {
                true => simd.fetch_near(at.wrapping_byte_add(next).cast()),
                false => ahead.line_of_row(simd, i, at),
            }
            let pairs = simd.pairs(first, x.add(i * stride + k), stride);
            for c in 0..C {
                sums[c] = simd.mul_add(pairs, simd.load_four_twice(w.add(c * ld + i)), sums[c]);
            }
        }
    }
}
