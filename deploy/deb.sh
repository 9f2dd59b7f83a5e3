#!/bin/sh
# Makes a Debian package of each CPU's static binary, which `make static` has left in the target folder.
# usage: deb.sh FOLDER      FOLDER gets the *.deb; dist/NOTICES is there already (`make notices`)
# variables: SOURCE_DATE_EPOCH, the date of every file
set -eu
cd "$(dirname "$0")/.."
folder=$1
cargo_deb=$(sh deploy/tool.sh cargo-deb)
mkdir -p "$folder"
rm -f "$folder"/*.deb
for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
  "$cargo_deb" --no-build --no-strip --quiet --target "$target" --output "$folder/"
done
