//! f32 and f64 behind one sealed trait: the types features may have. Everything else in the crate is f64.

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The type of a feature: `f32` or `f64`.
pub trait Scalar: sealed::Sealed + crate::simd::Products + Copy + Send + Sync + PartialOrd + core::fmt::Debug + 'static {
    /// Zero.
    const ZERO: Self;
    /// The distance from 1 to the next number, in f64.
    const EPSILON: f64;
    /// The number as f64, exactly.
    fn to_f64(self) -> f64;
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
}

impl Scalar for f64 {
    const ZERO: Self = 0.0;
    const EPSILON: f64 = f64::EPSILON;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
}

impl Scalar for f32 {
    const ZERO: Self = 0.0;
    const EPSILON: f64 = f32::EPSILON as f64;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self as f64
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
}
