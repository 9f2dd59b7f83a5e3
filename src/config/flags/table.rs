//! The table of flags: the parser, `--help` and the reference page all come from it.
//!
//! Names, types and defaults are those of Kubernetes' cloud controller manager. Source: ccm-behaviour.md 2.2.

use std::net::IpAddr;

use crate::config::values;
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
    /// Texts, by comma and by repeating the flag.
    List,
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
            Self::Text | Self::Choice(_) => "string",
            Self::List => "strings",
            Self::Address => "ip",
            Self::Gates => "mapStringBool",
        }
    }

    /// # Errors
    /// What is allowed, after the word "it".
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let fits = match self {
            Self::Text | Self::List => true,
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
            Self::Gates | Self::Text | Self::List => "must be pairs like Name=true,Other=false".to_owned(),
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

const NO_ENDPOINT: Sentence = Sentence::new("there is no HTTPS endpoint yet", "尚无 HTTPS 端点");
const NO_ELECTION: Sentence = Sentence::new("there is no leader election yet", "尚不支持选主");
const NO_ROUTES: Sentence = Sentence::new("there is no route controller", "没有路由控制器");
const NO_WEBHOOKS: Sentence = Sentence::new("there are no webhooks", "没有 Webhook");
const UPSTREAM_IGNORES: Sentence = Sentence::new("upstream ignores it, too", "上游同样忽略它");
const PLAIN_LOG: Sentence = Sentence::new(
    "every line goes to standard error at once",
    "每行日志立即写入标准错误",
);

/// The provider's name, and what else is taken for it. Source: inspur-api.md 5.
pub(super) const PROVIDERS: [&str; 2] = ["incloud", "inspur"];

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
    GENERIC.works("cloud-config", Kind::Text, "",
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
    GENERIC.no_because("controller-start-interval", Kind::Duration, "0s", "a controller starts as soon as its caches are filled", "控制器在缓存就绪后立即启动"),
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
    GENERIC.works("kubeconfig", Kind::Text, "",
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
    GENERIC.no_because("use-service-account-credentials", Kind::Bool, "false", "all controllers share one identity", "所有控制器使用同一身份"),

    ELECTION.no("enable-leader-migration", Kind::Bool, "false", NO_ELECTION),
    ELECTION.works("leader-elect", Kind::Bool, "false",
        "Only false yet: leader election does not exist, so run one replica. Upstream's default is true.",
        "目前只能为 false：尚不支持选主，请只运行一个副本。上游默认值为 true。"),
    ELECTION.no("leader-elect-lease-duration", Kind::Duration, "15s", NO_ELECTION),
    ELECTION.no("leader-elect-renew-deadline", Kind::Duration, "10s", NO_ELECTION),
    ELECTION.no("leader-elect-resource-lock", Kind::Text, "leases", NO_ELECTION),
    ELECTION.no("leader-elect-resource-name", Kind::Text, "cloud-controller-manager", NO_ELECTION),
    ELECTION.no("leader-elect-resource-namespace", Kind::Text, "kube-system", NO_ELECTION),
    ELECTION.no("leader-elect-retry-period", Kind::Duration, "2s", NO_ELECTION),
    ELECTION.no("leader-migration-config", Kind::Text, "", NO_ELECTION),

    SERVING.no("bind-address", Kind::Address, "0.0.0.0", NO_ENDPOINT),
    SERVING.no("cert-dir", Kind::Text, "", NO_ENDPOINT),
    SERVING.no("disable-http2-serving", Kind::Bool, "false", NO_ENDPOINT),
    SERVING.no("http2-max-streams-per-connection", INT, "0", NO_ENDPOINT),
    SERVING.no("permit-address-sharing", Kind::Bool, "false", NO_ENDPOINT),
    SERVING.no("permit-port-sharing", Kind::Bool, "false", NO_ENDPOINT),
    SERVING.works("secure-port", PORT, "0",
        "Only 0 yet: the HTTPS endpoint does not exist. Upstream's default is 10258.",
        "目前只能为 0：尚无 HTTPS 端点。上游默认值为 10258。"),
    SERVING.no("tls-cert-file", Kind::Text, "", NO_ENDPOINT),
    SERVING.no("tls-cipher-suites", Kind::List, "", NO_ENDPOINT),
    SERVING.no("tls-curve-preferences", Kind::List, "", NO_ENDPOINT),
    SERVING.no("tls-min-version", Kind::Text, "", NO_ENDPOINT),
    SERVING.no("tls-private-key-file", Kind::Text, "", NO_ENDPOINT),
    SERVING.no("tls-sni-cert-key", Kind::Text, "", NO_ENDPOINT),

    AUTHENTICATION.no("authentication-kubeconfig", Kind::Text, "", NO_ENDPOINT),
    AUTHENTICATION.no("authentication-skip-lookup", Kind::Bool, "false", NO_ENDPOINT),
    AUTHENTICATION.no("authentication-token-webhook-cache-ttl", Kind::Duration, "10s", NO_ENDPOINT),
    AUTHENTICATION.no("authentication-tolerate-lookup-failure", Kind::Bool, "false", NO_ENDPOINT),
    AUTHENTICATION.no("client-ca-file", Kind::Text, "", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-allowed-names", Kind::List, "", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-client-ca-file", Kind::Text, "", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-extra-headers-prefix", Kind::List, "x-remote-extra-", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-group-headers", Kind::List, "x-remote-group", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-uid-headers", Kind::List, "", NO_ENDPOINT),
    AUTHENTICATION.no("requestheader-username-headers", Kind::List, "x-remote-user", NO_ENDPOINT),

    AUTHORIZATION.no("authorization-always-allow-paths", Kind::List, "/healthz,/readyz,/livez", NO_ENDPOINT),
    AUTHORIZATION.no("authorization-kubeconfig", Kind::Text, "", NO_ENDPOINT),
    AUTHORIZATION.no("authorization-webhook-cache-authorized-ttl", Kind::Duration, "10s", NO_ENDPOINT),
    AUTHORIZATION.no("authorization-webhook-cache-unauthorized-ttl", Kind::Duration, "10s", NO_ENDPOINT),

    DEBUGGING.no_because("contention-profiling", Kind::Bool, "false", "it is about Go's runtime", "只与 Go 运行时有关"),
    DEBUGGING.no_because("profiling", Kind::Bool, "true", "it is about Go's runtime", "只与 Go 运行时有关"),

    WEBHOOK.no("webhook-bind-address", Kind::Address, "0.0.0.0", NO_WEBHOOKS),
    WEBHOOK.no("webhook-ca-cert-file", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-cert-dir", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-disable-http2-serving", Kind::Bool, "false", NO_WEBHOOKS),
    WEBHOOK.no("webhook-secure-port", PORT, "10260", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-cert-file", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-cipher-suites", Kind::List, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-curve-preferences", Kind::List, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-min-version", Kind::Text, "", NO_WEBHOOKS),
    WEBHOOK.no("webhook-tls-private-key-file", Kind::Text, "", NO_WEBHOOKS),
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
        "How much is logged: 0 to 3 what changes and what fails, 4 and 5 also decisions, 6 and more everything. RUST_LOG is not read.",
        "日志详细程度：0 到 3 记录变更和失败，4 和 5 还记录决策，6 及以上记录全部。不读取 RUST_LOG。")),
    LOGS.no_because("vmodule", Kind::Text, "", "v is for all modules", "v 对所有模块生效"),

    GLOBAL.short('h', GLOBAL.works("help", Kind::Bool, "false", "Prints this text and exits.", "打印帮助并退出。")),
    GLOBAL.works("version", Kind::Bool, "false", "Prints the version and exits.", "打印版本并退出。"),

    REMOVED.no("address", Kind::Address, "0.0.0.0", NO_ENDPOINT),
    REMOVED.no("alsologtostderr", Kind::Bool, "false", PLAIN_LOG),
    REMOVED.no("log-dir", Kind::Text, "", PLAIN_LOG),
    REMOVED.no("logtostderr", Kind::Bool, "true", PLAIN_LOG),
    REMOVED.no("port", PORT, "0", NO_ENDPOINT),
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
        ] {
            assert_eq!(kind.check(value).is_ok(), want, "{case}");
        }
    }
}
