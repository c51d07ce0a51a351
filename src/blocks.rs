//! Plain versions of the block kernels of an evaluation.

use crate::simd::Isa;

pub fn max(_isa: Isa, s: &[f64]) -> f64 {
    s.iter().fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || *x > m { *x } else { m })
}

pub fn exp_shifted_sum(_isa: Isa, s: &mut [f64], shift: f64) -> f64 {
    let mut sum = 0.0;
    for x in s {
        *x = libm::exp(*x - shift);
        sum += *x;
    }
    sum
}

pub fn responsibilities(_isa: Isa, j: &mut [f64], ld: usize, rows: usize, classes: usize, log_likelihood: &mut [f64]) {
    for i in 0..rows {
        let m = (0..classes).map(|k| j[k * ld + i]).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for k in 0..classes {
            let e = if m == f64::NEG_INFINITY { 0.0 } else { libm::exp(j[k * ld + i] - m) };
            j[k * ld + i] = e;
            sum += e;
        }
        log_likelihood[i] = m + libm::log(sum);
        let scale = if sum > 0.0 { 1.0 / sum } else { 0.0 };
        for k in 0..classes {
            j[k * ld + i] *= scale;
        }
    }
}

pub fn set_log_sum_exp(_isa: Isa, s: &[f64], offsets: &[usize], out: &mut [f64]) {
    let first = offsets[0];
    for (z, w) in out.iter_mut().zip(offsets.windows(2)) {
        let set = &s[w[0] - first..w[1] - first];
        let m = set.iter().fold(f64::NEG_INFINITY, |m, x| f64::max(m, *x));
        *z = m + libm::log(set.iter().map(|x| libm::exp(x - m)).sum::<f64>());
    }
}
