#!/usr/bin/env bash
# Machines and compilers other than the one at hand: the oldest Rust, AArch64 and AVX-512 under emulators, bare metal, WebAssembly, Windows
# and macOS. Debian 12, for its compiler of Rust 1.85 and a Linux kernel, with what belongs to them, which are unpacked below
# target/portability; nothing is installed. Needs cargo, gcc-aarch64-linux-gnu, binutils-mingw-w64-x86-64, qemu-user, and what bochs.sh
# names. Usage: portability.sh [part...], of: oldest aarch64 freestanding bare systems avx512; all of them by default.
set -uo pipefail
cd "$(dirname "$0")/.."
here="$PWD/target/portability"
version="1.85.0+dfsg3-1~deb12u3"
mkdir -p "$here/lists/partial" "$here/cache/archives/partial" "$here/debs"
export CARGO_INCREMENTAL=0

# Packages of Debian and the files in them.
fetch() {
    local apt=(apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o "Dir::State::Lists=$here/lists" -o "Dir::Cache=$here/cache")
    "${apt[@]}" update && (cd "$here/debs" && rm -f ./*.deb && "${apt[@]}" download "$@") || return 1
    for deb in "$here"/debs/*.deb; do
        dpkg -x "$deb" "$here" || return 1
    done
}

# Has what follows compiled by Rust 1.85.
rust_1_85() {
    [ -x "$here/usr/bin/rustc" ] || fetch "rustc-web=$version" "rust-web-src=$version" libllvm19 \
        "libstd-rust-web-1.85=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-dev:arm64=$version" \
        || { echo "the compiler of Rust 1.85 is not to be had"; exit 1; }
    export RUSTC="$here/usr/bin/rustc" LD_LIBRARY_PATH="$here/usr/lib/x86_64-linux-gnu" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$here/target"
    "$RUSTC" --version
}

failed=0 result=0
part() {
    local name="$1" start=$SECONDS
    shift
    if "$@" > "$here/log" 2>&1; then
        echo "$name: well ($((SECONDS - start)) s)$(awk '/^test result/ { n += $4 } END { if (n) printf ", %d tests", n }' "$here/log")"
    else
        echo "$name: FAILED"
        tail -30 "$here/log"
        failed=1
    fi
}

tests=(--lib --test kernels --test golden --test allocation --test properties --test moments --test inference --test bad_input --test ffi_calls --test corpus)
# Fewer random calls: an emulator is slow.
emulated=(env SOFTMIX_CASES=500)

oldest() {
    part "Rust 1.85, x86-64 without avx512" cargo test --no-default-features --features std,capi "${tests[@]}"
}

aarch64() {
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
    part "AArch64 (NEON) under qemu" "${emulated[@]}" cargo test --target aarch64-unknown-linux-gnu --no-default-features --features std,capi "${tests[@]}"
}

freestanding() {
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        part "freestanding on AArch64" ffi-tests/freestanding.sh aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc qemu-aarch64
}

bare() {
    for target in thumbv7em-none-eabihf wasm32-unknown-unknown; do
        part "$target" cargo check -Zbuild-std=core,alloc --target "$target" --no-default-features --features capi
        part "$target, alloc" cargo check -Zbuild-std=core,alloc --target "$target" --no-default-features --features capi,alloc
    done
}

systems() {
    for target in x86_64-pc-windows-gnu x86_64-pc-windows-msvc aarch64-apple-darwin x86_64-apple-darwin; do
        part "$target" cargo check -Zbuild-std --target "$target" --no-default-features --features std,capi
    done
}

# The instructions that this machine may lack; of the kernels, but for those of millions of numbers.
avx512() {
    kernel=$(compgen -G "$here/boot/vmlinuz-*")
    if [ -z "$kernel" ]; then
        fetch "$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')" || { echo "no kernel of Linux is to be had"; exit 1; }
        kernel=$(compgen -G "$here/boot/vmlinuz-*")
    fi
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/ffi-tests/bochs.sh" SOFTMIX_KERNEL="$kernel"
    part "AVX-512 under Bochs" "${emulated[@]}" cargo test --lib --test golden --test corpus --test ffi_calls --test inference --test bad_input
    part "kernels with AVX-512 under Bochs" cargo test --test kernels -- \
        --skip large_arrays --skip do_not_grow --skip from_any_beginning --skip exp_of_ --skip ln_of_
}

for name in ${*:-oldest aarch64 freestanding bare systems avx512}; do
    # In a shell of its own: with its own compiler.
    (
        [ "$name" = avx512 ] || rust_1_85
        "$name"
        exit $failed
    ) || result=1
done
exit $result
