#!/bin/sh
# Builds this library, the other libraries' kernels and a Python environment below target/compare, and times them side by side.
#     benches/compare/run.sh [--only kernels|evaluate|fit|growth]... [--quick]
# The environment variable PYTHON names the Python to use (3.9 or newer), CC the C compiler.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out="$root/target/compare"
mkdir -p "$out"

if [ ! -e "$out/venv/ready" ]; then
    "${PYTHON:-python3}" -m venv "$out/venv"
    "$out/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
    # The small build for processors alone where its own index can be reached, else the usual one.
    "$out/venv/bin/pip" install --quiet --retries 0 torch --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
        "$out/venv/bin/pip" install --quiet torch || echo "PyTorch cannot be installed here and is left out" >&2
    touch "$out/venv/ready"
fi

(cd "$root" && CARGO_TARGET_DIR="$root/target" cargo rustc --quiet --release --lib --crate-type cdylib --features capi)
CARGO_TARGET_DIR="$out/rten" cargo build --quiet --release --manifest-path "$here/rten/Cargo.toml" || echo "rten-vecmath cannot be built here and is left out" >&2
mvec=
[ "$(uname -m)" = x86_64 ] && mvec=-lmvec
"${CC:-cc}" -O3 -shared -fPIC -o "$out/peers.so" "$here/peers.c" -ldl $mvec -lm

suffix=so
[ "$(uname)" = Darwin ] && suffix=dylib
SOFTMIX_LIBRARY="$root/target/release/libsoftmix.$suffix" exec "$out/venv/bin/python" "$here/compare.py" --native "$out" --out "$out" "$@"
