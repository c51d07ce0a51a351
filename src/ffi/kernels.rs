//! Kernels
//!
//! Exponentials, logarithms of sums and softmax over arrays, in double and (the names with `f` or `float` at the end) in float. They need
//! no workspace. NaN is no error here: it passes through as each comment says. In exp, log, softmax and log_softmax `out` may be `x`
//! itself; else it may not overlap it. Arrays are aligned for their type, no more. `isa` is SMX_ISA_AUTO as a rule.

use super::call::{Fault, Range, Result, guard};
use super::evaluate::{context, smx_isa};
use super::status::*;
use crate::simd::{self, Element, Isa, LogSumExp};

/// A sum of exponentials, `exp(max) * sum`, kept apart so that it neither overflows nor vanishes: what parts of a sum hand over to be
/// merged. The sum of nothing is that of n = 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_sum {
    /// The largest exponent, clamped to the finite numbers.
    pub max: f64,
    /// Sum of exp(x - max).
    pub sum: f64,
}

fn set(isa: smx_isa) -> Result<Isa> {
    Ok(context(isa, 1)?.isa)
}

/// The `n` values at `x`, apart from those of `out`.
///
/// # Safety
/// The caller vouches for `n` values at `x`.
unsafe fn values<'a, T>(x: *const T, n: usize, out: &Range) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    if Range::new("x", x, n, false)?.clashes(out) {
        return Err(Fault::new(SMX_ALIAS, "out"));
    }
    // SAFETY: not null, aligned, of a size that fits; valid by the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(x, n) })
}

/// Runs `apart` on two arrays, or `in_place` where they are one.
///
/// # Safety
/// The caller vouches for `n` values at `x` and room for as many at `out`.
unsafe fn map<T: Element>(
    x: *const T,
    out: *mut T,
    n: usize,
    isa: smx_isa,
    apart: fn(Isa, &[T], &mut [T]),
    in_place: fn(Isa, &mut [T]),
) -> Result<()> {
    let isa = set(isa)?;
    if n == 0 {
        return Ok(());
    }
    let to = Range::new("x", x, n, false).and(Range::new("out", out, n, true))?;
    // SAFETY: by the caller's promise; `out` is not null, aligned, of a size that fits, and apart from `x` unless it is `x`.
    unsafe {
        match x == out {
            true => in_place(isa, core::slice::from_raw_parts_mut(out, n)),
            false => apart(isa, values(x, n, &to)?, core::slice::from_raw_parts_mut(out, n)),
        }
    }
    Ok(())
}

/// # Safety
/// The caller vouches for `n` values at `x`, and room for one at `out`, which overlaps nothing.
unsafe fn reduce<T: Element, R>(x: *const T, n: usize, out: *mut R, isa: smx_isa, of: impl FnOnce(Isa, &[T]) -> R) -> Result<()> {
    let isa = set(isa)?;
    let to = Range::new("out", out, 1, true)?;
    // SAFETY: by the caller's promise; `out` is not null and aligned.
    unsafe { out.write(of(isa, values(x, n, &to)?)) };
    Ok(())
}

/// The values from the first of `n` to the last of them, `stride` apart.
fn extent(n: usize, stride: usize) -> Result<usize> {
    if stride == 0 {
        return Err(Fault::new(SMX_INVALID_OPTION, "stride"));
    }
    let last = n.saturating_sub(1).checked_mul(stride).and_then(|last| last.checked_add(n.min(1)));
    last.ok_or_else(|| Fault::new(SMX_OVERFLOW, "x"))
}

/// # Safety
/// The caller vouches for `rows * columns` values at `x` and room for `columns` at `out`.
unsafe fn columns<T: Element>(x: *const T, rows: usize, columns: usize, out: *mut T, isa: smx_isa) -> Result<()> {
    let isa = set(isa)?;
    if columns == 0 {
        return Ok(());
    }
    let n = rows.checked_mul(columns).ok_or_else(|| Fault::new(SMX_OVERFLOW, "x"))?;
    let to = Range::new("out", out, columns, true)?;
    // SAFETY: by the caller's promise; `out` is not null, aligned, of a size that fits, and apart from `x`.
    unsafe { simd::logsumexp_columns(isa, values(x, n, &to)?, core::slice::from_raw_parts_mut(out, columns)) };
    Ok(())
}

