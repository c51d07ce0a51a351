//! AVX2 and AVX-512 vectors. The instructions are called through pulp's tokens, which only exist where the machine has them.

use super::elementary::Elementary;
use super::vector::{Features, Lanes, Powers};
use crate::scalar::Scalar;
use core::arch::x86_64::*;
use pulp::cast;
use pulp::x86::V3;
#[cfg(feature = "avx512")]
use pulp::x86::V4;

/// `FIRST_64[4 - n..][..4]` is all ones in its first n numbers.
static FIRST_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
/// `FIRST_32[8 - n..][..8]` is all ones in its first n numbers.
static FIRST_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// `2^(j/8)`
#[cfg(feature = "avx512")]
const ROOTS_8_F64: [f64; 8] = [
    1.0,
    1.0905077326652577,
    1.189207115002721,
    1.2968395546510096,
    core::f64::consts::SQRT_2,
    1.5422108254079407,
    1.681792830507429,
    1.8340080864093424,
];

/// `2^(j/8)`
const ROOTS_8: [f32; 8] = [1.0, 1.0905077, 1.1892071, 1.2968396, core::f32::consts::SQRT_2, 1.5422108, 1.6817929, 1.8340081];

/// `2^(j/16)`
#[cfg(feature = "avx512")]
const ROOTS_16: [f32; 16] = [
    1.0,
    1.0442737,
    1.0905077,
    1.1387886,
    1.1892071,
    1.2418578,
    1.2968396,
    1.3542556,
    core::f32::consts::SQRT_2,
    1.4768262,
    1.5422108,
    1.6104903,
    1.6817929,
    1.7562522,
    1.8340081,
    1.9152066,
];

/// The bits of √½, and how far those of 1 are above them.
const SQRT_HALF_F64: u64 = 0x3fe6_a09e_667f_3bcd;
const SQRT_HALF_TO_1_F64: u64 = 0x3ff0_0000_0000_0000 - SQRT_HALF_F64;
const SQRT_HALF_F32: u32 = 0x3f35_04f3;
const SQRT_HALF_TO_1_F32: u32 = 0x3f80_0000 - SQRT_HALF_F32;

impl Lanes<f64> for V3 {
    type V = __m256d;
    type First = __m256i;
    const N: usize = 4;

