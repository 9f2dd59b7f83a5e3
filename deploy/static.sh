#!/bin/sh
# Runs cargo with what the static targets need: std where the toolchain has none, packed relocations, no paths in the binary, and in a
# release no unwind tables and no function twice.
# usage: static.sh CARGO-COMMAND [ARGUMENT...]
#   static.sh build --release --locked --target x86_64-unknown-linux-musl
#   static.sh test --target aarch64-unknown-linux-musl --lib        (under qemu-aarch64)
# variables: MUSL_STD, the folder for std, which is made when it is needed; CARGO
set -eu
cd "$(dirname "$0")/.."
targets='x86_64-unknown-linux-musl aarch64-unknown-linux-musl'
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur
MUSL_STD=${MUSL_STD:-$cache/musl-std}

# Nothing but rustup, or a distribution's package, puts libcore there.
has_std() { for lib in "$(rustc --print target-libdir --target "$1")"/libcore-*.rlib; do [ -f "$lib" ]; done; }

sh deploy/build-tools.sh clang:clang readelf:binutils ar:binutils
# Given encoded, since that takes the place of a caller's RUSTFLAGS and bears spaces. With --target they reach no build script.
separator=$(printf '\037')
flags='-Clink-arg=--pack-dyn-relocs=relr'
add() { flags=$flags$separator$1; }
for target in $targets; do
  has_std "$target" && continue
  sh deploy/musl-std.sh "$MUSL_STD"
  add "--sysroot=$MUSL_STD"
  break
done
# Where sources lie is nobody's business, and would make two builds of one commit differ.
add "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
add "--remap-path-prefix=$PWD=/src"
# A release aborts where it panics, so nothing walks its stack, and it is stripped, so there are no names to print: 0.52 MB less without
# the tables for that (0.25 of ours, 0.27 of std and C). Functions that are equal are kept once: 0.04. Tests unwind and cannot be
# built so. (LLVM's outliner would save 0.09 more on amd64; reading lists then takes 1.7 times the CPU.)
case "$1 $* " in
  'build '*' --release '*)
    add -Cforce-unwind-tables=no
    add -Clink-arg=-Tdeploy/no-unwind.ld
    add -Clink-arg=--no-eh-frame-hdr
    add -Clink-arg=--icf=all
    ;;
esac
CARGO_ENCODED_RUSTFLAGS=$flags
CARGO_ENCODED_RUSTDOCFLAGS=$CARGO_ENCODED_RUSTFLAGS
export CARGO_ENCODED_RUSTFLAGS CARGO_ENCODED_RUSTDOCFLAGS
exec "${CARGO:-cargo}" "$@"
