#!/bin/sh
# Makes the image as an OCI layout, from scratch and by nothing but tar, gzip and sha256sum: the same digests wherever it is made.
# usage: build.sh VERSION NOTICES OUT CPU=BINARY...     CPU: amd64 or arm64; NOTICES: the licences of what is in the binaries
#   OUT/image          the layout: one index over all CPUs, named VERSION
#   OUT/image.tar      the same packed, with the manifest.json that `docker load` reads, for this machine's CPU
# variables: CA_BUNDLE, the certificates that go into it; SOURCE_DATE_EPOCH, its date; REVISION, the commit
set -eu
export LC_ALL=C
version=$1 notices=$2 out=$3
shift 3
name=inspur-cloud-controller-manager
CA_BUNDLE=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
[ -s "$CA_BUNDLE" ] || { echo "image: no certificates at $CA_BUNDLE; set CA_BUNDLE" >&2; exit 1; }
epoch=${SOURCE_DATE_EPOCH:-0}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)

layout=$out/image
rm -rf "$layout" "$out/image.tar"
mkdir -p "$layout/blobs/sha256"
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM

# A tar that depends on the files' names and bytes alone.
plain_tar() {
  tar --create --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w -C "$1" .
}
# Moves a file into the layout and says, as JSON members, what it is.
blob() { # FILE MEDIA-TYPE
  digest=$(sha256sum < "$1" | cut -d' ' -f1)
  printf '"mediaType":"%s","digest":"sha256:%s","size":%s' "$2" "$digest" "$(wc -c < "$1")"
  mv "$1" "$layout/blobs/sha256/$digest"
}
# Packs a folder as a layer. Descriptor and the digest of what it unpacks to go to FOLDER.blob and FOLDER.diff.
layer() { # FOLDER
  plain_tar "$1" > "$1.tar"
  printf '"sha256:%s"' "$(sha256sum < "$1.tar" | cut -d' ' -f1)" > "$1.diff"
  gzip -9n "$1.tar"
  blob "$1.tar.gz" application/vnd.oci.image.layer.v1.tar+gzip > "$1.blob"
}
digest_of() { sed 's/.*"sha256:\([0-9a-f]*\)".*/\1/' "$1"; }

about='"org.opencontainers.image.title":"'$name'","org.opencontainers.image.description":"External cloud controller manager for Kubernetes on INSPUR Cloud","org.opencontainers.image.licenses":"Apache-2.0","org.opencontainers.image.source":"https://github.com/OpenInspur/cloud-provider-inspur","org.opencontainers.image.version":"'$version'","org.opencontainers.image.created":"'$created'"'
[ -z "${REVISION:-}" ] || about="$about"',"org.opencontainers.image.revision":"'$REVISION'"'

# Certificates and notices are the same for every CPU: one layer below, shared.
mkdir -p "$W/common/etc/ssl/certs" "$W/common/usr/share/doc/$name"
cp "$CA_BUNDLE" "$W/common/etc/ssl/certs/ca-certificates.crt"
cp "$notices" "$W/common/usr/share/doc/$name/"
layer "$W/common"

: > "$W/manifests"
for pair; do
  cpu=${pair%%=*} binary=${pair#*=}
  mkdir "$W/$cpu"
  cp "$binary" "$W/$cpu/$name"
  chmod 755 "$W/$cpu/$name"
  layer "$W/$cpu"
  printf '{"created":"%s","architecture":"%s","os":"linux","config":{"User":"65532:65532","WorkingDir":"/","Entrypoint":["/%s"],"ExposedPorts":{"10258/tcp":{}},"Labels":{%s}},"rootfs":{"type":"layers","diff_ids":[%s,%s]},"history":[{"created":"%s","comment":"certificates and notices"},{"created":"%s","comment":"%s"}]}' \
    "$created" "$cpu" "$name" "$about" "$(cat "$W/common.diff")" "$(cat "$W/$cpu.diff")" "$created" "$created" "$name" > "$W/$cpu.config"
  blob "$W/$cpu.config" application/vnd.oci.image.config.v1+json > "$W/$cpu.config.blob"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{%s},"layers":[{%s},{%s}],"annotations":{%s}}' \
    "$(cat "$W/$cpu.config.blob")" "$(cat "$W/common.blob")" "$(cat "$W/$cpu.blob")" "$about" > "$W/$cpu.manifest"
  blob "$W/$cpu.manifest" application/vnd.oci.image.manifest.v1+json > "$W/$cpu.manifest.blob"
  [ ! -s "$W/manifests" ] || printf , >> "$W/manifests"
  printf '{%s,"platform":{"architecture":"%s","os":"linux"}}' "$(cat "$W/$cpu.manifest.blob")" "$cpu" >> "$W/manifests"
done

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s],"annotations":{%s}}' "$(cat "$W/manifests")" "$about" > "$W/index"
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
  "$(blob "$W/index" application/vnd.oci.image.index.v1+json)" "$version" > "$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"

# Docker before its containerd store reads manifest.json and one CPU.
case $(uname -m) in aarch64 | arm64) cpu=arm64 ;; *) cpu=amd64 ;; esac
if [ -f "$W/$cpu.blob" ]; then
  cp -R "$layout" "$W/packed"
  printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s:%s"],"Layers":["blobs/sha256/%s","blobs/sha256/%s"]}]' \
    "$(digest_of "$W/$cpu.config.blob")" "${IMAGE:-$name}" "$version" "$(digest_of "$W/common.blob")" "$(digest_of "$W/$cpu.blob")" > "$W/packed/manifest.json"
  plain_tar "$W/packed" > "$out/image.tar"
fi
