//! `e^(x_i) / Σ_j e^(x_j)`, and its logarithm.
//!
//! With m the maximum and `Z = Σ_j e^(x_j − m)`, softmax is `e^(x_i − m) / Z` and log-softmax `(x_i − m) − log Z`. While the
//! data fit in a cache, softmax goes through them in chunks that stay in the first one: it writes the exponentials below the
//! largest number so far, and scales them in the end, those of earlier chunks by `e^(m' − m) / Z`. Beyond, it is cheaper to compute
//! them twice than to write them twice (Dukhan and Ablavatski 2020): a pass for m and Z, and one back from the end that reads x
//! once more and writes past the caches.

use super::Isa;
use super::ahead::Ahead;
use super::caches::streamed;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::{U, exp_of_difference};
use super::logsumexp::{ExpBelow, add_exponentials, finite, largest_of, plain_sum, sum_of};
use super::map::{Function, map, map_streamed};
use super::shifted::Shifted;
use super::state::{LogSumExp, Running};
use super::vector::Powers;
use core::mem::MaybeUninit;

/// `out_i = e^(x_i) / Σ_j e^(x_j)`.
///
/// Relative error at most `8 ε (1 + |x_i − m|)`, m the maximum and ε that of `T`, as far as the result is a normal number. −∞
/// gives 0; if all are −∞, so are all results. NaN or +∞ anywhere makes every result NaN.
///
/// # Panics
/// Unless `x` and `out` have the same length.
pub fn softmax<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), out.len(), "x and out must have the same length");
    // SAFETY (of the pointers): both are `x.len()` long; a shared and a mutable slice don't overlap.
    T::run(isa, Softmax::<T, false> { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() });
}

/// [`softmax`] in place.
pub fn softmax_in_place<T: Element>(isa: Isa, x: &mut [T]) {
    let out = x.as_mut_ptr();
    T::run(isa, Softmax::<T, false> { x: out, out, n: x.len() });
}

/// `out_i = x_i − log Σ_j e^(x_j)`.
///
/// −∞ gives −∞, also if all are −∞. NaN or +∞ anywhere makes every result NaN.
///
/// # Panics
/// Unless `x` and `out` have the same length.
pub fn log_softmax<T: Element>(isa: Isa, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), out.len(), "x and out must have the same length");
    T::run(isa, Softmax::<T, true> { x: x.as_ptr(), out: out.as_mut_ptr(), n: x.len() });
}

/// [`log_softmax`] in place.
pub fn log_softmax_in_place<T: Element>(isa: Isa, x: &mut [T]) {
    let out = x.as_mut_ptr();
    T::run(isa, Softmax::<T, true> { x: out, out, n: x.len() });
}

/// Reads `n` numbers at `x` and writes as many to `out`, which is `x` or doesn't overlap it.
pub struct Softmax<T, const LOG: bool> {
    x: *const T,
    out: *mut T,
    n: usize,
}

/// Up to how many bytes the exponentials are stored and scaled.
const STORED: usize = 8 << 20;
/// Bytes of numbers whose exponentials are stored in one go.
const CHUNK: usize = 8 << 10;
/// How many chunks are scaled in one go, at most: enough for the machine to read ahead.
const TOGETHER: usize = 32;
/// Bytes that the last pass over larger arrays takes in one go: long enough for the machine to read ahead.
const BLOCK: usize = 1 << 20;

/// `1 / Z`; 0 where all are −∞, and NaN after +∞ or NaN.
#[inline(always)]
pub(super) fn inverse(sum: f64) -> f64 {
    if sum == 0.0 {
        0.0
    } else if sum.is_finite() {
        1.0 / sum
    } else {
        f64::NAN
    }
}

/// `log Z`; 0 where all are −∞, and NaN after +∞ or NaN.
fn log(sum: f64) -> f64 {
    if sum == 0.0 {
        0.0
    } else if sum.is_finite() {
        libm::log(sum)
    } else {
        f64::NAN
    }
}

