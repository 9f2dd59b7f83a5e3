#!/bin/sh
# Lets buildah, which had no part in making it, take the image of each CPU out of the layout and out of the packed one, into a store of
# its own. Needs root.
# usage: check-image.sh VERSION DIST     DIST: image/ and image.tar, by deploy/image/build.sh
set -eu
cd "$(dirname "$0")/.."
version=$1 dist=$2
name=inspur-cloud-controller-manager
sh deploy/build-tools.sh buildah:buildah go:golang-go
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
store() { buildah --root "$W/store" --runroot "$W/run" --storage-driver vfs "$@"; }
go run deploy/image/check.go "$dist/image" "amd64=$W/amd64" "arm64=$W/arm64" > /dev/null

taken() { # CPU IMAGE
  said=$(store inspect --type image --format '{{.OCIv1.Architecture}} {{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}' "$2")
  [ "$said" = "$1 65532:65532 [/$name]" ] || { echo "$1: buildah says '$said'" >&2; exit 1; }
  diff -r "$W/$1" "$(store mount "$(store from --pull-never "$2")")"
}
for cpu in amd64 arm64; do
  taken "$cpu" "$(store pull --quiet --arch "$cpu" "oci:$dist/image:$version")"
done
case $(uname -m) in aarch64 | arm64) cpu=arm64 ;; *) cpu=amd64 ;; esac
taken "$cpu" "$(store pull --quiet "docker-archive:$dist/image.tar")"
echo "image $version: buildah takes it for both CPUs, and packed"
