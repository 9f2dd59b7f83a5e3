#!/bin/sh
# Takes a release as its user does: sums, tarball, program; and that a second layout of it is the same to the byte.
# usage: check-release.sh VERSION DIST CPU=BINARY...
set -eu
cd "$(dirname "$0")/.."
version=$1 dist=$2
name=inspur-cloud-controller-manager
case $(uname -m) in aarch64 | arm64) cpu=arm64 ;; *) cpu=amd64 ;; esac
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM

(cd "$dist/release" && sha256sum --check --quiet SHA256SUMS)
[ "$(wc -l < "$dist/release/SHA256SUMS")" -eq "$(find "$dist/release" -type f ! -name SHA256SUMS | wc -l)" ]
tar -x -C "$W" -f "$dist/release/$name-$version-linux-$cpu.tar.gz"
cd "$W/$name-$version-linux-$cpu"
[ "$(./$name --version)" = "$name v$version" ]
for file in LICENSE NOTICES README.md CHANGELOG.md sbom.cdx.json systemd/$name.service systemd/$name.default examples/cloud-config; do
  [ -s "$file" ] || { echo "$file is missing" >&2; exit 1; }
done
for crate in rustls ring serde_json; do
  grep -q "^  $crate " NOTICES || { echo "$crate is not in NOTICES" >&2; exit 1; }
  grep -q "pkg:cargo/$crate@" sbom.cdx.json || { echo "$crate is not in the bill of materials" >&2; exit 1; }
done
cd - > /dev/null

cp "$dist/release/SHA256SUMS" "$W/first"
sh deploy/release/build.sh "$@" > /dev/null
cmp "$W/first" "$dist/release/SHA256SUMS"
echo "release $version: whole, and the same twice"
