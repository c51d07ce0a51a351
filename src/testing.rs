//! What the tests inside the library share.

use alloc::vec::Vec;

/// Numbers that look random, with mean 0 and variance 1/3: sums of four uniform ones (a linear congruential generator with the constants of
/// Knuth's MMIX).
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..n).map(|_| (0..4).map(|_| next()).sum()).collect()
}
