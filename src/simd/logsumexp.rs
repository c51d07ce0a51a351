//! `log Σ_i e^(x_i)` in one pass over memory.
//!
//! The numbers go by in chunks that stay in the first-level cache: a chunk's maximum first, then its sum
//! `Σ_i e^(x_i − m)`, with the sum so far rescaled when the maximum grows (online softmax, Milakov and Gimelshein 2018). The
//! sums of the chunks are added in f64 with compensation, so that the error does not grow with n. Interleaved columns are
//! the same with a maximum and a sum for every lane.
//!
//! A sum needs no maximum as long as it neither overflows nor vanishes. As a rule the first few numbers tell well enough where the others are: chunks are
//! added relative to the largest of those, and only the maximum of all makes a state of the sum in the end.
//!
//! Special numbers need no branches: the maximum is clamped to the finite numbers, and then −∞ adds `e^(−∞) = 0`, +∞ makes the
//! sum +∞, and NaN makes it NaN.

use super::Isa;
use super::ahead::{Ahead, piece_of_rows};
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::{U, exp_of_any, exp_of_difference, exp_of_small, exp_or_zero};
use super::map::Function;
use super::shifted::Shifted;
use super::vector::{Lanes, Powers};

/// A sum of exponentials `e^max · sum`, kept apart so that it neither overflows nor vanishes: what parts of a sum hand
/// over to be merged, in threads or over machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSumExp {
    /// The largest exponent so far, clamped to the finite numbers.
    pub max: f64,
    /// `Σ_i e^(x_i − max)`: at least 1 once there is a finite number, 0 before, +∞ after +∞, and NaN after NaN.
    pub sum: f64,
}

impl LogSumExp {
    /// The sum of nothing.
    pub const EMPTY: Self = LogSumExp { max: f64::MIN, sum: 0.0 };

    /// The sum over a slice, in one pass.
    pub fn of<T: Element>(isa: Isa, x: &[T]) -> Self {
        T::run(isa, Contiguous(x))
    }

    /// The sum of both. Commutative; the order of several merges changes the last digits only.
    pub fn merge(self, other: Self) -> Self {
        let mut running = Running { max: self.max, sum: self.sum, rest: 0.0 };
        running.rescale(other.max);
        running.add(other.sum * libm::exp(other.max - running.max));
        running.state()
    }

    /// The logarithm: −∞ for an empty sum and for −∞ alone.
    pub fn value(self) -> f64 {
        self.max + libm::log(self.sum)
    }
}

/// `log Σ_i e^(x_i)`, reading `x` once.
///
/// Absolute error at most `8 ε max(1, |m| + ln n)`, m the maximum and ε that of `T`. NaN anywhere gives NaN; otherwise +∞
/// anywhere gives +∞; −∞ counts nothing, and no number or −∞ alone give −∞.
pub fn logsumexp<T: Element>(isa: Isa, x: &[T]) -> T {
    T::from_f64(LogSumExp::of(isa, x).value())
}

/// [`logsumexp`] of `x[0], x[stride], x[2 stride], …`.
///
/// # Panics
/// If `stride` is 0.
pub fn logsumexp_strided<T: Element>(isa: Isa, x: &[T], stride: usize) -> T {
    assert!(stride > 0, "a stride of at least 1");
    let state = if stride == 1 { LogSumExp::of(isa, x) } else { T::run(isa, Strided { x, stride }) };
    T::from_f64(state.value())
}

/// [`logsumexp`] of every column of the row-major matrix `x` of `out.len()` columns, all at once, reading `x` once.
///
/// # Panics
/// Unless `x` is whole rows.
pub fn logsumexp_columns<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert!(if out.is_empty() { x.is_empty() } else { x.len() % out.len() == 0 }, "whole rows");
    T::run(isa, Columns { x, out });
}

/// A maximum with a sum that is compensated by what its roundings left out (Neumaier 1974).
pub(super) struct Running {
    max: f64,
    sum: f64,
    rest: f64,
}