impl<T: Element, const LOG: bool> ElementKernel<T> for Softmax<T, LOG> {
    type Output = ();

    fn plain(self) {
        let Self { x, out, n } = self;
        // SAFETY: i < n; each number is read for the last time before it is written.
        unsafe {
            let LogSumExp { max, sum } = plain_sum((0..n).map(|i| *x.add(i))).state();
            for i in 0..n {
                let d = (*x.add(i)).to_f64() - max;
                *out.add(i) = T::from_f64(if LOG { d - log(sum) } else { libm::exp(d) * inverse(sum) });
            }
        }
    }

    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) {
        let Self { x, out, n } = self;
        // SAFETY: as the struct says.
        unsafe {
            if LOG {
                let LogSumExp { max, sum } = state_of(simd, x, n);
                let (a, b) = (finite(T::from_f64(max)), T::from_f64(log(sum)));
                backwards(simd, Subtract { a, b }, x, out, n);
            } else if n * size_of::<T>() <= STORED {
                stored(simd, x, out, n);
            } else {
                let LogSumExp { max, sum } = state_of(simd, x, n);
                let (a, factor) = (finite(T::from_f64(max)), T::from_f64(inverse(sum)));
                backwards(simd, ScaledExp::of_many::<S>(a, factor), x, out, n);
            }
        }
    }
}

/// The sum over `n` numbers at `x`.
///
/// # Safety
/// They must be readable.
#[inline(always)]
unsafe fn state_of<T: Elementary, S: Powers<T>>(simd: S, x: *const T, n: usize) -> LogSumExp {
    let mut running = Running::new();
    // SAFETY: by the contract.
    unsafe { add_exponentials(simd, &mut running, x, n) };
    running.state()
}

/// softmax of at most `STORED` bytes: of every chunk the exponentials below the largest number so far, and in the end their
/// scaling, which makes up for numbers that were larger still.
///
/// # Safety
/// As [`Softmax`] says.
#[inline(always)]
unsafe fn stored<T: Elementary, S: Powers<T>>(simd: S, x: *const T, out: *mut T, n: usize) {
    let chunk = CHUNK / size_of::<T>();
    let mut shifts = [const { MaybeUninit::<T>::uninit() }; STORED / CHUNK];
    let mut running = Running::new();
    // Of no chunk yet.
    let mut exp = ScaledExp::of_few(T::NAN, T::ONE);
    let of_x = Ahead::of_bytes(2 * n * size_of::<T>());
    let ahead = [of_x, if x == out { Ahead::Nothing } else { of_x }];
    // SAFETY: chunks end at n at the latest, there are no more than `shifts`, and the first loop has written those that the second
    // reads. Each number is read for the last time before it is written.
    unsafe {
        for (c, shift) in shifts[..n.div_ceil(chunk)].iter_mut().enumerate() {
            let (i, count) = (c * chunk, chunk.min(n - c * chunk));
            let max = finite(largest_of(simd, x.add(i), count));
            running.rescale(max.to_f64());
            let max = shift.write(finite(T::from_f64(running.max)));
            if n > chunk {
                if *max != exp.a {
                    exp = ScaledExp::of_many::<S>(*max, T::ONE);
                }
                running.add(sum_of(simd, exp, x.add(i), out.add(i), count, ahead));
            } else {
                running.add(sum_of(simd, ExpBelow::<T>(*max), x.add(i), out.add(i), count, ahead));
            }
        }
        let (max, inverse) = (running.max, inverse(running.state().sum));
        let mut factor = Scale(T::from_f64(inverse));
        let mut last = max;
        let mut end = n.div_ceil(chunk);
        while end > 0 {
            let shift = shifts[end - 1].assume_init();
            if shift.to_f64() != last {
                last = shift.to_f64();
                factor = Scale(T::from_f64(libm::exp(last - max) * inverse));
            }
            // Chunks with the same factor, from the last, which may still be in a cache.
            let mut start = end - 1;
            while start > 0 && end - start < TOGETHER && shifts[start - 1].assume_init() == shift {
                start -= 1;
            }
            let p = out.add(start * chunk);
            map::<T, S, _, U>(simd, factor, p, p, n.min(end * chunk) - start * chunk);
            end = start;
        }
    }
}

