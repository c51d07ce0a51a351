//! NEON vectors. The instructions are called through pulp's token, which only exists where the machine has them.

use super::elementary::Elementary;
use super::vector::{Features, Lanes, Powers};
use crate::scalar::Scalar;
use core::arch::aarch64::*;
use pulp::aarch64::Neon;
use pulp::cast;

impl Lanes<f64> for Neon {
    type V = float64x2_t;
    /// How many.
    type First = usize;
    const N: usize = 2;

    #[inline(always)]
    fn splat(self, x: f64) -> float64x2_t {
        self.neon.vdupq_n_f64(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> usize {
        n.min(2)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> float64x2_t {
        // SAFETY: by the contract of `load`.
        unsafe { self.neon.vld1q_f64(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: usize, p: *const f64) -> float64x2_t {
        let mut v = [0.0; 2];
        for (i, v) in v.iter_mut().enumerate().take(first) {
            // SAFETY: the first numbers are readable.
            *v = unsafe { *p.add(i) };
        }
        cast!(v)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: float64x2_t) {
        // SAFETY: by the contract of `store`.
        unsafe { self.neon.vst1q_f64(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: usize, p: *mut f64, v: float64x2_t) {
        let v: [f64; 2] = cast!(v);
        for (i, &v) in v.iter().enumerate().take(first) {
            // SAFETY: the first numbers are writable.
            unsafe { *p.add(i) = v };
        }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f64, v: float64x2_t) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.store(p, v) }
    }
    #[inline(always)]
    fn fetch(self, _: *const f64) {}
    #[inline(always)]
    fn fetch_near(self, _: *const f64) {}
    #[inline(always)]
    fn fence(self) {}
    #[inline(always)]
    fn select_first(self, first: usize, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        let (a, mut v): ([f64; 2], [f64; 2]) = (cast!(a), cast!(b));
        for (v, a) in v.iter_mut().zip(a).take(first) {
            *v = a;
        }
        cast!(v)
    }
    #[inline(always)]
    fn add(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vaddq_f64(a, b)
    }
    #[inline(always)]
    fn sub(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vsubq_f64(a, b)
    }
    #[inline(always)]
    fn mul(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vmulq_f64(a, b)
    }
    #[inline(always)]
    fn div(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vdivq_f64(a, b)
    }
    #[inline(always)]
    fn max(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vmaxq_f64(a, b)
    }
    #[inline(always)]
    fn min(self, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vminq_f64(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: float64x2_t, b: float64x2_t, c: float64x2_t) -> float64x2_t {
        self.neon.vfmaq_f64(c, a, b)
    }
    #[inline(always)]
    fn select_less(self, x: float64x2_t, y: float64x2_t, a: float64x2_t, b: float64x2_t) -> float64x2_t {
        self.neon.vbslq_f64(self.neon.vcltq_f64(x, y), a, b)
    }
    #[inline(always)]
    fn sum(self, v: float64x2_t) -> f64 {
        let v: [f64; 2] = cast!(v);
        v[0] + v[1]
    }
    #[inline(always)]
    fn sum_f64(self, v: float64x2_t) -> f64 {
        Lanes::<f64>::sum(self, v)
    }
    #[inline(always)]
    fn largest(self, v: float64x2_t) -> f64 {
        self.neon.vmaxvq_f64(v)
    }
    #[inline(always)]
    fn any_nan(self, v: float64x2_t) -> bool {
        self.neon.vminvq_u32(cast!(self.neon.vceqq_f64(v, v))) == 0
    }
}

impl Lanes<f32> for Neon {
    type V = float32x4_t;
    /// How many.
    type First = usize;
    const N: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        self.neon.vdupq_n_f32(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> usize {
        n.min(4)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> float32x4_t {
        // SAFETY: by the contract of `load`.
        unsafe { self.neon.vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: usize, p: *const f32) -> float32x4_t {
        let mut v = [0.0; 4];
        for (i, v) in v.iter_mut().enumerate().take(first) {
            // SAFETY: the first numbers are readable.
            *v = unsafe { *p.add(i) };
        }
        cast!(v)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: float32x4_t) {
        // SAFETY: by the contract of `store`.
        unsafe { self.neon.vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: usize, p: *mut f32, v: float32x4_t) {
        let v: [f32; 4] = cast!(v);
        for (i, &v) in v.iter().enumerate().take(first) {
            // SAFETY: the first numbers are writable.
            unsafe { *p.add(i) = v };
        }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, v: float32x4_t) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.store(p, v) }
    }
    #[inline(always)]
    fn fetch(self, _: *const f32) {}
    #[inline(always)]
    fn fetch_near(self, _: *const f32) {}
    #[inline(always)]
    fn fence(self) {}
    #[inline(always)]
    fn select_first(self, first: usize, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        let (a, mut v): ([f32; 4], [f32; 4]) = (cast!(a), cast!(b));
        for (v, a) in v.iter_mut().zip(a).take(first) {
            *v = a;
        }
        cast!(v)
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vaddq_f32(a, b)
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vsubq_f32(a, b)
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vmulq_f32(a, b)
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vdivq_f32(a, b)
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vmaxq_f32(a, b)
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vminq_f32(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        self.neon.vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    fn select_less(self, x: float32x4_t, y: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.neon.vbslq_f32(self.neon.vcltq_f32(x, y), a, b)
    }
    #[inline(always)]
    fn sum(self, v: float32x4_t) -> f32 {
        let v: [f32; 4] = cast!(v);
        (v[0] + v[2]) + (v[1] + v[3])
    }
    #[inline(always)]
    fn sum_f64(self, v: float32x4_t) -> f64 {
        let neon = self.neon;
        Lanes::<f64>::sum(self, neon.vaddq_f64(neon.vcvt_f64_f32(neon.vget_low_f32(v)), neon.vcvt_high_f64_f32(v)))
    }
    #[inline(always)]
    fn largest(self, v: float32x4_t) -> f32 {
        self.neon.vmaxvq_f32(v)
    }
    #[inline(always)]
    fn any_nan(self, v: float32x4_t) -> bool {
        self.neon.vminvq_u32(cast!(self.neon.vceqq_f32(v, v))) == 0
    }
}

impl Powers<f64> for Neon {
    const TABLE: u32 = 0;

    #[inline(always)]
    fn root(self, _: float64x2_t) -> float64x2_t {
        self.neon.vdupq_n_f64(1.0)
    }
    #[inline(always)]
    fn power(self, sum: float64x2_t) -> float64x2_t {
        Powers::<f64>::scale::<true>(self, self.neon.vdupq_n_f64(1.0), sum, sum)
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: float64x2_t, sum: float64x2_t, t: float64x2_t) -> float64x2_t {
        let neon = self.neon;
        // The integer in the lowest bits of a number, moved to the exponent.
        let exponent = |k: float64x2_t| neon.vshlq_n_u64::<52>(cast!(k));
        if NORMAL {
            return cast!(neon.vaddq_u64(cast!(y), exponent(sum)));
        }
        // 2^t in two factors, both normal numbers; the first product is exact.
        let round = neon.vdupq_n_f64(f64::rounding(0));
        let half = neon.vaddq_f64(neon.vmulq_f64(t, neon.vdupq_n_f64(0.5)), round);
        let rest = neon.vaddq_f64(neon.vsubq_f64(t, neon.vsubq_f64(half, round)), round);
        let power = |k| -> float64x2_t { cast!(neon.vaddq_u64(cast!([1.0f64; 2]), exponent(k))) };
        neon.vmulq_f64(neon.vmulq_f64(y, power(half)), power(rest))
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [float64x2_t; U], limit: f64) -> bool {
        let neon = self.neon;
        let mut within: uint64x2_t = cast!([u64::MAX; 2]);
        for x in x {
            within = neon.vandq_u64(within, neon.vcaleq_f64(x, neon.vdupq_n_f64(limit)));
        }
        neon.vminvq_u32(cast!(within)) == 0
    }
    #[inline(always)]
    fn any_below<const U: usize>(self, x: [float64x2_t; U], lowest: f64) -> bool {
        let neon = self.neon;
        let mut below = neon.vdupq_n_u64(0);
        for x in x {
            below = neon.vorrq_u64(below, neon.vcltq_f64(x, neon.vdupq_n_f64(lowest)));
        }
        neon.vmaxvq_u32(cast!(below)) != 0
    }
    #[inline(always)]
    fn parts(self, x: float64x2_t) -> (float64x2_t, float64x2_t) {
        const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
        const ONE: u64 = 0x3ff0_0000_0000_0000;
        let neon = self.neon;
        let splat = |x: u64| -> uint64x2_t { cast!([x; 2]) };
        // As with AVX2: subnormal numbers are multiplied by a power of two first.
        let tiny = neon.vcltq_f64(x, neon.vdupq_n_f64(f64::MIN_POSITIVE));
        let x = neon.vbslq_f64(tiny, neon.vmulq_f64(x, neon.vdupq_n_f64(18014398509481984.0)), x);
        let bias = neon.vbslq_f64(tiny, neon.vdupq_n_f64(1077.0), neon.vdupq_n_f64(1023.0));
        let bits = neon.vaddq_u64(cast!(x), splat(ONE - SQRT_HALF));
        let k = neon.vsubq_f64(neon.vcvtq_f64_u64(neon.vshrq_n_u64::<52>(bits)), bias);
        let m = neon.vaddq_u64(neon.vandq_u64(bits, splat((1 << 52) - 1)), splat(SQRT_HALF));
        (k, cast!(m))
    }
}

impl Powers<f32> for Neon {
    const TABLE: u32 = 0;

    #[inline(always)]
    fn root(self, _: float32x4_t) -> float32x4_t {
        self.neon.vdupq_n_f32(1.0)
    }
    #[inline(always)]
    fn power(self, sum: float32x4_t) -> float32x4_t {
        Powers::<f32>::scale::<true>(self, self.neon.vdupq_n_f32(1.0), sum, sum)
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: float32x4_t, sum: float32x4_t, t: float32x4_t) -> float32x4_t {
        let neon = self.neon;
        // The integer in the lowest bits of a number, moved to the exponent.
        let exponent = |k: float32x4_t| neon.vshlq_n_u32::<23>(cast!(k));
        if NORMAL {
            return cast!(neon.vaddq_u32(cast!(y), exponent(sum)));
        }
        // 2^t in two factors, both normal numbers; the first product is exact.
        let round = neon.vdupq_n_f32(f32::rounding(0));
        let half = neon.vaddq_f32(neon.vmulq_f32(t, neon.vdupq_n_f32(0.5)), round);
        let rest = neon.vaddq_f32(neon.vsubq_f32(t, neon.vsubq_f32(half, round)), round);
        let power = |k| -> float32x4_t { cast!(neon.vaddq_u32(cast!([1.0f32; 4]), exponent(k))) };
        neon.vmulq_f32(neon.vmulq_f32(y, power(half)), power(rest))
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [float32x4_t; U], limit: f32) -> bool {
        let neon = self.neon;
        let mut within: uint32x4_t = cast!([u32::MAX; 4]);
        for x in x {
            within = neon.vandq_u32(within, neon.vcaleq_f32(x, neon.vdupq_n_f32(limit)));
        }
        neon.vminvq_u32(cast!(within)) == 0
    }
    #[inline(always)]
    fn any_below<const U: usize>(self, x: [float32x4_t; U], lowest: f32) -> bool {
        let neon = self.neon;
        let mut below = neon.vdupq_n_u32(0);
        for x in x {
            below = neon.vorrq_u32(below, neon.vcltq_f32(x, neon.vdupq_n_f32(lowest)));
        }
        neon.vmaxvq_u32(cast!(below)) != 0
    }
    #[inline(always)]
    fn parts(self, x: float32x4_t) -> (float32x4_t, float32x4_t) {
        const SQRT_HALF: u32 = 0x3f35_04f3;
        const ONE: u32 = 0x3f80_0000;
        let neon = self.neon;
        let splat = |x: u32| -> uint32x4_t { cast!([x; 4]) };
        // As with AVX2: subnormal numbers are multiplied by a power of two first.
        let tiny = neon.vcltq_f32(x, neon.vdupq_n_f32(f32::MIN_POSITIVE));
        let x = neon.vbslq_f32(tiny, neon.vmulq_f32(x, neon.vdupq_n_f32(33554432.0)), x);
        let bias = neon.vbslq_f32(tiny, neon.vdupq_n_f32(152.0), neon.vdupq_n_f32(127.0));
        let bits = neon.vaddq_u32(cast!(x), splat(ONE - SQRT_HALF));
        let k = neon.vsubq_f32(neon.vcvtq_f32_u32(neon.vshrq_n_u32::<23>(bits)), bias);
        let m = neon.vaddq_u32(neon.vandq_u32(bits, splat((1 << 23) - 1)), splat(SQRT_HALF));
        (k, cast!(m))
    }
}

impl Features for Neon {
    const REGISTERS: usize = 32;
    type Square = [float64x2_t; 2];
    type Halves = [f64; 4];

    #[inline(always)]
    unsafe fn load_as_f64<T: Scalar>(self, p: *const T) -> float64x2_t {
        // SAFETY: `Scalar` is sealed to f32 and f64, so that the size tells the type; readable by contract.
        unsafe { if size_of::<T>() == 8 { self.load(p.cast::<f64>()) } else { self.neon.vcvt_f64_f32(self.neon.vld1_f32(p.cast())) } }
    }
    #[inline(always)]
    unsafe fn load_first_as_f64<T: Scalar>(self, first: usize, p: *const T) -> float64x2_t {
        let mut v = [0.0; 2];
        for (i, v) in v.iter_mut().enumerate().take(first) {
            // SAFETY: the first numbers are readable.
            *v = unsafe { (*p.add(i)).to_f64() };
        }
        cast!(v)
    }
    #[inline(always)]
    fn square(self, v: float64x2_t) -> [float64x2_t; 2] {
        [v; 2]
    }
    #[inline(always)]
    fn transpose(self, [a, b]: [float64x2_t; 2]) -> [float64x2_t; 2] {
        [self.neon.vtrn1q_f64(a, b), self.neon.vtrn2q_f64(a, b)]
    }
    #[inline(always)]
    fn halves_of_sums(self, v: [float64x2_t; 4]) -> [f64; 4] {
        cast!([self.neon.vpaddq_f64(v[0], v[1]), self.neon.vpaddq_f64(v[2], v[3])])
    }
    #[inline(always)]
    fn add_halves(self, v: [[f64; 4]; 2]) -> [[f64; 4]; 2] {
        v
    }
}
