#!/bin/sh
# Installs what the client matrix runs, at the pinned versions, below this directory: the Python clients into .venv, kafkajs
# into node/node_modules, the Java client into java/target. Needs python3 with venv, npm, mvn with a JDK of 17 or newer,
# and kcat, which is the system's (Debian: apt-get install kcat). Does again only what changed.
set -eu
cd "$(dirname "$0")"

fail() { echo "install: $*" >&2; exit 1; }
for program in python3 npm node mvn java; do
  command -v $program >/dev/null || fail "$program is not on PATH"
done
if ! command -v kcat >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "kcat is not on PATH; on Debian: apt-get install kcat"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends kcat >/dev/null || fail "kcat could not be installed"
fi

# current STAMP FILE... says whether STAMP was made from these FILEs as they are.
sum() { cat "$@" | cksum; }
current() { stamp=$1; shift; [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(sum "$@")" ]; }

if ! current .venv/installed python/requirements.txt; then
  python3 -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r python/requirements.txt
  sum python/requirements.txt >.venv/installed
fi
if ! current node/node_modules/.installed node/package-lock.json; then
  (cd node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  sum node/package-lock.json >node/node_modules/.installed
fi
sources=$(find java/src java/pom.xml -type f | sort)
if ! current java/target/installed $sources; then
  (cd java && mvn -q -B -C clean package)
  sum $sources >java/target/installed
fi
