//! `e^(x_i) / Σ_j e^(x_j)`, and its logarithm.
//!
//! With m the maximum and `Z = Σ_j e^(x_j − m)`, softmax is `e^(x_i − m) / Z` and log-softmax `(x_i − m) − log Z`. While the
//! data fit in a cache, softmax writes the exponentials on its way and scales them in the end; beyond, it is cheaper to
//! compute them twice than to write them twice (Dukhan and Ablavatski 2020).

use super::Isa;
use super::dispatch::{Element, ElementKernel};
use super::elementary::Elementary;
use super::exp::{U, exp_of_difference};
use super::logsumexp::{LogSumExp, Running, add_exponentials, finite, largest_of, plain_sum, sum_of_exp};
use super::vector::Powers;

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
struct Softmax<T, const LOG: bool> {
    x: *const T,
    out: *mut T,
    n: usize,
}

/// Up to how many bytes the exponentials are stored and scaled.
const CACHED: usize = 1 << 23;
/// Numbers whose exponentials are summed at a time, in vectors, as in `logsumexp.rs`.
const CHUNK: usize = 128;

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
        // SAFETY: all ranges end at n at the latest, and each number is read for the last time before it is written.
        unsafe {
            if !LOG && n * size_of::<T>() <= CACHED {
                let max = finite(largest_of(simd, x, n));
                let mut running = Running::new();
                running.rescale(max.to_f64());
                let mut i = 0;
                while i < n {
                    let count = (n - i).min(CHUNK * S::N);
                    running.add(sum_of_exp::<T, S, true>(simd, x.add(i), out.add(i), count, max, -T::INFINITY));
                    i += count;
                }
                let factor = simd.splat(T::from_f64(inverse(running.state().sum)));
                last_pass::<T, S, SCALE>(simd, out, out, n, factor, factor);
                return;
            }
            let mut running = Running::new();
            add_exponentials(simd, &mut running, x, n);
            let LogSumExp { max, sum } = running.state();
            let max = simd.splat(finite(T::from_f64(max)));
            if LOG {
                let log = simd.splat(T::from_f64(log(sum)));
                last_pass::<T, S, SUBTRACT>(simd, x, out, n, max, log);
            } else {
                let factor = simd.splat(T::from_f64(inverse(sum)));
                last_pass::<T, S, EXP>(simd, x, out, n, max, factor);
            }
        }
    }
}

/// What the last pass writes: `b x`, `x − a − b`, or `b e^(x − a)`.
const SCALE: u8 = 0;
const SUBTRACT: u8 = 1;
pub(super) const EXP: u8 = 2;

/// Writes `WHAT` of the `n` numbers at `x` to `out`.
///
/// # Safety
/// `n` numbers at `x` must be readable, and at `out` writable; `out` is `x` or does not overlap it.
#[inline(always)]
pub(super) unsafe fn last_pass<T: Elementary, S: Powers<T>, const WHAT: u8>(simd: S, x: *const T, out: *mut T, n: usize, a: S::V, b: S::V) {
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n. All of a group is read before any
    // of it is written.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [a; U];
            for u in 0..U {
                v[u] = simd.load(x.add(i + u * S::N));
            }
            let v = last_step::<T, S, WHAT, U>(simd, v, a, b);
            for u in 0..U {
                simd.store(out.add(i + u * S::N), v[u]);
            }
            i += U * S::N;
        }
        while i < n {
            let first = simd.first(n - i);
            let [v] = last_step::<T, S, WHAT, 1>(simd, [simd.load_first(first, x.add(i))], a, b);
            simd.store_first(first, out.add(i), v);
            i += S::N;
        }
    }
}

#[inline(always)]
fn last_step<T: Elementary, S: Powers<T>, const WHAT: u8, const U: usize>(simd: S, mut v: [S::V; U], a: S::V, b: S::V) -> [S::V; U] {
    if WHAT != SCALE {
        for v in &mut v {
            *v = simd.sub(*v, a);
        }
    }
    if WHAT == EXP {
        v = exp_of_difference::<T, S, U>(simd, v);
    }
    for v in &mut v {
        *v = if WHAT == SUBTRACT { simd.sub(*v, b) } else { simd.mul(*v, b) };
    }
    v
}
