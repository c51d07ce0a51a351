//! The constants and plain functions that the elementary kernels need of f32 and f64.

use crate::scalar::Scalar;

/// What exp, ln and their relatives need of a type of number.
pub trait Elementary: Scalar + core::ops::Neg<Output = Self> {
    /// One.
    const ONE: Self;
    /// +∞
    const INFINITY: Self;
    /// The smallest positive number, a subnormal one.
    const SMALLEST: Self;
    /// The largest finite number.
    const LARGEST: Self;
    /// NaN.
    const NAN: Self;
    /// `½`
    const HALF: Self;
    /// `2`
    const TWO: Self;
    /// `log₂ e`
    const LOG2_E: Self;
    /// `ln 2`, to the nearest number.
    const LN_2: Self;
    /// `(ln 2 − LN_2) / ln 2`
    const LN_2_LACKS: f64;
    /// Below the first, `e^x` is 0 to the nearest; above the second, it is beyond the largest number.
    const EXP_RANGE: [Self; 2];
    /// `e^x` is a normal number, and neither it nor its half or double is at the end of the range, if `|x|` is at most this.
    const NORMAL_EXP: Self;
    /// Sums are taken relative to a power that no exponent exceeds by more than this.
    const HEADROOM: Self;
    /// A logarithm of what may count as 0, whose power is a normal number, and still is when it is divided by a million.
    const NEGLIGIBLE: Self;
    /// ln 2 with trailing zeros, so that its product with an exponent is exact; and the rest.
    const LN_2_PARTS: [Self; 2];
    /// `L_1, L_2, …` of `ln((1 + s) / (1 − s)) = 2 s + s (L_1 s² + L_2 s⁴ + …)` for `|s| ≤ 3 − 2 √2`, that is, between √½ and √2.
    const LOG: &'static [Self];

    /// `1.5 · 2^(p − 1 − table)`, p the binary digits of the type: adding it rounds to a multiple of `2^−table`.
    fn rounding(table: u32) -> Self;
    /// The coefficients of q in `e^r ≈ 1 + r + r² q(r)`, of least maximal error on `|r| ≤ ½ ln 2 / 2^table`.
    fn polynomial(table: u32) -> &'static [Self];
    /// What stands in place of 1 before r there: 1, but where q is too short.
    fn slope(table: u32) -> Self;
    /// `e^x` by libm.
    fn plain_exp(self) -> Self;
    /// `ln x` by libm.
    fn plain_ln(self) -> Self;
}

impl Elementary for f64 {
    const ONE: f64 = 1.0;
    const INFINITY: f64 = f64::INFINITY;
    const SMALLEST: f64 = f64::from_bits(1);
    const LARGEST: f64 = f64::MAX;
    const NAN: f64 = f64::NAN;
    const HALF: f64 = 0.5;
    const TWO: f64 = 2.0;
    const LOG2_E: f64 = core::f64::consts::LOG2_E;
    const LN_2: f64 = core::f64::consts::LN_2;
    const LN_2_LACKS: f64 = 3.3456773379254074e-17;
    const EXP_RANGE: [f64; 2] = [-746.0, 710.0];
    const NORMAL_EXP: f64 = 707.0;
    const HEADROOM: f64 = 300.0;
    const NEGLIGIBLE: f64 = -690.0;
    // As FreeBSD's e_log.c, whose polynomial this is too.
    const LN_2_PARTS: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76)];
    const LOG: &'static [f64] = &[
        f64::from_bits(0x3fe5_5555_5555_5593),
        f64::from_bits(0x3fd9_9999_9997_fa04),
        f64::from_bits(0x3fd2_4924_9422_9359),
        f64::from_bits(0x3fcc_71c5_1d8e_78af),
        f64::from_bits(0x3fc7_4664_96cb_03de),
        f64::from_bits(0x3fc3_9a09_d078_c69f),
        f64::from_bits(0x3fc2_f112_df3e_5244),
    ];

    #[inline(always)]
    fn rounding(table: u32) -> f64 {
        1.5 * (1u64 << (52 - table)) as f64
    }
    #[inline(always)]
    fn polynomial(table: u32) -> &'static [f64] {
        match table {
            0 => &EXP_F64_0,
            3 => &EXP_F64_3,
            4 => &EXP_F64_4,
            _ => unreachable!(),
        }
    }
    #[inline(always)]
    fn slope(_: u32) -> f64 {
        1.0
    }
    #[inline(always)]
    fn plain_exp(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn plain_ln(self) -> f64 {
        libm::log(self)
    }
}

