#!/bin/sh
# Looks for the tools that a target of the Makefile needs, and installs those that are missing, or says what to install.
# usage: build-tools.sh COMMAND:PACKAGE...     PACKAGE is what Debian calls the package with COMMAND in it
# As root, where apt-get is, it installs; elsewhere it ends with the command to run.
set -eu
commands='' packages=''
for pair; do
  command -v "${pair%%:*}" > /dev/null && continue
  commands="$commands ${pair%%:*}" packages="$packages ${pair#*:}"
done
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086 # one word a package
set -- $packages
if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" > /dev/null && exit 0
fi
echo "missing:$commands. On Debian: apt-get install --no-install-recommends $*" >&2
exit 1