    #[inline(always)]
    fn splat(self, x: f64) -> __m256d {
        self.avx._mm256_set1_pd(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256i {
        // SAFETY: four numbers from an index of at most 4 lie inside the eight.
        unsafe { self.avx._mm256_loadu_si256(FIRST_64.as_ptr().add(4 - n.min(4)).cast()) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> __m256d {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx._mm256_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: __m256i, p: *const f64) -> __m256d {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx._mm256_maskload_pd(p, first) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: __m256d) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx._mm256_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: __m256i, p: *mut f64, v: __m256d) {
        // SAFETY: a masked store touches only the chosen lanes, which the contract makes writable.
        unsafe { self.avx._mm256_maskstore_pd(p, first, v) }
    }
    #[inline(always)]
    fn select_first(self, first: __m256i, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_blendv_pd(b, a, cast!(first))
    }
    #[inline(always)]
    fn add(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_add_pd(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_sub_pd(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_mul_pd(a, b)
    }
    #[inline(always)]
    fn div(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_div_pd(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: __m256d, b: __m256d, c: __m256d) -> __m256d {
        self.fma._mm256_fmadd_pd(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_max_pd(a, b)
    }
    #[inline(always)]
    fn min(self, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_min_pd(a, b)
    }
    #[inline(always)]
    fn select_less(self, x: __m256d, y: __m256d, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_blendv_pd(b, a, self.avx._mm256_cmp_pd::<_CMP_LT_OQ>(x, y))
    }
    #[inline(always)]
    fn sum(self, v: __m256d) -> f64 {
        let v: [f64; 4] = cast!(v);
        (v[0] + v[2]) + (v[1] + v[3])
    }
    #[inline(always)]
    fn largest(self, v: __m256d) -> f64 {
        let v: [f64; 4] = cast!(v);
        larger(larger(v[0], v[2]), larger(v[1], v[3]))
    }
    #[inline(always)]
    fn sum_f64(self, v: __m256d) -> f64 {
        Lanes::<f64>::sum(self, v)
    }
    #[inline(always)]
    fn any_nan(self, v: __m256d) -> bool {
        self.avx._mm256_movemask_pd(self.avx._mm256_cmp_pd::<_CMP_UNORD_Q>(v, v)) != 0
    }
}

impl Lanes<f32> for V3 {
    type V = __m256;
    type First = __m256i;
    const N: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        self.avx._mm256_set1_ps(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256i {
        // SAFETY: eight numbers from an index of at most 8 lie inside the sixteen.
        unsafe { self.avx._mm256_loadu_si256(FIRST_32.as_ptr().add(8 - n.min(8)).cast()) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx._mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: __m256i, p: *const f32) -> __m256 {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx._mm256_maskload_ps(p, first) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx._mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: __m256i, p: *mut f32, v: __m256) {
        // SAFETY: a masked store touches only the chosen lanes, which the contract makes writable.
        unsafe { self.avx._mm256_maskstore_ps(p, first, v) }
    }
    #[inline(always)]
    fn select_first(self, first: __m256i, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_blendv_ps(b, a, cast!(first))
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_add_ps(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_sub_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_mul_ps(a, b)
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_div_ps(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        self.fma._mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_max_ps(a, b)
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_min_ps(a, b)
    }
    #[inline(always)]
    fn select_less(self, x: __m256, y: __m256, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_blendv_ps(b, a, self.avx._mm256_cmp_ps::<_CMP_LT_OQ>(x, y))
    }
    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        let v: [f32; 8] = cast!(v);
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        let v: [f32; 8] = cast!(v);
        v.into_iter().fold(v[0], larger)
    }
    #[inline(always)]
    fn sum_f64(self, v: __m256) -> f64 {
        let [low, high]: [__m128; 2] = cast!(v);
        Lanes::<f64>::sum(self, self.avx._mm256_add_pd(self.avx._mm256_cvtps_pd(low), self.avx._mm256_cvtps_pd(high)))
    }
    #[inline(always)]
    fn any_nan(self, v: __m256) -> bool {
        self.avx._mm256_movemask_ps(self.avx._mm256_cmp_ps::<_CMP_UNORD_Q>(v, v)) != 0
    }
}

impl Powers<f64> for V3 {
    const TABLE: u32 = 0;

    #[inline(always)]
    fn root(self, _: __m256d) -> __m256d {
        self.avx._mm256_set1_pd(1.0)
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m256d, sum: __m256d, t: __m256d) -> __m256d {
        let (avx, avx2) = (self.avx, self.avx2);
        if NORMAL {
            return cast!(avx2._mm256_add_epi64(cast!(y), avx2._mm256_slli_epi64::<52>(cast!(sum))));
        }
        // 2^t in two factors, both normal numbers; the first product is exact.
        let round = avx._mm256_set1_pd(f64::rounding(0));
        let half = avx._mm256_add_pd(avx._mm256_mul_pd(t, avx._mm256_set1_pd(0.5)), round);
        let rest = avx._mm256_add_pd(avx._mm256_sub_pd(t, avx._mm256_sub_pd(half, round)), round);
        let power = |k| -> __m256d { cast!(avx2._mm256_add_epi64(cast!([1.0f64; 4]), avx2._mm256_slli_epi64::<52>(cast!(k)))) };
        avx._mm256_mul_pd(avx._mm256_mul_pd(y, power(half)), power(rest))
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [__m256d; U], limit: f64) -> bool {
        let avx = self.avx;
        let mut beyond = avx._mm256_setzero_pd();
        for x in x {
            let size = avx._mm256_andnot_pd(avx._mm256_set1_pd(-0.0), x);
            beyond = avx._mm256_or_pd(beyond, avx._mm256_cmp_pd::<_CMP_NLE_UQ>(size, avx._mm256_set1_pd(limit)));
        }
        avx._mm256_movemask_pd(beyond) != 0
    }
    #[inline(always)]
    fn raise(self, x: __m256d, lowest: __m256d) -> __m256d {
        self.avx._mm256_max_pd(lowest, x)
    }
    #[inline(always)]
    fn parts(self, x: __m256d) -> (__m256d, __m256d) {
        let (avx, avx2) = (self.avx, self.avx2);
        let splat = |x: u64| -> __m256i { cast!([x; 4]) };
        // Subnormal numbers are multiplied by 2^54 first.
        let tiny = avx._mm256_cmp_pd::<_CMP_LT_OQ>(x, avx._mm256_set1_pd(f64::MIN_POSITIVE));
        let x = avx._mm256_blendv_pd(x, avx._mm256_mul_pd(x, avx._mm256_set1_pd(18014398509481984.0)), tiny);
        let bias = avx._mm256_blendv_pd(avx._mm256_set1_pd(1023.0), avx._mm256_set1_pd(1077.0), tiny);
        // Adding to the bits what 1 has more than √½ carries into the exponent exactly where m would be √2 or more.
        let bits = avx2._mm256_add_epi64(cast!(x), splat(SQRT_HALF_TO_1_F64));
        // The integer in the low bits of 2^52 + k.
        let two52 = avx._mm256_set1_pd(4503599627370496.0);
        let k = avx._mm256_or_pd(cast!(avx2._mm256_srli_epi64::<52>(bits)), two52);
        let k = avx._mm256_sub_pd(avx._mm256_sub_pd(k, two52), bias);
        let m = avx2._mm256_add_epi64(avx2._mm256_and_si256(bits, splat((1 << 52) - 1)), splat(SQRT_HALF_F64));
        (k, cast!(m))
    }
}

impl Powers<f32> for V3 {
    const TABLE: u32 = 3;

    #[inline(always)]
    fn root(self, sum: __m256) -> __m256 {
        self.avx2._mm256_permutevar8x32_ps(cast!(ROOTS_8), cast!(sum))
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m256, sum: __m256, t: __m256) -> __m256 {
        let (avx, avx2) = (self.avx, self.avx2);
        if NORMAL {
            let exponent = avx2._mm256_and_si256(avx2._mm256_slli_epi32::<20>(cast!(sum)), cast!([0xff80_0000u32; 8]));
            return cast!(avx2._mm256_add_epi32(cast!(y), exponent));
        }
        // As for f64, after ⌊t⌋.
        let round = avx._mm256_set1_ps(f32::rounding(0));
        let t = avx._mm256_floor_ps(t);
        let half = avx._mm256_add_ps(avx._mm256_mul_ps(t, avx._mm256_set1_ps(0.5)), round);
        let rest = avx._mm256_add_ps(avx._mm256_sub_ps(t, avx._mm256_sub_ps(half, round)), round);
        let power = |k| -> __m256 { cast!(avx2._mm256_add_epi32(cast!([1.0f32; 8]), avx2._mm256_slli_epi32::<23>(cast!(k)))) };
        avx._mm256_mul_ps(avx._mm256_mul_ps(y, power(half)), power(rest))
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [__m256; U], limit: f32) -> bool {
        let avx = self.avx;
        let mut beyond = avx._mm256_setzero_ps();
        for x in x {
            let size = avx._mm256_andnot_ps(avx._mm256_set1_ps(-0.0), x);
            beyond = avx._mm256_or_ps(beyond, avx._mm256_cmp_ps::<_CMP_NLE_UQ>(size, avx._mm256_set1_ps(limit)));
        }
        avx._mm256_movemask_ps(beyond) != 0
    }
    #[inline(always)]
    fn raise(self, x: __m256, lowest: __m256) -> __m256 {
        self.avx._mm256_max_ps(lowest, x)
    }
    #[inline(always)]
    fn parts(self, x: __m256) -> (__m256, __m256) {
        let (avx, avx2) = (self.avx, self.avx2);
        let splat = |x: u32| -> __m256i { cast!([x; 8]) };
        // As for f64: subnormal numbers are multiplied by 2^25 first.
        let tiny = avx._mm256_cmp_ps::<_CMP_LT_OQ>(x, avx._mm256_set1_ps(f32::MIN_POSITIVE));
        let x = avx._mm256_blendv_ps(x, avx._mm256_mul_ps(x, avx._mm256_set1_ps(33554432.0)), tiny);
        let bias = avx._mm256_blendv_ps(avx._mm256_set1_ps(127.0), avx._mm256_set1_ps(152.0), tiny);
        let bits = avx2._mm256_add_epi32(cast!(x), splat(SQRT_HALF_TO_1_F32));
        let k = avx._mm256_sub_ps(avx._mm256_cvtepi32_ps(avx2._mm256_srli_epi32::<23>(bits)), bias);
        let m = avx2._mm256_add_epi32(avx2._mm256_and_si256(bits, splat((1 << 23) - 1)), splat(SQRT_HALF_F32));
        (k, cast!(m))
    }
}

/// The larger; `a` unless `b` compares greater.
#[inline(always)]
fn larger<T: PartialOrd>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

impl Features for V3 {
    const REGISTERS: usize = 16;
    type Square = [__m256d; 4];

    #[inline(always)]
    unsafe fn load_as_f64<T: Scalar>(self, p: *const T) -> __m256d {
        // SAFETY: `Scalar` is sealed to f32 and f64, so that the size tells the type; readable by contract.
        unsafe { if size_of::<T>() == 8 { self.load(p.cast::<f64>()) } else { self.avx._mm256_cvtps_pd(self.sse._mm_loadu_ps(p.cast())) } }
    }
    #[inline(always)]
    unsafe fn load_first_as_f64<T: Scalar>(self, first: __m256i, p: *const T) -> __m256d {
        // SAFETY: as above, and a masked load touches only the chosen lanes. The mask of f32 lanes is the lower half of
        // each f64 lane's.
        unsafe {
            if size_of::<T>() == 8 {
                self.load_first(first, p.cast::<f64>())
            } else {
                let even = self.avx2._mm256_permutevar8x32_epi32(first, cast!([0u32, 2, 4, 6, 0, 2, 4, 6]));
                self.avx._mm256_cvtps_pd(self.avx._mm_maskload_ps(p.cast(), self.avx._mm256_castsi256_si128(even)))
            }
        }
    }
    #[inline(always)]
    fn square(self, v: __m256d) -> [__m256d; 4] {
        [v; 4]
    }
    #[inline(always)]
    fn transpose(self, [r0, r1, r2, r3]: [__m256d; 4]) -> [__m256d; 4] {
        let avx = self.avx;
        let (a, b) = (avx._mm256_unpacklo_pd(r0, r1), avx._mm256_unpackhi_pd(r0, r1));
        let (c, d) = (avx._mm256_unpacklo_pd(r2, r3), avx._mm256_unpackhi_pd(r2, r3));
        [
            avx._mm256_permute2f128_pd::<0x20>(a, c),
            avx._mm256_permute2f128_pd::<0x20>(b, d),
            avx._mm256_permute2f128_pd::<0x31>(a, c),
            avx._mm256_permute2f128_pd::<0x31>(b, d),
        ]
    }
    #[inline(always)]
    fn sum_each(self, v: [__m256d; 4]) -> [f64; 4] {
        let avx = self.avx;
        // Lanes: a01 b01 a23 b23 and c01 d01 c23 d23.
        let (ab, cd) = (avx._mm256_hadd_pd(v[0], v[1]), avx._mm256_hadd_pd(v[2], v[3]));
        let (low, high) = (avx._mm256_permute2f128_pd::<0x20>(ab, cd), avx._mm256_permute2f128_pd::<0x31>(ab, cd));
        cast!(avx._mm256_add_pd(low, high))
    }
    #[inline(always)]
    fn prefetch<T>(self, p: *const T) {
        self.sse._mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
}

#[cfg(feature = "avx512")]
impl Lanes<f64> for V4 {
    type V = __m512d;
    type First = __mmask8;
    const N: usize = 8;

    #[inline(always)]
    fn splat(self, x: f64) -> __m512d {
        self.avx512f._mm512_set1_pd(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask8 {
        if n < 8 { (1 << n) - 1 } else { !0 }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> __m512d {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx512f._mm512_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: __mmask8, p: *const f64) -> __m512d {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx512f._mm512_maskz_loadu_pd(first, p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: __m512d) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx512f._mm512_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: __mmask8, p: *mut f64, v: __m512d) {
        // SAFETY: a masked store touches only the chosen lanes, which the contract makes writable.
        unsafe { self.avx512f._mm512_mask_storeu_pd(p, first, v) }
    }
    #[inline(always)]
    fn select_first(self, first: __mmask8, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_mask_blend_pd(first, b, a)
    }
    #[inline(always)]
    fn add(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_add_pd(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_sub_pd(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_mul_pd(a, b)
    }
    #[inline(always)]
    fn div(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_div_pd(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        self.avx512f._mm512_fmadd_pd(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_max_pd(a, b)
    }
    #[inline(always)]
    fn min(self, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_min_pd(a, b)
    }
    #[inline(always)]
    fn select_less(self, x: __m512d, y: __m512d, a: __m512d, b: __m512d) -> __m512d {
        self.avx512f._mm512_mask_blend_pd(self.avx512f._mm512_cmp_pd_mask::<_CMP_LT_OQ>(x, y), b, a)
    }
    #[inline(always)]
    fn sum(self, v: __m512d) -> f64 {
        let [low, high]: [__m256d; 2] = cast!(v);
        Lanes::<f64>::sum(*self, self.avx._mm256_add_pd(low, high))
    }
    #[inline(always)]
    fn largest(self, v: __m512d) -> f64 {
        let [low, high]: [__m256d; 2] = cast!(v);
        Lanes::<f64>::largest(*self, self.avx._mm256_max_pd(low, high))
    }
    #[inline(always)]
    fn sum_f64(self, v: __m512d) -> f64 {
        Lanes::<f64>::sum(self, v)
    }
    #[inline(always)]
    fn any_nan(self, v: __m512d) -> bool {
        self.avx512f._mm512_cmp_pd_mask::<_CMP_UNORD_Q>(v, v) != 0
    }
}

#[cfg(feature = "avx512")]
impl Lanes<f32> for V4 {
    type V = __m512;
    type First = __mmask16;
    const N: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        self.avx512f._mm512_set1_ps(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        if n < 16 { (1 << n) - 1 } else { !0 }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx512f._mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: __mmask16, p: *const f32) -> __m512 {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx512f._mm512_maskz_loadu_ps(first, p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx512f._mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: __mmask16, p: *mut f32, v: __m512) {
        // SAFETY: a masked store touches only the chosen lanes, which the contract makes writable.
        unsafe { self.avx512f._mm512_mask_storeu_ps(p, first, v) }
    }
    #[inline(always)]
    fn select_first(self, first: __mmask16, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_mask_blend_ps(first, b, a)
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_add_ps(a, b)
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_sub_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_mul_ps(a, b)
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_div_ps(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.avx512f._mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_max_ps(a, b)
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_min_ps(a, b)
    }
    #[inline(always)]
    fn select_less(self, x: __m512, y: __m512, a: __m512, b: __m512) -> __m512 {
        self.avx512f._mm512_mask_blend_ps(self.avx512f._mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, y), b, a)
    }
    #[inline(always)]
    fn sum(self, v: __m512) -> f32 {
        let [low, high]: [__m256; 2] = cast!(v);
        Lanes::<f32>::sum(*self, self.avx._mm256_add_ps(low, high))
    }
    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        let [low, high]: [__m256; 2] = cast!(v);
        Lanes::<f32>::largest(*self, self.avx._mm256_max_ps(low, high))
    }
    #[inline(always)]
    fn sum_f64(self, v: __m512) -> f64 {
        let [low, high]: [__m256; 2] = cast!(v);
        Lanes::<f64>::sum(self, self.avx512f._mm512_add_pd(self.avx512f._mm512_cvtps_pd(low), self.avx512f._mm512_cvtps_pd(high)))
    }
    #[inline(always)]
    fn any_nan(self, v: __m512) -> bool {
        self.avx512f._mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v) != 0
    }
}

#[cfg(feature = "avx512")]
impl Powers<f64> for V4 {
    const TABLE: u32 = 3;

    #[inline(always)]
    fn root(self, sum: __m512d) -> __m512d {
        self.avx512f._mm512_permutexvar_pd(cast!(sum), cast!(ROOTS_8_F64))
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m512d, _: __m512d, t: __m512d) -> __m512d {
        self.avx512f._mm512_scalef_pd(y, t)
    }
    #[inline(always)]
    fn parts(self, x: __m512d) -> (__m512d, __m512d) {
        let f = self.avx512f;
        // From [1, 2), halved from √2 on.
        let (k, m) = (f._mm512_getexp_pd(x), f._mm512_getmant_pd::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(x));
        let large = f._mm512_cmp_pd_mask::<_CMP_GE_OQ>(m, f._mm512_set1_pd(core::f64::consts::SQRT_2));
        (f._mm512_mask_add_pd(k, large, k, f._mm512_set1_pd(1.0)), f._mm512_mask_mul_pd(m, large, m, f._mm512_set1_pd(0.5)))
    }
}

#[cfg(feature = "avx512")]
impl Powers<f32> for V4 {
    const TABLE: u32 = 4;

    #[inline(always)]
    fn root(self, sum: __m512) -> __m512 {
        self.avx512f._mm512_permutexvar_ps(cast!(sum), cast!(ROOTS_16))
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m512, _: __m512, t: __m512) -> __m512 {
        self.avx512f._mm512_scalef_ps(y, t)
    }
    #[inline(always)]
    fn parts(self, x: __m512) -> (__m512, __m512) {
        let f = self.avx512f;
        // From [1, 2), halved from √2 on.
        let (k, m) = (f._mm512_getexp_ps(x), f._mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(x));
        let large = f._mm512_cmp_ps_mask::<_CMP_GE_OQ>(m, f._mm512_set1_ps(core::f32::consts::SQRT_2));
        (f._mm512_mask_add_ps(k, large, k, f._mm512_set1_ps(1.0)), f._mm512_mask_mul_ps(m, large, m, f._mm512_set1_ps(0.5)))
    }
}

#[cfg(feature = "avx512")]
impl Features for V4 {
    const REGISTERS: usize = 32;
    type Square = [__m512d; 8];

    #[inline(always)]
    unsafe fn load_as_f64<T: Scalar>(self, p: *const T) -> __m512d {
        // SAFETY: `Scalar` is sealed to f32 and f64, so that the size tells the type; readable by contract.
        unsafe {
            if size_of::<T>() == 8 { self.load(p.cast::<f64>()) } else { self.avx512f._mm512_cvtps_pd(self.avx._mm256_loadu_ps(p.cast())) }
        }
    }
    #[inline(always)]
    unsafe fn load_first_as_f64<T: Scalar>(self, first: __mmask8, p: *const T) -> __m512d {
        // SAFETY: as above, and a masked load touches only the chosen lanes.
        unsafe {
            if size_of::<T>() == 8 {
                self.load_first(first, p.cast::<f64>())
            } else {
                self.avx512f._mm512_cvtps_pd(self.avx512f._mm256_maskz_loadu_ps(first, p.cast()))
            }
        }
    }
    #[inline(always)]
    fn square(self, v: __m512d) -> [__m512d; 8] {
        [v; 8]
    }
    #[inline(always)]
    fn transpose(self, rows: [__m512d; 8]) -> [__m512d; 8] {
        let f = self.avx512f;
        // Pairs of rows: even columns in `e`, odd ones in `o`.
        let pair = |i: usize| (f._mm512_unpacklo_pd(rows[i], rows[i + 1]), f._mm512_unpackhi_pd(rows[i], rows[i + 1]));
        let ((e0, o0), (e1, o1), (e2, o2), (e3, o3)) = (pair(0), pair(2), pair(4), pair(6));
        // Quarters of 128 bits: the first and third, or the second and fourth, of two pairs, then of two fours. Each name
        // tells the columns: `a04` holds columns 0 and 4 of rows 0 to 3, `b04` of rows 4 to 7.
        let low = |a, b| f._mm512_shuffle_f64x2::<0b10_00_10_00>(a, b);
        let high = |a, b| f._mm512_shuffle_f64x2::<0b11_01_11_01>(a, b);
        let ((a04, a26), (b04, b26)) = ((low(e0, e1), high(e0, e1)), (low(e2, e3), high(e2, e3)));
        let ((a15, a37), (b15, b37)) = ((low(o0, o1), high(o0, o1)), (low(o2, o3), high(o2, o3)));
        [low(a04, b04), low(a15, b15), low(a26, b26), low(a37, b37), high(a04, b04), high(a15, b15), high(a26, b26), high(a37, b37)]
    }
    #[inline(always)]
    fn sum_each(self, v: [__m512d; 4]) -> [f64; 4] {
        let half = |v| {
            let [low, high]: [__m256d; 2] = cast!(v);
            self.avx._mm256_add_pd(low, high)
        };
        (*self).sum_each([half(v[0]), half(v[1]), half(v[2]), half(v[3])])
    }
    #[inline(always)]
    fn prefetch<T>(self, p: *const T) {
        (*self).prefetch(p);
    }
}
