//! The page of annotations, and of whatever else is read of Services and Nodes.

use super::{Language, Page, Section, check, codes, prose};
use crate::controllers::node_lifecycle::{DELETION_WANTED, SHUTDOWN_TAINT};
use crate::controllers::service::FINALIZER;
use crate::inspur::annotations::{Annotation, INSTANCE_ID, SLB_IN_USE, TABLE};
use crate::k8s::types::{EXCLUDE_LABEL, UNINITIALIZED};
use crate::runtime::sentence::Sentence;

#[test]
fn the_page_of_annotations_is_made_from_the_table() {
    check("annotations", page);
}

#[test]
fn what_is_read_of_nodes_and_written_is_so_in_the_source() {
    let sources = [
        include_str!("../../controllers/node/addresses.rs"),
        include_str!("../../controllers/node/decide.rs"),
        include_str!("../../inspur/instances/describe.rs"),
    ];
    let labels = TYPE.into_iter().chain(ZONE).chain(REGION);
    for name in labels.chain([NODE_IP, VPC, SUBNET]) {
        let quoted = format!("\"{name}\"");
        assert!(sources.iter().any(|source| source.contains(&quoted)), "{name}");
    }
}

fn page(language: Language) -> Page {
    let say = |en, zh| language.of(Sentence::new(en, zh));
    let row = |annotation: &Annotation| {
        vec![
            codes(std::iter::once(annotation.name).chain(annotation.aliases.iter().copied())),
            prose(language.of(annotation.allowed)),
            prose(language.of(annotation.default)),
            prose(language.of(annotation.sentence)),
        ]
    };
    // what is read, where it stands, what it means
    let table = |heading, intro, rows: &[Row]| Section {
        heading,
        intro,
        columns: vec![
            say("Name", "名称"),
            say("What it is", "是什么"),
            say("Meaning", "含义"),
        ],
        rows: rows
            .iter()
            .map(|(names, kind, meaning)| {
                vec![
                    codes(names.iter().copied()),
                    prose(language.of(*kind)),
                    prose(language.of(*meaning)),
                ]
            })
            .collect(),
    };
    Page {
        title: say("Annotations", "注解"),
        intro: language.of(INTRO),
        sections: vec![
            Section {
                heading: say("On a Service", "Service 上的注解"),
                intro: language.of(ON_A_SERVICE),
                columns: vec![
                    say("Annotation", "注解"),
                    say("Value", "取值"),
                    say("Default", "默认值"),
                    say("Meaning", "含义"),
                ],
                rows: TABLE.iter().map(row).collect(),
            },
            table(
                say("Written on a Service", "写入 Service"),
                language.of(WRITTEN_INTRO),
                WRITTEN,
            ),
            table(
                say("Read of a Service's spec", "从 Service 的 spec 读取"),
                language.of(SPEC_INTRO),
                SPEC,
            ),
            table(
                say("Read of a Node, for Services", "为 Service 从节点读取"),
                language.of(MEMBER_INTRO),
                MEMBER,
            ),
            table(
                say("Read of a Node, for itself", "为节点自身读取"),
                language.of(NODE_INTRO),
                NODE,
            ),
            table(
                say("Written on a Node", "写入节点"),
                language.of(NODE_WRITTEN_INTRO),
                NODE_WRITTEN,
            ),
        ],
    }
}

/// Names, what they are, what they mean.
type Row = (&'static [&'static str], Sentence, Sentence);

const FIELD: Sentence = Sentence::new("field", "字段");
const ANNOTATION: Sentence = Sentence::new("annotation", "注解");
const LABEL: Sentence = Sentence::new("label", "标签");
const LABELS: Sentence = Sentence::new("labels", "标签");
const TAINT: Sentence = Sentence::new("taint", "污点");

const WRITTEN: &[Row] = &[
    (
        &[SLB_IN_USE],
        ANNOTATION,
        Sentence::new(
            "The SLBs, by id, comma-separated, on which the Service may have listeners. It stands there before the first one is made, and goes when the last one is gone.",
            "该 Service 可能有监听器的 SLB 的 ID，以逗号分隔。在建立第一个监听器之前写入，在最后一个监听器消失之后移除。",
        ),
    ),
    (
        &[FINALIZER],
        Sentence::new("finalizer", "finalizer"),
        Sentence::new(
            "Keeps a deleted Service until its listeners are gone. Upstream's controllers use the same one.",
            "让已删除的 Service 保留到监听器清理完毕。上游的控制器使用同一个 finalizer。",
        ),
    ),
];

