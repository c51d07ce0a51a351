//! `log Σ_i e^(x_i)` in one pass over memory.
//!
//! The numbers go by in chunks that stay in the first-level cache: a chunk's maximum first, then its sum
//! `Σ_i e^(x_i − m)`, with the sum so far rescaled when the maximum grows (online softmax, Milakov and Gimelshein 2018). The
//! sums of the chunks are added in f64 with compensation, so that the error does not grow with n.
//!
//! A sum needs no maximum as long as it neither overflows nor vanishes. As a rule the first few numbers tell well enough where the others
//! are: chunks are added relative to the largest of those, and only the maximum of all makes a state of the sum in the end.
//!
//! Special numbers need no branches: the maximum is clamped to the finite numbers, and then −∞ adds `e^(−∞) = 0`, +∞ makes the
//! sum +∞, and NaN makes it NaN.

use super::Isa;
use super::ahead::{Ahead, piece_of_rows};
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::{U, exp_of_difference, exp_of_small};
use super::map::Function;
use super::shifted::Shifted;
use super::state::{LogSumExp, Running};
use super::vector::Powers;

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

/// `Σ_i f(x_i)` over `n` numbers at `x`, each also written to `out`; what is ahead of either is asked for so.
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
    [of_x, of_out]: [Ahead; 2],
) -> f64 {
    let zero = simd.splat(T::ZERO);
    let mut sum = [zero; U];
    let (mut of_x, mut of_out) = (of_x.of_numbers(x, n), of_out.of_numbers(out, n));
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n. All of a group is read before any
    // of it is written.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [zero; U];
            if i % piece_of_rows::<T>(1, U * S::N) == 0 {
                of_x.piece(simd);
                of_out.piece(simd);
            }
            for u in 0..U {
                of_x.line(simd, x.add(i + u * S::N));
                of_out.line(simd, out.add(i + u * S::N));
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

/// `e^(x − shift)` of numbers of which none is above the shift, as [`exp_of_difference`] has it.
#[derive(Clone, Copy)]
pub(super) struct ExpBelow<T>(pub(super) T);

impl<T: Elementary> Function<T> for ExpBelow<T> {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, mut x: [S::V; U]) -> [S::V; U] {
        for x in &mut x {
            *x = simd.sub(*x, simd.splat(self.0));
        }
        exp_of_difference::<T, S, U>(simd, x)
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

/// Adds the exponentials of `n` numbers, chunk by chunk: near the largest of the first where none is far above that, as a chunk tells in
/// the same read; else below the chunk's maximum.
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

/// Adds the exponentials of the `n` numbers at `x` up to the first chunk with one that is far above the largest of the first numbers; how
/// many those are.
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

/// `Σ_i e^(x_i − shift)` over `n` numbers at `x` if none is above `highest`, and the largest of them, NaN aside (or NaN, with NEON). Terms
/// below `lowest` count as one there.
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
                ahead.piece(simd);
            }
            for u in 0..U {
                ahead.line(simd, x.add(i + u * S::N));
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

pub struct Contiguous<'a, T>(pub(super) &'a [T]);

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

pub struct Strided<'a, T> {
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
