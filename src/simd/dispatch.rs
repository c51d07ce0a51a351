//! What a kernel is, and how a call reaches its instantiation for an instruction set and a type of number.

use super::Isa;
use super::elementary::Elementary;
use super::vector::{Powers, Simd};

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

/// The types of number the elementary kernels take: `f32` and `f64`.
pub trait Element: Elementary {
    /// Runs a kernel over vectors of this type.
    #[doc(hidden)]
    fn run<K: ElementKernel<Self>>(isa: Isa, kernel: K) -> K::Output;
}

impl Element for f32 {
    #[inline]
    fn run<K: ElementKernel<f32>>(isa: Isa, kernel: K) -> K::Output {
        isa.run(OfF32(kernel))
    }
}

impl Element for f64 {
    #[inline]
    fn run<K: ElementKernel<f64>>(isa: Isa, kernel: K) -> K::Output {
        isa.run(OfF64(kernel))
    }
}

struct OfF32<K>(K);
struct OfF64<K>(K);

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
