//! The table of keys: the reader and the reference page both come from it.

use crate::runtime::sentence::Sentence;

/// One key of the cloud config.
#[derive(Debug)]
pub struct Key {
    /// As the docs spell it.
    pub name: &'static str,
    /// Other spellings in use.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// The value where none is given; empty for none.
    pub default: &'static str,
    /// What it is for.
    pub sentence: Sentence,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address under which an API is found.
    Url,
    /// One line.
    Text,
    /// One line that is never shown.
    Secret,
    /// The path of a file.
    File,
    /// 1 to 16 lower-case letters, digits and hyphens.
    ClusterId,
    /// What a label may hold.
    Label,
    /// `on` or `off`.
    Switch,
    /// Calls a second.
    Rate,
    /// From 1.
    Count,
    /// The default of an annotation: whatever that may hold.
    Annotation,
}

impl Kind {
    /// For the reference page.
    pub fn describe(self) -> Sentence {
        match self {
            Self::Url => Sentence::same("URL"),
            Self::Text => Sentence::new("text", "文本"),
            Self::Secret => Sentence::new("secret", "机密"),
            Self::File => Sentence::new("file", "文件"),
            Self::ClusterId => Sentence::same("`[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?`"),
            Self::Label => Sentence::new("label value", "标签值"),
            Self::Switch => Sentence::new("`on` or `off`", "`on` 或 `off`"),
            Self::Rate => Sentence::new("number", "数字"),
            Self::Count => Sentence::new("whole number", "整数"),
            Self::Annotation => Sentence::new("as the annotation", "同注解"),
        }
    }
}

/// The key of that name or alias, in exactly that spelling.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.name == name || key.aliases.contains(&name))
}

/// Every spelling of every key.
pub(super) fn spellings() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
}

const fn key(
    name: &'static str,
    aliases: &'static [&'static str],
    kind: Kind,
    default: &'static str,
    en: &'static str,
    zh: &'static str,
) -> Key {
    Key {
        name,
        aliases,
        kind,
        default,
        sentence: Sentence::new(en, zh),
    }
}

