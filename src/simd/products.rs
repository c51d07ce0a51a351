//! The tall-skinny products of a block of rows: logits `S = b + X Θ`, sums `G += X^T W`, second moments `H += X^T diag(w) X`.
//!
//! Arithmetic is f64 for f32 features too. Each product is cut into tiles whose sums stay in registers; the order of the
//! additions depends on the shape and the instruction set alone.

use super::ahead::Ahead;
use super::dispatch::Kernel;
use super::logits::Logits;
use super::rows::columns_fit;
use super::sums::WeightedSum;
use super::vector::{F64, Features, Lanes, Simd};
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
    logits_ahead(isa, x, theta, offset, out, ld, Ahead::beyond_second(size_of_val(x.values)));
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
    T::run(isa, Logits { x, theta, offset, out, ld, ahead, isa });
}

/// `g[c * L + l] += Σ_i w[c * ld + i] x_il` for every column c of W and every feature l.
///
/// Cost: `rows · L · C` multiply-adds.
///
/// # Panics
/// Unless the rows lie inside `x.values`, `x.columns ≥ 1`, `g` is whole columns and `w` has `(C − 1) · ld + rows` numbers
/// with `ld ≥ rows`.
pub fn weighted_sum<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], ld: usize, g: &mut [f64]) {
    weighted_sum_ahead(isa, x, w, ld, g, Ahead::beyond_second(size_of_val(x.values)));
}

/// The same, which asks for other memory ahead.
pub(crate) fn weighted_sum_ahead<T: Scalar>(isa: Isa, x: Rows<'_, T>, w: &[f64], ld: usize, g: &mut [f64], ahead: Ahead) {
    check(&x, g.len(), w.len(), ld);
    T::run(isa, WeightedSum { x, w, ld, g, ahead, isa });
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
    assert!(columns_fit(x.columns, ld, x.columns, h.len()), "h is L by L");
    T::run(isa, Gram { x, w, h, ld });
}

/// Panics unless `small` numbers make whole columns of `x.columns`, and one of `x.rows` for each fits in `large`, `ld` apart.
#[inline]
fn check<T>(x: &Rows<'_, T>, small: usize, large: usize, ld: usize) {
    assert!(x.fits(), "the rows must lie inside the values");
    assert!(x.columns > 0 && small % x.columns == 0, "whole columns");
    assert!(columns_fit(small / x.columns, ld, x.rows, large), "room");
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

pub struct Gram<'a, T> {
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
    let mut sums = [[simd.splat(0.0); A]; V];
    let whole = if S::CHOOSES { 0 } else { x.readable(0, x.rows, b + V * n) };
    // SAFETY: by the contract. In row `a + r` of H, `a + r < L`, columns at most `a + r` are touched.
    unsafe {
        if !S::CHOOSES {
            // What they hold past the last feature comes to lanes that are not stored.
            gram_rows::<T, S, A, V, true>(simd, x, (0, whole), w, a, b, &mut sums);
        }
        gram_rows::<T, S, A, V, false>(simd, x, (whole, x.rows), w, a, b, &mut sums);
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

/// Adds the rows `from..to` to the sums of [`gram_tile`]; if WHOLE, last vectors are read whole.
///
/// # Safety
/// As for [`gram_tile`]; where a row may not be read whole, it is not WHOLE.
#[inline(always)]
unsafe fn gram_rows<T: Scalar, S: Features, const A: usize, const V: usize, const WHOLE: bool>(
    simd: S,
    x: &Rows<'_, T>,
    (from, to): (usize, usize),
    w: *const f64,
    a: usize,
    b: usize,
    sums: &mut [[F64<S>; A]; V],
) {
    let (n, l) = (<S as Lanes<f64>>::N, x.columns);
    let first = simd.first(l - b - (V - 1) * n);
    // SAFETY: past the last feature it is taken again, so that every number that counts is a feature; all vectors but the last are whole,
    // and `first` chooses the features below L of that one, if it is not WHOLE.
    unsafe {
        for i in from..to {
            let row = x.values.as_ptr().add(i * x.stride);
            let weight = simd.splat(*w.add(i));
            let mut features = [weight; V];
            for v in 0..V {
                let from = row.add(b + v * n);
                let feature = if WHOLE || v + 1 < V { simd.load_as_f64(from) } else { simd.load_first_as_f64(first, from) };
                features[v] = simd.mul(weight, feature);
            }
            for r in 0..A {
                let other = simd.splat((*row.add((a + r).min(l - 1))).to_f64());
                for v in 0..V {
                    sums[v][r] = simd.mul_add(features[v], other, sums[v][r]);
                }
            }
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::simd::{Columns, logits_of_columns_ahead, weighted_sum_of_columns_ahead};
    use crate::testing::numbers;

    /// Rows one by one, two by two or more at once: the same bits.
    #[test]
    fn what_is_asked_for_ahead_changes_no_bit() {
        let others = [Ahead::Lines, Ahead::Half(4096), Ahead::Pages, Ahead::Near];
        for (rows, l, c) in [
            (37, 5, 3),
            (41, 16, 8),
            (77, 50, 5),
            (75, 18, 6),
            (13, 64, 1),
            (29, 70, 4),
            (30, 65, 4),
            (38, 128, 4),
            (35, 136, 6),
            (23, 200, 7),
        ] {
            let (values, theta, w) = (numbers(rows * l, 1), numbers(c * l, 2), numbers(c * rows, 3));
            let single: Vec<f32> = values.iter().map(|x| *x as f32).collect();
            for isa in Isa::available() {
                let run = |ahead: Ahead| {
                    let mut all = vec![];
                    let bytes = ahead.by::<f64>(rows);
                    let (mut out, mut g) = (vec![0.0; c * rows], vec![0.0; c * l]);
                    let mut note = |out: &[f64], g: &mut [f64]| {
                        all.extend(out.iter().chain(&*g).map(|x| x.to_bits()));
                        g.fill(0.0);
                    };
                    let x = Rows { values: &values, rows, columns: l, stride: l };
                    logits_ahead(isa, x, &theta, None, &mut out, rows, ahead);
                    weighted_sum_ahead(isa, x, &w, rows, &mut g, ahead);
                    note(&out, &mut g);
                    let x = Rows { values: &single, rows, columns: l, stride: l };
                    logits_ahead(isa, x, &theta, None, &mut out, rows, ahead);
                    weighted_sum_ahead(isa, x, &w, rows, &mut g, ahead);
                    note(&out, &mut g);
                    let x = Columns { values: &values, rows, columns: l, stride: rows };
                    logits_of_columns_ahead(isa, x, &theta, None, &mut out, rows, bytes);
                    weighted_sum_of_columns_ahead(isa, x, &w, rows, &mut g, bytes);
                    note(&out, &mut g);
                    all
                };
                let expected = run(Ahead::Nothing);
                for ahead in others {
                    assert!(run(ahead) == expected, "{ahead:?} of {rows} x {l} x {c}, {}", isa.name());
                }
            }
        }
    }
}
