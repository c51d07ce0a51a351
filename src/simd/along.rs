//! Logits of C columns along the features, which end in sums over lanes.

use super::Rows;
use super::ahead::{Ahead, Asking, NEXT, piece_of_rows, with_ahead, with_near};
use super::dispatch::Kernel;
use super::logits::{Logits, Room};
use super::vector::{F64, Features, Lanes, Simd, each};
use crate::scalar::Scalar;

/// Columns at most: the sums of four rows, their columns and a vector of a row are all the registers.
pub(super) const MOST: usize = 6;
/// Features up to which Θ is packed, on the stack.
const SHORT: usize = 64;

/// C columns along the features. Kernels of their own for so many columns have their addresses in registers: those of all of them together
/// would not fit.
pub(super) struct Along<'a, T, const C: usize>(pub Logits<'a, T>);

impl<T: Scalar, const C: usize> Kernel for Along<'_, T, C> {
    type Output = ();

    fn plain(self) {
        self.0.plain();
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Logits { x, theta, offset, out, ld, ahead, .. } = self.0;
        let (theta, out) = (theta.as_ptr(), out.as_mut_ptr());
        // SAFETY: `check` has shown that rows, columns of Θ, offsets and results lie inside their slices; the packed columns have room.
        unsafe {
            if x.columns <= SHORT {
                let mut packed = Room::<{ MOST * SHORT }>::new();
                let packed = packed.0.as_mut_ptr().cast::<f64>();
                pack::<S, C>(simd, theta, x.columns, packed);
                with_near!(NEAR, ahead of T; along::<T, S, C, true, NEAR>(simd, &x, packed, offset, out, ld, ahead));
            } else {
                with_near!(NEAR, ahead of T; along::<T, S, C, false, NEAR>(simd, &x, theta, offset, out, ld, ahead));
            }
        }
    }
}

/// Columns of Θ vector by vector: `out[k * C + c * N + j] = θ[c * L + k + j]` for multiples k of N and j < N, 0 past the last feature.
///
/// # Safety
/// `theta` has C columns of L numbers; `out` has room for as many columns of whole vectors.
#[inline(always)]
unsafe fn pack<S: Features, const C: usize>(simd: S, theta: *const f64, l: usize, out: *mut f64) {
    let n = <S as Lanes<f64>>::N;
    for k in (0..l).step_by(n) {
        let first = simd.first(l - k);
        for c in 0..C {
            // SAFETY: `first` chooses features below L.
            unsafe { simd.store(out.add(k * C + c * n), simd.load_first(first, theta.add(c * l + k))) };
        }
    }
}

