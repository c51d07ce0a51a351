//! `log Z_s = log Σ_{i∈s} e^(S_i)` and `A_i = e^(S_i) / Z_s` for many consecutive choice sets of one column, mostly small.
//!
//! Small sets go N at a time: each is a row of a square that is transposed in registers, so that a lane holds a set. Sets of
//! different sizes are filled up with −∞. The logarithms are taken together at the end, N a vector.

use super::Isa;
use super::dispatch::Kernel;
use super::elementary::Elementary;
use super::exp::{U, exp_of_difference, exp_of_small};
use super::log::ln_of;
use super::logsumexp::{add_exponentials, plain_sum};
use super::map::map;
use super::softmax::{ScaledExp, inverse};
use super::state::{LogSumExp, Running};
use super::vector::{F64, Features, Lanes, Powers, Simd};

/// `out[s] = log Σ e^(s_i)` over `offsets[s] ≤ i < offsets[s + 1]`, for every set s.
///
/// −∞ for an empty set and for one of −∞ alone; NaN and +∞ as in [`super::logsumexp`]. Fast for sets of up to 32, and most of all
/// if all have the same size of at most 8; right for any.
///
/// # Panics
/// Unless `offsets` has one number more than `out`, none is smaller than the one before, and the last is at most `s.len()`.
pub fn set_log_sum_exp(isa: Isa, s: &[f64], offsets: &[usize], out: &mut [f64]) {
    isa.run(Sets::<false> { s: s.as_ptr().cast_mut(), sizes: Sizes::new(s, offsets, out), offsets, out });
}

/// `s_i ← e^(s_i) / Z_s` and `out[s] = log Z_s`, `Z_s = Σ e^(s_i)` over `offsets[s] ≤ i < offsets[s + 1]`, for every set s.
///
/// Numbers outside the sets are left alone. Where `Z_s` is 0, so is every result of the set; NaN and +∞ make all of them NaN.
/// Otherwise, and in the conditions, as [`set_log_sum_exp`].
pub fn set_softmax(isa: Isa, s: &mut [f64], offsets: &[usize], out: &mut [f64]) {
    let sizes = Sizes::new(s, offsets, out);
    isa.run(Sets::<true> { s: s.as_mut_ptr(), sizes, offsets, out });
}

/// The smallest and the largest size of a set.
#[derive(Clone, Copy)]
struct Sizes {
    smallest: usize,
    largest: usize,
}

impl Sizes {
    /// Panics unless the sets lie inside `s`, one for each number of `out`.
    fn new(s: &[f64], offsets: &[usize], out: &[f64]) -> Self {
        assert_eq!(offsets.len(), out.len() + 1, "one offset more than sets");
        let mut sizes = Sizes { smallest: usize::MAX, largest: 0 };
        let mut rising = true;
        for (start, end) in offsets.iter().zip(&offsets[1..]) {
            rising &= start <= end;
            let size = end.wrapping_sub(*start);
            sizes.smallest = sizes.smallest.min(size);
            sizes.largest = sizes.largest.max(size);
        }
        assert!(rising && offsets[out.len()] <= s.len(), "rising offsets inside s");
        sizes
    }
}

/// The sets lie inside what `s` points to, which is written only if `SOFTMAX`.
struct Sets<'a, const SOFTMAX: bool> {
    s: *mut f64,
    sizes: Sizes,
    offsets: &'a [usize],
    out: &'a mut [f64],
}

/// How many sets are summed before their logarithms are taken.
const BATCH: usize = 128;

