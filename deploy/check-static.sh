#!/bin/sh
# Judges a release binary by its ELF: static, position independent where promised, stripped, no unwind tables, within its size, which it
# prints.
# usage: check-static.sh BINARY...
# Not by the words of `file` or `ldd`, which differ by CPU.
set -eu
export LC_ALL=C
failed=0
wrong() { echo "$binary: $*" >&2; failed=1 good=no; }

for binary; do
  good=yes
  machine=$(readelf -hW "$binary" | sed -n 's/^ *Machine: *//p')
  type=$(readelf -hW "$binary" | sed -n 's/^ *Type: *\([A-Z]*\).*/\1/p')
  case $machine in
    *X86-64) want=DYN limit=3145728 ;;     # static-pie; 3.0 MiB
    AArch64) want=EXEC limit=2726297 ;;    # a fixed address is rustc's default there; 2.6 MiB
    *) wrong "built for $machine"; continue ;;
  esac
  bytes=$(wc -c < "$binary")
  [ "$type" = "$want" ] || wrong "ELF type $type, not $want"
  if readelf -lW "$binary" | grep -q INTERP; then wrong 'not static: it asks for a loader'; fi
  if readelf -dW "$binary" 2> /dev/null | grep -q NEEDED; then wrong 'not static: it needs libraries'; fi
  if readelf -SW "$binary" | grep -Eq ' \.(symtab|debug_[a-z]+) '; then wrong 'not stripped'; fi
  if readelf -lW "$binary" | grep -q 'GNU_STACK.* RWE '; then wrong 'its stack is executable'; fi
  if readelf -SW "$binary" | grep -q ' \.eh_frame '; then wrong 'it has unwind tables: not built by deploy/static.sh build --release'; fi
  [ "$bytes" -le "$limit" ] || wrong "$bytes bytes, more than $limit"
  [ "$good" = no ] || echo "$binary: static, stripped, $bytes bytes of $limit"
done
exit "$failed"
