#!/bin/sh
# Takes the packages as their users do: what is in them, and install, upgrade, removal and purge in a Debian of its own. That
# needs root; without it the packages alone are looked at.
# usage: check-deb.sh DIST CPU=BINARY...      BINARY should be in the package for that CPU
# variables: DEBIAN, the suite (bookworm); its chroot is kept in the cache. SOURCE_DATE_EPOCH, as it was for deb.sh
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
dist=$1 name=inspur-cloud-controller-manager
shift
sh deploy/build-tools.sh dpkg-deb:dpkg
this=$(dpkg --print-architecture)
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "deb: $*" >&2; exit 1; }

sort > "$W/want" << EOF
-rw-r--r-- ./etc/default/$name
-rw-r--r-- ./usr/lib/systemd/system/$name.service
-rw-r--r-- ./usr/share/bash-completion/completions/$name
-rw-r--r-- ./usr/share/doc/$name/NOTICES
-rw-r--r-- ./usr/share/doc/$name/changelog.gz
-rw-r--r-- ./usr/share/doc/$name/copyright
-rw-r--r-- ./usr/share/doc/$name/examples/cloud-config
-rw-r--r-- ./usr/share/fish/vendor_completions.d/$name.fish
-rw-r--r-- ./usr/share/lintian/overrides/$name
-rw-r--r-- ./usr/share/man/man8/$name.8.gz
-rw-r--r-- ./usr/share/zsh/vendor-completions/_$name
-rwxr-xr-x ./usr/bin/$name
EOF
for pair; do
  cpu=${pair%%=*} run=
  set -- "$dist"/*_"$cpu".deb
  if [ ! -f "$1" ] || [ $# -ne 1 ]; then fail "not one package for $cpu: $*"; fi
  [ "$(dpkg-deb --field "$1" Architecture)" = "$cpu" ] || fail "$1 is for another CPU"
  [ -z "$(dpkg-deb --field "$1" Depends)" ] || fail "$1 needs other packages"
  dpkg-deb --contents "$1" | awk '!/^d/ { print $1, $6 }' | sort | diff "$W/want" - >&2 || fail "$1 has other files"
  dpkg-deb --extract "$1" "$W/$cpu"
  cmp "${pair#*=}" "$W/$cpu/usr/bin/$name" || fail "$1 has another program"
  gzip -dc "$W/$cpu/usr/share/man/man8/$name.8.gz" | cmp - "deploy/man/$name.8" || fail "$1 has another man page"
  if [ "$cpu" != "$this" ]; then
    case $cpu in amd64) run=qemu-x86_64 ;; arm64) run=qemu-aarch64 ;; esac
    sh deploy/build-tools.sh "$run:qemu-user"
  fi
  $run "$W/$cpu/usr/bin/$name" --version
done

# Whoever makes them, and whatever the files look like in the work tree.
(umask 077 && TZ=Asia/Shanghai sh deploy/deb.sh "$W/again" > /dev/null)
for package in "$dist"/*.deb; do cmp "$package" "$W/again/$(basename "$package")" || fail 'not the same twice'; done

if [ "$(id -u)" -ne 0 ] && [ "${CI:-}" != true ]; then
  echo "deb: as packages should be, and the same twice; not installed anywhere, which needs root"
  exit
fi
suite=${DEBIAN:-bookworm}
base=${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur/debian-$suite.tar
if [ ! -f "$base" ]; then
  sh deploy/build-tools.sh debootstrap:debootstrap
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
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
# shellcheck disable=SC2016 # the format is dpkg's
installed() { inside dpkg-query --show --showformat '${db:Status-Status} ${Version}' "$name"; }
# The unit's own line, by a shell, which reads it as systemd does.
start() { # ARGUMENT...
  line=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/$name.service")
  inside CREDENTIALS_DIRECTORY=/etc/inspur sh -c ". /etc/default/$name; $line $*" 2>&1
}
says() { printf '%s\n' "$said" | grep -q "$1" || { printf '%s\n' "$said" >&2; fail "it does not say: $1"; }; }

# Where systemd is not, as when an image is made.
cp "$dist"/*_"$this".deb "$root/first.deb"
inside apt-get install --yes -qq -o Dpkg::Use-Pty=0 /first.deb
version=$(dpkg-deb --field "$root/first.deb" Version)
[ "$(installed)" = "installed $version" ] || fail 'it is not installed'
inside $name --version
[ "$(stat -c %a "$root/etc/inspur")" = 700 ] || fail '/etc/inspur is not for root alone'

# The example is fit for the unit.
cp "$root/usr/share/doc/$name/examples/cloud-config" "$root/etc/inspur/"
echo secret > "$root/etc/inspur/client-secret"
said=$(start check-config) || :
says '^flags  *ok'
says '^cloud config  *ok'

# A newer one with another default file, where systemd is at work but nothing may be started, nor would start; what an administrator
# wrote for the old one stays. Its flags and keys that are no more keep the program from starting, not from being upgraded.
mkdir -p "$root/run/systemd/system"
# shellcheck disable=SC2016 # for that script
printf '#!/bin/sh\necho "$*" >> /called\nexit 1\n' > "$root/usr/bin/systemctl"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/bin/systemctl" "$root/usr/sbin/policy-rc.d"
echo 'ARGS="-v=4 --route-table-refresh=5s"' > "$root/etc/default/$name"
printf 'kktoken=t\nslb-address=https://slb.example.com\n' > "$root/etc/inspur/cloud-config"
chmod 750 "$root/etc/inspur"
dpkg-deb --raw-extract "$root/first.deb" "$W/newer"
sed -i "s/^Version: .*/Version: $version+1/" "$W/newer/DEBIAN/control"
echo '# newer' >> "$W/newer/etc/default/$name"
dpkg-deb --root-owner-group --build "$W/newer" "$root/newer.deb" > /dev/null
inside dpkg --install --force-confold /newer.deb
[ "$(installed)" = "installed $version+1" ] || fail 'it is not upgraded'
grep -q route-table "$root/etc/default/$name" || fail 'the upgrade lost a changed conffile'
[ "$(tail -n 1 "$root/etc/default/$name.dpkg-dist")" = '# newer' ] || fail 'the new conffile is not beside the old one'
[ "$(stat -c %a "$root/etc/inspur")" = 750 ] || fail 'the upgrade changed what an administrator made of /etc/inspur'
[ "$(sort -u "$root/called")" = '--system daemon-reload' ] || fail "systemd was asked for more: $(cat "$root/called")"
if said=$(start); then fail 'it runs with a flag that does not exist'; fi
says '^error: unknown flag --route-table-refresh$'
says '^warning: /etc/inspur/cloud-config:2: unknown key slb-address'
says '^error: /etc/inspur/cloud-config: slbUrl-pre is missing'

# Where it may be started: restarted if it runs, and stopped before it goes. That neither works keeps it from nothing.
rm "$root/usr/sbin/policy-rc.d" "$root/called"
inside dpkg --install /newer.deb
grep -q "try-restart $name.service" "$root/called" || fail "it is not restarted: $(cat "$root/called")"
inside dpkg --remove $name
grep -q "stop $name.service" "$root/called" || fail "it is not stopped: $(cat "$root/called")"
[ -f "$root/etc/default/$name" ] || fail 'removing it removed a conffile'
[ ! -e "$root/usr/bin/$name" ] || fail 'the program is left'

gone() {
  left=$(find "$root/etc" "$root/usr" "$root/var/lib" -name "*$name*")
  [ -z "$left" ] || fail "left behind: $left"
}
inside dpkg --purge $name
gone
[ -f "$root/etc/inspur/cloud-config" ] || fail 'purging it removed what it did not bring'
rm -r "$root/etc/inspur"
inside dpkg --install /first.deb
inside dpkg --purge $name
gone
[ ! -e "$root/etc/inspur" ] || fail '/etc/inspur is left, with nothing in it'
echo "deb $version: the same twice; installed, upgraded, removed and purged in $suite"
