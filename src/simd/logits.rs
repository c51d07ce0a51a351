//! Logits `S = b + X Θ` of a block of rows: along the features, or in groups of rows across them or by columns.

use super::ahead::{Ahead, Asking, with_ahead};
use super::along::{Along, MOST};
use super::dispatch::Kernel;
use super::products::{part, with_constant};
use super::vector::{F64, Features, Lanes, Simd, each};
use super::{Isa, Rows};
use crate::scalar::Scalar;
use crate::workspace::filled;
use core::mem::MaybeUninit;

/// Columns of Θ that go through X together at most.
const COLUMNS: usize = 8;
/// Rows of a group.
const ROWS: usize = 8;
/// Features of which Θ, and rows of features that are not f64, are kept on the stack.
const STRIP: usize = 64;

pub struct Logits<'a, T> {
    pub x: Rows<'a, T>,
    pub theta: &'a [f64],
    pub offset: Option<&'a [f64]>,
    pub out: &'a mut [f64],
    pub ld: usize,
    pub(super) ahead: Ahead,
    /// Whose kernel this is.
    pub isa: Isa,
}

/// What a vector holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Features of a row. Each tile ends in sums over lanes.
    Along,
    /// Rows. Each tile begins with transpositions.
    Across,
    /// Columns of Θ. Each tile ends in transpositions.
    ByColumns,
}

/// The way that was fastest, and how many of the columns to take: by columns unless more lanes than these would go unused, else along many
/// features or across the rows. Features that are to be converted are copied to go by columns, and cost least along. Of four lanes few
/// columns leave many unused, and are best along, the fewer from the fewer features on.
fn way<T, S: Features>(l: usize, columns: usize) -> (Way, usize) {
    let n = <S as Lanes<f64>>::N;
    let count = columns.min(COLUMNS);
    let unused = count.next_multiple_of(n) - count;
    let converted = size_of::<T>() < size_of::<f64>();
    match n {
        8 if unused <= 1 && !converted => (Way::ByColumns, count),
        8 if l >= 4 * n && count <= MOST - usize::from(converted) || l >= 8 * n && converted => (Way::Along, part(count, MOST)),
        4 if count <= MOST && l >= n * [2, 2, 4, 8, 8, 8][count - 1] => (Way::Along, count),
        4 if unused <= 2 && (l >= 8 * n || !converted) => (Way::ByColumns, count),
        4 | 8 => (Way::Across, count),
        _ if l >= 4 * n && columns <= COLUMNS => (Way::Along, part(count, MOST)),
        _ => (Way::Across, part(columns, COLUMNS)),
    }
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
    fn vector<S: Simd>(self, _: S) {
        let Self { x, theta, offset, out, ld, ahead, isa } = self;
        let mut ahead = ahead.of(&x);
        let l = x.columns;
        let columns = theta.len() / l;
        if x.rows == 0 {
            return;
        }
        let mut c = 0;
        while c < columns {
            let (way, count) = way::<T, S>(l, columns - c);
            let (theta, out) = (&theta[c * l..(c + count) * l], &mut out[c * ld..]);
            if way == Way::Along {
                with_constant!(C = count, one of 1 2 3 4 5 6; isa.run(Along::<T, C>(Logits { x, theta, offset, out, ld, ahead, isa })));
            } else {
                in_groups(isa, &x, theta, offset, out, ld, ahead, way);
            }
            c += count;
            // The columns to come find the rows in cache.
            ahead = Ahead::Nothing;
        }
    }
}

