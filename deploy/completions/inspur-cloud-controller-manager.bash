# bash completion for inspur-cloud-controller-manager
# Made by `UPDATE_DOCS=1 cargo test --lib config::docs` from the table of flags: change that.

_inspur_cloud_controller_manager() {
  local word=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD-1]} joined='' list='' words='' head=''
  # bash takes --flag=value for three words
  if [ "$word" = '=' ]; then
    word='' joined=1
  elif [ "$flag" = '=' ]; then
    flag=${COMP_WORDS[COMP_CWORD-2]} joined=1
  fi
  COMPREPLY=()
  case $flag in
    --cloud-config | --kubeconfig | --tls-cert-file | --tls-private-key-file | --tls-sni-cert-key | --authentication-kubeconfig | --client-ca-file | --requestheader-client-ca-file | --authorization-kubeconfig) compopt -o default; return ;;
    --cloud-provider) words='incloud inspur' ;;
    --cluster-name | --concurrent-node-status-updates | --concurrent-node-syncs | --concurrent-service-syncs | --controller-start-interval | --kube-api-burst | --kube-api-qps | --master | --min-resync-period | --node-deletion-brake-percent | --node-deletion-brake-window | --node-deletion-confirmations | --node-monitor-period | --node-startup-grace-period | --node-status-update-frequency | --leader-elect-lease-duration | --leader-elect-renew-deadline | --leader-elect-resource-name | --leader-elect-resource-namespace | --leader-elect-retry-period | --bind-address | --secure-port | --authentication-token-webhook-cache-ttl | --requestheader-allowed-names | --requestheader-extra-headers-prefix | --requestheader-group-headers | --requestheader-uid-headers | --requestheader-username-headers | --authorization-always-allow-paths | --authorization-webhook-cache-authorized-ttl | --authorization-webhook-cache-unauthorized-ttl | -v | --v | --vmodule) return ;;
    --controllers) list=1 words='* cloud-node-controller cloud-node-lifecycle-controller service-lb-controller -cloud-node-controller -cloud-node-lifecycle-controller -service-lb-controller' ;;
    --use-service-account-credentials | --leader-elect | --permit-port-sharing | --authentication-skip-lookup | --authentication-tolerate-lookup-failure | --profiling | -h | --help | --version) [ -z "$joined" ] || words='true false' ;;
    --leader-elect-resource-lock) words='leases' ;;
    --cert-dir) compopt -o dirnames; return ;;
    --tls-cipher-suites) list=1 words='TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256' ;;
    --tls-curve-preferences) list=1 words='29 23 24' ;;
    --tls-min-version) words='VersionTLS12 VersionTLS13' ;;
    --logging-format) words='text json' ;;
  esac
  if [ -z "$words$joined" ]; then
    words='--cloud-config= --cloud-provider= --cluster-name= --concurrent-node-status-updates= --concurrent-node-syncs= --concurrent-service-syncs= --controller-start-interval= --controllers= --kube-api-burst= --kube-api-qps= --kubeconfig= --master= --min-resync-period= --node-deletion-brake-percent= --node-deletion-brake-window= --node-deletion-confirmations= --node-monitor-period= --node-startup-grace-period= --node-status-update-frequency= --use-service-account-credentials --leader-elect --leader-elect-lease-duration= --leader-elect-renew-deadline= --leader-elect-resource-lock= --leader-elect-resource-name= --leader-elect-resource-namespace= --leader-elect-retry-period= --bind-address= --cert-dir= --permit-port-sharing --secure-port= --tls-cert-file= --tls-cipher-suites= --tls-curve-preferences= --tls-min-version= --tls-private-key-file= --tls-sni-cert-key= --authentication-kubeconfig= --authentication-skip-lookup --authentication-token-webhook-cache-ttl= --authentication-tolerate-lookup-failure --client-ca-file= --requestheader-allowed-names= --requestheader-client-ca-file= --requestheader-extra-headers-prefix= --requestheader-group-headers= --requestheader-uid-headers= --requestheader-username-headers= --authorization-always-allow-paths= --authorization-kubeconfig= --authorization-webhook-cache-authorized-ttl= --authorization-webhook-cache-unauthorized-ttl= --profiling --logging-format= --v= --vmodule= --help --version'
    case " ${COMP_WORDS[*]} " in *' check-config '*) ;; *) words="check-config $words" ;; esac
  fi
  if [ -n "$list" ]; then
    head=${word%"${word##*,}"}
  fi
  mapfile -t COMPREPLY < <(compgen -P "$head" -W "$words" -- "${word#"$head"}")
  case ${COMPREPLY[0]-} in --*=) compopt -o nospace ;; esac
}
complete -F _inspur_cloud_controller_manager inspur-cloud-controller-manager
