//! Whether all numbers are finite, and what all counts are together.

use super::Isa;
use super::ahead::Ahead;
use super::dispatch::{Element, ElementKernel, OfF64};
use super::vector::Powers;

/// Whether no number is NaN or infinite.
pub fn all_finite<T: Element>(isa: Isa, x: &[T]) -> bool {
    T::run(isa, AllFinite(x))
}

pub struct AllFinite<'a, T>(&'a [T]);

/// Vectors side by side.
const U: usize = 4;

impl<T: Element> ElementKernel<T> for AllFinite<'_, T> {
    type Output = bool;

    fn plain(self) -> bool {
        self.0.iter().all(|x| x.to_f64().is_finite())
    }

    #[inline(always)]
    fn vector<S: Powers<T>>(self, simd: S) -> bool {
        let (x, n) = (self.0.as_ptr(), self.0.len());
        // x − x is 0 exactly where x is finite, and else NaN.
        let mut sum = [simd.splat(T::ZERO); U];
        let ahead = Ahead::of_memory();
        let mut i = 0;
        // SAFETY: `i + U N ≤ n` in the first loop; below, `first` chooses numbers before n.
        unsafe {
            while i + U * S::N <= n {
                ahead.ask(simd, x.add(i), U * S::N);
                for u in 0..U {
                    let from = x.add(i + u * S::N);
                    let v = simd.load(from);
                    sum[u] = simd.add(sum[u], simd.sub(v, v));
                }
                i += U * S::N;
            }
            while i < n {
                let v = simd.load_first(simd.first(n - i), x.add(i));
                sum[0] = simd.add(sum[0], simd.sub(v, v));
                i += S::N;
            }
        }
        for u in 1..U {
            sum[0] = simd.add(sum[0], sum[u]);
        }
        !simd.any_nan(sum[0])
    }
}

/// What all counts are together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CountTotals {
    /// Whether all are finite and none is negative. Else nothing is known of the rest.
    pub good: bool,
    pub sum: f64,
    pub positive: usize,
}

/// What all counts are together, the sum in the same order on every instruction set.
pub(crate) fn count_totals(isa: Isa, counts: &[f64]) -> CountTotals {
    isa.run(OfF64(Counts(counts)))
}

struct Counts<'a>(&'a [f64]);

/// Numbers whose sums are apart.
const LANES: usize = 16;

impl ElementKernel<f64> for Counts<'_> {
    type Output = CountTotals;

    fn plain(self) -> CountTotals {
        let (mut sum, mut positive, mut good) = ([0.0; LANES], 0, true);
        for counts in self.0.chunks(LANES) {
            for (sum, n) in sum.iter_mut().zip(counts) {
                *sum += n;
                positive += usize::from(*n > 0.0);
                good &= (*n >= 0.0) & (*n <= f64::MAX);
            }
        }
        CountTotals { good, sum: sum.iter().sum(), positive }
    }

    #[inline(always)]
    fn vector<S: Powers<f64>>(self, simd: S) -> CountTotals {
        let (x, n) = (self.0.as_ptr(), self.0.len());
        let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
        // As many vectors as make LANES lanes, of those that the shortest vectors need.
        let (mut sum, mut positive, mut differences, mut lowest) = ([zero; LANES / 2], [zero; LANES / 2], zero, zero);
        let ahead = Ahead::of_memory();
        let mut i = 0;
        while i < n {
            ahead.ask(simd, x.wrapping_add(i), LANES);
            for u in 0..LANES / S::N {
                let from = i + u * S::N;
                let left = n.saturating_sub(from);
                // SAFETY: whole vectors end at n at the latest; else `first` chooses numbers before n, or none.
                let v = unsafe {
                    match left >= S::N {
                        true => simd.load(x.wrapping_add(from)),
                        false => simd.load_first(simd.first(left), x.wrapping_add(from)),
                    }
                };
                sum[u] = simd.add(sum[u], v);
                positive[u] = simd.add(positive[u], simd.select_less(zero, v, one, zero));
                // 0 exactly where v is finite, and else NaN.
                differences = simd.add(differences, simd.sub(v, v));
                lowest = simd.min(v, lowest);
            }
            i += LANES;
        }
        let (mut sums, mut count) = ([0.0; LANES], 0.0);
        for u in 0..LANES / S::N {
            // SAFETY: the vectors make LANES numbers.
            unsafe { simd.store(sums.as_mut_ptr().add(u * S::N), sum[u]) };
            count += simd.sum(positive[u]);
        }
        let negative = simd.largest(simd.sub(zero, lowest)) > 0.0;
        CountTotals { good: !simd.any_nan(differences) && !negative, sum: sums.iter().sum(), positive: count as usize }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn totals_of_counts_are_the_same_on_every_instruction_set() {
        for n in (0..70).chain([1000, 4099]) {
            let counts: Vec<f64> = crate::testing::numbers(n, 7).iter().map(|x| if x.abs() < 0.3 { 0.0 } else { x.abs() }).collect();
            let plain = Counts(&counts).plain();
            assert!(plain.good && plain.positive == counts.iter().filter(|n| **n > 0.0).count());
            assert!((plain.sum - counts.iter().sum::<f64>()).abs() <= 1e-12 * plain.sum);
            for isa in Isa::available() {
                assert_eq!(count_totals(isa, &counts), plain, "{isa:?}");
                for bad in [-1.0, -1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    for at in (0..n).step_by(1 + n / 9) {
                        let mut counts = counts.clone();
                        counts[at] = bad;
                        assert!(!count_totals(isa, &counts).good, "{bad} at {at} of {n}, {isa:?}");
                    }
                }
            }
        }
    }
}
