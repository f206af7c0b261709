#!/bin/sh
# Builds the guests that show that modules of Redpanda's SDKs run, with those SDKs as
# they are published: on the Go proxy and on crates.io, under the Apache licence 2.0.
#
#   build.sh            writes go.wasm and rust.wasm
#   build.sh --check    fails if one of them is not what its source builds
#
# They are built by the Go and the rustc that are here, the latter with its target
# wasm32-wasip1. Where one is another than the one that its file names, the bytes are
# not compared: the new build has to hold the tests then.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
command -v cargo >/dev/null || { echo "build.sh: there is no cargo" >&2; exit 1; }

cp -r "$here/go" "$here/rust" "$work" # cargo writes beside its sources
(cd "$work/go" && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= GOWORK=off \
    go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o "$work/go.wasm" .)
(cd "$work/rust" && RUSTFLAGS="--remap-path-prefix=$work/rust=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
    cargo build --quiet --locked --release --target wasm32-wasip1)
cp "$work/rust/target/wasm32-wasip1/release/redpanda-guest.wasm" "$work/rust.wasm"
(cd "$root" && go build -o "$work/guardlock" ./cmd/guardlock)

status=0
for language in go rust; do
    chmod 644 "$work/$language.wasm"
    if [ "${1:-}" != --check ]; then
        cp "$work/$language.wasm" "$here/$language.wasm"
        continue
    fi

    tools() { "$work/guardlock" module inspect "$1" | grep '^tools '; }
    if cmp -s "$work/$language.wasm" "$here/$language.wasm"; then
        echo "redpanda $language: same"
    elif [ "$(tools "$work/$language.wasm")" != "$(tools "$here/$language.wasm")" ]; then
        echo "redpanda $language: built by other tools, so its bytes are not compared"
        echo 'a b 4111111111111111' | "$work/guardlock" module run "$work/$language.wasm" || status=1
    else
        echo "redpanda $language: the committed module is not what its source builds" >&2
        status=1
    fi
done
exit $status
