#!/bin/sh
# Prints where a tool is that no distribution has in the version wanted here; it is built once, from its registry, and kept.
# usage: tool.sh helm | cargo-deb | kubeadm | kubectl
# variables: HELM_VERSION, CARGO_DEB_VERSION
set -eu
cd "$(dirname "$0")/.."
tools=${XDG_CACHE_HOME:-$HOME/.cache}/cloud-provider-inspur/tools

# Built aside and moved, so that what is there is whole.
keep() { # FILE COMMAND...: the command puts it into $W
  file=$1
  shift
  [ ! -x "$file" ] || return 0
  echo "building $(basename "$file"), once (minutes) ..." >&2
  mkdir -p "$tools"
  W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
  trap 'exit 1' HUP INT TERM
  "$@" >&2
  mv "$W/made" "$file"
}
helm() {
  GOFLAGS='' GOWORK=off GOBIN=$W go install -trimpath -ldflags='-s -w' "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"
  mv "$W/helm" "$W/made"
}
cargo_deb() {
  cargo install --quiet --locked --root "$W" "cargo-deb@$CARGO_DEB_VERSION"
  mv "$W/bin/cargo-deb" "$W/made"
}

# Of the module of the tests' control plane; what it needs beyond that one, Go adds to a copy.
kubeadm() {
  cp tests/e2e/control-plane/v1.37/go.mod tests/e2e/control-plane/v1.37/go.sum "$W/"
  v=k8s.io/component-base/version
  (cd "$W" && GOFLAGS=-mod=mod GOWORK=off go build -trimpath -o made \
    -ldflags="-s -w -X $v.gitVersion=$kubernetes -X $v.gitMajor=1 -X $v.gitMinor=37" k8s.io/kubernetes/cmd/kubeadm)
}

HELM_VERSION=${HELM_VERSION:-3.22.0} CARGO_DEB_VERSION=${CARGO_DEB_VERSION:-3.8.0}
case $1 in
  helm)
    sh deploy/build-tools.sh go:golang-go
    keep "$tools/helm-$HELM_VERSION" helm
    echo "$tools/helm-$HELM_VERSION"
    ;;
  cargo-deb)
    keep "$tools/cargo-deb-$CARGO_DEB_VERSION" cargo_deb
    echo "$tools/cargo-deb-$CARGO_DEB_VERSION"
    ;;
  kubeadm)
    sh deploy/build-tools.sh go:golang-go
    kubernetes=$(sed -n 's|^require k8s.io/kubernetes ||p' tests/e2e/control-plane/v1.37/go.mod)
    keep "$tools/kubeadm-$kubernetes" kubeadm
    echo "$tools/kubeadm-$kubernetes"
    ;;
  kubectl) # the tests' own control plane has one
    echo "${CONTROL_PLANE:-$(bash tests/e2e/control-plane/build.sh)}/kubectl"
    ;;
  *)
    echo "usage: tool.sh helm | cargo-deb | kubeadm | kubectl" >&2
    exit 2
    ;;
esac
