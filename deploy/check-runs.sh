#!/bin/sh
# Runs the image's program of each CPU through the demo of the simulators, in a root that holds the image's files, resolv.conf and
# hosts, as the image's user; and once more by the unit's own ExecStart. Needs root, for chroot.
# usage: check-runs.sh LAYOUT [SIMULATOR]     LAYOUT: what `make image` wrote; SIMULATOR: inspur-sim, for this machine
# The other CPU's program runs under qemu-user, which is laid into its root with its libraries.
set -eu
cd "$(dirname "$0")/.."
name=inspur-cloud-controller-manager
layout=$1 simulator=${2:-target/release/inspur-sim}
sh deploy/build-tools.sh qemu-aarch64:qemu-user
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
go run deploy/image/check.go "$layout" "amd64=$W/amd64" "arm64=$W/arm64" > /dev/null

# The emulator and what it needs, started by its own loader.
lay_emulator() { # ROOT
  mkdir "$1/emulator"
  ldd "$(command -v qemu-aarch64)" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\).*/\1/p' | sort -u > "$W/needed"
  while read -r library; do cp -L "$library" "$1/emulator/"; done < "$W/needed"
  cp -L "$(command -v qemu-aarch64)" "$1/emulator/"
  emulator="/emulator/$(basename "$(grep /ld- "$W/needed")") --library-path /emulator /emulator/qemu-aarch64"
}

for cpu in amd64 arm64; do
  root=$W/$cpu
  cp /etc/resolv.conf /etc/hosts "$root/etc/"
  emulator=
  [ "$cpu" != arm64 ] || lay_emulator "$root"
  # The demo hands over a folder with kubeconfig and cloud config: it goes into the root, at the same place.
  cat > "$W/$cpu.sh" <<R
#!/bin/sh
set -eu
for argument; do
  case \$argument in
    --kubeconfig=*)
      folder=\$(dirname "\${argument#*=}")
      mkdir -p "$root\$folder"
      cp "\$folder/kubeconfig" "\$folder/cloud-config" "$root\$folder/"
      chown -R 65532:65532 "$root\$folder"
      ;;
  esac
done
exec env -i /usr/sbin/chroot --userspec=65532:65532 "$root" $emulator "/$name" "\$@"
R
  chmod +x "$W/$cpu.sh"
  "$simulator" demo --daemon "$W/$cpu.sh" > "$W/$cpu.log" 2>&1 || { tail -n 40 "$W/$cpu.log" >&2; exit 1; }
  echo "$cpu: does its job in a root with $(cd "$root" && find . -path ./emulator -prune -o -path ./tmp -prune -o -type f -print | wc -l) files"
done

# The unit's line, with the folder in the place of its credentials.
line=$(sed -n 's|^ExecStart=/usr/bin/||p' "deploy/systemd/$name.service")
cat > "$W/unit.sh" <<R
#!/bin/sh
set -eu
for argument; do
  case \$argument in
    --kubeconfig=*) CREDENTIALS_DIRECTORY=\$(dirname "\${argument#*=}") ;;
    --cloud-config=*) ;;
    *) ARGS="\${ARGS-} \$argument" ;;
  esac
done
exec "$W/amd64"/$line
R
chmod +x "$W/unit.sh"
"$simulator" demo --daemon "$W/unit.sh" > "$W/unit.log" 2>&1 || { tail -n 40 "$W/unit.log" >&2; exit 1; }
echo "the unit's ExecStart: does its job"