impl<const SOFTMAX: bool> Kernel for Sets<'_, SOFTMAX> {
    type Output = ();

    fn plain(self) {
        for (out, w) in self.out.iter_mut().zip(self.offsets.windows(2)) {
            // SAFETY: the set lies inside `s`.
            unsafe {
                let LogSumExp { max, sum } = plain_sum((w[0]..w[1]).map(|i| *self.s.add(i))).state();
                *out = max + libm::log(sum);
                if SOFTMAX {
                    for i in w[0]..w[1] {
                        *self.s.add(i) = libm::exp(*self.s.add(i) - max) * inverse(sum);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { s, sizes, offsets, out } = self;
        let n = <S as Lanes<f64>>::N;
        let mut start = 0;
        while start < out.len() {
            let batch = BATCH.min(out.len() - start);
            let (mut max, mut sum) = ([0.0; BATCH], [1.0; BATCH]);
            let mut set = 0;
            while set < batch {
                let count = n.min(batch - set);
                let ends = &offsets[start + set..=start + set + count];
                let largest = if sizes.smallest == sizes.largest { sizes.largest } else { largest_of(ends) };
                // SAFETY: the entry check has shown that all sets lie inside `s`; `set + count ≤ BATCH`, a multiple of N.
                unsafe {
                    let state = (max.as_mut_ptr().add(set), sum.as_mut_ptr().add(set));
                    let done = if largest <= n && sizes.smallest == sizes.largest && count == n {
                        small_sets::<S, 1, true, SOFTMAX>(simd, s, ends, largest, state)
                    } else if largest <= n {
                        small_sets::<S, 1, false, SOFTMAX>(simd, s, ends, largest, state)
                    } else if largest <= 2 * n {
                        small_sets::<S, 2, false, SOFTMAX>(simd, s, ends, largest, state)
                    } else if largest <= 4 * n {
                        small_sets::<S, 4, false, SOFTMAX>(simd, s, ends, largest, state)
                    } else {
                        false
                    };
                    if !done {
                        for (i, w) in ends.windows(2).enumerate() {
                            large_set::<S, SOFTMAX>(simd, s.add(w[0]), w[1] - w[0], &mut max[set + i], &mut sum[set + i]);
                        }
                    }
                }
                set += count;
            }
            logarithms(simd, &max, &sum, &mut out[start..start + batch]);
            start += batch;
        }
    }
}

/// The size of the largest set.
#[inline(always)]
fn largest_of(ends: &[usize]) -> usize {
    let mut largest = 0;
    for w in ends.windows(2) {
        largest = largest.max(w[1] - w[0]);
    }
    largest
}

/// `out = max + ln sum`
#[inline(always)]
fn logarithms<S: Powers<f64>>(simd: S, max: &[f64; BATCH], sum: &[f64; BATCH], out: &mut [f64]) {
    let n = 2 * S::N;
    const { assert!(BATCH % (2 * S::N) == 0) };
    let mut i = 0;
    while i < out.len() {
        // SAFETY: `i + 2 N ≤ BATCH`, as i and BATCH are multiples of 2 N; `first` chooses numbers of `out`.
        unsafe {
            let sums = [simd.load(sum.as_ptr().add(i)), simd.load(sum.as_ptr().add(i + S::N))];
            let logs = ln_of::<f64, S, 2>(simd, sums);
            for (u, log) in logs.into_iter().enumerate() {
                let at = i + u * S::N;
                let first = simd.first(out.len().saturating_sub(at));
                simd.store_first(first, out.as_mut_ptr().wrapping_add(at), simd.add(log, simd.load(max.as_ptr().add(at))));
            }
        }
        i += n;
    }
}

/// One set.
///
/// # Safety
/// `n` numbers at `s` are readable, and writable if `SOFTMAX`.
#[inline(always)]
unsafe fn large_set<S: Simd, const SOFTMAX: bool>(simd: S, s: *mut f64, n: usize, max: &mut f64, sum: &mut f64) {
    // SAFETY: by the contract.
    unsafe {
        let mut running = Running::new();
        add_exponentials::<f64, S>(simd, &mut running, s, n);
        let state = running.state();
        (*max, *sum) = (state.max, state.sum);
        if SOFTMAX {
            map::<f64, S, _, U>(simd, ScaledExp::of_few(state.max, inverse(state.sum)), s, s, n);
        }
    }
}

/// `ends.len() − 1 ≤ N` sets of at most `largest ≤ Q N` numbers; if `UNIFORM`, N sets of just as many. False, and nothing done, where
/// there is +∞.
///
/// # Safety
/// The sets lie inside what `s` points to, which is writable if `SOFTMAX`; N numbers are writable at both of `state`.
#[inline(always)]
unsafe fn small_sets<S: Powers<f64> + Features, const Q: usize, const UNIFORM: bool, const SOFTMAX: bool>(
    simd: S,
    s: *mut f64,
    ends: &[usize],
    largest: usize,
    state: (*mut f64, *mut f64),
) -> bool {
    let n = <S as Lanes<f64>>::N;
    let count = if UNIFORM { n } else { ends.len() - 1 };
    let lowest: F64<S> = simd.splat(f64::NEG_INFINITY);
    // SAFETY: `first` chooses the numbers of the set that are left from the square's first column on.
    unsafe {
        // Where row r of square q begins, and how many numbers of it there are.
        macro_rules! row {
            ($q:expr, $r:expr) => {{
                let (from, size) = if UNIFORM { (ends[0] + $r * largest, largest) } else { (ends[$r], ends[$r + 1] - ends[$r]) };
                (s.wrapping_add(from + $q * n), simd.first(size.saturating_sub($q * n)))
            }};
        }
        let mut squares = [simd.square(lowest); Q];
        for q in 0..Q {
            for (r, v) in squares[q].as_mut().iter_mut().enumerate() {
                if UNIFORM || r < count {
                    let (from, first) = row!(q, r);
                    *v = simd.load_first(first, from);
                    if !UNIFORM {
                        *v = simd.select_first(first, *v, lowest);
                    }
                }
            }
            squares[q] = simd.transpose(squares[q]);
        }
        let mut max = lowest;
        for q in 0..Q {
            for (j, &v) in squares[q].as_ref().iter().enumerate() {
                if q * n + j < largest {
                    max = simd.max(v, max);
                }
            }
        }
        if simd.any_below([simd.sub(simd.splat(0.0), max)], f64::MIN) {
            return false;
        }
        // Terms below the normal numbers may count as those, except where there is nothing else.
        let (least, count_them) = (simd.splat(-f64::NORMAL_EXP), simd.select_less(lowest, max, simd.splat(1.0), simd.splat(0.0)));
        max = simd.max(simd.splat(f64::MIN), max);
        let mut sum: F64<S> = simd.splat(0.0);
        for q in 0..Q {
            for (j, v) in squares[q].as_mut().chunks_exact_mut(2).enumerate() {
                if q * n + 2 * j >= largest {
                    continue;
                }
                let d = [simd.sub(v[0], max), simd.sub(v[1], max)];
                let e = if SOFTMAX {
                    exp_of_difference::<f64, S, 2>(simd, d)
                } else {
                    exp_of_small::<f64, S, 2>(simd, [simd.max(least, d[0]), simd.max(least, d[1])])
                };
                sum = simd.add(sum, e[0]);
                if !UNIFORM || 2 * j + 1 < largest {
                    sum = simd.add(sum, e[1]);
                }
                (v[0], v[1]) = (e[0], e[1]);
            }
        }
        if !SOFTMAX {
            sum = simd.mul(sum, count_them);
        }
        simd.store(state.0, max);
        simd.store(state.1, sum);
        if SOFTMAX {
            // Where all are −∞ the sum is 0, and 0 / 0 must be 0.
            let factor = simd.div(simd.splat(1.0), simd.max(simd.splat(f64::MIN_POSITIVE), sum));
            for q in 0..Q {
                for v in squares[q].as_mut() {
                    *v = simd.mul(*v, factor);
                }
                let rows = simd.transpose(squares[q]);
                for (r, &v) in rows.as_ref().iter().enumerate() {
                    if UNIFORM || r < count {
                        let (to, first) = row!(q, r);
                        simd.store_first(first, to, v);
                    }
                }
            }
        }
    }
    true
}
