//! rten-vecmath's exp and softmax as `f(x, out, n)` for C, with the same instructions it picks for itself.

use rten_simd::{SimdOp, SimdUnaryOp};
use rten_vecmath::{Exp, Softmax};
use std::mem::MaybeUninit;

/// # Safety
/// `n` numbers at `x`, and room for as many at `out`, which does not overlap them.
unsafe fn slices<'a>(x: *const f32, out: *mut f32, n: usize) -> (&'a [f32], &'a mut [MaybeUninit<f32>]) {
    // SAFETY: by the contract.
    unsafe { (std::slice::from_raw_parts(x, n), std::slice::from_raw_parts_mut(out.cast(), n)) }
}

/// # Safety
/// As for `slices`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rten_expf(x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: by the contract.
    let (x, out) = unsafe { slices(x, out, n) };
    Exp {}.map(x, out);
}

/// # Safety
/// As for `slices`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rten_softmaxf(x: *const f32, out: *mut f32, n: usize) {
    // SAFETY: by the contract.
    let (x, out) = unsafe { slices(x, out, n) };
    Softmax::new(x, out).dispatch();
}
