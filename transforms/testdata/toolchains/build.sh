#!/bin/sh
# Builds the guests that show that modules of stock toolchains load. The files
# were made on Debian 12 with
#
#   rustc-web, cargo-web, rust-web-src 1.96.0   (targets wasm32-unknown-unknown and wasm32-wasip1; std from source)
#   clang-19, lld-19 1:19.1.7, wasi-libc        (clang19.wasm, and the linker of the Rust ones)
#   ziglang 0.15.2 of PyPI                      (clang20.wasm: it holds clang 20)
#   assemblyscript 0.28.20 of npm               (assemblyscript_*.wasm)
#
# go/guest.go is built by the test that runs it, since whoever runs that has Go.
set -eu
cd "$(dirname "$0")"
out=$PWD
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT

export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$target"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-19
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-L /usr/lib/wasm32-wasi -C link-self-contained=no -C link-arg=-lc"
for t in unknown-unknown wasip1; do
    for profile in dev release; do
        std=std,panic_abort
        [ "$t" = wasip1 ] && std=core,alloc
        (cd rust && /usr/bin/cargo build "-Zbuild-std=$std" --target "wasm32-$t" --profile "$profile")
    done
    cp "$target/wasm32-$t/debug/guest.wasm" "$out/rust_${t%-unknown}_debug.wasm"
    cp "$target/wasm32-$t/release/guest.wasm" "$out/rust_${t%-unknown}_release.wasm"
done

clang-19 --target=wasm32-unknown-unknown -O1 -nostdlib -ffreestanding -fuse-ld=/usr/bin/wasm-ld-19 \
    -Wl,--no-entry -Wl,--export-memory -Wl,-s -o clang19.wasm guest.c
python3 -m ziglang cc --target=wasm32-freestanding -O1 -nostdlib -ffreestanding -g0 -s -fno-sanitize=all \
    -Wl,--no-entry -Wl,--export-memory -o clang20.wasm guest.c
npx --yes --package assemblyscript@0.28.20 asc guest.ts -o assemblyscript_release.wasm --runtime stub -O2
npx --yes --package assemblyscript@0.28.20 asc guest.ts -o assemblyscript_debug.wasm --runtime incremental
chmod 644 ./*.wasm
