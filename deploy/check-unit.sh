#!/bin/sh
# Judges the systemd unit as systemd itself does: no mistake in it, and little that the program may do.
# usage: check-unit.sh BINARY      BINARY stands in for the one that the unit starts
set -eu
cd "$(dirname "$0")/.."
binary=$1
sh deploy/build-tools.sh systemd-analyze:systemd
unit=inspur-cloud-controller-manager.service
version=$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
# An older one knows neither --offline nor all that the unit says.
[ "${version:-0}" -ge 250 ] || { echo "$unit: judged by systemd 250 or newer, and this is ${version:-unknown}" >&2; exit 1; }
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM

sed "s|^ExecStart=/usr/bin/inspur-cloud-controller-manager|ExecStart=$(realpath "$binary")|" "deploy/systemd/$unit" > "$W/$unit"
# What it finds wrong it prints, and some of that is not an error to it: a word that this systemd does not know, or will not for long.
said=$(systemd-analyze verify --man=no "$W/$unit" 2>&1) || { echo "$said" >&2; exit 1; }
if printf '%s\n' "$said" | grep -F "$unit"; then exit 1; fi
echo "$unit: verified by systemd $version"
# Tenths: 15 is 1.5 of 10.
systemd-analyze security --offline=true --no-pager --threshold=15 "$W/$unit" | tail -n 1
