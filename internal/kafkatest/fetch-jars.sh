#!/bin/sh
# Fetches the jars of a real Apache Kafka with Maven, once, into the user's cache directory, where kafkatest looks.
# A run that is cut off leaves nothing half done: the directory gets its name last.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' "$here/pom.xml")
cache=${XDG_CACHE_HOME:-$HOME/.cache}
[ "$(uname)" = Darwin ] && cache=$HOME/Library/Caches
target=$cache/guardlock/kafka-$version
[ -d "$target" ] && exit 0
command -v mvn >/dev/null || { echo "fetch-jars: mvn is not on PATH" >&2; exit 1; }
mkdir -p "$cache/guardlock"
work=$(mktemp -d "$cache/guardlock/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mvn -q -B -C -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/jars"
mv "$work/jars" "$target"
echo "fetch-jars: $(ls "$target" | wc -l) jars of Kafka $version in $target"
