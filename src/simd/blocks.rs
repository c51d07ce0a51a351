//! The exponential steps of the evaluation, on f64 blocks: class-major, one column of a block a slice.

use super::Isa;
use super::dispatch::Kernel;
use super::exp::exp_of_difference;
use super::log::ln_of;
use super::logsumexp::{finite, largest_of, sum_of_exp};
use super::vector::{F64, Lanes, Powers, Simd};

/// The largest number; NaN if there is one, and −∞ for none.
pub fn max(isa: Isa, s: &[f64]) -> f64 {
    isa.run(Max(s))
}

/// `s_i ← e^(s_i − shift)`; returns their sum.
///
/// Infinite shifts count as the largest finite number of their sign, so that a column of −∞ with its maximum −∞ gives 0. The
/// sum has one accumulator a lane: meant for blocks, of a few thousand numbers at most.
pub fn exp_shifted_sum(isa: Isa, s: &mut [f64], shift: f64) -> f64 {
    let out = s.as_mut_ptr();
    isa.run(ShiftedSum { s: out, out, n: s.len(), shift })
}

/// `out_i = e^(s_i − shift)`; returns their sum. As [`exp_shifted_sum`].
///
/// # Panics
/// Unless `s` and `out` have the same length.
pub fn exp_shifted_sum_to(isa: Isa, s: &[f64], shift: f64, out: &mut [f64]) -> f64 {
    assert_eq!(s.len(), out.len(), "s and out must have the same length");
    isa.run(ShiftedSum { s: s.as_ptr(), out: out.as_mut_ptr(), n: s.len(), shift })
}

/// Responsibilities `r_ik = e^(J_ik) / Σ_k e^(J_ik)` in place of `J_ik = log α_k + log P(i | k)`, and `log Σ_k e^(J_ik)`.
///
/// `j[k * ld + i]` is row i of class k. A row that is −∞ in every class gives r = 0 and −∞; one with NaN or +∞ gives NaN.
///
/// # Panics
/// Unless `ld ≥ rows`, `j` has `(classes − 1) · ld + rows` numbers and `log_likelihood` has `rows`.
pub fn responsibilities(isa: Isa, j: &mut [f64], ld: usize, rows: usize, classes: usize, log_likelihood: &mut [f64]) {
    assert_eq!(log_likelihood.len(), rows, "a log-likelihood for every row");
    let room = classes.saturating_sub(1).checked_mul(ld).and_then(|s| s.checked_add(rows));
    assert!(ld >= rows && room.is_some_and(|n| classes == 0 || n <= j.len()), "room");
    isa.run(Responsibilities { j, ld, classes, log_likelihood });
}

struct Max<'a>(&'a [f64]);

impl Kernel for Max<'_> {
    type Output = f64;

    fn plain(self) -> f64 {
        self.0.iter().fold(f64::NEG_INFINITY, |m, &x| if x > m || x.is_nan() { x } else { m })
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        if has_nan(simd, self.0) {
            return f64::NAN;
        }
        // SAFETY: the numbers of a slice are readable.
        unsafe { largest_of(simd, self.0.as_ptr(), self.0.len()) }
    }
}

/// Whether a number is NaN.
#[inline(always)]
fn has_nan<S: Lanes<f64>>(simd: S, s: &[f64]) -> bool {
    let mut found = false;
    let mut i = 0;
    // SAFETY: `i + N ≤ s.len()` in the loop; below, `first` chooses the numbers that are left.
    unsafe {
        while i + S::N <= s.len() {
            found |= simd.any_nan(simd.load(s.as_ptr().add(i)));
            i += S::N;
        }
        found | simd.any_nan(simd.load_first(simd.first(s.len() - i), s.as_ptr().add(i)))
    }
}

/// Reads `n` numbers at `s` and writes as many to `out`, which is `s` or doesn't overlap it.
struct ShiftedSum {
    s: *const f64,
    out: *mut f64,
    n: usize,
    shift: f64,
}

impl Kernel for ShiftedSum {
    type Output = f64;