/// `out[i] = exp(x[i])`, within 1.05 units in the last place. exp(-infinity) is 0, exp(infinity) infinity, and NaN gives NaN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_exp(x: *const f64, out: *mut f64, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: the header has the caller vouch for the arrays; here and below.
    guard(|| unsafe { map(x, out, n, isa, simd::exp, simd::exp_in_place) })
}

/// smx_exp in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_expf(x: *const f32, out: *mut f32, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::exp, simd::exp_in_place) })
}

/// `out[i] = ln(x[i])`, within 1 unit in the last place. ln(0) is -infinity, ln(infinity) infinity; negative numbers and NaN give NaN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_log(x: *const f64, out: *mut f64, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::ln, simd::ln_in_place) })
}

/// smx_log in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logf(x: *const f32, out: *mut f32, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::ln, simd::ln_in_place) })
}

/// `out[i] = exp(x[i]) / sum_j exp(x[j])`. -infinity gives 0; where all are -infinity, so are all results 0. NaN or infinity anywhere
/// makes every result NaN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_softmax(x: *const f64, out: *mut f64, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::softmax, simd::softmax_in_place) })
}

/// smx_softmax in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_softmaxf(x: *const f32, out: *mut f32, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::softmax, simd::softmax_in_place) })
}

/// `out[i] = x[i] - ln sum_j exp(x[j])`. -infinity gives -infinity, also where all are. NaN or infinity anywhere makes every result NaN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_log_softmax(x: *const f64, out: *mut f64, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::log_softmax, simd::log_softmax_in_place) })
}

/// smx_log_softmax in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_log_softmaxf(x: *const f32, out: *mut f32, n: usize, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { map(x, out, n, isa, simd::log_softmax, simd::log_softmax_in_place) })
}

/// `*out = ln sum_i exp(x[i])`, reading `x` once. NaN anywhere gives NaN; otherwise infinity anywhere gives infinity; no number, or
/// -infinity alone, give -infinity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexp(x: *const f64, n: usize, out: *mut f64, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, n, out, isa, simd::logsumexp) })
}

/// smx_logsumexp in float; its sums are in double.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexpf(x: *const f32, n: usize, out: *mut f32, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, n, out, isa, simd::logsumexp) })
}

/// smx_logsumexp of `x[0]`, `x[stride]`, ..., `x[(n - 1) * stride]`; `stride` is at least 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexp_strided(x: *const f64, n: usize, stride: usize, out: *mut f64, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, extent(n, stride)?, out, isa, |isa, x| simd::logsumexp_strided(isa, x, stride)) })
}

/// smx_logsumexp_strided in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexp_stridedf(x: *const f32, n: usize, stride: usize, out: *mut f32, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, extent(n, stride)?, out, isa, |isa, x| simd::logsumexp_strided(isa, x, stride)) })
}

/// smx_logsumexp of every column of a matrix of `rows` x `columns`, row after row: `out` has `columns` numbers. `x` is read once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexp_columns(x: *const f64, rows: usize, columns: usize, out: *mut f64, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { self::columns(x, rows, columns, out, isa) })
}

/// smx_logsumexp_columns in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_logsumexp_columnsf(x: *const f32, rows: usize, columns: usize, out: *mut f32, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { self::columns(x, rows, columns, out, isa) })
}

/// `*out` becomes the sum of the exponentials of `x`, for smx_sum_merge.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_sum_of(x: *const f64, n: usize, out: *mut smx_sum, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, n, out, isa, |isa, x| sum(LogSumExp::of(isa, x))) })
}

/// smx_sum_of in float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_sum_of_float(x: *const f32, n: usize, out: *mut smx_sum, isa: smx_isa) -> smx_status {
    // SAFETY: as for smx_exp.
    guard(|| unsafe { reduce(x, n, out, isa, |isa, x| sum(LogSumExp::of(isa, x))) })
}

fn sum(s: LogSumExp) -> smx_sum {
    smx_sum { max: s.max, sum: s.sum }
}

/// The sum of both. Commutative; the order of several merges changes the last digits only.
#[unsafe(no_mangle)]
pub extern "C" fn smx_sum_merge(a: smx_sum, b: smx_sum) -> smx_sum {
    sum(LogSumExp { max: a.max, sum: a.sum }.merge(LogSumExp { max: b.max, sum: b.sum }))
}

/// The logarithm of a sum.
#[unsafe(no_mangle)]
pub extern "C" fn smx_sum_log(a: smx_sum) -> f64 {
    LogSumExp { max: a.max, sum: a.sum }.value()
}
