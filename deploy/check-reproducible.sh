#!/bin/sh
# Builds the static binaries once more, in another folder and with another CARGO_HOME, and compares them with those of `make static`.
# usage: check-reproducible.sh
set -eu
cd "$(dirname "$0")/.."
name=inspur-cloud-controller-manager
targets='x86_64-unknown-linux-musl aarch64-unknown-linux-musl'
first=${CARGO_TARGET_DIR:-target}
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM

# What git knows of, as it is in the work tree.
mkdir "$W/some other folder"
git ls-files -z | tar -c --null --files-from=- | tar -x -C "$W/some other folder"

# Another home of cargo, with what the first one has downloaded.
mkdir "$W/home"
for part in registry git; do
  [ ! -d "${CARGO_HOME:-$HOME/.cargo}/$part" ] || ln -s "${CARGO_HOME:-$HOME/.cargo}/$part" "$W/home/$part"
done
[ ! -f "${CARGO_HOME:-$HOME/.cargo}/config.toml" ] || cp "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$W/home/"

set -- build --quiet --release --locked --bin "$name"
for target in $targets; do set -- "$@" --target "$target"; done
CARGO_HOME="$W/home" CARGO_TARGET_DIR="$W/target" sh "$W/some other folder/deploy/static.sh" "$@"

failed=0
for target in $targets; do
  if cmp "$first/$target/release/$name" "$W/target/$target/release/$name"; then
    echo "$target: the same twice, $(sha256sum < "$W/target/$target/release/$name" | cut -c1-16)"
  else
    failed=1
  fi
done
exit "$failed"
