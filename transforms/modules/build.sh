#!/bin/sh
# Builds the modules from source, byte for byte as committed.
#
#   build.sh            rebuild every <name>/<name>.wasm in place
#   build.sh --check    rebuild into a temporary folder; fail if any differs
#
# The compiler is the clang and wasm-ld inside one pinned release of ziglang
# (PyPI). It is taken from GUARDLOCK_ZIG, a folder that pip installed it into,
# or installed into the user's cache.
set -eu
ZIG_VERSION=0.15.2
here=$(cd "$(dirname "$0")" && pwd)
zig=${GUARDLOCK_ZIG:-${XDG_CACHE_HOME:-$HOME/.cache}/guardlock/ziglang-$ZIG_VERSION}

if [ ! -d "$zig/ziglang" ]; then
    python3 -m pip install --quiet --no-deps --target "$zig" "ziglang==$ZIG_VERSION"
fi
have=$(PYTHONPATH=$zig python3 -m ziglang version)
if [ "$have" != "$ZIG_VERSION" ]; then
    echo "build.sh: ziglang $have in $zig, want $ZIG_VERSION" >&2
    exit 1
fi

# build NAME OUT: a relative source path keeps the build folder out of the file.
build() {
    stack=16384
    case "$1" in convert | validate) stack=262144 ;; esac # they go into values in values
    (cd "$here" && PYTHONPATH=$zig python3 -m ziglang cc --target=wasm32-freestanding \
        -mcpu=mvp+simd128+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals \
        -std=c11 -O3 -g0 -ffreestanding -fno-sanitize=all -fno-stack-protector \
        -Wall -Wextra -Werror -nostdlib -s \
        -Wl,--no-entry -Wl,--export-memory -Wl,-z,stack-size=$stack \
        -o "$2" "$1/$1.c")
}

out=$here
if [ "${1:-}" = --check ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
status=0
for source in "$here"/*/*.c; do
    name=$(basename "$source" .c)
    [ "$source" = "$here/$name/$name.c" ] || continue
    if [ "$out" = "$here" ]; then
        build "$name" "$here/$name/$name.wasm"
        chmod 644 "$here/$name/$name.wasm"
        continue
    fi
    build "$name" "$out/$name.wasm"
    if cmp -s "$out/$name.wasm" "$here/$name/$name.wasm"; then
        echo "$name: same"
    else
        echo "$name: the committed module is not what its source builds" >&2
        status=1
    fi
done
exit $status
