//! AVX-512 vectors. The instructions are called through pulp's token, which only exists where the machine has them.
#![allow(clippy::incompatible_msrv, reason = "the feature avx512 asks for Rust 1.89; without it this module is not compiled")]

use super::vector::{Features, Lanes, Powers};
use crate::scalar::Scalar;
use core::arch::x86_64::*;
use pulp::cast;
use pulp::x86::V4;

/// `2^(j/32)`
const ROOTS: [f64; 32] = [
    1.0,
    1.0218971486541166,
    1.0442737824274138,
    1.0671404006768237,
    1.0905077326652577,
    1.1143867425958924,
    1.1387886347566916,
    1.1637248587775775,
    1.189207115002721,
    1.215247359980469,
    1.241857812073484,
    1.2690509571917332,
    1.2968395546510096,
    1.3252366431597413,
    1.3542555469368927,
    1.383909881963832,
    core::f64::consts::SQRT_2,
    1.4451808069770467,
    1.4768261459394993,
    1.5091644275934228,
    1.5422108254079407,
    1.5759808451078865,
    1.6104903319492543,
    1.645755478153965,
    1.681792830507429,
    1.718619298122478,
    1.7562521603732995,
    1.7947090750031072,
    1.8340080864093424,
    1.8741676341103,
    1.9152065613971474,
    1.9571441241754002,
];

/// `2^(j/N)`
const fn roots<const N: usize>() -> [f64; N] {
    let (mut roots, mut j) = ([0.0; N], 0);
    while j < N {
        roots[j] = ROOTS[j * (32 / N)];
        j += 1;
    }
    roots
}

/// The same in f32.
const fn roots_f32<const N: usize>() -> [f32; N] {
    let (of_f64, mut roots, mut j) = (roots::<N>(), [0.0; N], 0);
    while j < N {
        roots[j] = of_f64[j] as f32;
        j += 1;
    }
    roots
}

/// The bits of `2^(j/N)` less those that j adds, shifted to where k's go.
const fn powers<const N: usize>() -> [u64; N] {
    let (of_f64, mut bits, mut j) = (roots::<N>(), [0; N], 0);
    while j < N {
        bits[j] = of_f64[j].to_bits().wrapping_sub((j as u64) << (52 - N.ilog2()));
        j += 1;
    }
    bits
}

/// The same in f32.
const fn powers_f32<const N: usize>() -> [u32; N] {
    let (of_f32, mut bits, mut j) = (roots_f32::<N>(), [0; N], 0);
    while j < N {
        bits[j] = of_f32[j].to_bits().wrapping_sub((j as u32) << (23 - N.ilog2()));
        j += 1;
    }
    bits
}