/// Logits of all rows in strips of features: whole groups of rows where they stand, the last rows from a copy. A function of its own, and
/// groups a kernel of their own: beside what the last rows need, the addresses of a group do not fit in the registers.
#[inline(never)]
fn in_groups<T: Scalar>(
    isa: Isa,
    x: &Rows<'_, T>,
    theta: &[f64],
    offset: Option<&[f64]>,
    out: &mut [f64],
    ld: usize,
    ahead: Ahead,
    way: Way,
) {
    let l = x.columns;
    let whole = x.rows - x.rows % ROWS;
    for from in (0..l).step_by(STRIP) {
        let (features, theta) = (STRIP.min(l - from), &theta[from..]);
        let base = match offset {
            _ if from > 0 => Base::Logits,
            Some(b) => Base::Offset(b),
            None => Base::Zero,
        };
        if whole > 0 {
            let rows = Rows { values: &x.values[from..], rows: whole, columns: features, stride: x.stride };
            isa.run(Groups { x: rows, from, theta, l, base, out: &mut *out, ld, ahead, way });
        }
        if whole < x.rows {
            let (mut copy, mut last) = (Room::<{ ROWS * STRIP }>::new(), [0.0; ROWS * COLUMNS]);
            let copy = filled(&mut copy.0[..ROWS * features], 0.0);
            for (row, i) in copy.chunks_exact_mut(features).zip(whole..x.rows) {
                row.iter_mut().zip(&x.row(i)[from..]).for_each(|(to, x)| *to = x.to_f64());
            }
            let rows = Rows { values: copy, rows: ROWS, columns: features, stride: features };
            isa.run(Groups { x: rows, from, theta, l, base: Base::Zero, out: &mut last, ld: ROWS, ahead: Ahead::Nothing, way });
            for (c, sums) in last.chunks_exact(ROWS).enumerate().take(theta.len().div_ceil(l)) {
                for (i, sum) in (whole..x.rows).zip(sums) {
                    let to = &mut out[c * ld + i];
                    *to = match base {
                        Base::Zero => *sum,
                        Base::Offset(b) => sum + b[i],
                        Base::Logits => sum + *to,
                    };
                }
            }
        }
    }
}

/// What is added to the products of a strip of features: offsets, or logits so far.
#[derive(Clone, Copy)]
enum Base<'a> {
    Zero,
    Offset(&'a [f64]),
    Logits,
}

/// Whole groups of ROWS rows, in at most STRIP features from number `from` on, and COLUMNS columns of Θ, `l` numbers apart.
struct Groups<'a, T> {
    x: Rows<'a, T>,
    from: usize,
    theta: &'a [f64],
    l: usize,
    base: Base<'a>,
    out: &'a mut [f64],
    ld: usize,
    ahead: Ahead,
    way: Way,
}

impl<T> Groups<'_, T> {
    /// What is ahead of these features of `count` rows at `rows`, which stand side by side: their share of all features.
    #[inline(always)]
    fn ahead(&self, rows: *const T, count: usize) -> Asking<T> {
        self.ahead.of_numbers(rows.wrapping_sub(self.from).wrapping_add(count * self.from), count * self.x.columns)
    }
}

impl<T: Scalar> Kernel for Groups<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, theta, l, base, out, ld, .. } = self;
        for (c, atom) in theta.chunks(l).enumerate() {
            for i in 0..x.rows {
                let sum: f64 = x.row(i).iter().zip(atom).map(|(x, t)| x.to_f64() * t).sum();
                out[c * ld + i] = match base {
                    Base::Zero => sum,
                    Base::Offset(b) => sum + b[i],
                    Base::Logits => sum + out[c * ld + i],
                };
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let columns = self.theta.len().div_ceil(self.l);
        let mut turned = Room::<{ STRIP * COLUMNS }>::new();
        // SAFETY: `in_groups` gives whole groups whose rows, offsets and logits lie inside their slices, and at most STRIP features and
        // COLUMNS columns.
        unsafe {
            let turned = turned.0.as_mut_ptr().cast::<f64>();
            turn(simd, self.theta.as_ptr(), self.l, columns, self.x.columns, turned);
            let ahead = self.ahead;
            with_ahead!(ahead of T; in_its_way(simd, Groups { ahead, ..self }, columns, turned));
        }
    }
}

