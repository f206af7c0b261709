#!/bin/sh
# A package that goes away stops its gateway; one that is upgraded does not. The decision log stays in either case.
set -e
case ${1:-} in
remove | 0) [ ! -d /run/systemd/system ] || systemctl --no-reload disable --now guardlock.service || : ;;
esac
