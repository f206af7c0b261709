#!/bin/sh
# The release build: a static binary whose bytes depend on the sources and the Go version only, not on where it is built.
#
#   deploy/build.sh OUT          for this machine
#   GOARCH=arm64 deploy/build.sh OUT
set -eu
[ $# = 1 ] || { echo "usage: deploy/build.sh OUT" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
cd "$(dirname "$0")/.."
CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags='-s -w -buildid=' -o "$out" ./cmd/guardlock