/// The last pass, after one over all of `x`: from the end, which may still be in a cache, to the beginning, and past the caches
/// where there is more than they hold.
///
/// # Safety
/// As [`Softmax`] says.
#[inline(always)]
unsafe fn backwards<T: Elementary, S: Powers<T>, F: Function<T>>(simd: S, f: F, x: *const T, out: *mut T, n: usize) {
    let block = BLOCK / size_of::<T>();
    let past = x != out && streamed(n * size_of::<T>());
    let mut end = n;
    // SAFETY: blocks are parts of the `n` numbers.
    unsafe {
        while end > 0 {
            let count = end.min(block);
            end -= count;
            if past {
                map_streamed::<T, S, F, U>(simd, f, x.add(end), out.add(end), count);
            } else {
                map::<T, S, F, U>(simd, f, x.add(end), out.add(end), count);
            }
        }
    }
}

/// `b x`
#[derive(Clone, Copy)]
struct Scale<T>(T);

impl<T: Elementary> Function<T> for Scale<T> {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, mut x: [S::V; U]) -> [S::V; U] {
        for x in &mut x {
            *x = simd.mul(*x, simd.splat(self.0));
        }
        x
    }
}

/// `x − a − b`
#[derive(Clone, Copy)]
struct Subtract<T> {
    a: T,
    b: T,
}

impl<T: Elementary> Function<T> for Subtract<T> {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, mut x: [S::V; U]) -> [S::V; U] {
        for x in &mut x {
            *x = simd.sub(simd.sub(*x, simd.splat(self.a)), simd.splat(self.b));
        }
        x
    }
}

/// `factor · e^(x − a)`, for x up to a.
#[derive(Clone, Copy)]
pub(super) struct ScaledExp<T> {
    a: T,
    factor: T,
    /// The same where the result is a normal number, if it is known: worth while for more than a few numbers.
    shifted: Option<Shifted<T>>,
}

impl<T: Elementary> ScaledExp<T> {
    #[inline(always)]
    pub(super) fn of_few(a: T, factor: T) -> Self {
        ScaledExp { a, factor, shifted: None }
    }

    #[inline(always)]
    fn of_many<S: Powers<T>>(a: T, factor: T) -> Self {
        ScaledExp { a, factor, shifted: Shifted::new::<S>(a, factor.to_f64()) }
    }
}

impl<T: Elementary> Function<T> for ScaledExp<T> {
    #[inline(always)]
    fn of<S: Powers<T>, const U: usize>(self, simd: S, x: [S::V; U]) -> [S::V; U] {
        if let Some(shifted) = &self.shifted {
            if !simd.any_below(x, shifted.lowest) {
                return shifted.of(simd, x);
            }
        }
        let mut d = x;
        for d in &mut d {
            *d = simd.sub(*d, simd.splat(self.a));
        }
        let mut e = exp_of_difference::<T, S, U>(simd, d);
        for e in &mut e {
            *e = simd.mul(*e, simd.splat(self.factor));
        }
        if let Some(shifted) = &self.shifted {
            // The bits of a lane are the same whichever lanes stand beside it.
            let lowest = simd.splat(shifted.lowest);
            for (d, x) in d.iter_mut().zip(x) {
                *d = simd.max(lowest, x);
            }
            let high = shifted.of(simd, d);
            for u in 0..U {
                e[u] = simd.select_less(x[u], lowest, e[u], high[u]);
            }
        }
        e
    }
}
