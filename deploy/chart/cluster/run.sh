#!/usr/bin/env bash
# Installs the chart in a real Kubernetes, which is built first: about six minutes on two cores, then one. As root, since what a
# pod runs gets a network and a file system of its own. Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")"

# Helm asks the server for its version, which a release build of it is told. The vet of go test would go through Kubernetes.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
package=k8s.io/component-base/version
exec go test -vet=off -count=1 -timeout 9m -ldflags "-X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor" "$@" .