/// Groups of rows with `columns` columns across the rows or by columns.
///
/// # Safety
/// As for [`across`] and [`by_columns`].
#[inline(always)]
unsafe fn in_its_way<T: Scalar, S: Features>(simd: S, of: Groups<'_, T>, columns: usize, turned: *const f64) {
    let n = <S as Lanes<f64>>::N;
    // SAFETY: by the contract.
    unsafe {
        match (of.way, n, columns.div_ceil(n)) {
            (Way::Across, ..) => with_constant!(C = columns, one of 1 2 3 4 5 6 7 8; across::<T, S, C>(simd, of, turned)),
            // Eight sums under way at least.
            (_, 8, _) => by_columns::<T, S, 1, 1>(simd, of, columns, turned),
            (_, 4, 1) => by_columns::<T, S, 2, 1>(simd, of, columns, turned),
            (_, 4, _) => by_columns::<T, S, 1, 2>(simd, of, columns, turned),
            (_, _, 1) => by_columns::<T, S, 4, 1>(simd, of, columns, turned),
            (_, _, 2) => by_columns::<T, S, 2, 2>(simd, of, columns, turned),
            _ => by_columns::<T, S, 1, 4>(simd, of, columns, turned),
        }
    }
}

/// Room on the stack for numbers that are written before they are read.
#[repr(align(64))]
pub(super) struct Room<const M: usize>(pub [MaybeUninit<f64>; M]);

impl<const M: usize> Room<M> {
    #[inline(always)]
    pub fn new() -> Self {
        Room([MaybeUninit::uninit(); M])
    }
}

/// Columns of Θ side by side for each feature: `out[k * COLUMNS + c] = θ[c * L + k]`, 0 for the columns that are not there and for features
/// up to a whole vector.
///
/// # Safety
/// `theta` has `columns ≤ COLUMNS` columns, L apart, of at least `features` numbers; `features ≤ STRIP`; `out` has room for STRIP · COLUMNS
/// numbers.
#[inline(always)]
unsafe fn turn<S: Features>(simd: S, theta: *const f64, l: usize, columns: usize, features: usize, out: *mut f64) {
    let n = <S as Lanes<f64>>::N;
    for c in (0..COLUMNS).step_by(n) {
        for k in (0..features).step_by(n) {
            let first = simd.first(features - k);
            let mut square = simd.square(simd.splat(0.0));
            // SAFETY: columns below `columns`, of which `first` chooses features; vectors of columns end at COLUMNS, a multiple of N, and
            // features at STRIP, another.
            unsafe {
                for (r, to) in square.as_mut().iter_mut().enumerate() {
                    if c + r < columns {
                        *to = simd.load_first(first, theta.add((c + r) * l + k));
                    }
                }
                square = simd.transpose(square);
                for (j, from) in square.as_ref().iter().enumerate() {
                    simd.store(out.add((k + j) * COLUMNS + c), *from);
                }
            }
        }
    }
}

/// Stores the sums of N rows at `to`, the rows from i on, with what is added to them.
///
/// # Safety
/// N logits at `to` are readable and writable, and so many offsets from i on.
#[inline(always)]
unsafe fn finish<S: Features>(simd: S, sums: F64<S>, base: Base<'_>, i: usize, to: *mut f64) {
    // SAFETY: by the contract.
    unsafe {
        let sums = match base {
            Base::Zero => sums,
            Base::Offset(b) => simd.add(sums, simd.load(b.as_ptr().add(i))),
            Base::Logits => simd.add(sums, simd.load(to)),
        };
        simd.store(to, sums);
    }
}

