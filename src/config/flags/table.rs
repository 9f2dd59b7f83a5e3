//! The table of flags: the parser, `--help` and the reference page all come from it.
//!
//! Names, types and defaults are those of Kubernetes' cloud controller manager. Source: ccm-behaviour.md 2.2.

use std::net::IpAddr;

use super::serving::sni_pair;
use crate::config::values;
use crate::logging::Modules;
use crate::runtime::sentence::Sentence;

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Without its dashes.
    pub name: &'static str,
    /// The letter that does the same.
    pub short: Option<char>,
    /// What values it takes.
    pub kind: Kind,
    /// The value where the flag is not given.
    pub default: &'static str,
    /// Where `--help` and the reference show it.
    pub group: Group,
    /// What it does here.
    pub effect: Effect,
}

/// What a flag does in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What the sentence says.
    Works(Sentence),
    /// Nothing, for the reason given. It is accepted so that upstream's manifests work.
    Meaningless(Sentence),
}

/// What values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As Go reads booleans; the flag alone is true, and a value must be joined by `=`.
    Bool,
    /// A whole number in this range.
    Int(i64, i64),
    /// Any finite number.
    Number,
    /// As Go reads durations.
    Duration,
    /// Anything.
    Text,
    /// A file's path.
    File,
    /// A folder's path.
    Folder,
    /// Texts, by comma and by repeating the flag.
    List,
    /// Whole numbers, likewise.
    Ints,
    /// `certificate,key` or `certificate,key:name,…`, by repeating the flag.
    SniPair,
    /// `pattern=N`, by comma.
    Modules,
    /// One of these.
    Choice(&'static [&'static str]),
    /// An IP address.
    Address,
    /// `name=true` or `name=false`, by comma.
    Gates,
}

impl Kind {
    /// The word for it in `--help`; empty where a value is rarely given.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Int(..) => "int",
            Self::Number => "float",
            Self::Duration => "duration",
            Self::Text | Self::File | Self::Folder | Self::Choice(_) => "string",
            Self::List => "strings",
            Self::Ints => "ints",
            Self::SniPair => "namedCertKey",
            Self::Modules => "pattern=N,...",
            Self::Address => "ip",
            Self::Gates => "mapStringBool",
        }
    }

    /// # Errors
    /// What is allowed, after the word "it".
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let fits = match self {
            Self::Text | Self::File | Self::Folder | Self::List => true,
            Self::Ints => {
                let whole = |number: &str| number.trim().parse::<i32>().is_ok();
                value.is_empty() || value.split(',').all(whole)
            }
            Self::SniPair => sni_pair(value).is_some(),
            Self::Modules => Modules::parse(value).is_ok(),
            Self::Bool => values::boolean(value).is_some(),
            Self::Int(low, high) => value.parse().is_ok_and(|number| (low..=high).contains(&number)),
            Self::Number => values::number(value).is_some(),
            Self::Duration => values::duration(value).is_some(),
            Self::Choice(choices) => choices.contains(&value),
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Gates => value.split(',').filter(|gate| !gate.is_empty()).all(|gate| {
                gate.split_once('=')
                    .is_some_and(|(_, on)| values::boolean(on.trim()).is_some())
            }),
        };
        if fits {
            return Ok(());
        }
        Err(match self {
            Self::Bool => "must be true or false".to_owned(),
            Self::Int(low, i64::MAX) => format!("must be a whole number from {low}"),
            Self::Int(low, high) => format!("must be a whole number from {low} to {high}"),
            Self::Number => "must be a number".to_owned(),
            Self::Duration => "must be a duration such as 1m30s or 12h".to_owned(),
            Self::Choice(choices) => format!("must be {}", choices.join(" or ")),
            Self::Address => "must be an IP address".to_owned(),
            Self::Ints => "must be whole numbers by comma".to_owned(),
            Self::SniPair => "must be certificate,key or certificate,key:name,...: two files, and DNS names such as example.com or *.example.com (TLS clients send no addresses)".to_owned(),
            Self::Modules => "must be pattern=N by comma: a pattern is the end of a module's path, such as client or service/*, with letters, digits, _ - * ? and / between segments, and N a whole number".to_owned(),
            Self::Gates | Self::Text | Self::File | Self::Folder | Self::List => "must be pairs like Name=true,Other=false".to_owned(),
        })
    }
}