/// C columns of logits, vectors along the features, which end in sums over lanes: four rows at a time, the last rows one by one.
///
/// # Safety
/// The rows lie inside `x.values`; `theta` has C columns, as [`pack`] leaves them if PACKED; `offset` a number for each row; `out` C
/// columns of `x.rows` numbers, `ld` apart.
#[inline(always)]
unsafe fn along<T: Scalar, S: Features, const C: usize, const PACKED: bool, const NEAR: bool>(
    simd: S,
    x: &Rows<'_, T>,
    theta: *const f64,
    offset: Option<&[f64]>,
    out: *mut f64,
    ld: usize,
    ahead: Ahead,
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let features = l - l % n;
    let first = simd.first(l - features);
    let whole = x.rows - x.rows % 4;
    // One or two features more than whole vectors hold: those of four rows are in one vector, in place of four vectors that are nearly empty.
    let pairs = has_pairs::<S>(l);
    let mut by = [simd.splat(0.0); C];
    // What comes from memory line by line is best read so, unless it is to be converted: that takes longer than to wait.
    let row_by_row = ahead == Ahead::Lines && size_of::<T>() == 8;
    let (mut row, mut out) = (x.values.as_ptr(), out);
    // SAFETY: four rows at a time lie before `whole`, the others before `x.rows`; so do their offsets and logits.
    unsafe {
        if pairs {
            for (c, by) in by.iter_mut().enumerate() {
                let from = if PACKED { theta.add(features * C + c * n) } else { theta.add(c * l + features) };
                // The same pair for each of the four rows.
                *by = simd.pairs(first, from, 0);
            }
        }
        for i in (0..whole).step_by(4) {
            let sums = if row_by_row {
                let mut sums = [[simd.splat(0.0); C]; 4];
                for (r, sums) in sums.iter_mut().enumerate() {
                    [*sums] = products_along::<T, S, C, 1, PACKED, NEAR>(
                        simd,
                        row.add(r * x.stride),
                        x.stride,
                        i + r,
                        theta,
                        features,
                        l,
                        first,
                        pairs,
                        ahead,
                    );
                }
                sums
            } else if S::REGISTERS < 32 && C > 3 {
                // Sums of two rows are as many as registers hold beside the rest.
                let other = row.add(2 * x.stride);
                let [a, b] = products_along::<T, S, C, 2, PACKED, NEAR>(simd, row, x.stride, i, theta, features, l, first, pairs, ahead);
                let [c, d] =
                    products_along::<T, S, C, 2, PACKED, NEAR>(simd, other, x.stride, i + 2, theta, features, l, first, pairs, ahead);
                [a, b, c, d]
            } else {
                products_along::<T, S, C, 4, PACKED, NEAR>(simd, row, x.stride, i, theta, features, l, first, pairs, ahead)
            };
            let b: [f64; 4] = match offset {
                Some(b) => b.as_ptr().add(i).cast::<[f64; 4]>().read_unaligned(),
                None => [0.0; 4],
            };
            match pairs {
                true => finish::<S, C>(simd, sums, Some((simd.pairs(first, row.add(features), x.stride), &by)), b, out, ld),
                false => finish::<S, C>(simd, sums, None, b, out, ld),
            }
            (row, out) = (row.wrapping_add(4 * x.stride), out.wrapping_add(4));
        }
        for i in whole..x.rows {
            let [sums] = products_along::<T, S, C, 1, PACKED, NEAR>(simd, row, x.stride, i, theta, features, l, first, false, ahead);
            for c in 0..C {
                *out.add(c * ld) = <S as Lanes<f64>>::sum(simd, sums[c]) + offset.map_or(0.0, |b| b[i]);
            }
            (row, out) = (row.wrapping_add(x.stride), out.wrapping_add(1));
        }
    }
}

/// Writes the logits of four rows in C columns: the sums of the lanes, and the products of the pairs, beside `b`.
///
/// # Safety
/// `out` has C columns of four numbers, `ld` apart.
#[inline(always)]
unsafe fn finish<S: Features, const C: usize>(
    simd: S,
    lanes: [[F64<S>; C]; 4],
    pairs: Option<(F64<S>, &[F64<S>; C])>,
    b: [f64; 4],
    out: *mut f64,
    ld: usize,
) {
    // No closures of what takes vectors: they would be compiled without the instructions.
    let write = |c: usize, s: [f64; 4]| {
        // SAFETY: by the contract.
        unsafe { out.add(c * ld).cast::<[f64; 4]>().write_unaligned([s[0] + b[0], s[1] + b[1], s[2] + b[2], s[3] + b[3]]) };
    };
    for c in (0..C).step_by(2) {
        let d = if c + 1 < C { c + 1 } else { c };
        let column = [lanes[0][c], lanes[1][c], lanes[2][c], lanes[3][c]];
        let other = [lanes[0][d], lanes[1][d], lanes[2][d], lanes[3][d]];
        let mut halves = [simd.halves_of_sums(column), simd.halves_of_sums(other)];
        if let Some((of_rows, by)) = pairs {
            halves = [simd.add_pairs(of_rows, by[c], halves[0]), simd.add_pairs(of_rows, by[d], halves[1])];
        }
        let [s, t] = simd.add_halves(halves);
        write(c, s);
        if d > c {
            write(d, t);
        }
    }
}

