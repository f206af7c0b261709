#!/bin/sh
# Fetches the jars of real Apache Kafkas with Maven, each version of the file versions once, into the user's cache directory,
# where kafkatest looks. A run that is cut off leaves nothing half done: a directory gets its name last.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}
[ "$(uname)" = Darwin ] && cache=$HOME/Library/Caches
mkdir -p "$cache/guardlock"
work=$(mktemp -d "$cache/guardlock/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

while read -r version; do
  target=$cache/guardlock/kafka-$version
  # A directory says which pom it was made from: another one has other jars.
  [ -f "$target/pom.sum" ] && [ "$(cat "$target/pom.sum")" = "$(cksum <"$here/pom.xml")" ] && continue
  command -v mvn >/dev/null || { echo "fetch-jars: mvn is not on PATH" >&2; exit 1; }
  mvn -q -B -C -f "$here/pom.xml" -Dkafka.version="$version" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/$version" </dev/null
  cksum <"$here/pom.xml" >"$work/$version/pom.sum"
  rm -rf "$target"
  mv "$work/$version" "$target"
  echo "fetch-jars: $(ls "$target" | wc -l) jars of Kafka $version in $target"
done <"$here/versions"
