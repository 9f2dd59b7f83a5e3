#!/bin/sh
# Shows the manifests and the chart's objects to a real kube-apiserver, which takes them in all but fact (a server-side dry run).
# usage: check-dry-run.sh [VERSION]      a version that tests/e2e/control-plane builds; default: the newest
# Unknown and doubled fields are errors, but for versions that know less than the manifests.
set -eu
cd "$(dirname "$0")/.."
version=${1:-}
bin=$(bash tests/e2e/control-plane/build.sh ${version:+"$version"})
helm=$(sh deploy/tool.sh helm)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
export HELM_CACHE_HOME="$W/helm" HELM_CONFIG_HOME="$W/helm" HELM_DATA_HOME="$W/helm"

# Three ports that are free now. The control plane runs until its standard input ends.
port=$((20000 + $$ % 10000))
mkfifo "$W/hold"
bash tests/e2e/control-plane/run.sh "$bin" "$W/plane" "$port" "$((port + 1))" "$((port + 2))" < "$W/hold" > "$W/said" 2>&1 &
plane=$!
exec 3> "$W/hold"
trap 'exec 3>&-; wait "$plane" || :; rm -rf "$W"' EXIT
while ! grep -q '^ready' "$W/said"; do
  kill -0 "$plane" 2> /dev/null || { cat "$W/said" >&2; exit 1; }
  sleep 1
done
kubectl() { "$bin/kubectl" --kubeconfig "$W/plane/admin-$((port + 2)).kubeconfig" "$@"; }
chart() { # ARGUMENT...
  "$helm" template ccm deploy/chart --namespace kube-system --values deploy/chart/ci/example-values.yaml \
    --set-file cloudConfig.text=deploy/kubernetes/example/cloud-config "$@" 2> "$W/complaints" || { cat "$W/complaints" >&2; exit 1; }
}
# The tests' control plane begins with the rights alone.
kubectl delete -f deploy/rbac.yaml > /dev/null

tried=0
taken() { # NAME FILE
  kubectl create --dry-run=server --validate="$validate" -f "$2" > "$W/answer" || { echo "$1: refused" >&2; exit 1; }
  tried=$((tried + $(grep -c 'created (server dry run)' "$W/answer")))
}
server=$(kubectl get --raw /version | sed -n 's/.*"gitVersion": *"\([^"]*\)".*/\1/p')
case $server in
  v1.1[0-9].*) validate=false ;;
  *)
    validate=strict
    for kustomization in example daemonset; do
      kubectl kustomize "deploy/kubernetes/$kustomization" > "$W/$kustomization.yaml"
      taken "$kustomization" "$W/$kustomization.yaml"
    done
    ;;
esac
for kind in Deployment DaemonSet; do
  chart --kube-version "$server" --set kind=$kind > "$W/$kind.yaml"
  taken "the chart's $kind" "$W/$kind.yaml"
done
[ "$tried" -gt 0 ]
echo "kube-apiserver $server: takes $tried objects"