impl Running {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Running { max: f64::MIN, sum: 0.0, rest: 0.0 }
    }

    /// Makes `max` the maximum if it is larger.
    #[inline(always)]
    pub(super) fn rescale(&mut self, max: f64) {
        if max > self.max {
            let factor = libm::exp(self.max - max);
            self.sum *= factor;
            self.rest *= factor;
            self.max = max;
        }
    }

    #[inline(always)]
    pub(super) fn max(&self) -> f64 {
        self.max
    }

    /// Adds `more ≥ 0`.
    #[inline(always)]
    pub(super) fn add(&mut self, more: f64) {
        let sum = self.sum + more;
        let (large, small) = if self.sum >= more { (self.sum, more) } else { (more, self.sum) };
        let rest = (large - sum) + small;
        // After +∞ or NaN there is nothing to compensate.
        self.rest += if rest.is_nan() { 0.0 } else { rest };
        self.sum = sum;
    }

    #[inline(always)]
    pub(super) fn state(&self) -> LogSumExp {
        let sum = self.sum + self.rest;
        // 0 and +∞ may come from f32, whose finite numbers end earlier.
        let max = if sum == 0.0 {
            f64::MIN
        } else if sum == f64::INFINITY {
            f64::MAX
        } else {
            self.max
        };
        LogSumExp { max, sum }
    }
}

/// Numbers in a chunk, in vectors: small enough for the first-level cache and for sums in f32.
const CHUNK: usize = 128;

/// The largest of `n` numbers, NaN aside (or NaN, with NEON); −∞ if there are none.
///
/// # Safety
/// `n` numbers at `p` must be readable.
#[inline(always)]
pub(super) unsafe fn largest_of<T: Elementary, S: Powers<T>>(simd: S, p: *const T, n: usize) -> T {
    let lowest = simd.splat(-T::INFINITY);
    let mut max = [lowest; U];
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n.
    unsafe {
        while i + U * S::N <= n {
            for u in 0..U {
                max[u] = simd.max(simd.load(p.add(i + u * S::N)), max[u]);
            }
            i += U * S::N;
        }
        if i < n {
            for u in 0..U {
                let first = simd.first((n - i).saturating_sub(u * S::N));
                let v = simd.load_first(first, p.wrapping_add(i + u * S::N));
                max[u] = simd.max(simd.select_first(first, v, lowest), max[u]);
            }
        }
    }
    for u in 1..U {
        max[0] = simd.max(max[u], max[0]);
    }
    simd.largest(max[0])
}

/// `Σ_i e^(x_i − shift)` over `n` numbers at `x`, none of them above `shift`, which is finite. Terms below the normal numbers may
/// count as the smallest of those.
///
/// # Safety
/// `n` numbers at `x` must be readable.
#[inline(always)]
unsafe fn sum_of_exp_below<T: Elementary, S: Powers<T>>(simd: S, x: *const T, n: usize, shift: T, ahead: Ahead) -> f64 {
    let zero = simd.splat(T::ZERO);
    let (shift, lowest) = (simd.splat(shift), simd.splat(-T::NORMAL_EXP));
    let mut sum = [zero; U];
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n.
    unsafe {
        while i + U * S::N <= n {
            let mut d = [zero; U];
            ahead.ask(simd, x.add(i), U * S::N);
            for u in 0..U {
                d[u] = simd.max(lowest, simd.sub(simd.load(x.add(i + u * S::N)), shift));
            }
            let e = exp_of_small::<T, S, U>(simd, d);
            for u in 0..U {
                sum[u] = simd.add(sum[u], e[u]);
            }
            i += U * S::N;
        }
        while i < n {
            let first = simd.first(n - i);
            let d = simd.max(lowest, simd.sub(simd.load_first(first, x.add(i)), shift));
            let [e] = exp_of_small::<T, S, 1>(simd, [simd.select_first(first, d, zero)]);
            sum[0] = simd.add(sum[0], simd.select_first(first, e, zero));
            i += S::N;
        }
    }
    for u in 1..U {
        sum[0] = simd.add(sum[0], sum[u]);
    }
    simd.sum_f64(sum[0])
}

/// `Σ_i f(x_i)` over `n` numbers at `x`, each also written to `out`.
///
/// # Safety
/// `n` numbers at `x` must be readable, and at `out` writable; `out` is `x` or does not overlap it.
#[inline(always)]
pub(super) unsafe fn sum_of<T: Elementary, S: Powers<T>, F: Function<T>>(
    simd: S,
    f: F,
    x: *const T,
    out: *mut T,
    n: usize,
    ahead: Ahead,
) -> f64 {
    let zero = simd.splat(T::ZERO);
    let mut sum = [zero; U];
    let (mut of_x, mut of_out) = (ahead.of_numbers(x, n), if x == out { Ahead::Nothing } else { ahead }.of_numbers(out, n));
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n. All of a group is read before any
    // of it is written.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [zero; U];
            if i % piece_of_rows::<T>(1, U * S::N) == 0 {
                of_x.ask(simd);
                of_out.ask(simd);
            }
            for u in 0..U {
                v[u] = simd.load(x.add(i + u * S::N));
            }
            let y = f.of::<S, U>(simd, v);
            for u in 0..U {
                sum[u] = simd.add(sum[u], y[u]);
                simd.store(out.add(i + u * S::N), y[u]);
            }
            i += U * S::N;
        }
        while i < n {
            let first = simd.first(n - i);
            let [y] = f.of::<S, 1>(simd, [simd.load_first(first, x.add(i))]);
            sum[0] = simd.add(sum[0], simd.select_first(first, y, zero));
            simd.store_first(first, out.add(i), y);
            i += S::N;
        }
    }
    for u in 1..U {
        sum[0] = simd.add(sum[0], sum[u]);
    }
    simd.sum_f64(sum[0])
}

