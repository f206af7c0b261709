#!/bin/sh
# Builds the module that the Go SDK begins with by TinyGo, and tries it in the sandbox.
#
#   tinygo.sh            writes tinygo.wasm
#   tinygo.sh --check    fails if the build does not hold, or is not what is committed
#
# The tinygo on the PATH is used. Where there is none it is built first, since no registry
# has one: from its source in the Go proxy, with LLVM 19, the C library and the compiler
# runtime of Debian, which a Go module does not hold:
#
#   apt install g++ clang-19 lld-19 llvm-19-dev libclang-19-dev libclang-rt-19-dev-wasm32 wasi-libc binaryen
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=0.41.0

if tinygo=$(command -v tinygo); then
    echo "tinygo: $tinygo"
else
    TINYGOROOT=${XDG_CACHE_HOME:-$HOME/.cache}/guardlock/tinygo-$version
    export TINYGOROOT
    tinygo=$TINYGOROOT/bin/tinygo
fi
if [ ! -x "$tinygo" ]; then
    cd "$work"
    source=$(go mod download -json "github.com/tinygo-org/tinygo@v$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$source" ] || { echo "tinygo.sh: the Go proxy has no tinygo $version" >&2; exit 1; }
    mkdir -p "$TINYGOROOT"
    cp -r "$source/." "$TINYGOROOT"
    chmod -R u+w "$TINYGOROOT"
    mkdir -p "$TINYGOROOT/src/net" # a submodule, which no module needs

    builtins=$(find /usr/lib/llvm-19/lib/clang -name 'libclang_rt.builtins*.a' -path '*was*' | head -n 1)
    libc=$(find /usr/lib/wasm32-wasi -name libc.a | head -n 1)
    if [ -z "$builtins" ] || [ -z "$libc" ]; then
        echo "tinygo.sh: install what its first lines list" >&2
        exit 1
    fi
    target=$TINYGOROOT/targets/wasip1.json
    sed -i -e '/"libc":/d' -e '/"rtlib":/d' -e '/gc_boehm/d' -e 's|asm_tinygowasm.S",|asm_tinygowasm.S"|' \
        -e 's/+bulk-memory-opt,+call-indirect-overlong,//' \
        -e "s|\"--no-demangle\"|\"--no-demangle\", \"$libc\", \"$builtins\"|" "$target"
    (cd "$TINYGOROOT" && CGO_ENABLED=1 GOFLAGS=-mod=mod go build -tags llvm19 -o "$tinygo" .)
fi

(cd "$root" && go build -o "$work/guardlock" ./cmd/guardlock)
cd "$work"
./guardlock module init --lang go golden-go >/dev/null
GUARDLOCK_GO=$tinygo ./guardlock module build golden-go
mv golden-go/golden-go.wasm tinygo.wasm
./guardlock module test tinygo.wasm --cases "$here" --all-reasons

if [ "${1:-}" != --check ]; then
    cp tinygo.wasm "$here/tinygo.wasm"
    chmod 644 "$here/tinygo.wasm"
    exit
fi
tools() { ./guardlock module inspect "$1" | grep '^tools '; }
if cmp -s tinygo.wasm "$here/tinygo.wasm"; then
    echo "tinygo: same"
elif [ "$(tools tinygo.wasm)" != "$(tools "$here/tinygo.wasm")" ]; then
    echo "tinygo: built by another TinyGo, so its bytes are not compared"
else
    echo "tinygo: the committed module is not what its source builds" >&2
    exit 1
fi
