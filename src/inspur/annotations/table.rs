//! The table itself.

use super::{SLB_ID, SLB_ID_INTERNAL, Wish};
use crate::runtime::sentence::Sentence;

/// One annotation of a Service.
#[derive(Debug)]
pub struct Annotation {
    /// Its key.
    pub name: &'static str,
    /// Other keys that mean the same.
    pub aliases: &'static [&'static str],
    /// Which values it takes.
    pub allowed: Sentence,
    /// What counts without it, unless the cloud config says otherwise.
    pub default: Sentence,
    /// What it does.
    pub sentence: Sentence,
    pub(super) target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Slb,
    Wish(Wish),
}

const fn wish(
    name: &'static str,
    wish: Wish,
    allowed: Sentence,
    default: Sentence,
    en: &'static str,
    zh: &'static str,
) -> Annotation {
    Annotation {
        name,
        aliases: &[],
        allowed,
        default,
        sentence: Sentence::new(en, zh),
        target: Target::Wish(wish),
    }
}

const SECONDS: Sentence = Sentence::new("a number of seconds from 1 to 3600", "1 到 3600 的秒数");

/// All annotations of a Service that are read. `Assumed:` the ranges of numbers, the lengths and the letters of texts, which no
/// public source of the API gives.
#[rustfmt::skip]
pub const TABLE: &[Annotation] = &[
    Annotation {
        name: SLB_ID,
        aliases: &[SLB_ID_INTERNAL],
        allowed: Sentence::new("the id of an SLB, without spaces and commas", "SLB 的 ID，不含空格和逗号"),
        default: Sentence::new("none: the Service waits", "无：Service 等待"),
        sentence: Sentence::new("The SLB on which the Service's listeners are made.", "在哪个 SLB 上建立该 Service 的监听器。"),
        target: Target::Slb,
    },
    wish("loadbalancer.inspur.com/forward-rule", Wish::ForwardRule,
        Sentence::new("RR or WRR", "RR 或 WRR"), Sentence::same("RR"),
        "How members take turns: evenly, or in proportion to their weights. All have the weight 10 yet.",
        "成员之间如何分配流量：轮询，或按权重轮询。目前所有成员的权重都是 10。"),
    wish("loadbalancer.inspur.com/is-healthcheck", Wish::HealthCheck,
        Sentence::new("1, 0, true or false", "1、0、true 或 false"), Sentence::same("1"),
        "Whether members are checked, so that only those that answer get traffic. A UDP port is checked only where healthcheck-type and a healthcheck-port other than 0 say what can answer.",
        "是否检查成员，只有应答的成员才会得到流量。UDP 端口只有在 healthcheck-type 和非 0 的 healthcheck-port 说明了什么可以应答时才会检查。"),
    wish("loadbalancer.inspur.com/healthcheck-type", Wish::CheckType,
        Sentence::new("tcp or http", "tcp 或 http"), Sentence::same("tcp"),
        "Whether a check opens a connection or asks for a page.",
        "检查是建立连接，还是请求一个页面。"),
    wish("loadbalancer.inspur.com/healthcheck-port", Wish::CheckPort,
        Sentence::new("a number from 0 to 65535; 0 is the member's own port", "0 到 65535 的数字；0 表示成员自己的端口"), Sentence::same("0"),
        "The port that is checked on each member.",
        "在每个成员上检查的端口。"),
    wish("loadbalancer.inspur.com/healthcheck-period", Wish::CheckPeriod, SECONDS, Sentence::same("10"),
        "Seconds between two checks of a member.",
        "对同一成员两次检查之间的秒数。"),
    wish("loadbalancer.inspur.com/healthcheck-timeout", Wish::CheckTimeout, SECONDS, Sentence::same("5"),
        "Seconds that a member has to answer a check.",
        "成员应答一次检查的时限，单位为秒。"),
    wish("loadbalancer.inspur.com/healthcheck-max", Wish::CheckTries,
        Sentence::new("a number of tries from 1 to 100", "1 到 100 的次数"), Sentence::same("3"),
        "How many checks in a row must agree before a member's state changes.",
        "连续多少次检查结果一致，成员的状态才会改变。"),
    wish("loadbalancer.inspur.com/healthcheck-domain", Wish::CheckDomain,
        Sentence::new("a host name of at most 253 characters, or nothing", "最多 253 个字符的主机名，或为空"), Sentence::new("nothing", "空"),
        "The Host header of an http check.",
        "http 检查的 Host 头。"),
    wish("loadbalancer.inspur.com/healthcheck-path", Wish::CheckPath,
        Sentence::new("a path of at most 255 characters that begins with / and has no spaces", "以 / 开头、不含空格、最多 255 个字符的路径"), Sentence::same("/"),
        "What an http check asks for.",
        "http 检查请求的路径。"),
];