/// `e^(x − shift)`, as [`exp_of_difference`] has it, or, if `ZERO`, as [`exp_or_zero`].
#[derive(Clone, Copy)]
pub(super) struct ExpBelow<T, const ZERO: bool>(pub(super) T);

impl<T: Elementary, const ZERO: bool> Function<T> for ExpBelow<T, ZERO> {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, mut x: [S::V; U]) -> [S::V; U] {
        for x in &mut x {
            *x = simd.sub(*x, simd.splat(self.0));
        }
        if ZERO { exp_or_zero::<T, S, U>(simd, x) } else { exp_of_difference::<T, S, U>(simd, x) }
    }
}

/// 0 for `n` numbers of which the largest is −∞, and +∞ where it is that; NaN if any is.
///
/// # Safety
/// `n` numbers at `p` must be readable.
#[inline(always)]
unsafe fn sum_of_infinite<T: Elementary, S: Powers<T>>(simd: S, p: *const T, n: usize, max: T) -> f64 {
    let mut nan = false;
    let mut i = 0;
    // SAFETY: `first` chooses numbers before n.
    unsafe {
        while i < n {
            nan |= simd.any_nan(simd.load_first(simd.first(n - i), p.add(i)));
            i += S::N;
        }
    }
    if nan {
        f64::NAN
    } else if max < T::ZERO {
        0.0
    } else {
        f64::INFINITY
    }
}

/// `x` within the finite numbers.
#[inline(always)]
pub(super) fn finite<T: Elementary>(x: T) -> T {
    if x < -T::LARGEST {
        -T::LARGEST
    } else if x > T::LARGEST {
        T::LARGEST
    } else {
        x
    }
}

/// Vectors of numbers from which on they are added near their first: so many make up for what that takes to begin and to end.
const MANY: usize = 96;

/// Adds the exponentials of `n` numbers, chunk by chunk: near the largest of the first where none is far above that, as a chunk tells in the same read; else
/// below the chunk's maximum.
///
/// # Safety
/// They must be readable.
#[inline(always)]
pub(super) unsafe fn add_exponentials<T: Elementary, S: Powers<T>>(simd: S, running: &mut Running, p: *const T, n: usize) {
    let ahead = Ahead::of_bytes(n * size_of::<T>());
    let mut i = 0;
    while i < n {
        // SAFETY: `i + count ≤ n`, and chunks that are added near a number begin where those before have ended.
        unsafe {
            if n - i >= MANY * S::N {
                i += add_near(simd, running, p.add(i), n - i, ahead);
                if i == n {
                    return;
                }
            }
            let count = (n - i).min(CHUNK * S::N);
            let max = largest_of(simd, p.add(i), count);
            running.rescale(finite(max).to_f64());
            running.add(if max == -T::INFINITY || max == T::INFINITY {
                sum_of_infinite(simd, p.add(i), count, max)
            } else {
                sum_of_exp_below(simd, p.add(i), count, finite(T::from_f64(running.max)), ahead)
            });
            i += count;
        }
    }
}

/// Adds the exponentials of the `n` numbers at `x` up to the first chunk with one that is far above the largest of the first numbers; how many those are.
///
/// # Safety
/// As for [`add_exponentials`].
#[inline(always)]
unsafe fn add_near<T: Elementary, S: Powers<T>>(simd: S, running: &mut Running, x: *const T, n: usize, ahead: Ahead) -> usize {
    // SAFETY: the first of the n numbers; `i + count ≤ n`.
    unsafe {
        let shift = largest_of(simd, x, U * S::N);
        let Some(shifted) = Shifted::new::<S>(shift, 1.0) else { return 0 };
        let mut near = Running { max: shift.to_f64(), sum: 0.0, rest: 0.0 };
        let mut largest = shift;
        let mut i = 0;
        while i < n {
            let count = (n - i).min(CHUNK * S::N);
            let (sum, max) = sum_near(simd, &shifted, x.add(i), count, ahead);
            // Or NaN, with NEON.
            if max.to_f64().is_nan() || max > shifted.highest {
                break;
            }
            near.add(sum);
            if max > largest {
                largest = max;
            }
            i += count;
        }
        if i > 0 {
            let sum = Shifted::power_between(shift, largest) * near.state().sum;
            // The largest is among them: what roundings made of its 1.
            let sum = if sum < 1.0 { 1.0 } else { sum };
            running.rescale(largest.to_f64());
            running.add(if largest.to_f64() == running.max { sum } else { libm::exp(largest.to_f64() - running.max) * sum });
        }
        i
    }
}