/// Upstream's sections of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The program's job.
    Generic,
    /// One of several replicas leads.
    LeaderElection,
    /// The HTTPS endpoint.
    SecureServing,
    /// Who calls the HTTPS endpoint.
    Authentication,
    /// Who may call it.
    Authorization,
    /// Looking inside.
    Debugging,
    /// Admission webhooks.
    Webhook,
    /// What is said on standard error.
    Logs,
    /// About the program itself.
    Global,
    /// What controllers of 2020 had and upstream dropped since.
    Removed,
}

impl Group {
    /// In the order of `--help`.
    pub(crate) const ALL: [Self; 10] = [
        Self::Generic,
        Self::LeaderElection,
        Self::SecureServing,
        Self::Authentication,
        Self::Authorization,
        Self::Debugging,
        Self::Webhook,
        Self::Logs,
        Self::Global,
        Self::Removed,
    ];

    /// The heading.
    pub(crate) fn title(self) -> Sentence {
        match self {
            Self::Generic => Sentence::new("Generic flags", "通用参数"),
            Self::LeaderElection => Sentence::new("Leader election flags", "选主参数"),
            Self::SecureServing => Sentence::new("Secure serving flags", "安全服务参数"),
            Self::Authentication => Sentence::new("Authentication flags", "认证参数"),
            Self::Authorization => Sentence::new("Authorization flags", "鉴权参数"),
            Self::Debugging => Sentence::new("Debugging flags", "调试参数"),
            Self::Webhook => Sentence::new("Webhook flags", "Webhook 参数"),
            Self::Logs => Sentence::new("Logs flags", "日志参数"),
            Self::Global => Sentence::new("Global flags", "全局参数"),
            Self::Removed => Sentence::new("Flags that upstream has removed", "上游已移除的参数"),
        }
    }
}

const INT: Kind = Kind::Int(i64::MIN, i64::MAX);
const PORT: Kind = Kind::Int(0, 65535);

const NO_HTTP2: Sentence = Sentence::new("the endpoint speaks HTTP/1.1", "端点使用 HTTP/1.1");
const NO_PLAIN_PORT: Sentence = Sentence::new(
    "there is no port without TLS; see bind-address and secure-port",
    "没有不加密的端口；参见 bind-address 和 secure-port",
);
const NO_MIGRATION: Sentence = Sentence::new(
    "it moves controllers over from kube-controller-manager, which never had INSPUR Cloud's",
    "它用于从 kube-controller-manager 迁移控制器，而后者从未包含浪潮云的控制器",
);
const NO_ROUTES: Sentence = Sentence::new("there is no route controller", "没有路由控制器");
const NO_WEBHOOKS: Sentence = Sentence::new("there are no webhooks", "没有 Webhook");
const UPSTREAM_IGNORES: Sentence = Sentence::new("upstream ignores it, too", "上游同样忽略它");
const PLAIN_LOG: Sentence = Sentence::new(
    "every line goes to standard error at once",
    "每行日志立即写入标准错误",
);

/// The provider's name, and what else is taken for it. Source: inspur-api.md 5.
pub(crate) const PROVIDERS: [&str; 2] = ["incloud", "inspur"];

struct Builder(Group);

impl Builder {
    const fn works(
        self,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        en: &'static str,
        zh: &'static str,
    ) -> Flag {
        Flag {
            name,
            short: None,
            kind,
            default,
            group: self.0,
            effect: Effect::Works(Sentence::new(en, zh)),
        }
    }

    const fn short(self, letter: char, flag: Flag) -> Flag {
        Flag {
            short: Some(letter),
            group: self.0,
            ..flag
        }
    }

    const fn no(self, name: &'static str, kind: Kind, default: &'static str, why: Sentence) -> Flag {
        Flag {
            name,
            short: None,
            kind,
            default,
            group: self.0,
            effect: Effect::Meaningless(why),
        }
    }

