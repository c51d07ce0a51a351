//! How much the last cache holds, as the processor says.

use core::sync::atomic::{AtomicUsize, Ordering};

/// What is taken for a core's share of the last cache where the processor does not say more.
const LEAST: usize = 6 << 20;

/// From how many bytes on an array that is written will not be found in the caches again, beside what was read: an eighth of the last of
/// them, which other cores use too, or 6 MB.
#[inline]
pub(super) fn streamed(bytes: usize) -> bool {
    static SHARE: AtomicUsize = AtomicUsize::new(0);
    if bytes < LEAST {
        return false;
    }
    let share = match SHARE.load(Ordering::Relaxed) {
        0 => {
            let share = LEAST.max(last_cache() / 8);
            SHARE.store(share, Ordering::Relaxed);
            share
        }
        share => share,
    };
    bytes >= share
}

/// Bytes of the largest cache, 0 where that cannot be known: leaf 4 of Intel's processors, and leaf 8000001Dh of AMD's, which has the same
/// form.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unused_unsafe, reason = "of older compilers the instruction is not safe to call")]
fn last_cache() -> usize {
    use core::arch::x86_64::__cpuid_count;
    // SAFETY: every processor of this architecture has the instruction, and the leaves asked for are those that it says it has.
    let leaf = |leaf, part| unsafe { __cpuid_count(leaf, part) };
    let basic = leaf(0, 0);
    let is_amd = basic.ebx == u32::from_le_bytes(*b"Auth");
    let of = match is_amd {
        true if leaf(0x8000_0000, 0).eax >= 0x8000_001D => 0x8000_001D,
        false if basic.eax >= 4 => 4,
        _ => return 0,
    };
    // Caches one after the other, until one that is of no kind: of so many sets, of so many ways, of so many parts of a line.
    let caches = (0..8).map(|part| leaf(of, part)).take_while(|c| c.eax & 31 != 0);
    let field = |register: u32, shift: u32, bits: u32| (register >> shift & ((1 << bits) - 1)) as usize + 1;
    let bytes = caches.map(|c| {
        let set = field(c.ebx, 0, 12) * field(c.ebx, 12, 10) * field(c.ebx, 22, 10);
        set.saturating_mul(c.ecx as usize + 1)
    });
    bytes.max().unwrap_or(0)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn last_cache() -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_of_a_size_that_caches_have() {
        let bytes = last_cache();
        assert!(bytes == 0 || (1 << 15..1u64 << 34).contains(&(bytes as u64)), "{bytes}");
        assert!(!streamed(LEAST - 1) && streamed(usize::MAX));
        assert_eq!(streamed(LEAST), last_cache() / 8 <= LEAST);
    }
}
