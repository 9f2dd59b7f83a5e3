#!/bin/sh
# Takes a release as its user does: sums, tarballs, program, chart, manifests, image, packages; compares what it says of its contents
# with what cargo compiled; lays it out once more in another way, which must give the same bytes.
# usage: check-release.sh VERSION DIST CPU=BINARY...
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."
version=$1 dist=$2
shift 2
name=inspur-cloud-controller-manager
release=$dist/release
sh deploy/build-tools.sh go:golang-go qemu-aarch64:qemu-user
helm=$(sh deploy/tool.sh helm)
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
export HELM_CACHE_HOME="$W/helm" HELM_CONFIG_HOME="$W/helm" HELM_DATA_HOME="$W/helm"
fail() { echo "release: $*" >&2; exit 1; }

# Sums of everything, and everything is there.
(cd "$release" && sha256sum --check --strict --quiet SHA256SUMS)
(cd "$release" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort) > "$W/found"
sed 's/^[0-9a-f]*  //' "$release/SHA256SUMS" | sort > "$W/summed"
{
  for pair; do
    cpu=${pair%%=*}
    echo "$name-$version-linux-$cpu.tar.gz"
    (cd "$dist" && ls -- *_"$cpu".deb)
  done
  for file in chart.tgz image.tar kubernetes.tar.gz; do echo "$name-$version-$file"; done
  echo "$name-$version.cdx.json"
} | sort > "$W/wanted"
diff "$W/wanted" "$W/found" || fail 'it holds (>) what it should not, or lacks (<) something'
diff "$W/wanted" "$W/summed" || fail 'SHA256SUMS is about other files'

# A tarball for each CPU: all of it, the program starts, and what it says of its contents is so.
{
  printf '%s\n' "$name" LICENSE NOTICES README.md CHANGELOG.md sbom.cdx.json
  (cd deploy && find systemd examples man completions -type f)
} | sort > "$W/wanted"
for pair; do
  cpu=${pair%%=*}
  folder=$name-$version-linux-$cpu
  tar -x -C "$W" -f "$release/$folder.tar.gz"
  (cd "$W/$folder" && find . -type f -printf '%P\n' | sort) > "$W/found"
  diff "$W/wanted" "$W/found" || fail "$folder holds (>) what it should not, or lacks (<) something"
  sh deploy/check-static.sh "$W/$folder/$name" > /dev/null
  case $(uname -m)-$cpu in
    x86_64-arm64) emulator=qemu-aarch64 ;;
    aarch64-amd64) emulator=qemu-x86_64 ;;
    *) emulator= ;;
  esac
  [ "$($emulator "$W/$folder/$name" --version)" = "$name v$version" ] || fail "$folder: the program does not say its version"
  cmp "$W/$folder/sbom.cdx.json" "$release/$name-$version.cdx.json"
done
sh deploy/static.sh build --quiet --release --locked --bin "$name" --message-format=json \
  --target x86_64-unknown-linux-musl --target aarch64-unknown-linux-musl > "$W/messages"
go run deploy/release/check.go "$W/$folder" < "$W/messages"

# The chart renders what that of the repository does; manifests and packages are those that were checked; the image is whole.
tar -x -C "$W" -f "$release/$name-$version-chart.tgz"
tar -x -C "$W" -f "$release/$name-$version-kubernetes.tar.gz"
chart() { # CHART
  "$helm" template ccm "$1" --namespace kube-system --values deploy/chart/ci/example-values.yaml \
    --set-file cloudConfig.text=deploy/kubernetes/example/cloud-config 2> /dev/null
}
chart deploy/chart > "$W/1"
chart "$W/$name" > "$W/2"
cmp "$W/1" "$W/2"
diff -r --exclude=monitoring deploy/kubernetes "$W/$name-$version-kubernetes"
diff -r deploy/monitoring "$W/$name-$version-kubernetes/monitoring"
mkdir "$W/image"
tar -x -C "$W/image" -f "$release/$name-$version-image.tar"
go run deploy/image/check.go "$W/image" > /dev/null
for deb in "$dist"/*.deb; do cmp "$deb" "$release/$(basename "$deb")"; done

# Once more, by somebody with other habits.
mkdir "$W/again"
(
  umask 077
  export TZ=Asia/Shanghai LC_ALL=C.UTF-8
  cp "$dist"/*.deb "$W/again/"
  go run deploy/release/inside.go "$W/again"
  sh deploy/image/build.sh "$version" "$W/again/NOTICES" "$W/again" "$@"
  sh deploy/release/build.sh "$version" "$W/again" "$@" > /dev/null
)
diff "$release/SHA256SUMS" "$W/again/release/SHA256SUMS" || fail 'a second layout differs'
echo "release $version: $(wc -l < "$release/SHA256SUMS") files, whole, and the same twice"
