#!/usr/bin/env bash
# The library without std, linked without a C library, evaluates, steps, takes moments and fits: builds the archive, checks what it holds, runs the program.
# Optional: the target triple (default: the host's), then the C compiler and an emulator for it.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${1:-}" cc="${2:-cc}" emulator="${3:-}"
out="${CARGO_TARGET_DIR:-target}/${target:+$target/}freestanding"
cargo rustc --lib --crate-type staticlib --no-default-features --features freestanding --profile freestanding ${target:+--target "$target"}
"$cc" -std=c11 -O1 -Wall -Wextra -ffreestanding -fno-stack-protector -fno-builtin -nostdlib -nostartfiles -static -Iinclude \
    -Wl,--gc-sections ffi-tests/freestanding.c "$out/libsoftmix.a" -o "$out/freestanding"
left='3std|malloc|pthread|__rust_start_panic'
# Elsewhere faer links a product of matrices that would allocate. It is not called: the allocator has nothing, and the program below would end in smx_panic.
case "$("$cc" -dumpmachine)" in x86_64*) left="$left|_ZN5alloc5alloc18handle" ;; esac
if nm "$out/freestanding" | grep -E "$left" >&2; then
    echo "symbols of std are left" >&2
    exit 1
fi
if nm -u "$out/freestanding" | grep . >&2; then
    echo "symbols are missing" >&2
    exit 1
fi
$emulator "$out/freestanding"
echo "freestanding: evaluation, EM steps, latent moments, an estimate and a fit ran; $(stat -c %s "$out/freestanding") bytes"
