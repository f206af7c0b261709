#!/bin/sh
# Builds the module that each SDK begins with, as a new user would, and tries it: its own
# tests, and the golden cases in the sandbox.
#
#   build.sh            writes as.wasm, c.wasm, go.wasm and rust.wasm, and the guest of the AssemblyScript SDK's tests
#   build.sh --check    fails if a build does not hold, or is not what is committed
#
# C is built by the clang of the ziglang that transforms/modules/build.sh pins. Rust is
# built by the rustc that is here, with its target wasm32-unknown-unknown, and Go by the
# Go of this repository; where one is another than the committed file names, only its
# behaviour is held, not its bytes. tinygo.sh does the same with TinyGo. AssemblyScript is
# built by the compiler that the new module's package-lock.json pins.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^ZIG_VERSION=//p' "$root/transforms/modules/build.sh")
zig=${GUARDLOCK_ZIG:-${XDG_CACHE_HOME:-$HOME/.cache}/guardlock/ziglang-$version}
[ -d "$zig/ziglang" ] || python3 -m pip install --quiet --no-deps --target "$zig" "ziglang==$version"
for tool in cargo npm; do
    command -v "$tool" >/dev/null || { echo "build.sh: there is no $tool" >&2; exit 1; }
done

(cd "$root" && go build -o "$work/guardlock" ./cmd/guardlock)
GOTOOLCHAIN=$(cd "$root" && go env GOVERSION)
export GOTOOLCHAIN
cp -r "$here/../rust" "$work/sdk" # cargo writes beside its sources
(cd "$work/sdk" && cargo test --quiet)

cd "$work"
for language in rust go as c; do
    ./guardlock module init --lang "$language" "golden-$language" >/dev/null
done
(cd golden-rust && cargo test --quiet)
./guardlock module build golden-rust
mv golden-rust/golden_rust.wasm rust.wasm
(cd golden-go && GOPROXY=off go test ./... && cd guardlock && GOPROXY=off go test ./...)
GOPROXY=off ./guardlock module build golden-go
mv golden-go/golden-go.wasm go.wasm
(cd golden-as && npm ci --silent && npm test --silent)
./guardlock module build golden-as
mv golden-as/golden-as.wasm as.wasm
# The SDK's own tests run in such a project, on another module.
cp "$here/../testdata/asguest/index.ts" golden-as/assembly/index.ts
rm golden-as/test/*
cp "$here/../assemblyscript/test/"* golden-as/test/
(cd golden-as && npm test --silent)
./guardlock module build golden-as
mv golden-as/golden-as.wasm asguest.wasm
PYTHONPATH=$zig GUARDLOCK_CLANG='python3 -m ziglang cc' ./guardlock module build golden-c
mv golden-c/golden-c.wasm c.wasm

if [ "${1:-}" != --check ]; then
    cp asguest.wasm "$here/../testdata/asguest.wasm"
    chmod 644 "$here/../testdata/asguest.wasm"
fi
status=0
cmp asguest.wasm "$here/../testdata/asguest.wasm" || status=1
for language in rust go as c; do
    ./guardlock module test "$language.wasm" --cases "$here" --all-reasons
    if [ "${1:-}" != --check ]; then
        cp "$language.wasm" "$here/$language.wasm"
        chmod 644 "$here/$language.wasm"
        continue
    fi

    tools() { ./guardlock module inspect "$1" | grep '^tools '; }
    if cmp -s "$language.wasm" "$here/$language.wasm"; then
        echo "$language: same"
    elif [ "$language" != c ] && [ "$language" != as ] && [ "$(tools "$language.wasm")" != "$(tools "$here/$language.wasm")" ]; then
        echo "$language: built by another compiler, so its bytes are not compared"
    else
        echo "$language: the committed module is not what its source builds" >&2
        status=1
    fi
done
exit $status
