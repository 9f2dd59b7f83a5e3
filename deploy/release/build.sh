#!/bin/sh
# Lays out a release: a tarball for each CPU, the chart, the manifests, the image, the bill of materials, and the sums of all.
# usage: build.sh VERSION DIST CPU=BINARY...
#   DIST has what was made before: NOTICES, sbom.cdx.json, image/, *.deb; it gets release/
# variables: SOURCE_DATE_EPOCH, the date of every file
set -eu
export LC_ALL=C
cd "$(dirname "$0")/../.."
version=$1 dist=$2
shift 2
name=inspur-cloud-controller-manager
out=$dist/release
rm -rf "$out"
mkdir -p "$out"
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM

# Depends on the files' names and bytes alone.
pack() { # FOLDER-IN-W ARCHIVE
  tar --create --format=ustar --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner \
    --mode=u+rwX,go+rX,go-w -C "$W" "$1" | gzip -9n > "$out/$2"
}

for pair; do
  folder=$name-$version-linux-${pair%%=*}
  mkdir -p "$W/$folder/systemd" "$W/$folder/examples"
  cp "${pair#*=}" "$W/$folder/$name"
  chmod 755 "$W/$folder/$name"
  cp LICENSE README.md CHANGELOG.md "$dist/NOTICES" "$dist/sbom.cdx.json" "$W/$folder/"
  cp deploy/systemd/* "$W/$folder/systemd/"
  cp deploy/examples/* "$W/$folder/examples/"
  pack "$folder" "$folder.tar.gz"
done

mkdir "$W/$name-$version-kubernetes"
cp -RL deploy/kubernetes/. "$W/$name-$version-kubernetes"
pack "$name-$version-kubernetes" "$name-$version-kubernetes.tar.gz"

# What `helm package` would make, but the same each time.
mkdir "$W/$name"
cp -RL deploy/chart/. "$W/$name"
rm -r "$W/$name/ci"
pack "$name" "$name-$version-chart.tgz"

# The layout as it is: whoever has skopeo, podman or nerdctl pushes both CPUs from it.
tar --create --format=ustar --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner \
  --mode=u+rwX,go+rX,go-w -C "$dist/image" . > "$out/$name-$version-image.tar"

cp "$dist/sbom.cdx.json" "$out/$name-$version.cdx.json"
for deb in "$dist"/*.deb; do [ ! -f "$deb" ] || cp "$deb" "$out/"; done
(cd "$out" && sha256sum -- * > "$W/sums" && mv "$W/sums" SHA256SUMS)
ls -l "$out"
