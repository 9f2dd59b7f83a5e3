#!/bin/sh
# Lets skopeo, which had no part in making it, carry the image as a user pushes it, and say of each CPU's how it runs.
# usage: check-image.sh VERSION DIST     DIST: image/ and image.tar, by deploy/image/build.sh
set -eu
cd "$(dirname "$0")/.."
version=$1 dist=$2
name=inspur-cloud-controller-manager
sh deploy/build-tools.sh skopeo:skopeo go:golang-go
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
carry() { skopeo --insecure-policy copy --quiet "$@"; }
runs() { # CPU IMAGE
  said=$(skopeo --override-arch "$1" inspect --config --format '{{.Architecture}} {{.Config.User}} {{.Config.Entrypoint}}' "$2")
  [ "$said" = "$1 65532:65532 [/$name]" ] || { echo "$1: skopeo says '$said'" >&2; exit 1; }
}

# What arrives is the same to the byte.
carry --all "oci:$dist/image:$version" "oci:$W/arrived:$version"
go run deploy/image/check.go "$W/arrived" > /dev/null
diff -r "$dist/image/blobs" "$W/arrived/blobs"
for cpu in amd64 arm64; do runs "$cpu" "oci:$W/arrived:$version"; done

# The packed one is for this machine, and has the layout's layers as they unpack.
case $(uname -m) in aarch64 | arm64) cpu=arm64 ;; *) cpu=amd64 ;; esac
runs "$cpu" "docker-archive:$dist/image.tar"
carry "docker-archive:$dist/image.tar" "dir:$W/packed"
echo "image $version: skopeo carries it for both CPUs, and packed"
