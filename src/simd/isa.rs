//! The instruction set a call runs on.

use super::dispatch::Kernel;
#[cfg(target_arch = "x86_64")]
use super::dispatch::On;

/// The instruction set a call runs on. Results of the same call are the same bits on the same set, for any number of threads.
///
/// A variant that needs instructions beyond the target's baseline carries a [`Proof`] that this machine has them. Only
/// [`Isa::detect`] and [`Isa::available`] make one, so that no safe code can ask for an instruction set that is not there,
/// and no call has to check again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust and libm.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Proof<pulp::x86::V3>),
    /// x86-64 with AVX-512 F, BW, CD, DQ and VL.
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    Avx512(Proof<pulp::x86::V4>),
    /// AArch64.
    #[cfg(target_arch = "aarch64")]
    Neon(Proof<pulp::aarch64::Neon>),
}

/// Proof that this machine has an instruction set. It has no size.
#[derive(Clone, Copy, Debug)]
pub struct Proof<S>(S);

impl<S> PartialEq for Proof<S> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<S> Eq for Proof<S> {}

impl<S> core::hash::Hash for Proof<S> {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

impl Isa {
    /// The best instruction set of this machine. Without `std` this asks the processor alone, and does not
    /// know whether the operating system saves the registers.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Isa::Scalar)
    }

    /// Every instruction set of this machine, from [`Isa::Scalar`] to the widest. See [`Isa::detect`] on `no_std`.
    pub fn available() -> impl Iterator<Item = Self> {
        super::caches::learn();
        #[cfg(target_arch = "x86_64")]
        let others = [
            pulp::x86::V3::try_new().map(|v3| Isa::Avx2(Proof(v3))),
            #[cfg(feature = "avx512")]
            pulp::x86::V4::try_new().map(|v4| Isa::Avx512(Proof(v4))),
        ];
        #[cfg(target_arch = "aarch64")]
        let others = [pulp::aarch64::Neon::try_new().map(|neon| Isa::Neon(Proof(neon)))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let others: [Option<Isa>; 0] = [];
        core::iter::once(Isa::Scalar).chain(others.into_iter().flatten())
    }

    /// For checks of data, which are made before an instruction set is chosen; without an operating system that may be for its lack.
    pub(crate) fn for_checks() -> Self {
        if cfg!(feature = "std") { Isa::detect() } else { Isa::Scalar }
    }

    /// A short lower-case name: `scalar`, `avx2`, `avx512`, `neon`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
        }
    }

    /// A number for each set.
    pub(crate) fn number(self) -> f64 {
        match self {
            Isa::Scalar => 0.0,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => 1.0,
            #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
            Isa::Avx512(_) => 2.0,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => 3.0,
        }
    }

    /// Runs `kernel` with the instructions of this set enabled.
    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Scalar => kernel.plain(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(Proof(v3)) => v3.vectorize(On(v3, kernel)),
            #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
            Isa::Avx512(Proof(v4)) => v4.vectorize(On(v4, kernel)),
            // NEON belongs to the baseline of every AArch64 target Rust has with floating point.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(Proof(neon)) => kernel.vector(neon),
        }
    }
}
