//! What is told of Services.

use super::{Failure, NOTHING, RBAC, Reason, failure, reason};
use crate::events::EventType;
use crate::runtime::sentence::Sentence;

#[rustfmt::skip]
pub(super) const REASONS: &[Reason] = &[
    reason(EventType::Normal, "EnsuringLoadBalancer",
        Sentence::new("Work on the Service begins: it is new, it changed, or it names another SLB.", "开始处理该 Service：它是新建的、有变化，或指定了另一个 SLB。"),
        NOTHING),
    reason(EventType::Normal, "EnsuredLoadBalancer",
        Sentence::new("The work is done: every port that can be served is. Ports that have to wait have Events of their own.", "处理完成：所有可以服务的端口都已就绪。需要等待的端口另有事件说明。"),
        NOTHING),
    reason(EventType::Normal, "UpdatedLoadBalancer",
        Sentence::new("Members joined or left because Nodes did.", "节点有增减，成员随之加入或离开。"),
        NOTHING),
    reason(EventType::Normal, "DeletingLoadBalancer",
        Sentence::new("The Service's listeners are about to be removed: it is being deleted, or is no LoadBalancer of ours any more.", "即将移除该 Service 的监听器：它正在被删除，或不再是由本控制器负责的 LoadBalancer。"),
        NOTHING),
    reason(EventType::Normal, "DeletedLoadBalancer",
        Sentence::new("No listener of the Service is left on any SLB.", "任何 SLB 上都不再有该 Service 的监听器。"),
        NOTHING),
    reason(EventType::Warning, "SyncLoadBalancerFailed",
        Sentence::new("The Service could not be served, changed or cleaned up; the message says why. What was served before still is.", "无法服务、变更或清理该 Service，消息说明了原因。之前已经服务的端口不受影响。"),
        Sentence::new("See below.", "见下文。")),
    reason(EventType::Warning, "UpdateLoadBalancerFailed",
        Sentence::new("Nodes changed, and the members could not be changed with them; the message says why.", "节点有变化，但成员未能随之更新，消息说明了原因。"),
        Sentence::new("See below.", "见下文。")),
    reason(EventType::Warning, "UnAvailableLoadBalancer",
        Sentence::new("No Node may take traffic: there is none, or all are kept out. Listeners are made, and nobody is behind them.", "没有可以接收流量的节点：一个也没有，或全部被排除。监听器会建立，但后面没有成员。"),
        Sentence::new("Add Nodes, or look for [what keeps them out](annotations.md).", "添加节点，或查找[它们被排除的原因](annotations.md)。")),
    reason(EventType::Warning, "PortTaken",
        Sentence::new("A port of the SLB is taken: by a listener that is not this Service's (the message names it), or by an older Service, whose turn ends before this one's begins. The other ports are served.", "该 SLB 的端口已被占用：被不属于该 Service 的监听器占用（消息会指出是哪一个），或被更早的 Service 占用，它让出后才轮到本 Service。其余端口照常服务。"),
        Sentence::new("Use another port or another SLB, or remove that listener: the port is served within six minutes.", "改用其他端口或其他 SLB，或移除那个监听器：该端口会在六分钟内恢复服务。")),
    reason(EventType::Warning, "LoadBalancerLeftBehind",
        Sentence::new("The Service moved to another SLB, where it is served, but its listeners on the old one could not be removed yet.", "该 Service 已改用另一个 SLB 并正常服务，但旧 SLB 上的监听器尚未能移除。"),
        Sentence::new("Nothing, if the message speaks of an outage: it is tried again. If the account may no longer use the old SLB, give it back the right to.", "如果消息说的是故障，无需处理，会自动重试。如果账号已无权使用旧的 SLB，请恢复权限。")),
    reason(EventType::Warning, "ProtocolUnsupported",
        Sentence::new("A port's protocol is neither TCP nor UDP. The other ports are served.", "某个端口的协议既不是 TCP 也不是 UDP。其余端口照常服务。"),
        Sentence::new("Take the port off the Service, or serve it by TCP or UDP.", "从 Service 删去该端口，或改用 TCP 或 UDP。")),
    reason(EventType::Warning, "NodePortMissing",
        Sentence::new("A port has no nodePort, so that an SLB cannot reach it. The other ports are served.", "某个端口没有 nodePort，SLB 无法访问。其余端口照常服务。"),
        Sentence::new("Do not set allocateLoadBalancerNodePorts to false, or give the port a nodePort.", "不要把 allocateLoadBalancerNodePorts 设为 false，或为端口指定 nodePort。")),
    reason(EventType::Warning, "NodeAddressMissing",
        Sentence::new("Some Nodes have no InternalIP of the SLB's family, though they are initialised, and get no traffic. The message names them.", "有些节点已初始化，却没有与 SLB 同族的 InternalIP，因而得不到流量，消息会列出它们。"),
        Sentence::new("See to it that their status has one; usually the kubelet writes it.", "确保其 status 中有这样的地址；通常由 kubelet 写入。")),
];

