#!/bin/sh
# The kustomizations and the chart render the same objects, and the chart refuses what makes no sense.
# usage: check-manifests.sh
# Both go through kustomize at the end, which sorts objects and keys, so that equal objects are equal lines.
set -eu
cd "$(dirname "$0")/.."
kubectl=$(sh deploy/tool.sh kubectl) helm=$(sh deploy/tool.sh helm)
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
trap 'exit 1' HUP INT TERM
export HELM_CACHE_HOME="$W/helm" HELM_CONFIG_HOME="$W/helm" HELM_DATA_HOME="$W/helm"

# Two things differ on purpose: what makes Pods roll out when the cloud config changes. One is the ConfigMap's name, the other
# an annotation.
canonical() { # FILE NAME
  mkdir -p "$W/$2"
  sed 's/inspur-cloud-config-[a-z0-9]\{10\}$/inspur-cloud-config/; /^ *annotations:$/{N;/checksum\/cloud-config/d}' "$1" > "$W/$2/objects.yaml"
  printf 'resources: [objects.yaml]\nsortOptions: {order: legacy}\n' > "$W/$2/kustomization.yaml"
  "$kubectl" kustomize "$W/$2"
}
render() { # ARGUMENT...
  "$helm" template ccm deploy/chart --namespace kube-system --kube-version 1.37.2 --values deploy/chart/ci/example-values.yaml \
    --set-file cloudConfig.text=deploy/kubernetes/example/cloud-config "$@" 2> "$W/complaints"
}
same() { # CASE KUSTOMIZATION HELM-ARGUMENT...
  name=$1 kustomization=$2
  shift 2
  "$kubectl" kustomize "$kustomization" > "$W/kustomized.yaml"
  render "$@" > "$W/helmed.yaml" || { cat "$W/complaints" >&2; exit 1; }
  canonical "$W/kustomized.yaml" "$name-kustomize" > "$W/1"
  canonical "$W/helmed.yaml" "$name-helm" > "$W/2"
  diff -u "$W/1" "$W/2" || { echo "$name: kustomize (-) and the chart (+) differ" >&2; exit 1; }
  echo "$name: the same $(grep -c '^kind:' "$W/1") objects"
}
bad=0
refused() { # WORDS HELM-ARGUMENT...
  words=$1 bad=$((bad + 1))
  shift
  if render "$@" > /dev/null; then echo "rendered in spite of $*" >&2; exit 1; fi
  grep -q -e "$words" "$W/complaints" || { echo "$*: not refused for '$words':" >&2; cat "$W/complaints" >&2; exit 1; }
}

mkdir "$W/monitored"
cat > "$W/monitored/kustomization.yaml" <<K
resources: [../kubernetes/example]
components: [../kubernetes/service-monitor]
K
# Elsewhere, as a release has them: without what is beside them here.
cp -RL deploy/kubernetes "$W/"

same example "$W/kubernetes/example"
same daemonset "$W/kubernetes/daemonset" --set kind=DaemonSet
same monitored "$W/monitored" --set serviceMonitor.enabled=true

# Of the wrong type, out of range, unknown, or at odds with each other.
refused 'replicas' --set replicas=two
refused 'replicas' --set replicas=-1
refused 'replicas' --set replicas=11
refused 'replicas' --set replicas=1.5
refused 'replica' --set replica=2
refused 'kind' --set kind=Job
refused 'kind' --set kind=deployment
refused 'tag' --set image.tag='not a tag'
refused 'pullPolicy' --set image.pullPolicy=Sometimes
refused 'image' --set image=registry.example.com/ccm
refused 'digest' --set image.digest=sha256:0
refused 'file' --set cloudConfig.file=x
refused 'a/b' --set credentials.files.a/b=c
refused 'client-secret' --set credentials.files.client-secret=
refused 'client-secret' --set credentials.files.client-secret=1
refused 'existingSecret' --set credentials.files=null,credentials.existingSecret=My_Secret
refused 'securePort' --set securePort=80
refused 'securePort' --set-string securePort=10258
refused 'bindAddress' --set bindAddress=everywhere
refused 'verbosity' --set verbosity=11
refused 'extraArgs' --set 'extraArgs={leader-elect}'
refused 'extraArgs' --set extraArgs=--leader-elect
refused 'env' --set 'env[0].value=x'
refused 'tolerations' --set 'tolerations={all}'
refused 'controlPlaneOnly' --set controlPlaneOnly=no-thanks
refused 'memory' --set resources.limits.memory=lots
refused 'cpus' --set resources.cpus=1
refused 'podAnnotations' --set podAnnotations.a=1
refused 'enabled' --set podDisruptionBudget.enabled=1
refused 'enable' --set service.enable=true
refused 'image.repository is required' --set image.repository=
refused 'there is no cloud config' --set-file cloudConfig.text=/dev/null
refused 'exclude each other' --set cloudConfig.existingConfigMap=mine
refused 'exclude each other' --set credentials.existingSecret=mine
refused 'needs service.enabled' --set serviceMonitor.enabled=true,service.enabled=false
# A release may rest.
render --set replicas=0 | grep -q '^  replicas: 0$'
echo "$bad bad values: refused"

# The config may come whole from a Secret, as the 2020 controller had it; old clusters have an older kind of budget.
"$helm" template ccm deploy/chart --namespace kube-system --set image.repository=x --set credentials.existingSecret=mine --kube-version 1.14.10 2> "$W/complaints" > "$W/old.yaml"
grep -q 'policy/v1beta1' "$W/old.yaml" && grep -q 'name: mine' "$W/old.yaml"
if grep -q 'kind: ConfigMap' "$W/old.yaml"; then exit 1; fi

# In another namespace the account goes along; what it may do in kube-system, where the lease is, stays there.
"$helm" template ccm deploy/chart --namespace other --set image.repository=x --set credentials.existingSecret=mine \
  --show-only templates/rbac.yaml 2> "$W/complaints" > "$W/elsewhere.yaml"
namespaces=$(sed -n 's/^ *namespace: //p' "$W/elsewhere.yaml" | sort | uniq -c | xargs)
[ "$namespaces" = '2 kube-system 3 other' ] || { echo "not Role and RoleBinding here, account and 2 subjects there: $namespaces" >&2; exit 1; }
"$helm" lint --quiet --strict deploy/chart --values deploy/chart/ci/example-values.yaml \
  --set-file cloudConfig.text=deploy/kubernetes/example/cloud-config