    const fn no_because(
        self,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        en: &'static str,
        zh: &'static str,
    ) -> Flag {
        self.no(name, kind, default, Sentence::new(en, zh))
    }
}

const GENERIC: Builder = Builder(Group::Generic);
const ELECTION: Builder = Builder(Group::LeaderElection);
const SERVING: Builder = Builder(Group::SecureServing);
const AUTHENTICATION: Builder = Builder(Group::Authentication);
const AUTHORIZATION: Builder = Builder(Group::Authorization);
const DEBUGGING: Builder = Builder(Group::Debugging);
const WEBHOOK: Builder = Builder(Group::Webhook);
const LOGS: Builder = Builder(Group::Logs);
const GLOBAL: Builder = Builder(Group::Global);
const REMOVED: Builder = Builder(Group::Removed);

/// All flags, by group and name.
#[rustfmt::skip]
pub static FLAGS: &[Flag] = &[
    GENERIC.no("allocate-node-cidrs", Kind::Bool, "false", UPSTREAM_IGNORES),
    GENERIC.no_because("allow-untagged-cloud", Kind::Bool, "false", "INSPUR Cloud's resources need no cluster tag", "浪潮云资源不需要集群标签"),
    GENERIC.no("cidr-allocator-type", Kind::Text, "RangeAllocator", UPSTREAM_IGNORES),
    GENERIC.works("cloud-config", Kind::File, "",
        "File with the addresses of the cloud's APIs, credentials and defaults. Required.",
        "包含云 API 地址、凭据和默认值的文件。必填。"),
    GENERIC.works("cloud-provider", Kind::Text, "incloud",
        "Name of the cloud: incloud, or its alias inspur.",
        "云的名称：incloud，或其别名 inspur。"),
    GENERIC.no("cluster-cidr", Kind::Text, "", NO_ROUTES),
    GENERIC.works("cluster-name", Kind::Text, "kubernetes",
        "Name of the cluster. Nothing uses it yet: names in the cloud come from the cloud config's cluster-id.",
        "集群名称。目前尚未使用：云端名称取自云配置的 cluster-id。"),
    GENERIC.works("concurrent-node-status-updates", Kind::Int(0, 1000), "0",
        "Threads that refresh the addresses of Nodes; 0 for as many as --concurrent-node-syncs.",
        "刷新节点地址的线程数；0 表示与 --concurrent-node-syncs 相同。"),
    GENERIC.works("concurrent-node-syncs", Kind::Int(1, 1000), "1",
        "Workers of the node controller. One look-up in the cloud serves up to 100 Nodes that are due together.",
        "节点控制器的工作线程数。一次云端查询可服务同时到期的最多 100 个节点。"),
    GENERIC.works("concurrent-service-syncs", Kind::Int(1, 1000), "1",
        "Services that are synced at the same time. More is faster where Services are on several SLBs: each SLB takes one change at a time.",
        "同时同步的 Service 数。当 Service 分布在多个 SLB 上时，数值越大越快：每个 SLB 一次只接受一个变更。"),
    GENERIC.no("configure-cloud-routes", Kind::Bool, "true", NO_ROUTES),
    GENERIC.works("controller-start-interval", Kind::Duration, "0s",
        "Pause between the starts of two controllers; each pause is this to twice this.",
        "两个控制器启动之间的间隔；每次为该时间的一到两倍。"),
    GENERIC.works("controllers", Kind::List, "*",
        "Controllers to run: '*' is all, 'name' one, '-name' all but one where '*' is given, too. Names: service-lb-controller (alias service), cloud-node-controller (cloud-node), cloud-node-lifecycle-controller (cloud-node-lifecycle); node-route-controller (route) is known and starts nothing.",
        "要运行的控制器：“*”为全部，“名称”为单个，与“*”同时给出的“-名称”为排除。名称：service-lb-controller（别名 service）、cloud-node-controller（cloud-node）、cloud-node-lifecycle-controller（cloud-node-lifecycle）；node-route-controller（route）可以给出，但不启动任何控制器。"),
    GENERIC.no("external-cloud-volume-plugin", Kind::Text, "", UPSTREAM_IGNORES),
    GENERIC.no_because("feature-gates", Kind::Gates, "", "there are no feature gates", "没有特性门控"),
    GENERIC.works("kube-api-burst", Kind::Int(1, 1_000_000), "30",
        "Requests to the Kubernetes API that may be made at once before kube-api-qps limits them.",
        "在 kube-api-qps 生效之前，允许对 Kubernetes API 的突发请求数。"),
    GENERIC.no_because("kube-api-content-type", Kind::Text, "application/vnd.kubernetes.protobuf", "the Kubernetes API is always spoken to in JSON", "与 Kubernetes API 通信始终使用 JSON"),
    GENERIC.works("kube-api-qps", Kind::Number, "20",
        "Requests to the Kubernetes API a second, on average. Below 0: no limit.",
        "平均每秒对 Kubernetes API 的请求数。小于 0 表示不限制。"),
    GENERIC.works("kubeconfig", Kind::File, "",
        "File that says where the Kubernetes API is and who we are to it. Without it and master: the Pod's service account.",
        "说明 Kubernetes API 地址和访问身份的文件。未指定此参数和 master 时，使用 Pod 的服务账户。"),
    GENERIC.works("master", Kind::Text, "",
        "Address of the Kubernetes API, instead of the kubeconfig's.",
        "Kubernetes API 的地址，代替 kubeconfig 中的地址。"),
    GENERIC.works("min-resync-period", Kind::Duration, "12h",
        "Every Service is synced again after a random time between this and twice this. 0s: never.",
        "每个 Service 在该时间的一到两倍之间随机重新同步。0s 表示从不。"),
    GENERIC.works("node-deletion-brake-percent", Kind::Int(0, 100), "10",
        "When more than this share of the Nodes, and at least 3, are proven gone or were deleted within the window, no Node is deleted until the share falls. 0 disables the brake.",
        "被证实消失的和窗口内已删除的节点合计超过此百分比（且至少 3 个）时，停止删除任何节点，直到比例回落。0 表示关闭该制动。"),
    GENERIC.works("node-deletion-brake-window", Kind::Duration, "10m",
        "How long a deletion counts for the brake; a Node that is proven gone and still there counts all the time. 0 disables the brake.",
        "一次删除在制动统计中保留的时长；被证实消失但仍在的节点一直计入。0 表示关闭该制动。"),
    GENERIC.works("node-deletion-confirmations", Kind::Int(1, 100), "2",
        "How many answers of the cloud, a monitor period apart, have to lack an instance before its Node is deleted.",
        "删除节点之前，云端要在相隔至少一个检查周期的多少次应答中都查不到该实例。"),
    GENERIC.works("node-monitor-period", Kind::Duration, "5s",
        "How long between two looks at the Nodes that are not Ready: shut down, or gone?",
        "两次检查未就绪节点（已关机，还是已消失）之间的间隔。"),
    GENERIC.works("node-startup-grace-period", Kind::Duration, "5m",
        "No Node is deleted that is younger than this, by its date or by how long this process has known it: the cloud may not know its instance yet.",
        "按创建时间或本进程认识它的时长，不足此时长的节点不会被删除：云端可能还不知道它的实例。"),
    GENERIC.works("node-status-update-frequency", Kind::Duration, "5m",
        "How long between two refreshes of all Nodes' addresses.",
        "两次刷新所有节点地址之间的间隔。"),
    GENERIC.no("node-sync-period", Kind::Duration, "0", UPSTREAM_IGNORES),
    GENERIC.no("route-reconciliation-period", Kind::Duration, "10s", NO_ROUTES),
    GENERIC.works("use-service-account-credentials", Kind::Bool, "false",
        "Each controller writes as a service account of its own in kube-system (service-controller, node-controller), which is made where there is none. False: all of them as whom kubeconfig or the Pod says.",
        "每个控制器以 kube-system 中各自的服务账户（service-controller、node-controller）写入，不存在时自动创建。false 表示全部使用 kubeconfig 或 Pod 的身份。"),

    ELECTION.no("enable-leader-migration", Kind::Bool, "false", NO_MIGRATION),
    ELECTION.works("leader-elect", Kind::Bool, "true",
        "Controllers run only while this process holds the Lease; other replicas stand by with full caches. False: they run at once, so run one replica only.",
        "仅在本进程持有 Lease 时运行控制器；其他副本缓存就绪并待命。false 表示立即运行，此时只能有一个副本。"),
    ELECTION.works("leader-elect-lease-duration", Kind::Duration, "15s",
        "How long the Lease must have gone without a renewal before another replica takes it. Whole seconds, longer than leader-elect-renew-deadline.",
        "Lease 超过此时长未续期，其他副本才会接管。必须为整秒，且长于 leader-elect-renew-deadline。"),
    ELECTION.works("leader-elect-renew-deadline", Kind::Duration, "10s",
        "How long the leader may fail to renew before it ends. Longer than 1.2 times leader-elect-retry-period.",
        "领导者续期失败超过此时长即退出。必须长于 leader-elect-retry-period 的 1.2 倍。"),
    ELECTION.works("leader-elect-resource-lock", Kind::Text, "leases",
        "What is held: only leases.",
        "选主所用的资源类型：只能为 leases。"),
    ELECTION.works("leader-elect-resource-name", Kind::Text, "cloud-controller-manager",
        "The Lease's name.",
        "Lease 的名称。"),
    ELECTION.works("leader-elect-resource-namespace", Kind::Text, "kube-system",
        "The Lease's namespace.",
        "Lease 所在的命名空间。"),
    ELECTION.works("leader-elect-retry-period", Kind::Duration, "2s",
        "Between two attempts to renew the Lease; a replica that stands by waits up to 2.2 times this between two attempts to take it.",
        "两次续期尝试之间的间隔；待命副本两次接管尝试之间最长为其 2.2 倍。"),
    ELECTION.no("leader-migration-config", Kind::File, "", NO_MIGRATION),

    SERVING.works("bind-address", Kind::Address, "0.0.0.0",
        "Address that the HTTPS endpoint listens on. Unspecified (0.0.0.0 or ::): every address of both families.",
        "HTTPS 端点监听的地址。未指定地址（0.0.0.0 或 ::）表示两个协议族的所有地址。"),
    SERVING.works("cert-dir", Kind::Folder, "",
        "Folder with cloud-controller-manager.crt and cloud-controller-manager.key, which are made where they are not. tls-cert-file goes before it; without both the certificate is made at start and only in memory.",
        "存放 cloud-controller-manager.crt 和 cloud-controller-manager.key 的目录，不存在时自动生成。tls-cert-file 优先；两者都未指定时，证书在启动时生成且只在内存中。"),
    SERVING.no("disable-http2-serving", Kind::Bool, "false", NO_HTTP2),
    SERVING.no("http2-max-streams-per-connection", INT, "0", NO_HTTP2),
    SERVING.no_because("permit-address-sharing", Kind::Bool, "false", "an address can always be listened on again at once (SO_REUSEADDR)", "地址始终可以立即重新监听（SO_REUSEADDR）"),
    SERVING.works("permit-port-sharing", Kind::Bool, "false",
        "Other processes may listen on the same address and port (SO_REUSEPORT).",
        "允许其他进程监听同一地址和端口（SO_REUSEPORT）。"),
    SERVING.works("secure-port", PORT, "10258",
        "Port of the HTTPS endpoint; 0 for no endpoint.",
        "HTTPS 端点的端口；0 表示不启用端点。"),
    SERVING.works("tls-cert-file", Kind::File, "",
        "File with the endpoint's certificate and its chain, in PEM; read again when it changes. Given with tls-private-key-file.",
        "端点证书及其证书链的 PEM 文件；变更后重新读取。须与 tls-private-key-file 同时给出。"),
    SERVING.works("tls-cipher-suites", Kind::List, "",
        "Cipher suites by Go's names; empty for all. TLS 1.3: TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256; all of them where the list names none. TLS 1.2: TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256.",
        "以 Go 的名称给出的密码套件；空表示全部。TLS 1.3：TLS_AES_128_GCM_SHA256、TLS_AES_256_GCM_SHA384、TLS_CHACHA20_POLY1305_SHA256；列表未包含其中任何一个时全部启用。TLS 1.2：TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256、TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384、TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256、TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256、TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384、TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256。"),
    SERVING.works("tls-curve-preferences", Kind::Ints, "",
        "Key exchange groups by number, in order of preference; empty for all: 29 (X25519), 23 (P-256), 24 (P-384).",
        "按优先级排列的密钥交换组编号；空表示全部：29（X25519）、23（P-256）、24（P-384）。"),
    SERVING.works("tls-min-version", Kind::Text, "",
        "The oldest version of TLS: VersionTLS12 (also where it is empty) or VersionTLS13. VersionTLS10 and VersionTLS11 are taken for VersionTLS12.",
        "TLS 最低版本：VersionTLS12（为空时亦然）或 VersionTLS13。VersionTLS10 和 VersionTLS11 按 VersionTLS12 处理。"),
    SERVING.works("tls-private-key-file", Kind::File, "",
        "File with the key of tls-cert-file, in PEM.",
        "tls-cert-file 对应私钥的 PEM 文件。"),
    SERVING.works("tls-sni-cert-key", Kind::SniPair, "",
        "Another certificate with its key, for clients that ask for its names: certificate,key, or certificate,key:name,*.suffix for other names than those in the certificate. May be given several times.",
        "为请求特定名称的客户端提供的另一张证书及私钥：certificate,key；或 certificate,key:name,*.suffix，以指定证书以外的名称。可多次给出。"),

    AUTHENTICATION.works("authentication-kubeconfig", Kind::File, "",
        "File that says where and as whom to ask about callers' tokens and for the cluster's authorities. Empty: the cluster that this Pod is in; outside of one, tokens mean nothing. Never taken from kubeconfig.",
        "说明向何处、以何身份校验调用者令牌并读取集群 CA 的文件。为空时使用 Pod 所在的集群；不在集群中时令牌不起作用。不会取自 kubeconfig。"),
    AUTHENTICATION.works("authentication-skip-lookup", Kind::Bool, "false",
        "Do not read the cluster's authorities from kube-system/extension-apiserver-authentication.",
        "不从 kube-system/extension-apiserver-authentication 读取集群 CA。"),
    AUTHENTICATION.works("authentication-token-webhook-cache-ttl", Kind::Duration, "10s",
        "How long an answer about a token is kept.",
        "令牌校验结果的缓存时长。"),
    AUTHENTICATION.works("authentication-tolerate-lookup-failure", Kind::Bool, "false",
        "Start, too, when the cluster's authorities cannot be read; client certificates mean nothing then.",
        "无法读取集群 CA 时也启动；此时客户端证书不起作用。"),
    AUTHENTICATION.works("client-ca-file", Kind::File, "",
        "File with the authorities of client certificates, in PEM, instead of the cluster's; read again when it changes.",
        "客户端证书 CA 的 PEM 文件，代替集群的 CA；变更后重新读取。"),
    AUTHENTICATION.works("requestheader-allowed-names", Kind::List, "",
        "Common names of certificates that a front proxy may show; empty for any that requestheader-client-ca-file signed.",
        "前端代理证书允许的 CN；为空表示 requestheader-client-ca-file 签发的任意证书。"),
    AUTHENTICATION.works("requestheader-client-ca-file", Kind::File, "",
        "File with the authorities of front proxies, in PEM; read again when it changes. Without it the cluster says which they are, and all that the other requestheader flags say.",
        "前端代理 CA 的 PEM 文件；变更后重新读取。未指定时由集群给出 CA 以及其他 requestheader 参数的内容。"),
    AUTHENTICATION.works("requestheader-extra-headers-prefix", Kind::List, "x-remote-extra-",
        "What headers begin with in which a front proxy says more about the caller.",
        "前端代理用于传递调用者附加信息的请求头前缀。"),
    AUTHENTICATION.works("requestheader-group-headers", Kind::List, "x-remote-group",
        "Headers in which a front proxy says the caller's groups.",
        "前端代理用于传递调用者组的请求头。"),
    AUTHENTICATION.works("requestheader-uid-headers", Kind::List, "",
        "Headers in which a front proxy says the caller's UID; X-Remote-Uid must be among them.",
        "前端代理用于传递调用者 UID 的请求头；必须包含 X-Remote-Uid。"),
    AUTHENTICATION.works("requestheader-username-headers", Kind::List, "x-remote-user",
        "Headers in which a front proxy says the caller's name.",
        "前端代理用于传递调用者名称的请求头。"),

    AUTHORIZATION.works("authorization-always-allow-paths", Kind::List, "/healthz,/readyz,/livez",
        "Paths that everybody may read; a * at the end stands for all that begin so. An empty value: none.",
        "任何人都可读取的路径；末尾的 * 表示以此开头的所有路径。空值表示没有。"),
    AUTHORIZATION.works("authorization-kubeconfig", Kind::File, "",
        "File that says where and as whom to ask what callers may read. Empty: the cluster that this Pod is in. Never taken from kubeconfig.",
        "说明向何处、以何身份查询调用者权限的文件。为空时使用 Pod 所在的集群。不会取自 kubeconfig。"),
    AUTHORIZATION.works("authorization-webhook-cache-authorized-ttl", Kind::Duration, "10s",
        "How long a yes is kept.",
        "允许结果的缓存时长。"),
    AUTHORIZATION.works("authorization-webhook-cache-unauthorized-ttl", Kind::Duration, "10s",
        "How long a no is kept.",
        "拒绝结果的缓存时长。"),

    DEBUGGING.no_because("contention-profiling", Kind::Bool, "false", "it is about Go's runtime", "只与 Go 运行时有关"),
    DEBUGGING.works("profiling", Kind::Bool, "true",
        "PUT /debug/flags/v on the HTTPS endpoint changes v while the program runs. Go's profiles do not exist here.",
        "通过 HTTPS 端点的 PUT /debug/flags/v 可在运行时修改 v。此处没有 Go 的性能剖析数据。"),

    WEBHOOK.no("webhook-bind-address", Kind::Address, "0.0.0.0", NO_WEBHOOKS),
    WEBHOOK.no("webhook-ca-cert-file", Kind::File, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-cert-dir", Kind::Folder, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-disable-http2-serving", Kind::Bool, "false", NO_WEBHOOKS),
    WEBHOOK.no("webhook-secure-port", PORT, "10260", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-cert-file", Kind::File, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-cipher-suites", Kind::List, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-curve-preferences", Kind::List, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-min-version", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-private-key-file", Kind::File, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-sni-cert-key", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhooks", Kind::List, "", NO_WEBHOOKS),

    LOGS.no("log-flush-frequency", Kind::Duration, "5s", PLAIN_LOG),
    LOGS.no("log-json-info-buffer-size", Kind::Text, "0", PLAIN_LOG),
    LOGS.no("log-json-split-stream", Kind::Bool, "false", PLAIN_LOG),
    LOGS.no("log-text-info-buffer-size", Kind::Text, "0", PLAIN_LOG),
    LOGS.no("log-text-split-stream", Kind::Bool, "false", PLAIN_LOG),
    LOGS.works("logging-format", Kind::Choice(&["text", "json"]), "text",
        "text for people, or json: one object a line.",
        "text 便于阅读；json 每行一个对象。"),
    LOGS.short('v', LOGS.works("v", Kind::Int(0, u32::MAX as i64), "0",
        "How much is logged: 0 to 3 what changes and what fails, 4 and 5 also decisions, 6 and more everything. Below 4 the same failure is said once in five minutes, and its next line ends with repeated= and how often it was not said. RUST_LOG is not read.",
        "日志详细程度：0 到 3 记录变更和失败，4 和 5 还记录决策，6 及以上记录全部。小于 4 时，相同的失败五分钟内只记录一次，下一行末尾以 repeated= 给出期间未记录的次数。不读取 RUST_LOG。")),
    LOGS.works("vmodule", Kind::Modules, "",
        "Modules that log more than v says: pattern=N by comma. A pattern is compared with as many of the last segments of a module's path as it has: client=6 is k8s::client, service/*=4 every module directly below controllers::service. '*' is any letters of a segment, '?' one. The first that fits counts. Only with the text format.",
        "比 v 记录更多日志的模块：以逗号分隔的 pattern=N。模式与模块路径末尾相同段数比较：client=6 指 k8s::client，service/*=4 指 controllers::service 的直接子模块。“*”匹配一段中的任意字符，“?”匹配一个字符。以第一个匹配者为准。仅用于 text 格式。"),

    GLOBAL.short('h', GLOBAL.works("help", Kind::Bool, "false", "Prints this text and exits.", "打印帮助并退出。")),
    GLOBAL.works("version", Kind::Bool, "false", "Prints the version and exits.", "打印版本并退出。"),

    REMOVED.no("address", Kind::Address, "0.0.0.0", NO_PLAIN_PORT),
    REMOVED.no("alsologtostderr", Kind::Bool, "false", PLAIN_LOG),
    REMOVED.no("log-dir", Kind::Folder, "", PLAIN_LOG),
    REMOVED.no("logtostderr", Kind::Bool, "true", PLAIN_LOG),
    REMOVED.no("port", PORT, "0", NO_PLAIN_PORT),
    REMOVED.no("stderrthreshold", Kind::Text, "2", PLAIN_LOG),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_every_name_is_once() {
        let mut names = std::collections::BTreeSet::new();
        for flag in FLAGS {
            assert!(names.insert(flag.name), "--{} is twice in the table", flag.name);
            if !flag.default.is_empty() {
                assert_eq!(flag.kind.check(flag.default), Ok(()), "--{}", flag.name);
            }
        }
    }

    #[test]
    fn groups_stand_together_and_are_sorted() {
        for group in Group::ALL {
            let of_group = |flag: &Flag| flag.group == group;
            let first = FLAGS.iter().position(of_group).expect("no group is empty");
            let names: Vec<_> = FLAGS[first..]
                .iter()
                .take_while(|flag| of_group(flag))
                .map(|flag| flag.name)
                .collect();
            assert_eq!(
                names.len(),
                FLAGS.iter().filter(|flag| of_group(flag)).count(),
                "{group:?}"
            );
            assert!(names.is_sorted(), "{names:?}");
        }
    }

    #[test]
    fn values_are_checked_by_kind() {
        for (case, kind, value, want) in [
            ("Go's booleans", Kind::Bool, "T", true),
            ("no boolean", Kind::Bool, "yes", false),
            ("in range", PORT, "65535", true),
            ("out of range", PORT, "65536", false),
            ("negative", PORT, "-1", false),
            ("not whole", INT, "1.5", false),
            ("a number", Kind::Number, "-0.5", true),
            ("no number", Kind::Number, "NaN", false),
            ("a duration", Kind::Duration, "1m30s", true),
            ("a duration without unit", Kind::Duration, "90", false),
            ("a choice", Kind::Choice(&["a", "b"]), "b", true),
            ("no choice", Kind::Choice(&["a", "b"]), "B", false),
            ("an address", Kind::Address, "::", true),
            ("no address", Kind::Address, "localhost", false),
            ("gates", Kind::Gates, "A=true,B=false", true),
            ("no gates", Kind::Gates, "A", false),
            ("numbers", Kind::Ints, "29, -1", true),
            ("no number", Kind::Ints, "", true),
            ("not all numbers", Kind::Ints, "29,", false),
            ("too large for Go", Kind::Ints, "2147483648", false),
            ("a certificate with its key", Kind::SniPair, "a.crt,a.key", true),
            ("a certificate alone", Kind::SniPair, "a.crt", false),
            ("modules", Kind::Modules, "client=4", true),
            ("no modules", Kind::Modules, "client", false),
        ] {
            assert_eq!(kind.check(value).is_ok(), want, "{case}");
        }
    }
}