#[rustfmt::skip]
pub(super) const FAILURES: &[Failure] = &[
    failure(Some("InvalidAnnotation"), "; allowed is ",
        Sentence::new("An annotation's value cannot be read. All such annotations are named.", "无法读取某个注解的值。所有这样的注解都会列出。"),
        Sentence::new("Mend or remove it. Nothing is tried before the Service changes.", "改正或删除该注解。Service 变化之前不会重试。")),
    failure(Some("LoadBalancerIdMissing"), "no SLB is named: add the annotation ",
        Sentence::new("The Service does not say on which SLB.", "该 Service 没有说明使用哪个 SLB。"),
        Sentence::new("Add the annotation. Nothing is tried before the Service changes.", "添加该注解。Service 变化之前不会重试。")),
    failure(Some("LoadBalancerNotFound"), " does not exist; name one that does in the annotation ",
        Sentence::new("The cloud has no SLB of that id, or has lost it.", "云上没有该 ID 的 SLB，或它已丢失。"),
        Sentence::new("Correct the id. Deleting the Service works all the same.", "改正 ID。此时仍然可以删除该 Service。")),
    failure(Some("LoadBalancerForbidden"), " may not be used by this cluster's account ",
        Sentence::new("The SLB is somebody else's, or the account lacks a right (403).", "该 SLB 属于别人，或账号缺少权限（403）。"),
        Sentence::new("Correct the id, or give the account the right. Until then a Service that had listeners there is not let go.", "改正 ID，或授予账号权限。在此之前，在那里有过监听器的 Service 不会被放行删除。")),
    failure(None, " has no address yet, neither in its VPC nor on the Internet",
        Sentence::new("The SLB has neither a business address nor, if it faces the Internet, a public one.", "该 SLB 既没有内网地址，也没有公网地址（面向公网时）。"),
        Sentence::new("Wait until it has, or bind an address.", "等待分配，或绑定一个地址。")),
    failure(None, "SLB {slb}: ",
        Sentence::new("The cloud or its token service did not answer, refused, or answered nonsense; what follows says which call and how.", "云或其令牌服务没有应答、拒绝了请求，或应答无法理解；其后的文字说明是哪个调用以及情况如何。"),
        Sentence::new("It is tried again. If it lasts: credentials, proxy, CA file, the cloud's own state.", "会自动重试。如果持续出现，请检查凭据、代理、CA 文件和云自身的状态。")),
    failure(None, "failed to add load balancer cleanup finalizer",
        Sentence::new("The API server did not take finalizer and record; so nothing was written to the cloud.", "API server 没有接受 finalizer 和记录，因此没有向云写入任何内容。"),
        RBAC),
    failure(None, "failed to update load balancer status",
        Sentence::new("The Service is served, but its status does not say so.", "该 Service 已在服务，但 status 未能更新。"),
        RBAC),
    failure(None, "failed to remove load balancer cleanup finalizer",
        Sentence::new("Everything is cleaned up, but the Service still waits.", "已全部清理，但 Service 仍在等待。"),
        RBAC),
];

pub(super) const FAILURES_INTRO: Sentence = Sentence::new(
    "\
`SyncLoadBalancerFailed` and `UpdateLoadBalancerFailed` carry the reason in their message. Unless noted, the Service is tried again after 5 s, then after twice as long
each time, up to 5 minutes (20 % more or less, or when the cloud asked for it), and at once when it changes.",
    "\
`SyncLoadBalancerFailed` 和 `UpdateLoadBalancerFailed` 的消息中说明原因。除非另有说明，失败后 5 秒重试，之后每次间隔加倍，最长 5 分钟（上下浮动 20%，或以云要求的时间为准）；
Service 变化时立即重试。",
);
