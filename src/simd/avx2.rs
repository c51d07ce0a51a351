//! AVX2 vectors. The instructions are called through pulp's token, which only exists where the machine has them.

use super::elementary::Elementary;
use super::vector::{Features, Lanes, Powers};
use crate::scalar::Scalar;
use core::arch::x86_64::*;
use pulp::cast;
use pulp::x86::V3;

/// `FIRST_64[4 - n..][..4]` is all ones in its first n numbers.
static FIRST_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

/// `FIRST_32[8 - n..][..8]` is all ones in its first n numbers.
static FIRST_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// `2^(j/8)`
const ROOTS_8: [f32; 8] = [1.0, 1.0905077, 1.1892071, 1.2968396, core::f32::consts::SQRT_2, 1.5422108, 1.6817929, 1.8340081];

/// The bits of `2^(j/8)` less those that j adds, shifted to where k's go.
const POWERS_8: [u32; 8] = {
    let mut bits = [0; 8];
    let mut j = 0;
    while j < 8 {
        bits[j] = ROOTS_8[j].to_bits().wrapping_sub((j as u32) << 20);
        j += 1;
    }
    bits
};

/// The bits of √½, and how far those of 1 are above them.
const SQRT_HALF_F64: u64 = 0x3fe6_a09e_667f_3bcd;

const SQRT_HALF_TO_1_F64: u64 = 0x3ff0_0000_0000_0000 - SQRT_HALF_F64;

const SQRT_HALF_F32: u32 = 0x3f35_04f3;

const SQRT_HALF_TO_1_F32: u32 = 0x3f80_0000 - SQRT_HALF_F32;

/// A choice of the first n lanes. Stores go by n, in halves: masked ones take a Zen 1 three times as long. Its masked loads take seven
/// times as long as whole ones, but loads by halves made kernels large for 3 % of the time.
#[derive(Clone, Copy)]
pub struct First {
    n: usize,
    mask: __m256i,
}

/// Writes the first n < 4 numbers to `p`.
///
/// # Safety
/// They must be writable.
#[inline(always)]
unsafe fn store_few(simd: V3, n: usize, p: *mut f32, v: __m128) {
    let (sse, sse2) = (simd.sse, simd.sse2);
    // SAFETY: by the contract.
    unsafe {
        if n >= 2 {
            sse2._mm_store_sd(p.cast(), cast!(v));
        }
        match n {
            1 => sse._mm_store_ss(p, v),
            3 => sse._mm_store_ss(p.add(2), sse._mm_movehl_ps(v, v)),
            _ => {}
        }
    }
}

impl Lanes<f64> for V3 {
    type V = __m256d;
    type First = First;
    const N: usize = 4;