const SPEC: &[Row] = &[
    (
        &["type"],
        FIELD,
        Sentence::new(
            "Only LoadBalancer is served; a Service that changes to another type loses its listeners.",
            "只服务 LoadBalancer；改为其他类型的 Service 会失去监听器。",
        ),
    ),
    (
        &["loadBalancerClass"],
        FIELD,
        Sentence::new(
            "A Service with a class, whichever, is left to others.",
            "带有 class（无论何值）的 Service 留给其他实现。",
        ),
    ),
    (
        &["ports"],
        FIELD,
        Sentence::new(
            "For each a listener on port, with members on nodePort; protocol is TCP or UDP.",
            "每个端口对应一个监听 port 的监听器，成员使用 nodePort；protocol 为 TCP 或 UDP。",
        ),
    ),
    (
        &["externalTrafficPolicy"],
        FIELD,
        Sentence::new(
            "Local changes how members are checked, see above; all Nodes are members all the same.",
            "Local 会改变成员的检查方式（见上文）；所有节点仍然都是成员。",
        ),
    ),
    (
        &["healthCheckNodePort"],
        FIELD,
        Sentence::new(
            "Where kube-proxy says whether a Node has a pod of a Local Service.",
            "kube-proxy 在此端口说明节点上是否有 Local Service 的 pod。",
        ),
    ),
];

const MEMBER: &[Row] = &[
    (
        &["spec.providerID"],
        FIELD,
        Sentence::new(
            "incloud://ID (or inspur://…/ID): the instance's id, by which it becomes a member.",
            "incloud://ID（或 inspur://…/ID）：实例的 ID，以此 ID 成为成员。",
        ),
    ),
    (
        &[INSTANCE_ID],
        ANNOTATION,
        Sentence::new(
            "The instance's id where the provider ID gives none. Without either it is the Node's name.",
            "providerID 未给出时的实例 ID。两者都没有时使用节点名称。",
        ),
    ),
    (
        &["status.addresses"],
        FIELD,
        Sentence::new(
            "The first InternalIP of the family of the SLB's address in its VPC is the member's address. A Node without one gets no traffic, and an Event says so.",
            "与 SLB 的 VPC 内地址同族的第一个 InternalIP 是成员地址。没有这种地址的节点得不到流量，并有事件说明。",
        ),
    ),
    (
        &[EXCLUDE_LABEL],
        LABEL,
        Sentence::new(
            "Keeps the Node out, whatever its value, unless that is boolean false: 0, f, F, false, False or FALSE.",
            "使节点不成为成员，无论取值如何；布尔假值（0、f、F、false、False 或 FALSE）除外。",
        ),
    ),
    (
        &["ToBeDeletedByClusterAutoscaler"],
        TAINT,
        Sentence::new(
            "Keeps the Node out: it is about to go.",
            "使节点不成为成员：它即将被移除。",
        ),
    ),
];

// the same, by the sources of their controllers
const NODE_IP: &str = "alpha.kubernetes.io/provided-node-ip";
const VPC: &str = "node.inspur.com/vpc-id";
const SUBNET: &str = "node.inspur.com/subnet-id";
const TYPE: [&str; 2] = [
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
];
const ZONE: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];
const REGION: [&str; 2] = [
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/region",
];