impl Elementary for f32 {
    const ONE: f32 = 1.0;
    const INFINITY: f32 = f32::INFINITY;
    const SMALLEST: f32 = f32::from_bits(1);
    const LARGEST: f32 = f32::MAX;
    const NAN: f32 = f32::NAN;
    const HALF: f32 = 0.5;
    const TWO: f32 = 2.0;
    const LOG2_E: f32 = core::f32::consts::LOG2_E;
    const LN_2: f32 = core::f32::consts::LN_2;
    const LN_2_LACKS: f64 = -2.747835313156912e-9;
    const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
    const NORMAL_EXP: f32 = 86.0;
    const HEADROOM: f32 = 40.0;
    const NEGLIGIBLE: f32 = -70.0;
    // As FreeBSD's e_logf.c, whose polynomial this is too.
    const LN_2_PARTS: [f32; 2] = [f32::from_bits(0x3f31_7180), f32::from_bits(0x3717_f7d1)];
    const LOG: &'static [f32] =
        &[f32::from_bits(0x3f2a_aaaa), f32::from_bits(0x3ecc_ce13), f32::from_bits(0x3e91_e9ee), f32::from_bits(0x3e78_9e26)];

    #[inline(always)]
    fn rounding(table: u32) -> f32 {
        1.5 * (1u32 << (23 - table)) as f32
    }
    #[inline(always)]
    fn polynomial(table: u32) -> &'static [f32] {
        match table {
            0 => &EXP_F32_0,
            3 => &EXP_F32_3,
            4 => &EXP_F32_4,
            5 => &EXP_F32_5,
            _ => unreachable!(),
        }
    }
    #[inline(always)]
    fn slope(table: u32) -> f32 {
        if table < 5 { 1.0 } else { 1.0000147 }
    }
    #[inline(always)]
    fn plain_exp(self) -> f32 {
        libm::expf(self)
    }
    #[inline(always)]
    fn plain_ln(self) -> f32 {
        libm::logf(self)
    }
}

/// q for f64 and `|r| ≤ ½ ln 2 / 2^0`: 0.02 units in the last place.
const EXP_F64_0: [f64; 10] = [
    0.5000000000000013,
    0.166666666666667,
    0.041666666666514356,
    0.00833333333330702,
    0.0013888888947322833,
    0.00019841269917790256,
    2.4801489599845263e-05,
    2.7557215934725406e-06,
    2.763141029224781e-07,
    2.5117977893605095e-08,
];

/// q for f64 and `|r| ≤ ½ ln 2 / 2^3`: 0.02 units in the last place.
const EXP_F64_3: [f64; 6] =
    [0.5000000000000302, 0.16666666666667412, 0.041666666569099696, 0.00833333331643345, 0.001388978445894683, 0.00019842475974299648];

/// q for f64 and `|r| ≤ ½ ln 2 / 2^4`: 0.05 units in the last place.
const EXP_F64_4: [f64; 5] = [0.499999999999996, 0.16666666664417973, 0.0416666666932537, 0.008333471920733734, 0.0013888594003449702];

/// q for f32 and `|r| ≤ ½ ln 2 / 2^0`: 0.03 units in the last place.
const EXP_F32_0: [f32; 5] = [0.5, 0.16666518, 0.041666206, 0.008368952, 0.00139506];

/// q for f32 and `|r| ≤ ½ ln 2 / 2^3`: 0.002 units in the last place.
const EXP_F32_3: [f32; 3] = [0.5, 0.16668029, 0.04167064];

/// q for f32 and `|r| ≤ ½ ln 2 / 2^4`: 0.02 units in the last place.
const EXP_F32_4: [f32; 2] = [0.5000162, 0.16667059];

/// q for f32 and `|r| ≤ ½ ln 2 / 2^5`, where the slope is not 1: 0.5 units in the last place.
const EXP_F32_5: [f32; 1] = [0.5];
