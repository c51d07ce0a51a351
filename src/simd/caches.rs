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
    SAID.load(Ordering::Relaxed) & !MARKS
}

/// Whether this is a processor of AMD's.
#[inline]
pub(super) fn is_amd() -> bool {
    SAID.load(Ordering::Relaxed) & AMD != 0
}

/// Whether this is a Zen 2 or a Zen 3.
#[inline]
pub(super) fn is_zen2_or_3() -> bool {
    SAID.load(Ordering::Relaxed) & ZEN2_OR_3 != 0
}

/// Marks a processor of AMD's, that the processor was asked, and a Zen 2 or 3, beside bytes of a cache, which are more.
const AMD: usize = 1;
const ASKED: usize = 2;
const ZEN2_OR_3: usize = 4;
const MARKS: usize = AMD | ASKED | ZEN2_OR_3;

/// What the processor said.
static SAID: AtomicUsize = AtomicUsize::new(0);

/// Asks the processor, which takes long, the first time: before any kernel runs on vectors.
#[inline]
pub(super) fn learn() {
    if SAID.load(Ordering::Relaxed) == 0 {
        let (bytes, marks) = ask();
        SAID.store(bytes & !MARKS | marks | ASKED, Ordering::Relaxed);
    }
}

/// Bytes of the largest cache, and marks of AMD's processors, Zen 2 and 3: leaf 4 of Intel's processors, and leaf 8000001Dh of AMD's, which
/// has the same form; family 17h from model 30h on, and family 19h but for models 10h to 1Fh and from 60h on.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[cold]
#[allow(unused_unsafe, reason = "of older compilers the instruction is not safe to call")]
fn ask() -> (usize, usize) {
    use core::arch::x86_64::__cpuid_count;
    // SAFETY: every processor of this architecture has the instruction, and the leaves asked for are those that it says it has.
    let leaf = |leaf, part| unsafe { __cpuid_count(leaf, part) };
    let basic = leaf(0, 0);
    let is_amd = basic.ebx == u32::from_le_bytes(*b"Auth");
    let version = leaf(1, 0).eax;
    let is_zen2_or_3 = is_amd
        && match (0xf + (version >> 20 & 0xff), version >> 16 & 0xf) {
            (0x17, model) => model >= 3,
            (0x19, model) => model < 6 && model != 1,
            _ => false,
        };
    let marks = if is_zen2_or_3 { AMD | ZEN2_OR_3 } else { usize::from(is_amd) * AMD };
    let of = match is_amd {
        true if leaf(0x8000_0000, 0).eax >= 0x8000_001D => 0x8000_001D,
        false if basic.eax >= 4 => 4,
        _ => return (0, marks),
    };
    // Caches one after the other, until one that is of no kind: of so many sets, of so many ways, of so many parts of a line.
    let caches = (0..8).map(|part| leaf(of, part)).take_while(|c| c.eax & 31 != 0);
    let field = |register: u32, shift: u32, bits: u32| (register >> shift & ((1 << bits) - 1)) as usize + 1;
    let bytes = caches.map(|c| {
        let set = field(c.ebx, 0, 12) * field(c.ebx, 12, 10) * field(c.ebx, 22, 10);
        set.saturating_mul(c.ecx as usize + 1)
    });
    (bytes.max().unwrap_or(0), marks)
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn ask() -> (usize, usize) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_of_a_size_that_caches_have() {
        learn();
        let bytes = last_cache();
        assert_eq!((bytes, is_amd(), is_zen2_or_3()), (ask().0 & !MARKS, ask().1 & AMD != 0, ask().1 & ZEN2_OR_3 != 0));
        assert!(is_amd() || !is_zen2_or_3());
        assert!(bytes == 0 || (1 << 15..1u64 << 34).contains(&(bytes as u64)), "{bytes}");
        assert!(!streamed(LEAST - 1) && streamed(usize::MAX));
        assert_eq!(streamed(LEAST), last_cache() / 8 <= LEAST);
    }
}