/// C columns, vectors across the rows: squares of N rows by N features are transposed in registers.
///
/// # Safety
/// Whole groups of rows in `of.x`; `turned` is as [`turn`] leaves it; offsets for all rows; `of.out` has C columns of them, `ld` apart.
#[inline(always)]
unsafe fn across<T: Scalar, S: Features, const C: usize>(simd: S, of: Groups<'_, T>, turned: *const f64) {
    let n = <S as Lanes<f64>>::N;
    let (features, stride, out) = (of.x.columns, of.x.stride, of.out.as_mut_ptr());
    let whole = features - features % n;
    let first = simd.first(features - whole);
    for i in (0..of.x.rows).step_by(n) {
        let mut sums = [simd.splat(0.0); C];
        let mut square = simd.square(simd.splat(0.0));
        // SAFETY: by the contract; vectors of features below `whole` are whole, and from there on `first` chooses those that are left.
        unsafe {
            let rows = of.x.values.as_ptr().add(i * stride);
            let mut ahead = of.ahead(rows, n);
            let mut k = 0;
            while k < whole {
                ahead.piece(simd);
                for (r, v) in square.as_mut().iter_mut().enumerate() {
                    ahead.line_of_row(simd, i + r, rows.add(r * stride + k));
                    *v = simd.load_as_f64(rows.add(r * stride + k));
                }
                square = simd.transpose(square);
                for j in 0..n {
                    for c in 0..C {
                        sums[c] = simd.mul_add(square.as_ref()[j], simd.splat(*turned.add((k + j) * COLUMNS + c)), sums[c]);
                    }
                }
                k += n;
            }
            if k < features {
                ahead.piece(simd);
                for (r, v) in square.as_mut().iter_mut().enumerate() {
                    ahead.line_of_row(simd, i + r, rows.add(r * stride + k));
                    *v = simd.load_first_as_f64(first, rows.add(r * stride + k));
                }
                square = simd.transpose(square);
                for (j, feature) in square.as_ref().iter().enumerate() {
                    if k + j < features {
                        for c in 0..C {
                            sums[c] = simd.mul_add(*feature, simd.splat(*turned.add((k + j) * COLUMNS + c)), sums[c]);
                        }
                    }
                }
            }
            for c in 0..C {
                finish(simd, sums[c], of.base, i, out.add(c * of.ld + i));
            }
        }
    }
}

/// By columns: V vectors hold the columns of Θ, at least as many as there are, and each feature of U · N rows is broadcast. The logits of N
/// rows are transposed at the end.
///
/// # Safety
/// As for [`across`], with `columns` columns.
#[inline(always)]
unsafe fn by_columns<T: Scalar, S: Features, const U: usize, const V: usize>(
    simd: S,
    of: Groups<'_, T>,
    columns: usize,
    turned: *const f64,
) {
    let n = <S as Lanes<f64>>::N;
    let (features, out) = (of.x.columns, of.out.as_mut_ptr());
    let whole = features - features % n;
    let first = simd.first(features - whole);
    let mut copy = Room::<{ ROWS * STRIP }>::new();
    let copy = copy.0.as_mut_ptr().cast::<f64>();
    for i in (0..of.x.rows).step_by(U * n) {
        let mut sums = [[simd.square(simd.splat(0.0)); V]; U];
        // SAFETY: by the contract; all features have their Θ turned.
        unsafe {
            let start = of.x.values.as_ptr().add(i * of.x.stride);
            // The size tells f64 from f32, which is copied: a conversion for every number that is broadcast would cost more.
            let in_place = size_of::<T>() == 8;
            let (rows, stride) = if in_place { (start.cast::<f64>(), of.x.stride) } else { (copy.cast_const(), STRIP) };
            if !in_place {
                for r in 0..U * n {
                    let (from, to) = (start.add(r * of.x.stride), copy.add(r * STRIP));
                    let mut k = 0;
                    while k < whole {
                        simd.store(to.add(k), simd.load_as_f64(from.add(k)));
                        k += n;
                    }
                    simd.store_first(first, to.add(k), simd.load_first_as_f64(first, from.add(k)));
                }
            }
            let mut ahead = of.ahead(start, U * n);
            let mut k = 0;
            while k < whole {
                ahead.piece(simd);
                for j in 0..n {
                    for u in 0..U {
                        ahead.line_of_row(simd, i + u * n + j, start.add((u * n + j) * of.x.stride + k));
                    }
                    add_feature::<S, U, V>(simd, rows.add(k + j), stride, turned.add((k + j) * COLUMNS), &mut sums);
                }
                k += n;
            }
            ahead.piece(simd);
            if k < features {
                for r in 0..U * n {
                    ahead.line_of_row(simd, i + r, start.add(r * of.x.stride + k));
                }
            }
            while k < features {
                add_feature::<S, U, V>(simd, rows.add(k), stride, turned.add(k * COLUMNS), &mut sums);
                k += 1;
            }
            for u in 0..U {
                for v in 0..V {
                    let square = simd.transpose(sums[u][v]);
                    for (c, s) in square.as_ref().iter().enumerate() {
                        if v * n + c < columns {
                            finish(simd, *s, of.base, i + u * n, out.add((v * n + c) * of.ld + i + u * n));
                        }
                    }
                }
            }
        }
    }
}

