//! The vectors a kernel is written over: a token of pulp's, which proves that the machine has the instructions, with the
//! operations the kernels need as methods.

use crate::scalar::Scalar;

/// Vectors of `N` numbers of type `T`.
pub(super) trait Lanes<T>: Copy {
    /// A vector.
    type V: Copy;
    /// A choice of the first lanes.
    type First: Copy;
    /// Number of lanes.
    const N: usize;

    /// `x` in every lane.
    fn splat(self, x: T) -> Self::V;
    /// The first `min(n, N)` lanes.
    fn first(self, n: usize) -> Self::First;
    /// The `N` numbers at `p`.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load(self, p: *const T) -> Self::V;
    /// The first numbers at `p`, and 0 in the other lanes.
    ///
    /// # Safety
    /// The first numbers must be readable; the others are not touched.
    unsafe fn load_first(self, first: Self::First, p: *const T) -> Self::V;
    /// Writes the `N` numbers to `p`.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(self, p: *mut T, v: Self::V);
    /// Writes the first numbers to `p`.
    ///
    /// # Safety
    /// The first numbers must be writable; the others are not touched.
    unsafe fn store_first(self, first: Self::First, p: *mut T, v: Self::V);
    /// `a` in the first lanes, `b` in the others.
    fn select_first(self, first: Self::First, a: Self::V, b: Self::V) -> Self::V;

    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c` with one rounding.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; where `b` is NaN, NaN. (Where only `a` is NaN, `b` or NaN, as the instruction has it.)
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; where `b` is NaN, NaN. (Where only `a` is NaN, `b` or NaN, as the instruction has it.)
    fn min(self, a: Self::V, b: Self::V) -> Self::V;

    /// The sum of the lanes, in a fixed order.
    fn sum(self, v: Self::V) -> T;
    /// The largest lane; anything if one is NaN.
    fn largest(self, v: Self::V) -> T;
}

/// What the products with features need beside f64 vectors: features of either type as f64, and transposition.
pub(super) trait Features: Lanes<f64> {
    /// Number of vector registers.
    const REGISTERS: usize;
    /// `[V; N]`
    type Square: Copy + AsRef<[<Self as Lanes<f64>>::V]>;

    /// The `N` numbers at `p`, as f64.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_as_f64<T: Scalar>(self, p: *const T) -> <Self as Lanes<f64>>::V;
    /// The first numbers at `p` as f64, and 0 in the other lanes.
    ///
    /// # Safety
    /// The first numbers must be readable; the others are not touched.
    unsafe fn load_first_as_f64<T: Scalar>(self, first: <Self as Lanes<f64>>::First, p: *const T) -> <Self as Lanes<f64>>::V;
    /// Vector `j` of the result holds lane `j` of `row(0), …, row(N - 1)`.
    fn transpose(self, row: impl FnMut(usize) -> <Self as Lanes<f64>>::V) -> Self::Square;
    /// The sums of the lanes of each of four vectors.
    fn sum_each(self, v: [<Self as Lanes<f64>>::V; 4]) -> [f64; 4];
    /// Asks for the cache line at `p`, which need not be readable.
    fn prefetch<T>(self, p: *const T);
}

/// Everything a kernel may use.
pub(super) trait Simd: Lanes<f32> + Lanes<f64> + Features {}

impl<S: Lanes<f32> + Lanes<f64> + Features> Simd for S {}

/// A vector of f64.
pub(super) type F64<S> = <S as Lanes<f64>>::V;
