//! `log Z_s = log Σ_{i∈s} e^(S_i)` for many consecutive choice sets of one column, mostly small.
//!
//! Small sets go N at a time: each is a row of a square that is transposed in registers, so that a lane holds a set. Sets of
//! different sizes are filled up with −∞.

use super::Isa;
use super::dispatch::Kernel;
use super::elementary::Elementary;
use super::exp::exp_of_difference;
use super::log::ln_of;
use super::logsumexp::{Running, add_exponentials, plain_sum};
use super::vector::{F64, Features, Lanes, Powers, Simd};

/// `out[s] = log Σ e^(s_i)` over `offsets[s] ≤ i < offsets[s + 1]`, for every set s.
///
/// −∞ for an empty set and for one of −∞ alone; NaN and +∞ as in [`super::logsumexp`]. Fast for sets of up to two vectors (four
/// with AVX2), right for any.
///
/// # Panics
/// Unless `offsets` has one number more than `out`, none is smaller than the one before, and the last is at most `s.len()`.
pub fn set_log_sum_exp(isa: Isa, s: &[f64], offsets: &[usize], out: &mut [f64]) {
    assert_eq!(offsets.len(), out.len() + 1, "one offset more than sets");
    assert!(offsets[out.len()] <= s.len() && offsets.windows(2).fold(true, |rising, w| rising & (w[0] <= w[1])), "rising offsets inside s");
    isa.run(Sets { s, offsets, out });
}

struct Sets<'a> {
    s: &'a [f64],
    offsets: &'a [usize],
    out: &'a mut [f64],
}

/// How many squares beside each other a set may take.
const SQUARES: usize = 4;

impl Kernel for Sets<'_> {
    type Output = ();

    fn plain(self) {
        for (out, w) in self.out.iter_mut().zip(self.offsets.windows(2)) {
            *out = plain_sum(self.s[w[0]..w[1]].iter().copied()).state().value();
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { s, offsets, out } = self;
        let n = <S as Lanes<f64>>::N;
        let sets = out.len();
        let mut set = 0;
        while set < sets {
            let count = n.min(sets - set);
            let ends = &offsets[set..=set + count];
            let mut largest = 0;
            for w in ends.windows(2) {
                largest = largest.max(w[1] - w[0]);
            }
            // SAFETY: the entry check has shown that all sets lie inside `s`; `set + count ≤ sets`.
            unsafe {
                let to = out.as_mut_ptr().add(set);
                if largest <= n {
                    small_sets::<S, 1>(simd, s, ends, largest, to);
                } else if largest <= 2 * n {
                    small_sets::<S, 2>(simd, s, ends, largest, to);
                } else if largest <= SQUARES * n && n <= 4 {
                    small_sets::<S, SQUARES>(simd, s, ends, largest, to);
                } else {
                    for (i, w) in ends.windows(2).enumerate() {
                        let mut running = Running::new();
                        add_exponentials(simd, &mut running, s.as_ptr().add(w[0]), w[1] - w[0]);
                        *to.add(i) = running.state().value();
                    }
                }
            }
            set += count;
        }
    }
}

/// `ends.len() − 1 ≤ N` sets of at most `largest ≤ Q N` numbers.
///
/// # Safety
/// The sets lie inside `s`; `out` has a number for each.
#[inline(always)]
unsafe fn small_sets<S: Powers<f64> + Features, const Q: usize>(simd: S, s: &[f64], ends: &[usize], largest: usize, out: *mut f64) {
    let n = <S as Lanes<f64>>::N;
    let count = ends.len() - 1;
    let lowest: F64<S> = simd.splat(f64::NEG_INFINITY);
    let mut max = lowest;
    // SAFETY: `first` chooses the numbers of the set that are left from the square's first column on, none in rows past
    // the last set.
    unsafe {
        let mut squares = [simd.square(lowest); Q];
        for q in 0..Q {
            for r in 0..count {
                let size = (ends[r + 1] - ends[r]).saturating_sub(q * n);
                if size > 0 {
                    let first = simd.first(size);
                    let part = simd.load_first(first, s.as_ptr().add(ends[r] + q * n));
                    squares[q].as_mut()[r] = simd.select_first(first, part, lowest);
                }
            }
            squares[q] = simd.transpose(squares[q]);
        }
        for q in 0..Q {
            for (j, &v) in squares[q].as_ref().iter().enumerate() {
                if q * n + j < largest {
                    max = simd.max(v, max);
                }
            }
        }
        // Terms of −∞ alone must not count as anything but 0.
        let least = simd.select_less(lowest, max, simd.splat(-f64::NORMAL_EXP), lowest);
        max = simd.min(simd.splat(f64::MAX), simd.max(simd.splat(f64::MIN), max));
        let mut sum: F64<S> = simd.splat(0.0);
        for q in 0..Q {
            for (j, v) in squares[q].as_ref().chunks_exact(2).enumerate() {
                if q * n + 2 * j < largest {
                    let d = [simd.raise(simd.sub(v[0], max), least), simd.raise(simd.sub(v[1], max), least)];
                    let e = exp_of_difference::<f64, S, 2>(simd, d);
                    sum = simd.add(sum, simd.add(e[0], e[1]));
                }
            }
        }
        let first = simd.first(count);
        simd.store_first(first, out, simd.add(max, ln_of::<f64, S>(simd, sum)));
    }
}