/// `Σ_i e^(x_i − shift)` over `n` numbers at `x` if none is above `highest`, and the largest of them, NaN aside (or NaN, with NEON). Terms below `lowest` count
/// as one there.
///
/// # Safety
/// `n` numbers at `x` must be readable.
#[inline(always)]
unsafe fn sum_near<T: Elementary, S: Powers<T>>(simd: S, shifted: &Shifted<T>, x: *const T, n: usize, ahead: Ahead) -> (f64, T) {
    let (zero, lowest) = (simd.splat(T::ZERO), simd.splat(shifted.lowest));
    let mut sum = [zero; U];
    let mut max = lowest;
    let mut ahead = ahead.of_numbers(x, n);
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [zero; U];
            if i % piece_of_rows::<T>(1, U * S::N) == 0 {
                ahead.ask(simd);
            }
            for u in 0..U {
                v[u] = simd.load(x.add(i + u * S::N));
                max = simd.max(v[u], max);
                v[u] = simd.max(lowest, v[u]);
            }
            sum = shifted.add::<S, U>(simd, v, sum);
            i += U * S::N;
        }
        while i < n {
            let first = simd.first(n - i);
            let v = simd.select_first(first, simd.load_first(first, x.add(i)), lowest);
            max = simd.max(v, max);
            let [more] = shifted.add::<S, 1>(simd, [simd.max(lowest, v)], [zero]);
            sum[0] = simd.add(sum[0], simd.select_first(first, more, zero));
            i += S::N;
        }
    }
    for u in 1..U {
        sum[0] = simd.add(sum[0], sum[u]);
    }
    (simd.sum_f64(sum[0]), simd.largest(max))
}

/// The plain twin of [`add_exponentials`].
pub(super) fn plain_sum<T: Elementary>(x: impl Iterator<Item = T> + Clone) -> Running {
    let mut running = Running::new();
    let max = finite(x.clone().fold(-T::INFINITY, |m, x| if x > m { x } else { m }));
    running.rescale(max.to_f64());
    for x in x {
        running.add(libm::exp(x.to_f64() - max.to_f64()));
    }
    running
}

struct Contiguous<'a, T>(&'a [T]);

impl<T: Element> ElementKernel<T> for Contiguous<'_, T> {
    type Output = LogSumExp;

    fn plain(self) -> LogSumExp {
        plain_sum(self.0.iter().copied()).state()
    }

    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) -> LogSumExp {
        let mut running = Running::new();
        // SAFETY: the numbers of a slice are readable.
        unsafe { add_exponentials(simd, &mut running, self.0.as_ptr(), self.0.len()) };
        running.state()
    }
}

struct Strided<'a, T> {
    x: &'a [T],
    stride: usize,
}

impl<T: Element> ElementKernel<T> for Strided<'_, T> {
    type Output = LogSumExp;

    fn plain(self) -> LogSumExp {
        plain_sum(self.x.iter().step_by(self.stride).copied()).state()
    }

    /// Gathers chunks into a buffer.
    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) -> LogSumExp {
        let mut running = Running::new();
        let mut buffer = [T::ZERO; 512];
        let mut rest = self.x;
        while !rest.is_empty() {
            let mut count = 0;
            for (to, &from) in buffer.iter_mut().zip(rest.iter().step_by(self.stride)) {
                *to = from;
                count += 1;
            }
            // SAFETY: `count` numbers of the buffer are readable.
            unsafe { add_exponentials(simd, &mut running, buffer.as_ptr(), count) };
            rest = rest.get(count.saturating_mul(self.stride)..).unwrap_or(&[]);
        }
        running.state()
    }
}

struct Columns<'a, T> {
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
            let mut states = States::new(simd, &mut lanes[..vectors]);
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
    fn new<S: Powers<T>>(simd: S, lanes: &mut [Lane<S::V>]) -> Self {
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
