#!/bin/sh
# Builds dropping.wasm as transforms/modules/build.sh builds the catalogue, which must have run once: it installs the
# compiler. With --check it fails where the result is not what is committed.
set -eu
cd "$(dirname "$0")"
out=dropping.wasm
if [ "${1:-}" = --check ]; then
    out=$(mktemp)
    trap 'rm -f "$out"' EXIT
fi
modules=../../../transforms/modules
version=$(sed -n 's/^ZIG_VERSION=//p' $modules/build.sh)
zig=${GUARDLOCK_ZIG:-${XDG_CACHE_HOME:-$HOME/.cache}/guardlock/ziglang-$version}
PYTHONPATH=$zig python3 -m ziglang cc --target=wasm32-freestanding \
    -mcpu=mvp+simd128+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals \
    -std=c11 -O3 -g0 -ffreestanding -fno-sanitize=all -fno-stack-protector -Wall -Wextra -Werror -nostdlib -s \
    -Wl,--no-entry -Wl,--export-memory -Wl,-z,stack-size=16384 -o "$out" dropping.c
chmod 644 "$out"
cmp "$out" dropping.wasm
