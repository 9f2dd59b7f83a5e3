#!/bin/sh
# Installs, upgrades and purges the package in a Debian of its own, as root.
# usage: check-deb.sh DIST
# variables: DEBIAN, the suite (bookworm); its chroot is kept in the cache
set -eu
cd "$(dirname "$0")/.."
dist=$1 name=inspur-cloud-controller-manager
sh deploy/build-tools.sh debootstrap:debootstrap dpkg-deb:dpkg
suite=${DEBIAN:-bookworm}
base=${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur/debian-$suite.tar
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "deb: $*" >&2; exit 1; }

for cpu in amd64 arm64; do
  set -- "$dist"/*_"$cpu".deb
  if [ ! -f "$1" ] || [ $# -ne 1 ]; then fail "not one package for $cpu: $*"; fi
  [ "$(dpkg-deb --field "$1" Architecture)" = "$cpu" ] || fail "$1 is for another CPU"
  dpkg-deb --extract "$1" "$W/$cpu"
  sh deploy/check-static.sh "$W/$cpu/usr/bin/$name"
done

if [ ! -f "$base" ]; then
  # shellcheck disable=SC2016 # the format is apt's
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
  debootstrap --variant=minbase "$suite" "$W/new" "$mirror" > "$W/debootstrap.log" || { tail "$W/debootstrap.log" >&2; exit 1; }
  rm -rf "$W"/new/var/cache/apt/archives/*.deb "$W"/new/var/lib/apt/lists/*
  mkdir -p "$(dirname "$base")"
  tar -c -C "$W/new" -f "$W/base.tar" .
  mv "$W/base.tar" "$base"
  rm -rf "$W/new"
fi
root=$W/root
mkdir "$root"
tar -x -C "$root" -f "$base"
# shellcheck disable=SC2016 # the format is dpkg's
installed() { inside dpkg-query --show --showformat '${Version}' "$name"; }
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
cp "$dist"/*_"$(dpkg --print-architecture)".deb "$root/first.deb"

inside dpkg --install /first.deb
version=$(installed)
inside $name --version | grep -F "$name v" || fail 'it does not start'
[ "$(stat -c %a "$root/etc/inspur")" = 700 ] || fail '/etc/inspur is not for root alone'
[ -f "$root/lib/systemd/system/$name.service" ] || [ -f "$root/usr/lib/systemd/system/$name.service" ] || fail 'no unit'

# A newer one with another default file: what the administrator wrote stays.
echo 'ARGS="-v=4"' > "$root/etc/default/$name"
echo 'kktoken=t' > "$root/etc/inspur/cloud-config"
dpkg-deb --raw-extract "$root/first.deb" "$W/newer"
sed -i "s/^Version: .*/Version: $version+1/" "$W/newer/DEBIAN/control"
echo '# newer' >> "$W/newer/etc/default/$name"
(cd "$W/newer" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
dpkg-deb --root-owner-group --build "$W/newer" "$root/newer.deb" > /dev/null
inside dpkg --install --force-confold /newer.deb
[ "$(installed)" = "$version+1" ] || fail 'it was not upgraded'
[ "$(cat "$root/etc/default/$name")" = 'ARGS="-v=4"' ] || fail 'the upgrade lost a changed conffile'

inside dpkg --remove $name
[ -f "$root/etc/default/$name" ] || fail 'removing it removed a conffile'
[ ! -e "$root/usr/bin/$name" ] || fail 'the program is left'
inside dpkg --purge $name
[ -f "$root/etc/inspur/cloud-config" ] || fail 'purging it removed what it did not bring'
left=$(find "$root/etc" "$root/usr" "$root/lib" "$root/var/lib/systemd" -name "*$name*" 2> /dev/null) || :
[ -z "$left" ] || fail "left behind: $left"
echo "deb $version: installed, upgraded, purged"