const ROOTS_8: [f64; 8] = roots();
const POWERS_8: [u64; 8] = powers();
const POWERS_16: [u64; 16] = powers();
const ROOTS_16_F32: [f32; 16] = roots_f32();
const POWERS_16_F32: [u32; 16] = powers_f32();
const POWERS_32_F32: [u32; 32] = powers_f32();

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
    unsafe fn stream(self, p: *mut f64, v: __m512d) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.avx512f._mm512_stream_pd(p, v) }
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
    unsafe fn stream(self, p: *mut f32, v: __m512) {
        // SAFETY: by the contract of `stream`.
        unsafe { self.avx512f._mm512_stream_ps(p, v) }
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

impl Powers<f64> for V4 {
    const TABLE: u32 = 3;
    const SCALES: bool = true;
    const FINE: u32 = 4;

    #[inline(always)]
    fn root(self, sum: __m512d) -> __m512d {
        self.avx512f._mm512_permutexvar_pd(cast!(sum), cast!(ROOTS_8))
    }
    #[inline(always)]
    fn power(self, sum: __m512d) -> __m512d {
        let f = self.avx512f;
        let root = f._mm512_permutexvar_epi64(cast!(sum), cast!(POWERS_8));
        cast!(f._mm512_add_epi64(root, f._mm512_slli_epi64::<49>(cast!(sum))))
    }
    #[inline(always)]
    fn fine_power(self, sum: __m512d) -> __m512d {
        let f = self.avx512f;
        let [low, high]: [__m512i; 2] = cast!(POWERS_16);
        let root = f._mm512_permutex2var_epi64(low, cast!(sum), high);
        cast!(f._mm512_add_epi64(root, f._mm512_slli_epi64::<48>(cast!(sum))))
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m512d, _: __m512d, t: __m512d) -> __m512d {
        self.avx512f._mm512_scalef_pd(y, t)
    }
    #[inline(always)]
    fn tame(self, x: __m512d, _: __m512d, _: __m512d) -> __m512d {
        x
    }
    #[inline(always)]
    fn scale_or_zero(self, y: __m512d, _: __m512d, t: __m512d, x: __m512d, lowest: __m512d, _: __m512d) -> __m512d {
        let f = self.avx512f;
        f._mm512_maskz_scalef_pd(f._mm512_cmp_pd_mask::<_CMP_NLT_UQ>(x, lowest), y, t)
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [__m512d; U], limit: f64) -> bool {
        let f = self.avx512f;
        let mut most = f._mm512_setzero_si512();
        for x in x {
            most = f._mm512_max_epu32(most, f._mm512_and_si512(cast!(x), cast!([0x7fff_ffff_0000_0000u64; 8])));
        }
        f._mm512_cmpgt_epu64_mask(most, cast!([limit.to_bits(); 8])) != 0
    }
    #[inline(always)]
    fn any_below<const U: usize>(self, x: [__m512d; U], lowest: f64) -> bool {
        let f = self.avx512f;
        let mut below = 0;
        for x in x {
            below |= f._mm512_cmp_pd_mask::<_CMP_LT_OQ>(x, f._mm512_set1_pd(lowest));
        }
        below != 0
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

impl Powers<f32> for V4 {
    const TABLE: u32 = 4;
    const FINE: u32 = 5;

    #[inline(always)]
    fn root(self, sum: __m512) -> __m512 {
        self.avx512f._mm512_permutexvar_ps(cast!(sum), cast!(ROOTS_16_F32))
    }
    #[inline(always)]
    fn power(self, sum: __m512) -> __m512 {
        let f = self.avx512f;
        let root = f._mm512_permutexvar_ps(cast!(sum), cast!(POWERS_16_F32));
        cast!(f._mm512_add_epi32(cast!(root), f._mm512_slli_epi32::<19>(cast!(sum))))
    }
    #[inline(always)]
    fn fine_power(self, sum: __m512) -> __m512 {
        let f = self.avx512f;
        let [low, high]: [__m512i; 2] = cast!(POWERS_32_F32);
        let root = f._mm512_permutex2var_epi32(low, cast!(sum), high);
        cast!(f._mm512_add_epi32(root, f._mm512_slli_epi32::<18>(cast!(sum))))
    }
    #[inline(always)]
    fn scale<const NORMAL: bool>(self, y: __m512, _: __m512, t: __m512) -> __m512 {
        self.avx512f._mm512_scalef_ps(y, t)
    }
    #[inline(always)]
    fn tame(self, x: __m512, _: __m512, _: __m512) -> __m512 {
        x
    }
    #[inline(always)]
    fn scale_or_zero(self, y: __m512, _: __m512, t: __m512, x: __m512, lowest: __m512, _: __m512) -> __m512 {
        let f = self.avx512f;
        f._mm512_maskz_scalef_ps(f._mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, lowest), y, t)
    }
    #[inline(always)]
    fn any_beyond<const U: usize>(self, x: [__m512; U], limit: f32) -> bool {
        let f = self.avx512f;
        let mut most = f._mm512_setzero_si512();
        for x in x {
            most = f._mm512_max_epu32(most, f._mm512_and_si512(cast!(x), cast!([i32::MAX; 16])));
        }
        f._mm512_cmpgt_epu32_mask(most, cast!([limit.to_bits(); 16])) != 0
    }
    #[inline(always)]
    fn any_below<const U: usize>(self, x: [__m512; U], lowest: f32) -> bool {
        let f = self.avx512f;
        let mut below = 0;
        for x in x {
            below |= f._mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, f._mm512_set1_ps(lowest));
        }
        below != 0
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

impl Features for V4 {
    const REGISTERS: usize = 32;
    const CHOOSES: bool = true;
    type Square = [__m512d; 8];
    const PAIRS: bool = true;
    type Halves = __m512d;

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
    fn halves_of_sums(self, v: [__m512d; 4]) -> __m512d {
        quarters(self, pair(self, v[0], v[1]), pair(self, v[2], v[3]))
    }
    #[inline(always)]
    fn add_halves(self, v: [__m512d; 2]) -> [[f64; 4]; 2] {
        cast!(quarters(self, v[0], v[1]))
    }
    #[inline(always)]
    unsafe fn pairs<T: Scalar>(self, first: __mmask8, p: *const T, stride: usize) -> __m512d {
        let (f, avx) = (self.avx512f, self.avx);
        // SAFETY: the size tells the type, and a masked load touches only the chosen lanes, one or two, which the contract makes readable.
        unsafe {
            if size_of::<T>() == 8 {
                let p = p.cast::<f64>();
                let (a, b) = (f._mm_maskz_loadu_pd(first, p), f._mm_maskz_loadu_pd(first, p.wrapping_add(stride)));
                let (c, d) =
                    (f._mm_maskz_loadu_pd(first, p.wrapping_add(2 * stride)), f._mm_maskz_loadu_pd(first, p.wrapping_add(3 * stride)));
                let even = avx._mm256_insertf128_pd::<1>(avx._mm256_castpd128_pd256(a), c);
                let odd = avx._mm256_insertf128_pd::<1>(avx._mm256_castpd128_pd256(b), d);
                cast!([avx._mm256_unpacklo_pd(even, odd), avx._mm256_unpackhi_pd(even, odd)])
            } else {
                let p = p.cast::<f32>();
                let (a, b) = (f._mm_maskz_loadu_ps(first, p), f._mm_maskz_loadu_ps(first, p.wrapping_add(stride)));
                let (c, d) =
                    (f._mm_maskz_loadu_ps(first, p.wrapping_add(2 * stride)), f._mm_maskz_loadu_ps(first, p.wrapping_add(3 * stride)));
                let (ab, cd) = (self.sse._mm_movelh_ps(a, b), self.sse._mm_movelh_ps(c, d));
                let (low, high) = (self.sse._mm_shuffle_ps::<0b10_00_10_00>(ab, cd), self.sse._mm_shuffle_ps::<0b11_01_11_01>(ab, cd));
                f._mm512_cvtps_pd(cast!([low, high]))
            }
        }
    }
    #[inline(always)]
    fn add_pairs(self, pairs: __m512d, by: __m512d, sums: __m512d) -> __m512d {
        // The quarters are those of rows 0 and 1, twice, and of rows 2 and 3: the first numbers and the second ones in turns.
        let in_turns = |v| self.avx512f._mm512_shuffle_f64x2::<0b11_01_10_00>(v, v);
        self.avx512f._mm512_fmadd_pd(in_turns(pairs), in_turns(by), sums)
    }
    #[inline(always)]
    unsafe fn load_four_twice(self, p: *const f64) -> __m512d {
        // SAFETY: by the contract.
        let four = unsafe { self.avx._mm256_loadu_pd(p) };
        self.avx512f._mm512_broadcast_f64x4(four)
    }
    #[inline(always)]
    fn sum_of_halves(self, v: __m512d) -> [f64; 2] {
        let [low, high]: [__m256d; 2] = cast!(v);
        [Lanes::<f64>::sum(*self, low), Lanes::<f64>::sum(*self, high)]
    }
}

/// Sums of two: of `a` in even lanes, of `b` in odd ones.
#[inline(always)]
fn pair(simd: V4, a: __m512d, b: __m512d) -> __m512d {
    let f = simd.avx512f;
    f._mm512_add_pd(f._mm512_mask_blend_pd(0b10101010, a, b), f._mm512_shuffle_pd::<0b01010101>(a, b))
}

/// Quarters of 128 bits: the first plus the second, the third plus the fourth, of `a`, then of `b`.
#[inline(always)]
fn quarters(simd: V4, a: __m512d, b: __m512d) -> __m512d {
    let f = simd.avx512f;
    f._mm512_add_pd(f._mm512_shuffle_f64x2::<0b10_00_10_00>(a, b), f._mm512_shuffle_f64x2::<0b11_01_11_01>(a, b))
}
