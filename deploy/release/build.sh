#!/bin/sh
# Lays out a release: a tarball for each CPU, the chart, the manifests with the monitoring, the image, the packages, the bill of
# materials, and the sums of all.
# usage: build.sh VERSION DIST CPU=BINARY...
#   DIST has what was made before: NOTICES, sbom.cdx.json, image/, a .deb for each CPU; it gets release/
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

# A tar that depends on the files' names and bytes alone.
plain_tar() { # FOLDER WHAT
  tar --create --format=ustar --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner \
    --mode=u+rwX,go+rX,go-w -C "$1" "$2"
}
pack() { # FOLDER-IN-W ARCHIVE
  plain_tar "$W" "$1" | gzip -9n > "$out/$2"
}

for pair; do
  folder=$name-$version-linux-${pair%%=*}
  mkdir -p "$W/$folder"
  cp "${pair#*=}" "$W/$folder/$name"
  chmod 755 "$W/$folder/$name"
  cp LICENSE README.md CHANGELOG.md "$dist/NOTICES" "$dist/sbom.cdx.json" "$W/$folder/"
  for part in systemd examples man completions; do cp -R "deploy/$part" "$W/$folder/"; done
  pack "$folder" "$folder.tar.gz"
done

mkdir "$W/$name-$version-kubernetes"
cp -RL deploy/kubernetes/. deploy/monitoring "$W/$name-$version-kubernetes"
pack "$name-$version-kubernetes" "$name-$version-kubernetes.tar.gz"

# What `helm package` would make, but the same each time.
mkdir "$W/$name"
cp -RL deploy/chart/. "$W/$name"
rm -r "$W/$name/ci"
pack "$name" "$name-$version-chart.tgz"

# The layout as it is: whoever has skopeo, podman or nerdctl pushes both CPUs from it.
plain_tar "$dist/image" . > "$out/$name-$version-image.tar"

cp "$dist/sbom.cdx.json" "$out/$name-$version.cdx.json"
cp "$dist"/*.deb "$out/"
(cd "$out" && sha256sum -- * > "$W/sums" && mv "$W/sums" SHA256SUMS)
ls -l "$out"
