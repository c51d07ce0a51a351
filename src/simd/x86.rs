//! AVX2 and AVX-512 vectors. The instructions are called through pulp's tokens, which only exist where the machine has them.

use super::vector::{Features, Lanes};
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
    fn sum(self, v: __m256d) -> f64 {
        let v: [f64; 4] = cast!(v);
        (v[0] + v[2]) + (v[1] + v[3])
    }
    #[inline(always)]
    fn largest(self, v: __m256d) -> f64 {
        let v: [f64; 4] = cast!(v);
        larger(larger(v[0], v[2]), larger(v[1], v[3]))
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
    fn sum(self, v: __m256) -> f32 {
        let v: [f32; 8] = cast!(v);
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn largest(self, v: __m256) -> f32 {
        let v: [f32; 8] = cast!(v);
        v.into_iter().fold(v[0], larger)
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
        unsafe {
            if size_of::<T>() == 8 { self.load(p.cast::<f64>()) } else { self.avx._mm256_cvtps_pd(self.sse._mm_loadu_ps(p.cast())) }
        }
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
    fn transpose(self, mut row: impl FnMut(usize) -> __m256d) -> [__m256d; 4] {
        let avx = self.avx;
        let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
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
    fn sum(self, v: __m512d) -> f64 {
        let [low, high]: [__m256d; 2] = cast!(v);
        Lanes::<f64>::sum(*self, self.avx._mm256_add_pd(low, high))
    }
    #[inline(always)]
    fn largest(self, v: __m512d) -> f64 {
        let [low, high]: [__m256d; 2] = cast!(v);
        Lanes::<f64>::largest(*self, self.avx._mm256_max_pd(low, high))
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
    fn sum(self, v: __m512) -> f32 {
        let [low, high]: [__m256; 2] = cast!(v);
        Lanes::<f32>::sum(*self, self.avx._mm256_add_ps(low, high))
    }
    #[inline(always)]
    fn largest(self, v: __m512) -> f32 {
        let [low, high]: [__m256; 2] = cast!(v);
        Lanes::<f32>::largest(*self, self.avx._mm256_max_ps(low, high))
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
            if size_of::<T>() == 8 {
                self.load(p.cast::<f64>())
            } else {
                self.avx512f._mm512_cvtps_pd(self.avx._mm256_loadu_ps(p.cast()))
            }
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
    fn transpose(self, mut row: impl FnMut(usize) -> __m512d) -> [__m512d; 8] {
        let f = self.avx512f;
        // Pairs of rows: even columns in `e`, odd ones in `o`.
        let mut pair = |i| {
            let (a, b) = (row(i), row(i + 1));
            (f._mm512_unpacklo_pd(a, b), f._mm512_unpackhi_pd(a, b))
        };
        let ((e0, o0), (e1, o1), (e2, o2), (e3, o3)) = (pair(0), pair(2), pair(4), pair(6));
        // Quarters of 128 bits: the first and third, or the second and fourth, of two pairs, then of two fours. Each name
        // tells the columns: `a04` holds columns 0 and 4 of rows 0 to 3, `b04` of rows 4 to 7.
        let low = |a, b| f._mm512_shuffle_f64x2::<0b10_00_10_00>(a, b);
        let high = |a, b| f._mm512_shuffle_f64x2::<0b11_01_11_01>(a, b);
        let ((a04, a26), (b04, b26)) = ((low(e0, e1), high(e0, e1)), (low(e2, e3), high(e2, e3)));
        let ((a15, a37), (b15, b37)) = ((low(o0, o1), high(o0, o1)), (low(o2, o3), high(o2, o3)));
        [
            low(a04, b04),
            low(a15, b15),
            low(a26, b26),
            low(a37, b37),
            high(a04, b04),
            high(a15, b15),
            high(a26, b26),
            high(a37, b37),
        ]
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