const NODE: &[Row] = &[
    (
        &[UNINITIALIZED],
        TAINT,
        Sentence::new(
            "The Node waits to be initialised; kubelet sets it with --cloud-provider=external. The key counts, whatever its value and effect.",
            "节点等待初始化；kubelet 使用 --cloud-provider=external 时设置。只看键，不看值和效果。",
        ),
    ),
    (
        &["spec.providerID"],
        FIELD,
        Sentence::new(
            "incloud://ID (or inspur://…/ID) names the instance. With any other the Node is left alone, and an Event says so; without an ECS API it is believed as it is.",
            "incloud://ID（或 inspur://…/ID）指明实例。其他取值的节点不会被改动，并有事件说明；没有 ECS API 时照原样采信。",
        ),
    ),
    (
        &[INSTANCE_ID],
        ANNOTATION,
        Sentence::new(
            "The instance's id where there is no provider ID: up to 128 letters, digits and signs, without spaces and slashes.",
            "没有 providerID 时的实例 ID：最多 128 个字母、数字和符号，不含空格和斜杠。",
        ),
    ),
    (
        &["metadata.name", "status.addresses"],
        FIELD,
        Sentence::new(
            "Without either, the instance of exactly that name is looked for, then one with an InternalIP of the Node. Without an ECS API the name is taken for the instance's id.",
            "两者都没有时，先查找名称完全相同的实例，再按节点的 InternalIP 查找。没有 ECS API 时以节点名称作为实例 ID。",
        ),
    ),
    (
        &[NODE_IP],
        ANNOTATION,
        Sentence::new(
            "Written by kubelet for its --node-ip: one address, or one of each family, joined by a comma. Of the types that these addresses have, the Node gets no others. The instance must have them.",
            "kubelet 按其 --node-ip 写入：一个地址，或两族各一个，以逗号连接。这些地址所属的类型中，节点只保留它们。实例必须具有这些地址。",
        ),
    ),
    (
        &["status.conditions"],
        FIELD,
        Sentence::new(
            "Ready: only a Node that is not is ever tainted as shut down, or deleted.",
            "Ready：只有未就绪的节点才会被打上关机污点或被删除。",
        ),
    ),
    (
        &[DELETION_WANTED],
        ANNOTATION,
        Sentence::new(
            "true, and nothing else: the Node is deleted in spite of the brake, once its instance is proven gone. It proves nothing itself.",
            "只认 true：实例被证实消失后，即使制动生效也删除该节点。它本身不是证据。",
        ),
    ),
];

const NODE_WRITTEN: &[Row] = &[
    (
        &["spec.providerID"],
        FIELD,
        Sentence::new(
            "incloud://ID, once, where there is none.",
            "incloud://ID，没有时写入一次。",
        ),
    ),
    (
        &["status.addresses"],
        FIELD,
        Sentence::new(
            "The instance's: InternalIP (IPv4, then IPv6), ExternalIP, Hostname. Where the cloud gives no host name, the Node keeps its own. Where it gives no address at all, and without an ECS API, nothing is written.",
            "实例的地址：InternalIP（先 IPv4，后 IPv6）、ExternalIP、Hostname。云未给出主机名时保留节点原有的。云没有给出任何地址时，以及没有 ECS API 时，不写入。",
        ),
    ),
    (
        &TYPE,
        LABELS,
        Sentence::new(
            "The instance's type, where the ECS API tells it.",
            "实例类型（ECS API 给出时）。",
        ),
    ),
    (
        &ZONE,
        LABELS,
        Sentence::new(
            "The instance's zone, else the cloud config's.",
            "实例的可用区，否则取自云配置。",
        ),
    ),
    (
        &REGION,
        LABELS,
        Sentence::new(
            "The instance's region, else the cloud config's.",
            "实例的地域，否则取自云配置。",
        ),
    ),
    (
        &[VPC, SUBNET],
        LABELS,
        Sentence::new(
            "Where the instance is, if the ECS API tells it and the Node does not have the label yet.",
            "实例所在的 VPC 和子网（ECS API 给出，且节点还没有该标签时）。",
        ),
    ),
    (
        &[UNINITIALIZED],
        TAINT,
        Sentence::new(
            "Taken off in the same write as provider ID and labels.",
            "与 providerID 和标签在同一次写入中去掉。",
        ),
    ),
    (
        &[SHUTDOWN_TAINT],
        TAINT,
        Sentence::new(
            "Effect NoSchedule: the instance is shut down, and the Node not Ready. Taken off when it is Ready.",
            "效果为 NoSchedule：实例已关机且节点未就绪。就绪后去掉。",
        ),
    ),
];

