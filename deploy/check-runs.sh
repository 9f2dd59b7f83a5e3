#!/bin/sh
# Runs the image's program through the demo of the simulators, each time in a root that holds the image's files, hosts, resolv.conf and
# what its way of being started asks for: of each CPU with a kubeconfig, by the unit's ExecStart, by the rendered chart. Cloud and API
# server are reached by TLS and by name, and an authority that is not in the bundle is refused. Needs root, for chroot.
# usage: check-runs.sh LAYOUT [SIMULATOR]     LAYOUT: what `make image` wrote; SIMULATOR: inspur-sim, for this machine
# The other CPU's program runs under qemu-user, which is laid into its root with its libraries.
set -eu
cd "$(dirname "$0")/.."
layout=$1 simulator=${2:-target/release/inspur-sim}
sh deploy/build-tools.sh qemu-aarch64:qemu-user go:golang-go curl:curl
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
fail() { tail -n 60 "$W/log" >&2; echo "$*" >&2; exit 1; }

# An address that nobody else has; the front runs until its standard input ends.
nameserver=127.53.$(($$ / 250 % 250)).$(($$ % 250 + 1))
mkdir "$W/front"
mkfifo "$W/hold"
go build -o "$W/serve" deploy/runs/front.go
"$W/serve" "$W/front" "$nameserver:53" < "$W/hold" &
front=$!
exec 3> "$W/hold"
trap 'exec 3>&-; wait "$front" || :; rm -rf "$W"' EXIT
until [ -s "$W/front/port" ]; do
  kill -0 "$front" 2> /dev/null || exit 1
  sleep 0.1
done

# The emulator and what it needs, started by its own loader.
lay_emulator() { # ROOT
  mkdir "$1/emulator"
  ldd "$(command -v qemu-aarch64)" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\).*/\1/p' | sort -u > "$W/needed"
  while read -r library; do cp -L "$library" "$1/emulator/"; done < "$W/needed"
  cp -L "$(command -v qemu-aarch64)" "$1/emulator/"
  emulator="/emulator/$(basename "$(grep /ld- "$W/needed")") --library-path /emulator /emulator/qemu-aarch64"
}
lay() { # WAY CPU: a root, and what the demo starts
  root=$W/$1-$2
  go run deploy/image/check.go "$layout" "$2=$root" > /dev/null
  emulator=
  [ "$2" = amd64 ] || lay_emulator "$root"
  cat > "$root.sh" <<R
#!/bin/sh
export ROOT='$root' FOLDER='$W/front' NAMESERVER='$nameserver' ENDPOINT='$port' EMULATOR='$emulator'
exec sh '$PWD/deploy/runs/daemon.sh' $1 "\$@"
R
  chmod +x "$root.sh"
}
port=$((20000 + $$ % 10000))

for cpu in amd64 arm64; do
  lay kubeconfig "$cpu"
  "$simulator" demo --daemon "$root.sh" > "$W/log" 2>&1 || fail "$cpu: it does not do its job"
  echo "$cpu: does its job in a root with $(find "$root" -path "$root/emulator" -prune -o -type f -print | wc -l) files, over TLS"
done

lay unit amd64
"$simulator" demo --daemon "$root.sh" > "$W/log" 2>&1 || fail "the unit's ExecStart: it does not do its job"
echo "the unit's ExecStart: does its job"

# kubelet asks the container, too.
lay chart amd64
"$simulator" demo --daemon "$root.sh" > "$W/log" 2>&1 &
demo=$!
probed() { [ -s "$root.pod" ] && sed -n 's/^probe //p' "$root.pod" | xargs -n 1 curl -fsSk --max-time 5 > "$W/probed" 2>&1; }
until probed; do
  kill -0 "$demo" 2> /dev/null || fail "the chart's container: its probes never succeeded: $(cat "$W/probed")"
  sleep 0.2
done
wait "$demo" || fail "the chart's container: it does not do its job"
echo "the chart's container: does its job, and $(grep -c '^probe ' "$root.pod") probes succeed"
