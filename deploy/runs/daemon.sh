#!/bin/sh
# The image's program in a root of its own, where it has no way to the simulators but front.go: TLS, by names. Started by `inspur-sim demo`
# in the place of its controller, with its flags; as root, for chroot.
# usage: daemon.sh WAY FLAG...
#   kubeconfig   with a kubeconfig, as on any machine; before, with an unknown authority, it must have trusted nobody
#   unit         by the systemd unit's own ExecStart
#   chart        by the rendered chart: arguments, environment, volumes, user; in the cluster, with a service account
# variables: ROOT, what the image holds; FOLDER, that of front.go; NAMESERVER; ENDPOINT, the port of the chart's endpoint;
#   EMULATOR, what runs the program there
set -eu
cd "$(dirname "$0")/../.."
way=$1
shift
name=inspur-cloud-controller-manager
own=''  # the flags of the demo's own, with commas in between
for flag; do
  case $flag in
    --kubeconfig=*) given=$(dirname "${flag#*=}") ;;
    --cloud-config=* | --secure-port=*) ;;
    *) own="$own${own:+,}$flag" ;;
  esac
done
W=$(mktemp -d) && trap 'rm -rf "$W"' EXIT
fail() { echo "$*" >&2; exit 1; }

# The API server's name is in hosts, the cloud's is asked of the name server. What is secret in the cloud config has a file of its own.
front=$(cat "$FOLDER/port")
by_name() { sed "s|http://127\.0\.0\.1:\([0-9]*\)|https://p\1.$2:$front|" "$given/$1"; }
by_name kubeconfig hosts.test > "$W/kubeconfig"
by_name cloud-config named.test | sed 's|^client-secret=.*|client-secret-file=client-secret|' > "$W/cloud-config"
sed -n 's|^client-secret=||p' "$given/cloud-config" | tr -d '\n' > "$W/client-secret"
api=$(sed -n 's|.*https://\([^:]*\):.*|\1|p' "$W/kubeconfig")
printf '127.0.0.1 localhost\n127.0.0.1 %s\n' "$api" > "$ROOT/etc/hosts"
echo "nameserver $NAMESERVER" > "$ROOT/etc/resolv.conf"

user=65532:65532 environment=''
# shellcheck disable=SC2086 # words: variables, and the emulator's command
in_root() { env -i $environment /usr/sbin/chroot --userspec="$user" "$ROOT" ${EMULATOR:-} "/$name" "$@"; }
files() { # FOLDER: puts all three there, for nobody else
  install -d -m 0500 -o "${user%:*}" -g "${user#*:}" "$ROOT$1"
  install -m 0400 -o "${user%:*}" -g "${user#*:}" "$W/kubeconfig" "$W/cloud-config" "$W/client-secret" "$ROOT$1/"
}
trust() { cat "$FOLDER/ca.crt" >> "$ROOT/etc/ssl/certs/ca-certificates.crt"; }

case $way in
  kubeconfig)
    files /etc/inspur
    # shellcheck disable=SC2046 # flags
    set -- --kubeconfig=/etc/inspur/kubeconfig --cloud-config=/etc/inspur/cloud-config --secure-port=0 $(echo "$own" | tr , ' ')
    said=$(in_root check-config "$@" 2>&1) && fail "it trusts whom it does not know: $said"
    for who in 'API server' 'cloud token'; do
      echo "$said" | grep -q "^$who  *FAILED .*certificate.*" || fail "it does not refuse the certificate of the $who: $said"
    done
    trust
    said=$(in_root check-config "$@" 2>&1) || fail "something is wrong with its configuration: $said"
    ;;
  unit)
    CREDENTIALS_DIRECTORY=/run/credentials/$name.service
    files "$CREDENTIALS_DIRECTORY"
    trust
    # shellcheck disable=SC2034 # in the unit's line
    ARGS="--secure-port=0 $(echo "$own" | tr , ' ')"
    line=$(sed -n "s|^ExecStart=/usr/bin/$name ||p" "deploy/systemd/$name.service")
    [ -n "$line" ] || fail 'the unit has no ExecStart'
    eval "set -- $line"
    ;;
  chart)
    kubectl=$(sh deploy/tool.sh kubectl) helm=$(sh deploy/tool.sh helm)
    # The endpoint on this machine alone, and the demo's own flags among the chart's.
    HOME=$W "$helm" template ccm deploy/chart --namespace kube-system --set image.repository=tried.here \
      --set-file "cloudConfig.text=$W/cloud-config" --set-file "credentials.files.client-secret=$W/client-secret" \
      --set "bindAddress=127.0.0.1,securePort=$ENDPOINT,env[0].name=NO_PROXY,env[0].value=.test" \
      --set "extraArgs={$own}" > "$W/objects.yaml" 2> "$W/complaints" || fail "$(cat "$W/complaints")"
    KUBECONFIG=/dev/null "$kubectl" annotate --local --output=json --filename="$W/objects.yaml" tried=here > "$W/objects.json"
    go run deploy/runs/pod.go "$ROOT" < "$W/objects.json" > "$ROOT.pod"
    account=/var/run/secrets/kubernetes.io/serviceaccount
    install -d "$ROOT$account"
    cp "$FOLDER/ca.crt" "$ROOT$account/"
    sed -n 's/^ *token: //p' "$W/kubeconfig" > "$ROOT$account/token"
    echo kube-system > "$ROOT$account/namespace"
    trust
    environment="KUBERNETES_SERVICE_HOST=$api KUBERNETES_SERVICE_PORT=$front"
    set --
    while read -r what value; do
      case $what in
        user) user=$value ;;
        env) environment="$environment $value" ;;
        arg) set -- "$@" "$value" ;;
      esac
    done < "$ROOT.pod"
    ;;
esac
rm -r "$W"
# shellcheck disable=SC2086
exec env -i $environment /usr/sbin/chroot --userspec="$user" "$ROOT" ${EMULATOR:-} "/$name" "$@"
