#!/usr/bin/env bash
# Coverage-guided fuzzing of the C API with AddressSanitizer: `fuzz/run.sh [inputs] [seconds]`, by default a million inputs without end. Needs a nightly
# toolchain of Rust and `cargo install cargo-fuzz`. New finds go to fuzz/found; `fuzz/run.sh minimise` takes what adds coverage into fuzz/corpus/api,
# which `cargo test --test corpus` replays.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p corpus/api found
if [ "${1:-}" = minimise ]; then
    smallest="$(mktemp -d)"
    # Edges alone, without how often each was taken: a corpus small enough to keep.
    cargo +nightly fuzz run api "$smallest" corpus/api found -- -merge=1 -max_len=600 -use_counters=0
    rm -rf corpus/api && mv "$smallest" corpus/api
    exit
fi
exec nice -n 19 cargo +nightly fuzz run api found corpus/api -- -runs="${1:-1000000}" -max_total_time="${2:-0}" -max_len=600 -timeout=20 -rss_limit_mb=3000
