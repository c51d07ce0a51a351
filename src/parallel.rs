//! How a call runs: the instruction set and the threads, with pieces of fixed size and sums in a fixed order.

use crate::simd::Isa;

/// Options of a call that do not change what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The instruction set.
    pub isa: Isa,
    /// Threads to use, at least 1. More than one needs the feature `rayon`; results are the same bits for any number.
    pub threads: usize,
}

impl Default for Context {
    fn default() -> Self {
        Context { isa: Isa::detect(), threads: 1 }
    }
}

/// Runs `body` for each of the items, on up to `threads` threads. Which thread runs which makes no difference to what they compute.
pub(crate) fn for_each<T: Send>(threads: usize, items: &mut [T], body: impl Fn(&mut T) + Sync) {
    #[cfg(feature = "rayon")]
    if threads > 1 {
        use rayon::prelude::*;
        let group = items.len().div_ceil(threads).max(1);
        items.par_chunks_mut(group).with_max_len(1).for_each(|group| group.iter_mut().for_each(&body));
        return;
    }
    let _ = threads;
    items.iter_mut().for_each(body);
}
