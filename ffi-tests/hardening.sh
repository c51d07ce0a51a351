#!/usr/bin/env bash
# What is too slow for every change: sanitizers on C and on Rust, valgrind on a build without AVX-512, races, a soak, and a million random calls.
# Usage: hardening.sh [part...], of: sanitizers valgrind races soak random rust; all of them by default. Needs gcc and valgrind; `fuzz/run.sh` is apart.
set -euo pipefail
cd "$(dirname "$0")/.."
native="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"
programs="misuse moments promises flights stress adversary"

# The archive with the features named, in a folder of its own.
archive() {
    cargo rustc -q --lib --crate-type staticlib --no-default-features --features "$2" --profile dev --target-dir "target/hardening/$1"
    out="target/hardening/$1/debug"
}

compile() {
    cc -std=c99 -pthread -g -O1 -frounding-math "${@:2}" -Iinclude "ffi-tests/$1.c" "$out/libsoftmix.a" $native -o "$out/$1"
}

sanitizers() {
    echo "== AddressSanitizer and UndefinedBehaviorSanitizer on the C side"
    archive all std,capi,avx512
    for name in $programs; do
        # adversary.c limits the stack of threads and the memory of its children to less than AddressSanitizer needs.
        [ "$name" = adversary ] && which=undefined || which=address,undefined
        compile "$name" "-fsanitize=$which" -fno-sanitize-recover=all
        # A test asks for more memory than there is, which must be an error.
        ASAN_OPTIONS=allocator_may_return_null=1 "$out/$name" data > /dev/null
        echo "$name: clean"
    done
}

valgrind_() {
    echo "== valgrind: memory (its processor has no AVX-512: this is the AVX2 code)"
    archive avx2 std,capi
    for name in misuse moments promises; do
        compile "$name"
        valgrind -q --error-exitcode=9 --leak-check=full "$out/$name" data > /dev/null
        echo "$name: clean"
    done
}

races() {
    echo "== helgrind and DRD: calls from eight threads"
    archive avx2 std,capi
    compile stress
    for tool in helgrind drd; do
        valgrind -q --tool=$tool --error-exitcode=9 "$out/stress" data 1 > /dev/null
        echo "$tool: no race"
    done
}

soak() {
    echo "== soak: memory stays flat"
    archive all std,capi,avx512
    compile stress
    "$out/stress" data 500
}

random() {
    echo "== random descriptions and random calls"
    SOFTMIX_CASES=1000000 cargo test --test ffi_calls any_description 2>&1 | grep 'test result'
    SOFTMIX_CASES=1000000 cargo test --test corpus random 2>&1 | grep 'test result'
}

rust() {
    echo "== AddressSanitizer on the Rust side"
    # A test asks for more memory than there is, which must be an error; the payload of a panic is forgotten, as dropping it may panic.
    mkdir -p target/hardening && echo "leak:ffi_calls::panics" > target/hardening/forgotten
    export ASAN_OPTIONS=allocator_may_return_null=1 LSAN_OPTIONS="suppressions=$PWD/target/hardening/forgotten"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/hardening/sanitized SOFTMIX_CASES=100000 \
        cargo test --no-fail-fast --target x86_64-unknown-linux-gnu --test ffi_calls --test corpus --test kernels --test bad_input 2>&1 | grep 'test result'
}

for part in ${*:-sanitizers valgrind races soak random rust}; do
    case "$part" in valgrind) valgrind_ ;; *) "$part" ;; esac
done
