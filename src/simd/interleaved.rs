//! `log Σ_i e^(x_ic)` of every column c of a row-major matrix, in one pass over memory.
//!
//! As in `logsumexp.rs`, with a maximum and a compensated sum for every lane. Where there are fewer columns than lanes, several rows count
//! as one.

use super::Isa;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::{U, exp_of_any, exp_of_difference, exp_of_small};
use super::logsumexp::plain_sum;
use super::state::{LogSumExp, Running};
use super::vector::{Lanes, Powers};

/// [`logsumexp`](super::logsumexp()) of every column of the row-major matrix `x` of `out.len()` columns, all at once, reading `x` once.
///
/// # Panics
/// Unless `x` is whole rows.
pub fn logsumexp_columns<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert!(if out.is_empty() { x.is_empty() } else { x.len() % out.len() == 0 }, "whole rows");
    T::run(isa, Columns { x, out });
}

pub struct Columns<'a, T> {
    x: &'a [T],
    out: &'a mut [T],
}

/// Vectors of a row that are taken through memory together. At least the lanes of any vector, so that a row of fewer
/// columns than lanes, repeated until it fills whole vectors, fits.
const GROUP: usize = 16;
/// Rows between two looks at the maximum.
const ROWS: usize = 64;

impl<T: Element> ElementKernel<T> for Columns<'_, T> {
    type Output = ();

    fn plain(self) {
        let columns = self.out.len();
        for (c, out) in self.out.iter_mut().enumerate() {
            *out = T::from_f64(plain_sum(self.x.iter().skip(c).step_by(columns).copied()).state().value());
        }
    }

    /// With fewer columns than lanes, N rows count as one of `columns` vectors: number i of it belongs to column
    /// `i mod columns`, and the last such row may be incomplete.
    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) {
        let Self { x, out } = self;
        let (n, columns) = (S::N, out.len());
        let folded = columns < n;
        let width = if folded { columns * n } else { columns };
        let mut start = 0;
        while start < width {
            let group = (width - start).min(GROUP * n);
            let vectors = group.div_ceil(n);
            let mut lanes = [Lane { max: simd.splat(-T::LARGEST), sum: simd.splat(T::ZERO), rest: simd.splat(T::ZERO) }; GROUP];
            let mut row = start;
            while row < x.len() {
                for (v, lane) in lanes[..vectors].iter_mut().enumerate() {
                    // Where the vector's numbers begin in each row, and how many there are: of the columns, and of `x`.
                    let at = row + v * n;
                    let count = x.len().saturating_sub(at).div_ceil(width).min(ROWS);
                    // SAFETY: the `count` vectors begin inside `x`, and `add` touches numbers inside `x` only.
                    unsafe { lane.add_rows(simd, x, at, width, count) };
                }
                row += ROWS * width;
            }
            let mut states = States::new(simd, &lanes[..vectors]);
            if folded {
                states.fold(simd, vectors, out);
            } else {
                for (i, out) in out[start..start + group].iter_mut().enumerate() {
                    *out = T::from_f64(states.get(i).value());
                }
            }
            start += group;
        }
    }
}

/// A maximum and a compensated sum in every lane.
#[derive(Clone, Copy)]
struct Lane<V> {
    max: V,
    sum: V,
    rest: V,
}

