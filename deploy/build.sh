#!/bin/sh
# The release build: a static binary whose bytes depend on the commit and the Go version only, not on where it is built.
#
#   deploy/build.sh OUT          for this machine
#   GOARCH=arm64 deploy/build.sh OUT
#   GUARDLOCK_VERSION=v1.2.3 GUARDLOCK_REVISION=COMMIT deploy/build.sh OUT   where there is no git repository
set -eu
[ $# = 1 ] || { echo "usage: deploy/build.sh OUT" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
cd "$(dirname "$0")/.."

# What `guardlock version` says: a tag and a commit, from git or, where there is no repository, from the environment.
# Whoever builds trusts the sources already, so it does not matter who owns the clone.
git_says() { [ -e .git ] && command -v git >/dev/null && git -c safe.directory='*' "$@" 2>/dev/null || :; }
version=${GUARDLOCK_VERSION:-$(git_says describe --tags)}
revision=${GUARDLOCK_REVISION:-}
if [ -z "$revision" ]; then
  revision=$(git_says rev-parse --verify HEAD)
  [ -z "$(git_says status --porcelain)" ] || revision=$revision+changes
fi

CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X github.com/guardlock/guardlock/internal/build.version=$version -X github.com/guardlock/guardlock/internal/build.revision=$revision" -o "$out" ./cmd/guardlock
