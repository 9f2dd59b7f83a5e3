//! The page of metrics, and the tests that it names exactly those that the program has.
//!
//! Name, type, labels and the English sentence are those with which a family is registered; the rest is here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Language, Page, Section, check, code, codes, prose};
use crate::controllers::{Running, node, node_lifecycle, service};
use crate::events::recorder;
use crate::http::testing::Scripted;
use crate::informer::{Reflector, store};
use crate::inspur::api::CloudMetrics;
use crate::k8s::types::Node;
use crate::k8s::{Client, ClientMetrics};
use crate::leader_election;
use crate::manager::rotation::Rotation;
use crate::metrics::{Family, Kind, Metrics, NO_CODE, build};
use crate::runtime::clock::{Clock, ManualClock};
use crate::runtime::process;
use crate::runtime::random::Random;
use crate::runtime::sentence::Sentence;
use crate::runtime::stop::StopToken;
use crate::serve;
use crate::workqueue::QueueMetrics;

#[test]
fn the_page_of_metrics_is_made_from_what_is_registered() {
    let families = everything().families();
    check("metrics", |language| page(language, &families));
}

#[test]
fn the_page_names_every_family_once_and_no_other() {
    let registered: Vec<&str> = everything().families().iter().map(|family| family.name).collect();
    let told = SECTIONS
        .iter()
        .flat_map(|(_, rows)| rows.iter().map(|(name, _)| *name));
    let told: Vec<&str> = told.collect();
    let (registered, told_of): (BTreeSet<&str>, BTreeSet<&str>) =
        (registered.into_iter().collect(), told.iter().copied().collect());
    assert_eq!(told_of, registered);
    assert_eq!(told.len(), told_of.len(), "one is told of twice");
}

#[test]
fn names_are_as_prometheus_wants_them() {
    // what `promtool check metrics` says, for those who do not have it
    for Family {
        name,
        help,
        kind,
        labels,
    } in everything().families()
    {
        let is_word = |word: &str| {
            let mut letters = word.bytes();
            letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_')
        };
        assert!(
            is_word(name) && labels.iter().all(|label| is_word(label)),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
        let reserved = ["_bucket", "_count", "_sum", "_info_total"];
        assert!(!reserved.iter().any(|suffix| name.ends_with(suffix)), "{name}");
        let units = [
            "milliseconds",
            "minutes",
            "hours",
            "kilobytes",
            "megabytes",
            "ms",
            "kb",
            "mb",
            "gauge",
            "counter",
        ];
        assert!(!name.split('_').any(|word| units.contains(&word)), "{name}");
        assert!(help.ends_with('.') && !help.contains("  "), "{name}: {help}");
        let forbidden = ["service", "node", "namespace", "le", "quantile"];
        assert!(
            !labels.iter().any(|label| forbidden.contains(label)),
            "{name}: no label names an object"
        );
    }
}

/// With `PROMTOOL="$(tests/e2e/promtool.sh)"`; else it is skipped.
#[test]
fn promtool_has_nothing_to_say() {
    let Some(promtool) = std::env::var_os("PROMTOOL") else {
        eprintln!("skipped: PROMTOOL is not set to the output of tests/e2e/promtool.sh");
        return;
    };
    let checked = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let text = sample(&everything().families());
            child.stdin.take().unwrap().write_all(text.as_bytes())?;
            child.wait_with_output()
        })
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

/// A scrape in which each family has a line.
fn sample(families: &[Family]) -> String {
    let mut text = String::new();
    for Family {
        name,
        help,
        kind,
        labels,
    } in families
    {
        let labels: Vec<String> = labels.iter().map(|label| format!("{label}=\"x\"")).collect();
        let labels = labels.join(",");
        let kind_text = kind.as_str();
        text += &format!("# HELP {name} {help}\n# TYPE {name} {kind_text}\n");
        text += &match kind {
            Kind::Counter | Kind::Gauge => format!("{name}{{{labels}}} 1\n"),
            Kind::Histogram => {
                let comma = if labels.is_empty() { "" } else { "," };
                format!(
                    "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} 1\n{name}_sum{{{labels}}} 1\n{name}_count{{{labels}}} 1\n"
                )
            }
        };
    }
    text
}