impl<V: Copy> Lane<V> {
    /// Adds `count` vectors, `stride` apart from `x[at]` on; lanes past the end of `x` count as −∞.
    ///
    /// # Safety
    /// `at + (count − 1) stride < x.len()`, and a vector is not longer than the stride, so that only the last one may reach
    /// past the end of `x`.
    #[inline(always)]
    unsafe fn add_rows<T: Elementary, S: Powers<T> + Lanes<T, V = V>>(&mut self, simd: S, x: &[T], at: usize, stride: usize, count: usize) {
        let n = S::N;
        if count == 0 {
            return;
        }
        let (nothing, zero) = (simd.splat(-T::INFINITY), simd.splat(T::ZERO));
        // Rows whose vector is whole can be loaded whole, even where some lanes belong to the next row.
        let last = x.len() - at - (count - 1) * stride;
        let whole = if last >= n { count } else { count - 1 };
        let first = simd.first(last.min(n));
        // SAFETY: vectors before `whole` lie inside `x`, and of the last one `first` chooses the numbers that do.
        unsafe {
            let p = x.as_ptr().add(at);
            let mut max = self.max;
            for r in 0..whole {
                max = simd.max(simd.load(p.add(r * stride)), max);
            }
            let end = p.add((count - 1) * stride);
            if whole < count {
                max = simd.max(simd.select_first(first, simd.load_first(first, end), nothing), max);
            }
            let max = simd.min(simd.splat(T::LARGEST), max);
            let [factor] = exp_of_difference::<T, S, 1>(simd, [simd.sub(self.max, max)]);
            let mut sum = [zero; U];
            let mut r = 0;
            // Where every lane has seen a finite number and none +∞, terms below the normal numbers may count as those.
            let special = simd.any_beyond([max], T::from_f64(0.5 * T::LARGEST.to_f64()));
            let lowest = simd.splat(-T::NORMAL_EXP);
            while r + U <= whole && !special {
                let mut d = [zero; U];
                for u in 0..U {
                    d[u] = simd.max(lowest, simd.sub(simd.load(p.add((r + u) * stride)), max));
                }
                let e = exp_of_small::<T, S, U>(simd, d);
                for u in 0..U {
                    sum[u] = simd.add(sum[u], e[u]);
                }
                r += U;
            }
            while r < count {
                let v =
                    if r < whole { simd.load(p.add(r * stride)) } else { simd.select_first(first, simd.load_first(first, end), nothing) };
                sum[0] = simd.add(sum[0], exp_of_any::<T, S>(simd, simd.sub(v, max)));
                r += 1;
            }
            for u in 1..U {
                sum[0] = simd.add(sum[0], sum[u]);
            }
            self.max = max;
            // Knuth's two-sum keeps what the rounding leaves out.
            let (old, more) = (simd.mul(self.sum, factor), sum[0]);
            self.sum = simd.add(old, more);
            let part = simd.sub(self.sum, old);
            let error = simd.add(simd.sub(old, simd.sub(self.sum, part)), simd.sub(more, part));
            self.rest = simd.mul_add(self.rest, factor, error);
        }
    }
}

/// The lanes of a group as numbers.
struct States<T> {
    max: [T; GROUP * 16],
    sum: [T; GROUP * 16],
    rest: [T; GROUP * 16],
}

impl<T: Elementary> States<T> {
    #[inline(always)]
    fn new<S: Powers<T>>(simd: S, lanes: &[Lane<S::V>]) -> Self {
        let mut states = States { max: [T::ZERO; GROUP * 16], sum: [T::ZERO; GROUP * 16], rest: [T::ZERO; GROUP * 16] };
        for (v, lane) in lanes.iter().take(GROUP).enumerate() {
            // SAFETY: v < GROUP, and no vector has more than 16 lanes.
            const { assert!(S::N <= 16) };
            unsafe {
                simd.store(states.max.as_mut_ptr().add(v * S::N), lane.max);
                simd.store(states.sum.as_mut_ptr().add(v * S::N), lane.sum);
                simd.store(states.rest.as_mut_ptr().add(v * S::N), lane.rest);
            }
        }
        states
    }

    #[inline(always)]
    fn get(&self, i: usize) -> LogSumExp {
        let rest = self.rest[i].to_f64();
        // NaN comes of +∞, and of NaN, which `sum` shows.
        Running { max: self.max[i].to_f64(), sum: self.sum[i].to_f64(), rest: if rest.is_nan() { 0.0 } else { rest } }.state()
    }

    /// Merges the numbers of column `c = i mod columns` for each of `columns < N` columns.
    #[inline(always)]
    fn fold<S: Powers<T>>(&mut self, simd: S, vectors: usize, out: &mut [T]) {
        let columns = out.len();
        let numbers = vectors * S::N;
        let mut max = [-T::LARGEST; GROUP];
        for (i, &lane) in self.max[..numbers].iter().enumerate() {
            if lane > max[i % columns] {
                max[i % columns] = lane;
            }
        }
        // To a common maximum, a vector at a time.
        let mut common = [T::ZERO; GROUP * 16];
        for (i, common) in common[..numbers].iter_mut().enumerate() {
            *common = max[i % columns];
        }
        for v in 0..vectors {
            // SAFETY: `vectors ≤ GROUP`, and no vector has more than 16 lanes.
            unsafe {
                let at = v * S::N;
                let difference = simd.sub(simd.load(self.max.as_ptr().add(at)), simd.load(common.as_ptr().add(at)));
                let [factor] = exp_of_difference::<T, S, 1>(simd, [difference]);
                for part in [&mut self.sum, &mut self.rest] {
                    let p = part.as_mut_ptr().add(at);
                    simd.store(p, simd.mul(simd.load(p), factor));
                }
            }
        }
        for (c, out) in out.iter_mut().enumerate() {
            let mut running = Running::new();
            running.rescale(max[c].to_f64());
            for i in (c..numbers).step_by(columns) {
                running.add(self.sum[i].to_f64());
                let rest = self.rest[i].to_f64();
                running.rest += if rest.is_nan() { 0.0 } else { rest };
            }
            *out = T::from_f64(running.state().value());
        }
    }
}
