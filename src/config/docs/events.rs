//! The page of Events, and the tests that it names every reason in the source, and every message as the source spells it.

mod node;
mod service;

use std::collections::BTreeSet;

use super::{Language, Page, Section, check, code, prose};
use crate::events::EventType;
use crate::runtime::sentence::Sentence;

/// A reason that an Event can have.
struct Reason {
    name: &'static str,
    kind: EventType,
    when: Sentence,
    what_to_do: Sentence,
}

/// Something that the message of a failure can say.
struct Failure {
    /// How the source calls it, where it has a name there.
    name: Option<&'static str>,
    /// A piece of the message, as the source spells it.
    says: &'static str,
    cause: Sentence,
    what_to_do: Sentence,
}

#[test]
fn the_page_of_events_is_made_from_the_tables() {
    check("events", page);
}

#[test]
fn every_reason_in_the_source_is_on_the_page() {
    let services = [
        of_module(include_str!("../../controllers/service/sync.rs")),
        include_str!("../../inspur/reasons.rs"),
    ];
    let nodes = [
        of_module(include_str!("../../controllers/node/sync.rs")),
        of_module(include_str!("../../controllers/node_lifecycle/sync.rs")),
        include_str!("../../inspur/instances/reason.rs"),
    ];
    for (written, least, reasons, failures) in [
        (&services[..], 15, service::REASONS, service::FAILURES),
        (&nodes[..], 9, node::REASONS, node::FAILURES),
    ] {
        let written: BTreeSet<&str> = written.iter().flat_map(|source| constants(source)).collect();
        assert!(written.len() > least, "reasons are found at all: {written:?}");
        let told: BTreeSet<&str> = reasons
            .iter()
            .map(|reason| reason.name)
            .chain(failures.iter().filter_map(|failure| failure.name))
            .collect();
        assert_eq!(told, written);
    }
}

/// What a source has in its `mod reason`.
fn of_module(source: &'static str) -> &'static str {
    let (_, module) = source.split_once("mod reason {").unwrap();
    module.split_once("\n}").unwrap().0
}

/// The texts of a source's constants.
fn constants(source: &'static str) -> impl Iterator<Item = &'static str> {
    let value = |line: &'static str| line.split_once(": &str = \"")?.1.strip_suffix("\";");
    source
        .lines()
        .filter(|line| line.contains("const "))
        .filter_map(value)
}

#[test]
fn every_message_on_the_page_is_in_the_source() {
    let services = [
        include_str!("../../controllers/service/sync.rs"),
        include_str!("../../inspur/load_balancers.rs"),
        include_str!("../../inspur/annotations.rs"),
    ];
    let nodes = [
        include_str!("../../controllers/node/error.rs"),
        include_str!("../../controllers/node/addresses.rs"),
        include_str!("../../inspur/instances.rs"),
        include_str!("../../inspur/instances/ask.rs"),
        include_str!("../../inspur/instances/describe.rs"),
        include_str!("../../inspur/instances/identity.rs"),
        include_str!("../../inspur/instances/known.rs"),
        include_str!("../../inspur/api/mod.rs"),
    ];
    for (sources, failures) in [(&services[..], service::FAILURES), (&nodes[..], node::FAILURES)] {
        for Failure { says, .. } in failures {
            assert!(sources.iter().any(|source| source.contains(says)), "{says:?}");
        }
    }
}

fn page(language: Language) -> Page {
    let say = |en, zh| language.of(Sentence::new(en, zh));
    let reasons = |heading, kind: EventType, all: &[Reason]| {
        let of_kind = all.iter().filter(move |reason| reason.kind == kind);
        let row = |reason: &Reason| {
            vec![
                code(reason.name),
                prose(language.of(reason.when)),
                prose(language.of(reason.what_to_do)),
            ]
        };
        Section {
            heading,
            intro: "",
            columns: vec![
                say("Reason", "原因"),
                say("When", "何时"),
                say("What to do", "怎么办"),
            ],
            rows: of_kind.map(row).collect(),
        }
    };
    let failures = |heading, intro, all: &[Failure]| {
        let row = |failure: &Failure| {
            vec![
                code(failure.says.trim()),
                prose(language.of(failure.cause)),
                prose(language.of(failure.what_to_do)),
            ]
        };
        Section {
            heading,
            intro: language.of(intro),
            columns: vec![
                say("The message contains", "消息中包含"),
                say("Why", "原因"),
                say("What to do", "怎么办"),
            ],
            rows: all.iter().map(row).collect(),
        }
    };
    Page {
        title: say("Events", "事件"),
        intro: language.of(INTRO),
        sections: vec![
            reasons(
                say("Of a Service: Normal", "Service：Normal"),
                EventType::Normal,
                service::REASONS,
            ),
            reasons(
                say("Of a Service: Warning", "Service：Warning"),
                EventType::Warning,
                service::REASONS,
            ),
            failures(
                say("What a Service's failure says", "Service 失败消息的内容"),
                service::FAILURES_INTRO,
                service::FAILURES,
            ),
            reasons(
                say("Of a Node: Normal", "节点：Normal"),
                EventType::Normal,
                node::REASONS,
            ),
            reasons(
                say("Of a Node: Warning", "节点：Warning"),
                EventType::Warning,
                node::REASONS,
            ),
            failures(
                say("What a Node's failure says", "节点失败消息的内容"),
                node::FAILURES_INTRO,
                node::FAILURES,
            ),
        ],
    }
}

const NOTHING: Sentence = Sentence::new("Nothing.", "无需处理。");

const RBAC: Sentence = Sentence::new(
    "Compare the controller's rights with deploy/rbac.yaml; if the API server was out, it is tried again.",
    "对照 deploy/rbac.yaml 检查控制器的权限；如果是 API server 故障，会自动重试。",
);

const fn reason(kind: EventType, name: &'static str, when: Sentence, what_to_do: Sentence) -> Reason {
    Reason {
        name,
        kind,
        when,
        what_to_do,
    }
}

const fn failure(
    name: Option<&'static str>,
    says: &'static str,
    cause: Sentence,
    what_to_do: Sentence,
) -> Failure {
    Failure {
        name,
        says,
        cause,
        what_to_do,
    }
}

const INTRO: Sentence = Sentence::new(
    "\
What the controller tells a Service's owner, and whoever looks after [Nodes](../explanation/nodes.md): `kubectl describe service NAME` or `kubectl describe node NAME` shows it, and
`kubectl get events -A --field-selector involvedObject.kind=Service` (or `Node`) for all; those of Nodes are in the namespace `default`. The source is `service-controller`,
`cloud-node-controller` or `cloud-node-lifecycle-controller`. The same Event again is counted, not repeated; many at once are combined, and beyond 25 at once for
one object they are dropped but for one in five minutes. Kubernetes forgets Events, after an hour by default.",
    "\
控制器向 Service 所有者和[节点](../explanation/nodes.md)管理者说明情况的方式：用 `kubectl describe service NAME` 或 `kubectl describe node NAME` 查看，或用
`kubectl get events -A --field-selector involvedObject.kind=Service`（或 `Node`）查看全部；节点的事件在命名空间 `default` 中。来源是 `service-controller`、
`cloud-node-controller` 或 `cloud-node-lifecycle-controller`。重复的事件只计数；同时出现的许多事件会合并，同一对象短时间内超过 25 个之后，每五分钟只保留一个。
Kubernetes 默认一小时后清除事件。",
);
