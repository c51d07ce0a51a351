//! Whose processor this is and how much its last cache holds, as it says.

use core::sync::atomic::{AtomicUsize, Ordering};

/// What is taken for a core's share of the last cache where the processor does not say more.
const LEAST: usize = 6 << 20;

/// From how many bytes on an array that is written will not be found in the caches again, beside what was read: an eighth of the last of
/// them, which other cores use too, or 6 MB.
#[inline]
pub(super) fn streamed(bytes: usize) -> bool {
    bytes >= LEAST && bytes >= last_cache() / 8
}

/// Bytes of the largest cache, 0 where that cannot be known.
#[inline]
pub(super) fn last_cache() -> usize {
    SAID.load(Ordering::Relaxed) & !(AMD | ASKED)
}

/// Whether this is a processor of AMD's.
#[inline]
pub(super) fn is_amd() -> bool {
    SAID.load(Ordering::Relaxed) & AMD != 0
}

/// Marks a processor of AMD's, and that the processor was asked, beside bytes of a cache, which are more.
const AMD: usize = 1;
const ASKED: usize = 2;

/// What the processor said.
static SAID: AtomicUsize = AtomicUsize::new(0);

/// Asks the processor, which takes long, the first time: before any kernel runs on vectors.
#[inline]
pub(super) fn learn() {
    if SAID.load(Ordering::Relaxed) == 0 {
        let (bytes, amd) = ask();
        SAID.store(bytes & !(AMD | ASKED) | ASKED | if amd { AMD } else { 0 }, Ordering::Relaxed);
    }
}

/// Bytes of the largest cache, and whether the processor is AMD's: leaf 4 of Intel's processors, and leaf 8000001Dh of AMD's, which has the
/// same form.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[cold]
#[allow(unused_unsafe, reason = "of older compilers the instruction is not safe to call")]
fn ask() -> (usize, bool) {
    use core::arch::x86_64::__cpuid_count;
    // SAFETY: every processor of this architecture has the instruction, and the leaves asked for are those that it says it has.
    let leaf = |leaf, part| unsafe { __cpuid_count(leaf, part) };
    let basic = leaf(0, 0);
    let is_amd = basic.ebx == u32::from_le_bytes(*b"Auth");
    let of = match is_amd {
        true if leaf(0x8000_0000, 0).eax >= 0x8000_001D => 0x8000_001D,
        false if basic.eax >= 4 => 4,
        _ => return (0, is_amd),
    };
    // Caches one after the other, until one that is of no kind: of so many sets, of so many ways, of so many parts of a line.
    let caches = (0..8).map(|part| leaf(of, part)).take_while(|c| c.eax & 31 != 0);
    let field = |register: u32, shift: u32, bits: u32| (register >> shift & ((1 << bits) - 1)) as usize + 1;
    let bytes = caches.map(|c| {
        let set = field(c.ebx, 0, 12) * field(c.ebx, 12, 10) * field(c.ebx, 22, 10);
        set.saturating_mul(c.ecx as usize + 1)
    });
    (bytes.max().unwrap_or(0), is_amd)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn ask() -> (usize, bool) {
    (0, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_of_a_size_that_caches_have() {
        learn();
        let bytes = last_cache();
        assert_eq!((bytes & !(AMD | ASKED), is_amd()), (ask().0 & !(AMD | ASKED), ask().1));
        assert!(bytes == 0 || (1 << 15..1u64 << 34).contains(&(bytes as u64)), "{bytes}");
        assert!(!streamed(LEAST - 1) && streamed(usize::MAX));
        assert_eq!(streamed(LEAST), last_cache() / 8 <= LEAST);
    }
}
