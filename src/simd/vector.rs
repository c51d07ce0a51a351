//! The vectors a kernel is written over: a token of pulp's, which proves that the machine has the instructions, with the
//! operations the kernels need as methods.

use crate::scalar::Scalar;

/// The array of `$body`, a vector, for each `$u` below `$n`, which is a constant; `$zero` is any vector of its type. Closures, as
/// [`core::array::from_fn`] takes, are no place for vectors: one that is not inlined is compiled without their instructions, and operations
/// become calls.
macro_rules! each {
    ($u:ident < $n:expr, from $zero:expr; $body:expr) => {{
        let mut all = [$zero; $n];
        for $u in 0..$n {
            all[$u] = $body;
        }
        all
    }};
}
pub(super) use each;

/// Vectors of `N` numbers of type `T`.
pub trait Lanes<T>: Copy {
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
    /// Writes the `N` numbers to `p` past the caches, where the machine can. A [`Self::fence`] must come before any other use
    /// of that memory.
    ///
    /// # Safety
    /// They must be writable, and `p` a multiple of the size of a vector.
    unsafe fn stream(self, p: *mut T, v: Self::V);
    /// Asks for the cache line of `p`, which need not be readable, to come to the second cache.
    fn fetch(self, p: *const T);
    /// The same to the first cache.
    fn fetch_near(self, p: *const T);
    /// Ends streaming: what was streamed comes before all that is written after it.
    fn fence(self);
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

    /// `a` in the lanes where `x < y`, `b` in the others.
    fn select_less(self, x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V;

    /// The sum of the lanes, in a fixed order.
    fn sum(self, v: Self::V) -> T;
    /// The sum of the lanes in f64, in a fixed order.
    fn sum_f64(self, v: Self::V) -> f64;
    /// The largest lane; anything if one is NaN.
    fn largest(self, v: Self::V) -> T;
    /// Whether a lane is NaN.
    fn any_nan(self, v: Self::V) -> bool;
}

/// What exp and ln need of an instruction set: powers of two, and the parts of a floating-point number.
pub trait Powers<T>: Lanes<T> {
    /// exp reduces its argument to `|r| ≤ ½ ln 2 / 2^TABLE`, with a table of `2^TABLE` powers of two in registers.
    const TABLE: u32;

    /// Whether `scale` is faster than a look at the range and then `power`.
    const SCALES: bool = false;

    /// `2^(k / 2^TABLE mod 1)`, where k is the integer in the lowest bits of `sum`: the table.
    fn root(self, sum: Self::V) -> Self::V;
    /// `2^(k / 2^TABLE)`, k as for `root`, if that is a normal number.
    fn power(self, sum: Self::V) -> Self::V;
    /// As `TABLE`, of a table in more registers than kernels with other uses for them have: what sums of powers take.
    const FINE: u32 = Self::TABLE;

    /// `power` with FINE in place of TABLE.
    #[inline(always)]
    fn fine_power(self, sum: Self::V) -> Self::V {
        self.power(sum)
    }
    /// `y 2^⌊t⌋` with one rounding, where `t = k / 2^TABLE` and `sum` holds k in its lowest bits. `NORMAL` promises
    /// `½ ≤ y ≤ 2` and a normal result.
    fn scale<const NORMAL: bool>(self, y: Self::V, sum: Self::V, t: Self::V) -> Self::V;
    /// What exp takes in place of x: anything where `x < lowest`, as `scale_or_zero` gives 0 there.
    #[inline(always)]
    fn tame(self, x: Self::V, lowest: Self::V, zero: Self::V) -> Self::V {
        self.select_less(x, lowest, zero, x)
    }
    /// `scale`, but 0 where `x < lowest`: without a look at numbers so small, which take processors tens of times as long.
    #[inline(always)]
    fn scale_or_zero(self, y: Self::V, sum: Self::V, t: Self::V, x: Self::V, lowest: Self::V, zero: Self::V) -> Self::V {
        self.select_less(x, lowest, zero, self.scale::<false>(y, sum, t))
    }
    /// Whether a lane is NaN, or larger than `limit` in size.
    fn any_beyond<const U: usize>(self, x: [Self::V; U], limit: T) -> bool;
    /// Whether a lane is less than `lowest`; NaN is not.
    fn any_below<const U: usize>(self, x: [Self::V; U], lowest: T) -> bool;
    /// `(k, m)` with `x = 2^k m`, k an integer and `√½ ≤ m < √2`, for positive finite x; anything for others.
    fn parts(self, x: Self::V) -> (Self::V, Self::V);
}

/// What the products with features need beside f64 vectors: features of either type as f64, and transposition.
pub trait Features: Lanes<f64> {
    /// Number of vector registers.
    const REGISTERS: usize;
    /// Whether choosing the first lanes of a load costs nothing; where it may, rows are read whole while what follows them is there.
    const CHOOSES: bool = false;
    /// `[V; N]`
    type Square: Copy + AsRef<[<Self as Lanes<f64>>::V]> + AsMut<[<Self as Lanes<f64>>::V]>;

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
    /// N times `v`.
    fn square(self, v: <Self as Lanes<f64>>::V) -> Self::Square;
    /// Vector `j` of the result holds lane `j` of vectors 0, 1, ….
    fn transpose(self, rows: Self::Square) -> Self::Square;
    /// The sums of the lanes of each of four vectors.
    #[inline(always)]
    fn sum_each(self, v: [<Self as Lanes<f64>>::V; 4]) -> [f64; 4] {
        let halves = self.halves_of_sums(v);
        self.add_halves([halves, halves])[0]
    }

    /// The sums of the lanes of each of four vectors on the way, halves of them where a vector has eight lanes.
    type Halves: Copy;
    /// The steps of [`Self::sum_each`] but the last one.
    fn halves_of_sums(self, v: [<Self as Lanes<f64>>::V; 4]) -> Self::Halves;
    /// The last step, for two fours.
    fn add_halves(self, v: [Self::Halves; 2]) -> [[f64; 4]; 2];

    /// Whether a vector holds a pair of numbers of each of four rows, and what follows is there.
    const PAIRS: bool = false;
    /// The first numbers, one or two of them, of four rows from `p` on, `stride` apart: the first one of each row in the lower half.
    ///
    /// # Safety
    /// They must be readable; others are not touched.
    #[inline(always)]
    unsafe fn pairs<T: Scalar>(self, _first: <Self as Lanes<f64>>::First, _p: *const T, _stride: usize) -> <Self as Lanes<f64>>::V {
        self.splat(0.0)
    }
    /// `pairs · by` added to the halves of the sums of four rows.
    #[inline(always)]
    fn add_pairs(self, _pairs: <Self as Lanes<f64>>::V, _by: <Self as Lanes<f64>>::V, sums: Self::Halves) -> Self::Halves {
        sums
    }
    /// The four numbers at `p` in both halves.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    unsafe fn load_four_twice(self, _p: *const f64) -> <Self as Lanes<f64>>::V {
        self.splat(0.0)
    }
    /// The sums of the lanes of each half.
    #[inline(always)]
    fn sum_of_halves(self, v: <Self as Lanes<f64>>::V) -> [f64; 2] {
        [self.sum(v), 0.0]
    }
}

/// Everything a kernel may use.
pub trait Simd: Powers<f32> + Powers<f64> + Features {}

impl<S: Powers<f32> + Powers<f64> + Features> Simd for S {}

/// A vector of f64.
pub type F64<S> = <S as Lanes<f64>>::V;
