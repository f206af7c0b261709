#!/bin/sh
# Builds the test guests with the clang in ziglang 0.15.2 (PyPI), which
# `python3 -m ziglang` must find.
set -eu
cd "$(dirname "$0")"
build() { # NUMBER OUT FEATURES [SOURCE]
    python3 -m ziglang cc --target=wasm32-freestanding -mcpu="mvp+bulk_memory+sign_ext$3" -O2 -nostdlib \
        -ffreestanding -g0 -s -fno-sanitize=all -Wno-unused-parameter -DGUEST="$1" -Wl,--no-entry -o "$2" "${4:-guests.c}"
    chmod 644 "$2"
}
build 0 copy.wasm ""
build 1 upper.wasm ""
build 1 upper_simd.wasm "+simd128"
build 2 parse.wasm ""
build 0 vectors.wasm "+simd128" vectors.c
build 0 counts.wasm "+simd128" counts.c
