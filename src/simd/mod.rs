//! Kernels generic over the instruction set: one file a kernel, dispatched once a block, never allocating.

mod products;

pub use products::{gram, logits, weighted_sum};

/// The instruction set a call runs on. Results are the same bits for the same set, whatever else differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust and libm.
    Scalar,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, BW, CD, DQ and VL.
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    Avx512,
    /// AArch64.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best instruction set of this machine. Without `std` this asks the processor alone, and does not
    /// know whether the operating system saves the registers.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            #[cfg(feature = "avx512")]
            if pulp::x86::V4::try_new().is_some() {
                return Isa::Avx512;
            }
            if pulp::x86::V3::try_new().is_some() {
                return Isa::Avx2;
            }
        }
        Isa::Scalar
    }
}

/// A block of rows: row-major, `stride` values from one row to the next, columns side by side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// At least `(rows - 1) * stride + columns` values.
    pub values: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Values from one row to the next, at least `columns`.
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Row `i`.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.values[i * self.stride..][..self.columns]
    }
}