/// Adds the products of one feature of U · N rows with V vectors of columns.
///
/// # Safety
/// The feature at `x` in each of the rows, `stride` apart, and V vectors at `theta` must be readable.
#[inline(always)]
unsafe fn add_feature<S: Features, const U: usize, const V: usize>(
    simd: S,
    x: *const f64,
    stride: usize,
    theta: *const f64,
    sums: &mut [[S::Square; V]; U],
) {
    let n = <S as Lanes<f64>>::N;
    // SAFETY: by the contract.
    unsafe {
        let theta = each!(v < V, from simd.splat(0.0); simd.load(theta.add(v * n)));
        for u in 0..U {
            for r in 0..n {
                let feature = simd.splat(*x.add((u * n + r) * stride));
                for v in 0..V {
                    let sum = &mut sums[u][v].as_mut()[r];
                    *sum = simd.mul_add(feature, theta[v], *sum);
                }
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

    /// Groups of rows, across and by columns, on every instruction set, the plain twin among them.
    #[test]
    fn groups_of_rows_have_the_logits_of_their_rows() {
        for (rows, l, c) in [(8, 1, 1), (16, 5, 3), (24, 64, 8), (30, 65, 4), (13, 150, 5), (7, 3, 7), (40, 16, 6), (9, 70, 2)] {
            let (values, theta, offset) = (numbers(rows * (l + 1), 1), numbers(c * l, 2), numbers(rows, 3));
            let single: Vec<f32> = values.iter().map(|x| *x as f32).collect();
            let (ld, stride) = (rows + 2, l + 1);
            for isa in Isa::available() {
                for way in [Way::Across, Way::ByColumns] {
                    for b in [None, Some(&offset[..])] {
                        let (mut of_f64, mut of_f32) = (vec![7.5; (c - 1) * ld + rows], vec![7.5; (c - 1) * ld + rows]);
                        let (x, of_single) =
                            (Rows { values: &values, rows, columns: l, stride }, Rows { values: &single, rows, columns: l, stride });
                        in_groups(isa, &x, &theta, b, &mut of_f64, ld, Ahead::of_memory(), way);
                        in_groups(isa, &of_single, &theta, b, &mut of_f32, ld, Ahead::Nothing, way);
                        for k in 0..c {
                            for i in 0..ld.min(of_f64.len() - k * ld) {
                                let sum = |x: &dyn Fn(usize) -> f64| {
                                    let b = b.map_or(0.0, |b| b[i]);
                                    (0..l).fold(b, |s, m| s + x(i * stride + m) * theta[k * l + m])
                                };
                                let (a, b) = (of_f64[k * ld + i], of_f32[k * ld + i]);
                                match i < rows {
                                    true => {
                                        let what = (isa.name(), rows, l, c, k, i);
                                        assert!((a - sum(&|j| values[j])).abs() < 1e-12, "{what:?}");
                                        assert!((b - sum(&|j| f64::from(single[j]))).abs() < 1e-12, "{what:?}");
                                    }
                                    false => assert!(a == 7.5 && b == 7.5, "between the columns"),
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