/// A registry in which every module has registered what it has.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let random = Arc::new(Random::from_seed(1));
    let client = Client::new("http://api", Scripted::new(Vec::new()), StopToken::never());
    build::register(&metrics);
    process::register(&metrics, &*clock);
    Running::new(&metrics);
    ClientMetrics::new(&metrics);
    CloudMetrics::new(&metrics);
    QueueMetrics::new(&metrics, "service");
    service::Metrics::new(&metrics);
    node::Counters::new(&metrics);
    node_lifecycle::Counters::new(&metrics);
    leader_election::families(&metrics);
    serve::register(&metrics);
    serve::who::register(&metrics);
    Rotation::new(&metrics, Arc::clone(&clock));
    let (recorder, _) = recorder("docs", client.clone(), Arc::clone(&clock), Arc::clone(&random));
    recorder.measured(&metrics);
    let (writer, _) = store::<Node>();
    Reflector::new(client, writer, Vec::new(), clock, random).measured(&metrics);
    metrics
}

fn page(language: Language, families: &[Family]) -> Page {
    let say = |en, zh| language.of(Sentence::new(en, zh));
    let families: BTreeMap<&str, &Family> = families.iter().map(|family| (family.name, family)).collect();
    let row = |(name, zh): &(&'static str, &'static str)| {
        let Family {
            help, kind, labels, ..
        } = families[name];
        vec![
            code(name),
            kind.as_str().to_owned(),
            codes(labels.iter().copied()),
            // as it stands it would be HTML
            prose(language.of(Sentence::new(help, zh))).replace(NO_CODE, &code(NO_CODE)),
        ]
    };
    let section = |(heading, rows): &(Sentence, &[(&'static str, &'static str)])| Section {
        heading: language.of(*heading),
        intro: "",
        columns: vec![
            say("Metric", "指标"),
            say("Type", "类型"),
            say("Labels", "标签"),
            say("Meaning", "含义"),
        ],
        rows: rows.iter().map(row).collect(),
    };
    Page {
        title: say("Metrics", "监控指标"),
        intro: language.of(INTRO),
        sections: SECTIONS.iter().map(section).collect(),
    }
}

const INTRO: Sentence = Sentence::new(
    "\
What `/metrics` shows, in Prometheus' text format. Names that Kubernetes' own cloud controller manager has mean here what they mean there; where something differs, the
sentence says so. Labels have few values, and none is the name of an object: what a single Service or Node lacks is said in its [Events](events.md).

A line is there from the first time that something was counted. Histograms have the usual `_bucket`, `_sum` and `_count`.",
    "\
`/metrics` 以 Prometheus 文本格式给出的内容。与 Kubernetes 自身的 cloud-controller-manager 同名的指标含义相同，有差别的会在说明中指出。标签的取值很少，且都不是对象的名称：某个 Service
或节点缺少什么，请看它的[事件](events.md)。

一行指标从第一次计数时才开始出现。直方图带有通常的 `_bucket`、`_sum` 和 `_count`。",
);

type Rows = &'static [(&'static str, &'static str)];

