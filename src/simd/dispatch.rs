//! What a kernel is, and how a call reaches its instantiation for an instruction set and a type of number.

use super::elementary::Elementary;
use super::exp::Exp;
use super::finite::AllFinite;
use super::log::Ln;
use super::logsumexp::{Contiguous, Strided};
use super::softmax::Softmax;
use super::state::LogSumExp;
use super::vector::{Powers, Simd};
use super::{Isa, columns, interleaved, logits, products, sums};
use core::convert::identity;

/// One kernel with its arguments.
pub trait Kernel: Sized {
    /// What it returns.
    type Output;
    /// The plain twin.
    fn plain(self) -> Self::Output;
    /// The same over vectors. Everything it calls must be `#[inline(always)]`, or it would be compiled without the
    /// instructions of `S`.
    fn vector<S: Simd>(self, simd: S) -> Self::Output;
}

/// A kernel over numbers of one type.
pub trait ElementKernel<T>: Sized {
    /// What it returns.
    type Output;
    /// The plain twin.
    fn plain(self) -> Self::Output;
    /// The same over vectors; see [`Kernel::vector`].
    fn vector<S: Powers<T>>(self, simd: S) -> Self::Output
    where
        T: Elementary;
}

/// Runs kernels `K` over numbers of this type. Every kernel is compiled for `f32` and `f64` here, once: a crate that calls it links it, with
/// this crate's optimisation, and does not compile it again with its own, or without.
pub trait Runs<K, Output> {
    /// Runs the kernel with the instructions of a set enabled.
    fn run(isa: Isa, kernel: K) -> Output;
}

/// Declares a trait that says of both types of number that they run the kernels listed, each with what it returns, and makes it so: as they
/// are, or with what a kernel over numbers of one type is wrapped in.
macro_rules! compiled {
    ($(#[$doc:meta])* $name:ident as $f32:path, $f64:path; $($kernel:ty => $output:ty;)*) => {
        $(#[$doc])*
        #[doc(hidden)]
        pub trait $name: Sized $(+ for<'a> Runs<$kernel, $output>)* {}
        compiled!(impl $name for f32 as $f32; $($kernel => $output;)*);
        compiled!(impl $name for f64 as $f64; $($kernel => $output;)*);
    };
    (impl $name:ident for $type:ty as $wrap:path; $($kernel:ty => $output:ty;)*) => {
        impl $name for $type {}
        $(impl<'a> Runs<$kernel, $output> for $type {
            fn run(isa: Isa, kernel: $kernel) -> $output {
                isa.run($wrap(kernel))
            }
        })*
    };
}

compiled! {
    /// The elementary kernels.
    Elements as OfF32, OfF64;
    Exp<Self> => ();
    Ln<Self> => ();
    Softmax<Self, false> => ();
    Softmax<Self, true> => ();
    interleaved::Columns<'a, Self> => ();
    Contiguous<'a, Self> => LogSumExp;
    Strided<'a, Self> => LogSumExp;
    AllFinite<'a, Self> => bool;
}

compiled! {
    /// The products with features.
    Products as identity, identity;
    logits::Logits<'a, Self> => ();
    sums::WeightedSum<'a, Self> => ();
    products::Gram<'a, Self> => ();
    columns::Logits<'a, Self> => ();
    columns::WeightedSum<'a, Self> => ();
    columns::Gram<'a, Self> => ();
}

/// The types of number the elementary kernels take: `f32` and `f64`.
pub trait Element: Elementary + Elements {}

impl Element for f32 {}
impl Element for f64 {}

struct OfF32<K>(K);
pub(super) struct OfF64<K>(pub(super) K);

impl<K: ElementKernel<f32>> Kernel for OfF32<K> {
    type Output = K::Output;
    #[inline(always)]
    fn plain(self) -> K::Output {
        self.0.plain()
    }
    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> K::Output {
        self.0.vector(simd)
    }
}

impl<K: ElementKernel<f64>> Kernel for OfF64<K> {
    type Output = K::Output;
    #[inline(always)]
    fn plain(self) -> K::Output {
        self.0.plain()
    }
    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) -> K::Output {
        self.0.vector(simd)
    }
}

/// A kernel and the token it runs with, as the call without arguments that pulp compiles with the token's instructions.
#[cfg(target_arch = "x86_64")]
pub(super) struct On<S, K>(pub(super) S, pub(super) K);

#[cfg(target_arch = "x86_64")]
impl<S: Simd, K: Kernel> pulp::NullaryFnOnce for On<S, K> {
    type Output = K::Output;
    #[inline(always)]
    fn call(self) -> K::Output {
        self.1.vector(self.0)
    }
}