    #[inline(always)]
    fn splat(self, x: f64) -> __m256d {
        self.avx._mm256_set1_pd(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> First {
        let n = n.min(4);
        // SAFETY: four numbers from an index of at most 4 lie inside the eight.
        First { n, mask: unsafe { self.avx._mm256_loadu_si256(FIRST_64.as_ptr().add(4 - n).cast()) } }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f64) -> __m256d {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx._mm256_loadu_pd(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: First, p: *const f64) -> __m256d {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx._mm256_maskload_pd(p, first.mask) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64, v: __m256d) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx._mm256_storeu_pd(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: First, p: *mut f64, v: __m256d) {
        let (avx, sse2) = (self.avx, self.sse2);
        let [low, high]: [__m128d; 2] = cast!(v);
        // SAFETY: only the first n numbers are touched, which the contract makes writable.
        unsafe {
            match first.n {
                0 => {}
                1 => sse2._mm_store_sd(p, low),
                2 => sse2._mm_storeu_pd(p, low),
                3 => {
                    sse2._mm_storeu_pd(p, low);
                    sse2._mm_store_sd(p.add(2), high);
                }
                _ => avx._mm256_storeu_pd(p, v),
            }
        }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f64, v: __m256d) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.avx._mm256_stream_pd(p, v) }
    }
    #[inline(always)]
    fn fetch(self, p: *const f64) {
        self.sse._mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[inline(always)]
    fn fetch_near(self, p: *const f64) {
        self.sse._mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    fn fence(self) {
        self.sse._mm_sfence();
    }
    #[inline(always)]
    fn select_first(self, first: First, a: __m256d, b: __m256d) -> __m256d {
        self.avx._mm256_blendv_pd(b, a, cast!(first.mask))
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
    type First = First;
    const N: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        self.avx._mm256_set1_ps(x)
    }
    #[inline(always)]
    fn first(self, n: usize) -> First {
        let n = n.min(8);
        // SAFETY: eight numbers from an index of at most 8 lie inside the sixteen.
        First { n, mask: unsafe { self.avx._mm256_loadu_si256(FIRST_32.as_ptr().add(8 - n).cast()) } }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: by the contract of `load`.
        unsafe { self.avx._mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn load_first(self, first: First, p: *const f32) -> __m256 {
        // SAFETY: a masked load touches only the chosen lanes, which the contract makes readable.
        unsafe { self.avx._mm256_maskload_ps(p, first.mask) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: by the contract of `store`.
        unsafe { self.avx._mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn store_first(self, first: First, p: *mut f32, v: __m256) {
        let [low, high]: [__m128; 2] = cast!(v);
        // SAFETY: only the first n numbers are touched, which the contract makes writable.
        unsafe {
            match first.n {
                0..4 => store_few(self, first.n, p, low),
                4..8 => {
                    self.sse._mm_storeu_ps(p, low);
                    store_few(self, first.n - 4, p.add(4), high);
                }
                _ => self.avx._mm256_storeu_ps(p, v),
            }
        }
    }
    #[inline(always)]
    unsafe fn stream(self, p: *mut f32, v: __m256) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.avx._mm256_stream_ps(p, v) }
    }
    #[inline(always)]
    fn fetch(self, p: *const f32) {
        self.sse._mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[inline(always)]
    fn fetch_near(self, p: *const f32) {
        self.sse._mm_prefetch::<_MM_HINT_T0>(p.cast());
    }
    #[inline(always)]
    fn fence(self) {
        self.sse._mm_sfence();
    }
    #[inline(always)]
    fn select_first(self, first: First, a: __m256, b: __m256) -> __m256 {
        self.avx._mm256_blendv_ps(b, a, cast!(first.mask))
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
    fn power(self, sum: __m256d) -> __m256d {
        Powers::<f64>::scale::<true>(self, self.avx._mm256_set1_pd(1.0), sum, sum)
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
        let mut powers = [half, rest];
        for k in &mut powers {
            *k = cast!(avx2._mm256_add_epi64(cast!([1.0f64; 4]), avx2._mm256_slli_epi64::<52>(cast!(*k))));
        }
        avx._mm256_mul_pd(avx._mm256_mul_pd(y, powers[0]), powers[1])
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
    fn any_below<const U: usize>(self, x: [__m256d; U], lowest: f64) -> bool {
        let avx = self.avx;
        let mut below = avx._mm256_setzero_pd();
        for x in x {
            below = avx._mm256_or_pd(below, avx._mm256_cmp_pd::<_CMP_LT_OQ>(x, avx._mm256_set1_pd(lowest)));
        }
        avx._mm256_movemask_pd(below) != 0
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
    fn power(self, sum: __m256) -> __m256 {
        let root = self.avx2._mm256_permutevar8x32_epi32(cast!(POWERS_8), cast!(sum));
        cast!(self.avx2._mm256_add_epi32(root, self.avx2._mm256_slli_epi32::<20>(cast!(sum))))
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
        let mut powers = [half, rest];
        for k in &mut powers {
            *k = cast!(avx2._mm256_add_epi32(cast!([1.0f32; 8]), avx2._mm256_slli_epi32::<23>(cast!(*k))));
        }
        avx._mm256_mul_ps(avx._mm256_mul_ps(y, powers[0]), powers[1])
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
    fn any_below<const U: usize>(self, x: [__m256; U], lowest: f32) -> bool {
        let avx = self.avx;
        let mut below = avx._mm256_setzero_ps();
        for x in x {
            below = avx._mm256_or_ps(below, avx._mm256_cmp_ps::<_CMP_LT_OQ>(x, avx._mm256_set1_ps(lowest)));
        }
        avx._mm256_movemask_ps(below) != 0
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
    type Halves = [f64; 4];

    #[inline(always)]
    unsafe fn load_as_f64<T: Scalar>(self, p: *const T) -> __m256d {
        // SAFETY: `Scalar` is sealed to f32 and f64, so that the size tells the type; readable by contract.
        unsafe { if size_of::<T>() == 8 { self.load(p.cast::<f64>()) } else { self.avx._mm256_cvtps_pd(self.sse._mm_loadu_ps(p.cast())) } }
    }
    #[inline(always)]
    unsafe fn load_first_as_f64<T: Scalar>(self, first: First, p: *const T) -> __m256d {
        // SAFETY: as above, and a masked load touches only the chosen lanes. The mask of f32 lanes is the lower half of
        // each f64 lane's.
        unsafe {
            if size_of::<T>() == 8 {
                self.load_first(first, p.cast::<f64>())
            } else {
                let even = self.avx2._mm256_permutevar8x32_epi32(first.mask, cast!([0u32, 2, 4, 6, 0, 2, 4, 6]));
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
    fn halves_of_sums(self, v: [__m256d; 4]) -> [f64; 4] {
        let avx = self.avx;
        // Lanes: a01 b01 a23 b23 and c01 d01 c23 d23.
        let (ab, cd) = (avx._mm256_hadd_pd(v[0], v[1]), avx._mm256_hadd_pd(v[2], v[3]));
        let (low, high) = (avx._mm256_permute2f128_pd::<0x20>(ab, cd), avx._mm256_permute2f128_pd::<0x31>(ab, cd));
        cast!(avx._mm256_add_pd(low, high))
    }
    #[inline(always)]
    fn add_halves(self, v: [[f64; 4]; 2]) -> [[f64; 4]; 2] {
        v
    }
}
