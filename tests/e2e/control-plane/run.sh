#!/usr/bin/env bash
# Runs a control plane for tests on loopback: one etcd, and a kube-apiserver for each port, each with a store of its own.
#
# usage: run.sh BIN DIR ETCD_PORT PEER_PORT API_PORT...
#
# BIN is what build.sh prints. DIR gets, for each API_PORT, `admin-API_PORT.kubeconfig` (all-powerful) and
# `ccm-API_PORT.kubeconfig` (exactly what deploy/rbac.yaml grants), `ccm-b-API_PORT.kubeconfig` (the same account with another UID, to tell
# two replicas apart in the audit log), `audit-API_PORT.log` (what they asked, and the other accounts with roles of deploy/; of leases also what they wrote; every watch of
# others, too; AUDIT_LOGS names another folder for them), client certificates (`master` and `alice`; of
# front proxies `front-proxy`, which may be one, and `stranger`), and all logs. Prints `ready` when all servers answer,
# runs until its standard input ends, then stops the API servers and after them etcd.
set -euo pipefail
bin=$1 dir=$2 etcd_port=$3 peer_port=$4
shift 4
root=$(cd "$(dirname "$0")/../../.." && pwd)
mkdir -p "$dir"
[ -z "${AUDIT_LOGS-}" ] || mkdir -p "$AUDIT_LOGS"
audit_logs=$(cd "${AUDIT_LOGS:-$dir}" && pwd)
cd "$dir"

pids=()
stop() {
  trap - EXIT
  for pid in "${pids[@]:1}"; do kill "$pid" 2>/dev/null || true; done
  # an API server whose etcd is gone does not stop for minutes: etcd goes last
  for pid in "${pids[@]:1}"; do wait "$pid" 2>/dev/null || true; done
  [ "${#pids[@]}" -eq 0 ] || kill "${pids[0]}" 2>/dev/null || true
}
trap stop EXIT

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }
key ca.key
openssl req -x509 -new -key ca.key -subj "/CN=test-ca" -days 3650 -out ca.crt
key server.key
openssl req -new -key server.key -subj "/CN=kube-apiserver" -out server.csr
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n' > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.crt 2>/dev/null
key front-ca.key
openssl req -x509 -new -key front-ca.key -subj "/CN=test-front-proxy-ca" -days 3650 -out front-ca.crt
client() { # NAME CA SUBJECT
  key "$1.key"
  openssl req -new -key "$1.key" -subj "$3" -out "$1.csr"
  echo extendedKeyUsage=clientAuth > client.ext
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 3650 -extfile client.ext -out "$1.crt" 2>/dev/null
}
client master ca /O=system:masters/CN=master
client alice ca /CN=alice
client front-proxy front-ca /CN=front-proxy
client stranger front-ca /CN=stranger
key sa.key
openssl ec -in sa.key -pubout -out sa.pub 2>/dev/null
admin=$(openssl rand -hex 16) ccm=$(openssl rand -hex 16) ccm_b=$(openssl rand -hex 16)
account=system:serviceaccount:kube-system:inspur-cloud-controller-manager
# docs/guides/bare-metal.md calls a user with the same roles inspur-ccm
others='"inspur-ccm", "system:serviceaccount:kube-system:service-controller", "system:serviceaccount:kube-system:node-controller"'
printf '%s,admin,admin,"system:masters"\n' "$admin" > tokens.csv
for one in "$ccm,$account,ccm" "$ccm_b,$account,ccm-b"; do echo "$one,\"system:serviceaccounts,system:authenticated\"" >> tokens.csv; done
cat > audit.yaml <<A
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: RequestResponse, users: ["$account"], verbs: [create, update, patch], resources: [{group: coordination.k8s.io, resources: [leases]}]}
- {level: Metadata, users: ["$account", $others]}
- {level: Metadata, verbs: [watch]}
- {level: None}
A

kubeconfig() { # PORT TOKEN
  cat <<K
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$1", certificate-authority: ca.crt}}]
users: [{name: test, user: {token: "$2"}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
K
}

"$bin/etcd" --data-dir etcd --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" --unsafe-no-fsync > etcd.log 2>&1 < /dev/null &
pids+=($!)
case $("$bin/kube-apiserver" --version) in
  *v1.1[0-9].*) old=--insecure-port=0 ;;
  *) old= ;;
esac
for port in "$@"; do
  kubeconfig "$port" "$admin" > "admin-$port.kubeconfig"
  kubeconfig "$port" "$ccm" > "ccm-$port.kubeconfig"
  kubeconfig "$port" "$ccm_b" > "ccm-b-$port.kubeconfig"
  "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --etcd-prefix "/$port" --secure-port "$port" --bind-address 127.0.0.1 \
    --tls-cert-file server.crt --tls-private-key-file server.key --token-auth-file tokens.csv --authorization-mode RBAC \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file sa.pub --service-account-signing-key-file sa.key \
    --service-cluster-ip-range 10.0.0.0/16 --disable-admission-plugins ServiceAccount,TaintNodesByCondition \
    --audit-policy-file audit.yaml --audit-log-path "$audit_logs/audit-$port.log" \
    --client-ca-file ca.crt --requestheader-client-ca-file front-ca.crt --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- --endpoint-reconciler-type none --allow-privileged=true $old > "apiserver-$port.log" 2>&1 < /dev/null &
  pids+=($!)
done
for port in "$@"; do
  kubectl() { "$bin/kubectl" --kubeconfig "admin-$port.kubeconfig" --cache-dir "cache-$port" "$@"; }
  for try in $(seq 300); do
    kubectl get --raw /healthz > /dev/null 2>&1 && kubectl get namespace kube-system default > /dev/null 2>&1 && break
    [ "$try" -lt 300 ] || { tail -n 20 "apiserver-$port.log" >&2; exit 1; }
    sleep 0.2
  done
  # `default` and its Service come last; before them Services may be refused
  kubectl apply --validate=false -f "$root/deploy/rbac.yaml" > "rbac-$port.log" 2>&1 || { cat "rbac-$port.log" >&2; exit 1; }
  # every cluster grants rights to accounts of these names, for kube-controller-manager: here they have what a test grants, and no more
  kubectl delete clusterrolebinding system:controller:service-controller system:controller:node-controller >> "rbac-$port.log" 2>&1 ||
    { cat "rbac-$port.log" >&2; exit 1; }
done
echo ready
cat > /dev/null
