#!/usr/bin/env bash
# Prints the path of `promtool`, Prometheus' own checker of metrics: the one that is installed, else one taken out of Debian's
# package `prometheus` (which is not installed) and kept in $PROMTOOL_CACHE (default: ~/.cache/cloud-provider-inspur/promtool).
#
# usage: PROMTOOL="$(tests/e2e/promtool.sh)" cargo test --lib config::docs::metrics
#        curl -sk https://127.0.0.1:10258/metrics | "$(tests/e2e/promtool.sh)" check metrics
set -euo pipefail

if command -v promtool; then
  exit
fi
cache=${PROMTOOL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur/promtool}
if [ ! -x "$cache/promtool" ]; then
  if ! command -v apt-get dpkg-deb >/dev/null; then
    echo "promtool is not installed, and this is no Debian to take it from" >&2
    exit 1
  fi
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  (cd "$work" && { apt-get download prometheus >&2 || { apt-get update -qq >&2 && apt-get download prometheus >&2; }; } && dpkg-deb -x prometheus_*.deb .)
  mv "$work/usr/bin/promtool" "$cache/promtool"
fi
echo "$cache/promtool"