const INTRO: Sentence = Sentence::new(
    "\
What a Service of `type: LoadBalancer` can ask for, what else is read of Services and [Nodes](../explanation/nodes.md), and what is written on them. What is not on this page has no effect.",
    "\
`type: LoadBalancer` 的 Service 可以提出哪些要求，以及还会从 Service 和[节点](../explanation/nodes.md)读取哪些内容，以及会写入什么。本页未列出的内容不起作用。",
);

const ON_A_SERVICE: Sentence = Sentence::new(
    "\
Values are strings, so numbers and booleans need quotes in YAML: `\"5\"`, `\"true\"`. Space around a value is dropped; `RR`, `tcp`, `true` and
the like may be written in any case.

- **Wrong values.** An annotation that cannot be read is never guessed at: an [Event](events.md) names it and what is allowed, and nothing is
  written for the Service until it is mended. All wrong ones are told at once.
- **Defaults.** Where a Service does not say, the [cloud config](cloud-config.md) does: its key is the last part of the annotation's name, such
  as `forward-rule`, and `health-check: off` is the same as `is-healthcheck: 0`. Where neither says, the default below counts.
- **Local.** With `externalTrafficPolicy: Local`, and neither a type nor a port annotated, checks are of type http and ask for `/healthz` on
  the `healthCheckNodePort`, whatever the cloud config says of these: only Nodes with a pod of the Service answer there. The other annotations count, the path
  too.
- **Two spellings.** The SLB may be named by either key; if both are there, they must agree.",
    "\
注解的值是字符串，因此数字和布尔值在 YAML 中要加引号：`\"5\"`、`\"true\"`。值两端的空白会被去掉；`RR`、`tcp`、`true` 等不区分大小写。

- **错误的值。** 绝不猜测无法读取的注解：[事件](events.md)会指出是哪个注解以及允许的取值，改正之前不会为该 Service 写入任何内容。所有错误一并报告。
- **默认值。** Service 未说明时以[云配置](cloud-config.md)为准：配置项的名称是注解名称的最后一段，例如 `forward-rule`；`health-check: off` 与
  `is-healthcheck: 0` 相同。两者都未说明时，使用下表的默认值。
- **Local。** 当 `externalTrafficPolicy: Local` 且注解既未给出类型也未给出端口时，检查为 http 类型，在 `healthCheckNodePort` 上请求 `/healthz`，
  云配置中的类型、端口和路径不起作用：只有运行该 Service 的 pod 的节点才会应答。其余注解仍然有效，包括路径。
- **两种拼写。** SLB 可以用任一键指定；两者同时存在时必须一致。",
);

const WRITTEN_INTRO: Sentence = Sentence::new(
    "\
These, and `status.loadBalancer`, are the controller's: do not edit them.",
    "\
以下两项和 `status.loadBalancer` 归控制器所有，请勿修改。",
);

const SPEC_INTRO: Sentence = Sentence::new(
    "\
Nothing else of the spec counts. So `loadBalancerSourceRanges`, `sessionAffinity` and `loadBalancerIP` have no effect on an SLB.",
    "\
spec 的其他内容不起作用。因此 `loadBalancerSourceRanges`、`sessionAffinity` 和 `loadBalancerIP` 对 SLB 没有影响。",
);

const MEMBER_INTRO: Sentence = Sentence::new(
    "\
Every Node is a member, Ready or not, unless it is being deleted or one of the last two keeps it out. Health checks find out who answers.",
    "\
除正在删除的以及被最后两项排除的节点外，所有节点都是成员，无论是否 Ready。由健康检查判断谁能应答。",
);

const NODE_INTRO: Sentence = Sentence::new(
    "\
Which instance a Node is, and what may happen to it: in the order of this table, the first that says which instance it is counts.",
    "\
节点是哪个实例，以及可以对它做什么：按本表的顺序，最先指明实例的那一项有效。",
);

const NODE_WRITTEN_INTRO: Sentence = Sentence::new(
    "\
Addresses are refreshed; the rest is written when the Node is initialised. Of each pair of labels the second, older one counts from then on: the first is made
to follow it whenever it differs. A value that cannot be a label's is left out. Other labels and taints are never touched.",
    "\
地址会定期刷新，其余内容在初始化节点时写入。此后每对标签以第二个（旧名称）为准：第一个不一致时会随之改正。不能作为标签的值会被略去。绝不触碰其他标签和污点。",
);
