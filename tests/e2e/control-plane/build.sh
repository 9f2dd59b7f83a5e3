#!/usr/bin/env bash
# Builds a control plane for tests from pinned Go modules and prints the folder that holds its binaries
# (etcd, kube-apiserver, kubectl).
#
# usage: build.sh [VERSION]      VERSION: 1.37.2 (default), or an old one such as 1.14.10
#
# Binaries are kept in $CONTROL_PLANE_CACHE (default: ~/.cache/cloud-provider-inspur/control-plane) and are made again
# only when this folder's files change. etcd and kubectl always come from the newest version.
set -euo pipefail
newest=1.37.2
version=${1:-$newest}
here=$(cd "$(dirname "$0")" && pwd)
cache=${CONTROL_PLANE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur/control-plane}
export GOFLAGS=-mod=mod GOWORK=off

# build NAME STAMP COMMAND... : runs the command in a fresh folder, keeps it as $cache/NAME with its stamp
build() {
  local name=$1 stamp=$2; shift 2
  mkdir -p "$cache"
  exec 9>"$cache/$name.lock"
  flock 9
  if [ "$(cat "$cache/$name/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "building $name of the control plane (minutes when cold) ..." >&2
    # `go mod vendor` and module copies may be read-only
    [ -d "$cache/$name" ] && chmod -R u+w "$cache/$name" && rm -rf "$cache/$name"
    mkdir -p "$cache/$name/bin"
    "$@" "$cache/$name" >&2
    echo "$stamp" > "$cache/$name/stamp"
  fi
  exec 9>&-
}

newest() {
  cp "$here/v1.37/go.mod" "$here/v1.37/go.sum" "$1/"
  (cd "$1"
   v=k8s.io/component-base/version
   GOFLAGS=-mod=readonly go build -trimpath \
     -ldflags="-s -w -X $v.gitVersion=v$newest -X $v.gitMajor=1 -X $v.gitMinor=37" -o bin/ \
     go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
   mv bin/server bin/etcd)
}

old() {
  GOFLAGS= bash "$here/build-old.sh" "$version" "$1"
  ln -sf "$cache/v$newest/bin/etcd" "$cache/v$newest/bin/kubectl" "$1/bin/"
}

stamp() { cat "$@" | sha256sum | cut -c1-16; }

build "v$newest" "$(stamp "$here/build.sh" "$here"/v1.37/*)" newest
if [ "$version" != "$newest" ]; then
  build "v$version" "$(stamp "$here/build.sh" "$here/build-old.sh" "$here/gomod.py" "$here"/v1.37/*)-$version" old
fi
echo "$cache/v$version/bin"