    fn plain(self) -> f64 {
        let shift = finite(self.shift);
        let mut sum = 0.0;
        for i in 0..self.n {
            // SAFETY: i < n; each number is read before it is written.
            unsafe {
                let e = libm::exp(*self.s.add(i) - shift);
                *self.out.add(i) = e;
                sum += e;
            }
        }
        sum
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> f64 {
        // SAFETY: as the struct says.
        unsafe { sum_of_exp::<f64, S, 0>(simd, self.s, self.out, self.n, finite(self.shift)) }
    }
}

struct Responsibilities<'a> {
    j: &'a mut [f64],
    ld: usize,
    classes: usize,
    log_likelihood: &'a mut [f64],
}

impl Kernel for Responsibilities<'_> {
    type Output = ();

    fn plain(self) {
        let Self { j, ld, classes, log_likelihood } = self;
        for (i, value) in log_likelihood.iter_mut().enumerate() {
            let max = finite((0..classes).fold(f64::NEG_INFINITY, |m, k| if j[k * ld + i] > m { j[k * ld + i] } else { m }));
            let mut sum = 0.0;
            for k in 0..classes {
                j[k * ld + i] = libm::exp(j[k * ld + i] - max);
                sum += j[k * ld + i];
            }
            let inverse = 1.0 / if sum < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { sum };
            for k in 0..classes {
                j[k * ld + i] *= inverse;
            }
            *value = max + libm::log(sum);
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        let Self { j, ld, classes, log_likelihood } = self;
        let n = <S as Lanes<f64>>::N;
        let rows = log_likelihood.len();
        let mut i = 0;
        while i < rows {
            // SAFETY: `first` chooses rows before `rows`, and the entry check has shown that every class has them.
            unsafe {
                let at = j.as_mut_ptr().add(i);
                let to = log_likelihood.as_mut_ptr().add(i);
                if i + n <= rows {
                    some_responsibilities::<S, false>(simd, Lanes::<f64>::first(simd, n), at, ld, classes, to);
                } else {
                    some_responsibilities::<S, true>(simd, Lanes::<f64>::first(simd, rows - i), at, ld, classes, to);
                }
            }
            i += n;
        }
    }
}

/// One vector of rows; only the first of them if `PART`.
///
/// # Safety
/// The first rows must be readable and writable in each of the classes, `ld` apart from `j` on, and at `log_likelihood`; all
/// rows of a vector unless `PART`.
#[inline(always)]
unsafe fn some_responsibilities<S: Powers<f64>, const PART: bool>(
    simd: S,
    first: S::First,
    j: *mut f64,
    ld: usize,
    classes: usize,
    log_likelihood: *mut f64,
) {
    // SAFETY: by the contract.
    unsafe {
        let load = |p: *const f64| if PART { simd.load_first(first, p) } else { simd.load(p) };
        let store = |p: *mut f64, v: F64<S>| if PART { simd.store_first(first, p, v) } else { simd.store(p, v) };
        let mut max = simd.splat(f64::MIN);
        for k in 0..classes {
            max = simd.max(load(j.add(k * ld)), max);
        }
        let max = simd.min(simd.splat(f64::MAX), max);
        // Two classes at a time, to hide the latency of exp.
        let mut sum = simd.splat(0.0);
        let mut k = 0;
        while k + 2 <= classes {
            let (a, b) = (j.add(k * ld), j.add((k + 1) * ld));
            let [ea, eb] = exp_of_difference::<f64, S, 2>(simd, [simd.sub(load(a), max), simd.sub(load(b), max)]);
            store(a, ea);
            store(b, eb);
            sum = simd.add(sum, simd.add(ea, eb));
            k += 2;
        }
        if k < classes {
            let [e] = exp_of_difference::<f64, S, 1>(simd, [simd.sub(load(j.add(k * ld)), max)]);
            store(j.add(k * ld), e);
            sum = simd.add(sum, e);
        }
        // Where all are −∞ the sum is 0, and 0 / 0 must be 0.
        let inverse = simd.div(simd.splat(1.0), simd.max(simd.splat(f64::MIN_POSITIVE), sum));
        for k in 0..classes {
            store(j.add(k * ld), simd.mul(load(j.add(k * ld)), inverse));
        }
        let [log] = ln_of::<f64, S, 1>(simd, [sum]);
        store(log_likelihood, simd.add(max, log));
    }
}
