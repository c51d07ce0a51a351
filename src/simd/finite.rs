//! Whether all numbers are finite.

use super::Isa;
use super::ahead::Ahead;
use super::dispatch::{Element, ElementKernel};
use super::vector::Powers;

/// Whether no number is NaN or infinite.
pub fn all_finite<T: Element>(isa: Isa, x: &[T]) -> bool {
    T::run(isa, AllFinite(x))
}

struct AllFinite<'a, T>(&'a [T]);

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
