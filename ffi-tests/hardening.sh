#!/usr/bin/env bash
# What is too slow for every change: sanitizers, valgrind, a million random descriptions, a soak. Needs valgrind, and a minute or ten.
# Usage: hardening.sh [cases]
set -euo pipefail
cd "$(dirname "$0")/.."
cases="${1:-1000000}"
cargo test --test ffi > /dev/null # builds the library and the programs
out="${CARGO_TARGET_DIR:-target}/debug"
native="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"

echo "== sanitizers on the C side"
for name in misuse moments flights stress; do
    cc -std=c99 -pthread -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Iinclude "ffi-tests/$name.c" "$out/libsoftmix.a" $native \
        -o "$out/ffi-tests/$name-sanitized"
    "$out/ffi-tests/$name-sanitized" data > /dev/null
    echo "$name: clean"
done

echo "== valgrind (its processor has no AVX-512: this is the AVX2 code)"
for name in misuse moments; do
    valgrind -q --error-exitcode=9 --leak-check=full "$out/ffi-tests/$name-c-static" data > /dev/null
    echo "$name: clean"
done
valgrind -q --tool=helgrind --error-exitcode=9 "$out/ffi-tests/stress-c-static" data 1 > /dev/null
echo "stress: no race"

echo "== soak"
"$out/ffi-tests/stress-c-static" data 500

echo "== $cases random descriptions"
SOFTMIX_CASES="$cases" cargo test --test ffi_calls any_description 2>&1 | grep 'test result'

echo "== AddressSanitizer on the Rust side"
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitized" SOFTMIX_CASES=100000 \
    cargo test --target x86_64-unknown-linux-gnu --test ffi_calls 2>&1 | grep 'test result'