/// Whether features past the last whole vector go by pairs: one or two past two vectors at least.
#[inline(always)]
pub(super) fn has_pairs<S: Features>(l: usize) -> bool {
    let n = <S as Lanes<f64>>::N;
    S::PAIRS && l > 2 * n && matches!(l % n, 1 | 2)
}

/// Asks for the line ahead of what is read of row `i` at `at`.
#[inline(always)]
fn ask<T: Scalar, S: Features, const NEAR: bool>(simd: S, ahead: &Asking<T>, i: usize, at: *const T) {
    match NEAR {
        true => simd.fetch_near(at.wrapping_byte_add(NEXT).cast()),
        false => ahead.line_of_row(simd, i, at),
    }
}

/// The sums of R rows, the first number i at `rows`, lane by lane: `whole` features in whole vectors, and the `first` of one more up to L
/// unless they go by pairs.
///
/// # Safety
/// R rows of L features at `rows`, `stride` apart; Θ as for [`along`]; `first` chooses less than a vector, `l − whole` features.
#[inline(always)]
unsafe fn products_along<T: Scalar, S: Features, const C: usize, const R: usize, const PACKED: bool, const NEAR: bool>(
    simd: S,
    rows: *const T,
    stride: usize,
    i: usize,
    theta: *const f64,
    whole: usize,
    l: usize,
    first: <S as Lanes<f64>>::First,
    pairs: bool,
    ahead: Ahead,
) -> [[F64<S>; C]; R] {
    let n = <S as Lanes<f64>>::N;
    let mut sums = [[simd.splat(0.0); C]; R];
    // SAFETY: features below `whole` are whole vectors, and from there on `first` chooses those below L.
    unsafe {
        let mut ahead = ahead.of_numbers(rows, R * l);
        let mut k = 0;
        while k < whole {
            if k % piece_of_rows::<T>(R, n) == 0 {
                ahead.piece(simd);
            }
            // Vectors of Θ stay in registers while the rows go by, or vectors of rows while the atoms do, where those are too many.
            if R * C + C < S::REGISTERS {
                let atom =
                    each!(c < C, from simd.splat(0.0); simd.load(if PACKED { theta.add(k * C + c * n) } else { theta.add(c * l + k) }));
                for r in 0..R {
                    ask::<T, S, NEAR>(simd, &ahead, i + r, rows.add(r * stride + k));
                    let v = simd.load_as_f64(rows.add(r * stride + k));
                    for c in 0..C {
                        sums[r][c] = simd.mul_add(v, atom[c], sums[r][c]);
                    }
                }
            } else {
                let mut v = [simd.splat(0.0); R];
                for r in 0..R {
                    ask::<T, S, NEAR>(simd, &ahead, i + r, rows.add(r * stride + k));
                    v[r] = simd.load_as_f64(rows.add(r * stride + k));
                }
                for c in 0..C {
                    let atom = simd.load(if PACKED { theta.add(k * C + c * n) } else { theta.add(c * l + k) });
                    for r in 0..R {
                        sums[r][c] = simd.mul_add(v[r], atom, sums[r][c]);
                    }
                }
            }
            k += n;
        }
        if k < l {
            ahead.piece(simd);
            for r in 0..R {
                ask::<T, S, NEAR>(simd, &ahead, i + r, rows.add(r * stride + k));
            }
        }
        if k < l && !pairs {
            let atom = each!(c < C, from simd.splat(0.0);
                if PACKED { simd.load(theta.add(k * C + c * n)) } else { simd.load_first(first, theta.add(c * l + k)) });
            for r in 0..R {
                let v = simd.load_first_as_f64(first, rows.add(r * stride + k));
                for c in 0..C {
                    sums[r][c] = simd.mul_add(v, atom[c], sums[r][c]);
                }
            }
        }
    }
    sums
}
