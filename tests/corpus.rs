//! What coverage-guided fuzzing of the C API found to be worth keeping, once more, with guards around every array: see `fuzz/run.sh`.
#![cfg(feature = "std")]

#[path = "../fuzz/calls.rs"]
mod calls;

use rand::{Rng, SeedableRng};
use std::cell::Cell;
use std::path::Path;

thread_local! {
    /// Whether there was a panic, one too that the library caught: a query of a workspace has no status to tell it by.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the call that these bytes stand for is answered as it should be.
fn is_answered(input: &[u8]) -> bool {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let standard = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.set(true);
            standard(panic);
        }));
    });
    let _ = std::panic::catch_unwind(|| calls::run(input));
    !PANICKED.replace(false)
}

#[test]
fn the_corpus_is_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/api");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 100, "the corpus is not there: {}", folder.display());
    let wrong: Vec<_> = paths.iter().filter(|path| !is_answered(&std::fs::read(path).unwrap())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn random_bytes_are_answered() {
    let cases = std::env::var("SOFTMIX_CASES").map_or(20_000, |n| n.parse().unwrap());
    let mut random = rand_pcg::Pcg64::seed_from_u64(1);
    let mut wrong = Vec::new();
    for case in 0..cases {
        let mut bytes = [0; 400];
        random.fill(&mut bytes[..]);
        // All that is wrong is told, not the first alone.
        if !is_answered(&bytes) {
            wrong.push(case);
        }
    }
    assert!(wrong.is_empty(), "cases {wrong:?}");
}
