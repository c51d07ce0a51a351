//! One function of every number of an array: the loop that exp, ln and the last pass of softmax share.

use super::ahead::Ahead;
use super::caches::streamed;
use super::vector::Powers;

/// How many bytes ahead lines come from the last cache.
const NEAR: usize = 2048;

/// A function of one number, over vectors.
pub(super) trait Function<T>: Copy {
    /// The function of every lane.
    fn of<S: Powers<T>, const U: usize>(self, simd: S, x: [S::V; U]) -> [S::V; U];
}

/// `out_i = f(x_i)` for `n` numbers.
///
/// # Safety
/// `n` numbers at `x` must be readable, and at `out` writable; `out` is `x` or does not overlap it.
#[inline(always)]
pub(super) unsafe fn map<T: Copy, S: Powers<T>, F: Function<T>, const U: usize>(simd: S, f: F, x: *const T, out: *mut T, n: usize) {
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n. All of a group is read before any
    // of it is written.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [simd.load(x.add(i)); U];
            for u in 1..U {
                v[u] = simd.load(x.add(i + u * S::N));
            }
            let v = f.of::<S, U>(simd, v);
            for u in 0..U {
                simd.store(out.add(i + u * S::N), v[u]);
            }
            i += U * S::N;
        }
        while i < n {
            let first = simd.first(n - i);
            let [v] = f.of::<S, 1>(simd, [simd.load_first(first, x.add(i))]);
            simd.store_first(first, out.add(i), v);
            i += S::N;
        }
    }
}

/// [`map`] by the way that suits the size: past the caches, or with lines of the last cache asked for, or as it comes.
///
/// # Safety
/// As for [`map`].
#[inline(always)]
pub(super) unsafe fn map_of_any_size<T: Copy, S: Powers<T>, F: Function<T>, const U: usize>(
    simd: S,
    f: F,
    x: *const T,
    out: *mut T,
    n: usize,
) {
    // SAFETY: by the contract.
    unsafe {
        if x != out && streamed(n * size_of::<T>()) {
            map_streamed::<T, S, F, U>(simd, f, x, out, n);
        } else if Ahead::of_features(2 * n * size_of::<T>()) == Ahead::Near {
            map_near::<T, S, F, U>(simd, f, x, out, n);
        } else {
            map::<T, S, F, U>(simd, f, x, out, n);
        }
    }
}

/// [`map`] with the lines of `x` and `out` asked for to come to the first cache.
///
/// # Safety
/// As for [`map`].
#[inline(always)]
unsafe fn map_near<T: Copy, S: Powers<T>, F: Function<T>, const U: usize>(simd: S, f: F, x: *const T, out: *mut T, n: usize) {
    let mut i = 0;
    // SAFETY: `i + U N ≤ n` in the loop, and `map` has the rest. All of a group is read before any of it is written.
    unsafe {
        while i + U * S::N <= n {
            let mut v = [simd.load(x.add(i)); U];
            for u in 0..U {
                // A vector is a line at most.
                let at = i + u * S::N;
                simd.fetch_near(x.wrapping_add(at).wrapping_byte_add(NEAR));
                if x != out {
                    simd.fetch_near(out.wrapping_add(at).wrapping_byte_add(NEAR));
                }
                v[u] = simd.load(x.add(at));
            }
            let v = f.of::<S, U>(simd, v);
            for u in 0..U {
                simd.store(out.add(i + u * S::N), v[u]);
            }
            i += U * S::N;
        }
        map::<T, S, F, U>(simd, f, x.add(i), out.add(i), n - i);
    }
}

/// [`map`] with `out` written past the caches.
///
/// # Safety
/// As for [`map`], and `out` is not `x`.
#[inline(always)]
pub(super) unsafe fn map_streamed<T: Copy, S: Powers<T>, F: Function<T>, const U: usize>(
    simd: S,
    f: F,
    x: *const T,
    out: *mut T,
    n: usize,
) {
    // Numbers before the first whole vector of `out`.
    let mut i = out.align_offset(S::N * size_of::<T>()).min(n);
    // SAFETY: all ranges lie before n, and from the first whole vector on those of `out` are aligned.
    unsafe {
        map::<T, S, F, 1>(simd, f, x, out, i);
        let ahead = Ahead::of_memory();
        while i + U * S::N <= n {
            ahead.ask(simd, x.add(i), U * S::N);
            let mut v = [simd.load(x.add(i)); U];
            for u in 1..U {
                v[u] = simd.load(x.add(i + u * S::N));
            }
            let v = f.of::<S, U>(simd, v);
            for u in 0..U {
                simd.stream(out.add(i + u * S::N), v[u]);
            }
            i += U * S::N;
        }
        map::<T, S, F, 1>(simd, f, x.add(i), out.add(i), n - i);
        simd.fence();
    }
}