/// What belongs together; of each its name and what it tells in Chinese.
#[rustfmt::skip]
const SECTIONS: &[(Sentence, Rows)] = &[
    (Sentence::new("Services", "Service"), &[
        ("inspur_ccm_listeners", "SLB 上属于本集群 Service 的监听器数，以每个 Service 最近一次同步所知为准。"),
        ("inspur_ccm_failing_services", "最近一次同步失败的 LoadBalancer 类型 Service 数，原因见它们的事件。"),
        ("service_controller_loadbalancer_sync_total", "因节点变化而更新 Service 监听器成员的次数。"),
        ("service_controller_nodesync_error_total", "因节点变化而更新监听器成员失败、将会重试的次数。"),
        ("service_controller_nodesync_latency_seconds", "从节点变化到所有 Service 都更新完毕的时间（秒）。Service 的处理与其他变化并行；期间到来的变化不另外计时。"),
        ("service_controller_update_loadbalancer_host_latency_seconds", "因节点变化而更新一个 Service（包括其 status）所用的时间（秒）。"),
    ]),
    (Sentence::new("Nodes", "节点"), &[
        ("node_controller_cloud_provider_taint_removal_delay_seconds", "从节点创建到污点 node.cloudprovider.kubernetes.io/uninitialized 被去掉的时间（秒）。"),
        ("node_controller_initial_node_sync_delay_seconds", "从节点创建到初始化结束的时间（秒）。污点随最后一次写入去掉，因此与上一项相同。"),
        ("inspur_ccm_node_initialization_failures_total", "初始化节点失败的次数，原因见节点的事件。"),
        ("inspur_ccm_node_look_ups_total", "节点控制器向云查询的次数，每次最多涉及一百个节点。"),
        ("inspur_ccm_node_address_updates_total", "已初始化的节点因云给出不同地址而被修改地址的次数。"),
        ("inspur_ccm_node_address_update_failures_total", "已初始化的节点的地址无法与云比对或无法修改的次数；下一轮会重试。"),
        ("inspur_ccm_node_label_repairs_total", "可用区、区域、类型或平台标签被修复的节点数。"),
        ("inspur_ccm_node_write_conflicts_total", "节点控制器写节点时遇到他人改动的次数；会重写或留给下一轮。"),
        ("inspur_ccm_node_deletions_total", "实例被证实消失而要删除的节点数，按结果（result）：success 或 failure。"),
        ("inspur_ccm_nodes_held_by_brake", "实例已被证实消失，但因同时消失的太多而暂不删除的节点数。不为 0 时需要人工查看。"),
        ("inspur_ccm_node_deletions_braked_total", "因同时消失的太多而没有删除的节点数；每个节点在被拦住期间只计一次。"),
        ("inspur_ccm_node_shutdown_taints_total", "加上或去掉污点 node.cloudprovider.kubernetes.io/shutdown 的节点数，按动作（action）：added 或 removed。"),
    ]),
    (Sentence::new("Calls to the cloud", "对云的调用"), &[
        ("cloudprovider_inspur_api_requests_total", "对云的调用次数，每次尝试单独计数，按应答的状态码；没有应答时为 <error>。"),
        ("cloudprovider_inspur_api_request_duration_seconds", "成功的调用所用的时间（秒）；每次尝试单独计时，不含之前的等待。"),
        ("cloudprovider_inspur_api_request_errors_total", "所有尝试之后放弃的调用次数，包括查无所获的调用。"),
        ("cloudprovider_inspur_api_throttled_requests_total", "云以 429（过多）应答的次数，每次尝试单独计数。"),
        ("cloudprovider_inspur_api_conflicts_total", "云以 409 应答的次数（SLB 正忙于其他改动），每次尝试单独计数。"),
        ("cloudprovider_inspur_api_wait_seconds_total", "调用被推迟的总时间（秒），按原因（why）：limit 为自身的限速，即云配置的 api-qps；throttled 为云此前以 429 应答。"),
        ("cloudprovider_inspur_token_renewals_total", "向令牌服务或令牌文件取新令牌的次数，按结果（result）：success 或 failure。"),
    ]),
    (Sentence::new("Requests to the API server", "对 API server 的请求"), &[
        ("rest_client_requests_total", "对 API server 的请求次数，每次尝试单独计数，按应答的状态码；没有应答时为 <error>。"),
        ("rest_client_request_duration_seconds", "对 API server 的一次尝试所用的时间（秒），请求对象时包括读取应答正文。不含之前的等待（自身限速或失败之后），也不含 watch。"),
        ("rest_client_rate_limiter_duration_seconds", "请求因自身限速（--kube-api-qps）等待的时间（秒）。"),
        ("rest_client_request_retries_total", "重复发送的请求数，按之前应答的状态码；没有应答时为 <error>。"),
        ("rest_client_request_size_bytes", "请求正文的字节数（有正文时）。"),
        ("rest_client_response_size_bytes", "读取的应答正文字节数，不含 watch。"),
    ]),
    (Sentence::new("Copies of the cluster's objects", "集群对象的本地副本"), &[
        ("informer_synced", "第一次列表是否已应用、该资源的副本是否完整：是为 1，否则为 0。"),
        ("informer_objects", "副本中的对象数。"),
        ("informer_last_event_seconds", "距最近一次应用列表、事件或书签的时间（秒）；在第一次之前，是距开始监视的时间。"),
        ("informer_opaque_objects", "存在但无法理解的对象数；不会改动它们。"),
        ("informer_lists_total", "列表次数，按原因（reason）：start 首次；retry 重试失败的列表；confirm 确认会去掉大量对象的列表；expired 版本已过期；rewound 服务器的状态倒退；garbled watch 的内容无法理解；failed watch 无法打开或立即结束。"),
        ("informer_watches_total", "结束或无法打开的 watch 数，按方式（end）：clean 数分钟后按约定结束；broken 连接中断；garbled 内容无法理解；expired 版本过期；throttled 被限速；denied 无权限；unauthorized 凭据不被接受；failed 其他失败。"),
        ("informer_events_total", "watch 的事件数，按类型（type）：added、modified、deleted、bookmark、error；other 会被忽略或使 watch 结束。"),
    ]),
    (Sentence::new("Work queues", "工作队列"), &[
        ("workqueue_depth", "只要有空闲的工作线程就能取出的键数；不含等待时间到来的键。"),
        ("workqueue_adds_total", "加入（或时间已到）且尚未排队的键数。"),
        ("workqueue_queue_duration_seconds", "键在被取出之前排队的时间（秒）。"),
        ("workqueue_work_duration_seconds", "处理一个键所用的时间（秒）。"),
        ("workqueue_unfinished_work_seconds", "正在处理的各键已用时间之和（秒）。持续增长说明有工作线程卡住。"),
        ("workqueue_longest_running_processor_seconds", "正在处理的键中已用的最长时间（秒）。"),
        ("workqueue_retries_total", "因任何原因要在一段延迟之后再来的键数。"),
    ]),
    (Sentence::new("Events", "事件"), &[
        ("events_sent_total", "API server 接受的事件数，它计数的每次重复也单独计数。"),
        ("events_dropped_total", "没有送达的事件数，按原因（why）：queue 排队的太多；spam 同一对象的太多；refused 被 API server 拒绝；unanswered 太久没有 API server 可用。"),
    ]),
    (Sentence::new("Leader election", "选主"), &[
        ("leader_election_master_status", "本副本是否为领导者：是为 1，待命为 0。name 为租约的名称。"),
        ("leader_election_slowpath_total", "续约时须先读取租约的次数。name 为租约的名称。"),
    ]),
    (Sentence::new("Files that change", "会变化的文件"), &[
        ("config_reloads_total", "配置和证书文件的新版本数，按结果（result）：success 已启用；failure 无法使用，旧版本继续；restart_needed 部分内容须重启后生效。"),
        ("config_last_reload_successful", "磁盘上的内容是否就是正在使用的内容。"),
        ("config_last_reload_success_timestamp_seconds", "正在使用的内容的读取时刻，自 1970 年起的秒数。"),
        ("token_reload_total", "服务账户令牌文件的新版本数，按结果（result）。"),
        ("client_cert_expiry_seconds", "访问 API server 所用客户端证书的到期时刻，自 1970 年起的秒数；没有客户端证书时不出现。"),
        ("endpoint_certificate_reloads_total", "端点证书的新版本数，按是否可用（result）。"),
        ("client_ca_reloads_total", "客户端和前端代理的证书颁发机构的新版本数，按是否可用（result）。"),
    ]),
    (Sentence::new("The endpoint", "端点"), &[
        ("endpoint_requests_total", "对端点的请求数，按状态码和页面。"),
        ("endpoint_connections_total", "到端点的连接数。"),
        ("endpoint_connections_cut_total", "未得到应答就被结束的连接数：连接过多时最早的那个、太慢或太大的，以及没有线程可用的。"),
        ("endpoint_tls_errors_total", "因客户端发送的 TLS 内容而失败的连接数。"),
        ("endpoint_plain_http_total", "未使用 TLS 而直接发送 HTTP 的连接数。"),
        ("apiserver_client_certificate_expiration_seconds", "客户端出示的证书距到期的时间（秒）。"),
        ("apiserver_delegated_authn_request_duration_seconds", "审查令牌所用的时间（秒），按状态码。"),
        ("apiserver_delegated_authn_request_total", "审查令牌的次数，按状态码。"),
        ("apiserver_delegated_authz_request_duration_seconds", "审查访问权限所用的时间（秒），按状态码。"),
        ("apiserver_delegated_authz_request_total", "审查访问权限的次数，按状态码。"),
        ("authentication_duration_seconds", "弄清端点的调用者是谁所用的时间（秒），按结果。"),
        ("authentication_token_cache_fetch_total", "对未知令牌的审查次数，按是否得到答复。"),
        ("authentication_token_cache_request_duration_seconds", "查找令牌所用的时间（秒），包括必要的审查。"),
        ("authentication_token_cache_request_total", "在已知令牌中的查找次数，按是否找到。"),
        ("authorization_attempts_total", "是否允许端点调用者的决定数，按结果。"),
        ("authorization_duration_seconds", "决定是否允许端点调用者所用的时间（秒），按结果。"),
    ]),
    (Sentence::new("The program itself", "程序自身"), &[
        ("running_managed_controllers", "该名称的控制器运行时为 1，结束后为 0，开始之前没有这一行。名称为 cloud-node、cloud-node-lifecycle 和 service。"),
        ("inspur_ccm_build_info", "恒为 1，标签给出本程序的版本。"),
        ("kubernetes_build_info", "恒为 1，标签给出本程序的版本，与 Kubernetes 自身的程序位置相同。Rust 程序没有的内容为空。"),
        ("process_cpu_seconds_total", "进程已用的 CPU 时间（秒），用户态与内核态合计。"),
        ("process_resident_memory_bytes", "驻留内存（字节）。"),
        ("process_virtual_memory_bytes", "地址空间（字节），其中大部分从未使用。"),
        ("process_open_fds", "打开的文件和套接字数。"),
        ("process_max_fds", "允许打开的文件和套接字数。"),
        ("process_start_time_seconds", "进程启动的时刻，自 1970 年起的秒数。"),
    ]),
];