/// All keys, in the order of the reference page.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key("slbUrl-pre", &["slburl-pre"], Kind::Url, "",
        "Base URL of the SLB API, which ends in `/slbs`. Required.",
        "SLB API 的基础 URL，以 `/slbs` 结尾。必填。"),
    key("ecsUrl-pre", &["ecsurl-pre"], Kind::Url, "",
        "Base URL of the ECS API, which ends in `/instances`. Unset: what Nodes say of themselves is believed, and none is ever deleted.",
        "ECS API 的基础 URL，以 `/instances` 结尾。不设置时以节点自身的信息为准，且不会删除任何节点。"),
    key("keycloakUrl", &["KeycloakUrl"], Kind::Url, "",
        "Keycloak's token endpoint, for the token exchange.",
        "Keycloak 的令牌端点，用于令牌交换。"),
    key("token-client-id", &[], Kind::Text, "",
        "Client ID for the token exchange.",
        "令牌交换使用的客户端 ID。"),
    key("client-secret", &[], Kind::Secret, "",
        "Client secret for the token exchange.",
        "令牌交换使用的客户端密钥。"),
    key("client-secret-file", &[], Kind::File, "",
        "File that holds the client secret, instead of `client-secret`. Read again when it changes.",
        "保存客户端密钥的文件，代替 `client-secret`；文件变化后会重新读取。"),
    key("requested-subject", &[], Kind::Text, "",
        "The user for whom the token exchange asks.",
        "令牌交换所代表的用户。"),
    key("kktoken", &[], Kind::Secret, "",
        "A ready access token, used as it is: for tests and short trials.",
        "现成的访问令牌，原样使用；仅用于测试和短期试用。"),
    key("kktoken-file", &[], Kind::File, "",
        "File that holds the access token, instead of `kktoken`. Read again when it changes.",
        "保存访问令牌的文件，代替 `kktoken`；文件变化后会重新读取。"),
    key("iam-url", &[], Kind::Url, "",
        "Token endpoint of INSPUR's IAM, for the password login.",
        "浪潮云 IAM 的令牌端点，用于密码登录。"),
    key("iam-username", &[], Kind::Text, "",
        "User for the password login: `main.sub`.",
        "密码登录的用户：`主账号.子账号`。"),
    key("iam-password", &[], Kind::Secret, "",
        "Password for the password login.",
        "密码登录的密码。"),
    key("iam-password-file", &[], Kind::File, "",
        "File that holds the password, instead of `iam-password`. Read again when it changes.",
        "保存密码的文件，代替 `iam-password`；文件变化后会重新读取。"),
    key("ca-file", &[], Kind::File, "",
        "PEM bundle that the certificates of the cloud and of the token service are verified against, instead of the system's.",
        "用于校验云 API 和令牌服务证书的 PEM 证书包，代替系统证书。"),
    key("cluster-id", &[], Kind::ClusterId, "",
        "Who this cluster is in names in the cloud. Unset: the first 8 hex digits of `kube-system`'s UID. Never change it while Services of type LoadBalancer exist.",
        "本集群在云端名称中的标识。不设置时取 `kube-system` 的 UID 前 8 位十六进制数字。存在 LoadBalancer 类型的 Service 时切勿修改。"),
    key("region", &[], Kind::Label, "",
        "Region of Nodes where no instance API tells it.",
        "没有云主机 API 时，节点所在的地域。"),
    key("zone", &[], Kind::Label, "",
        "Zone of Nodes where no instance API tells it.",
        "没有云主机 API 时，节点所在的可用区。"),
    key("subnet-id", &[], Kind::Text, "",
        "Subnet of the cluster. Read for compatibility; listeners on existing SLBs do not need it.",
        "集群所在的子网。为兼容而读取；已有 SLB 上的监听不需要它。"),
    key("health-check", &[], Kind::Switch, "on",
        "Whether listeners have a health check where no annotation says.",
        "没有注解说明时，监听是否启用健康检查。"),
    key("api-qps", &[], Kind::Rate, "0",
        "Calls to the cloud a second, on average. 0: bounded by the workers alone, and after a 429 by one delay that all callers share.",
        "平均每秒调用云 API 的次数。0 表示只受工作线程数限制；收到 429 后，所有调用者共同等待同一段时间。"),
    key("api-burst", &[], Kind::Count, "50",
        "Calls to the cloud that may be made at once before `api-qps` limits them.",
        "在 `api-qps` 生效之前允许的突发调用次数。"),
    key("forward-rule", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/forward-rule`.",
        "`loadbalancer.inspur.com/forward-rule` 的默认值。"),
    key("is-healthcheck", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/is-healthcheck`. Says the same as `health-check`: give one of them.",
        "`loadbalancer.inspur.com/is-healthcheck` 的默认值。与 `health-check` 含义相同，只能给出其一。"),
    key("healthcheck-type", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-type`.",
        "`loadbalancer.inspur.com/healthcheck-type` 的默认值。"),
    key("healthcheck-port", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-port`.",
        "`loadbalancer.inspur.com/healthcheck-port` 的默认值。"),
    key("healthcheck-period", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-period`.",
        "`loadbalancer.inspur.com/healthcheck-period` 的默认值。"),
    key("healthcheck-timeout", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-timeout`.",
        "`loadbalancer.inspur.com/healthcheck-timeout` 的默认值。"),
    key("healthcheck-max", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-max`.",
        "`loadbalancer.inspur.com/healthcheck-max` 的默认值。"),
    key("healthcheck-domain", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-domain`.",
        "`loadbalancer.inspur.com/healthcheck-domain` 的默认值。"),
    key("healthcheck-path", &[], Kind::Annotation, "",
        "Default of `loadbalancer.inspur.com/healthcheck-path`.",
        "`loadbalancer.inspur.com/healthcheck-path` 的默认值。"),
];
