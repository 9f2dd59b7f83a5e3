//! What is told of Nodes.

use super::{Failure, NOTHING, RBAC, Reason, failure, reason};
use crate::events::EventType;
use crate::runtime::sentence::Sentence;

#[rustfmt::skip]
pub(super) const REASONS: &[Reason] = &[
    reason(EventType::Normal, "Synced",
        Sentence::new("The Node is initialised: it has addresses, labels and provider ID of its instance, and the taint is off.", "节点已初始化：已有其实例的地址、标签和 provider ID，污点已去掉。"),
        NOTHING),
    reason(EventType::Normal, "DeletingNode",
        Sentence::new("The Node's instance is proven gone, and the Node is about to be deleted.", "该节点的实例已被证实消失，即将删除该节点。"),
        NOTHING),
    reason(EventType::Warning, "NodeInitializationFailed",
        Sentence::new("The Node keeps its taint; the message says why. The same message comes once in ten minutes at most.", "节点保留污点，消息说明了原因。相同的消息十分钟内最多出现一次。"),
        Sentence::new("See below.", "见下文。")),
    reason(EventType::Warning, "DeletingNodeFailed",
        Sentence::new("The Node's instance is proven gone, but the API server did not delete the Node; the message says why.", "该节点的实例已被证实消失，但 API server 没有删除该节点，消息说明了原因。"),
        Sentence::new("It is tried again at the next look. If it lasts, compare the controller's rights with deploy/rbac.yaml.", "下次检查时会重试。如果持续出现，请对照 deploy/rbac.yaml 检查控制器的权限。")),
    reason(EventType::Warning, "NodeDeletionBraked",
        Sentence::new("The Node's instance is proven gone, but so are so many others that no Node is deleted.", "该节点的实例已被证实消失，但同时消失的太多，因此不删除任何节点。"),
        Sentence::new("Find out whether they are really gone, then [go on](../guides/running-it.md#when-the-brake-holds).", "确认它们是否真的消失，然后[继续](../guides/running-it.md#制动生效时)。")),
];

#[rustfmt::skip]
pub(super) const FAILURES: &[Failure] = &[
    failure(None, "the cloud shows no instance for this Node",
        Sentence::new("The cloud has no instance of the id that the Node's provider ID or annotation names, perhaps not yet.", "云上没有节点的 provider ID 或注解所指的实例，也可能只是暂时没有。"),
        Sentence::new("Correct the annotation, or delete the Node if its machine is gone.", "改正注解；如果机器已不存在，请删除该节点。")),
    failure(Some("InstanceNotFound"), "no instance has the name ",
        Sentence::new("The Node does not name its instance, and none is called like it or has one of its internal addresses.", "节点没有指明实例，而没有任何实例与它同名或具有它的内网地址。"),
        Sentence::new("Name the instance in the annotation node.beta.kubernetes.io/instance-id.", "用注解 node.beta.kubernetes.io/instance-id 指明实例。")),
    failure(Some("InstanceAmbiguous"), "the Node could be any of the instances ",
        Sentence::new("Several instances are called like the Node, or have its addresses. The message names up to five.", "有多个实例与节点同名或具有它的地址。消息最多列出五个。"),
        Sentence::new("Name the right one in the annotation.", "用注解指明正确的实例。")),
    failure(Some("InstanceIdInvalid"), " names no instance of this cloud: ",
        Sentence::new("The Node's provider ID is another cloud's, or cannot be read. The Node is left alone.", "节点的 provider ID 属于别的云，或无法读取。不会改动该节点。"),
        Sentence::new("A provider ID cannot be changed: if it is wrong, delete the Node and let its kubelet register it anew.", "provider ID 不能修改：如果有误，请删除该节点，让 kubelet 重新注册。")),
    failure(None, ": an instance's id is up to ",
        Sentence::new("The annotation holds no instance's id.", "注解的值不是实例 ID。"),
        Sentence::new("Correct or remove it.", "改正或删除它。")),
    failure(Some("InstanceShared"), " too; remove the one that is not, or correct its provider ID or annotation",
        Sentence::new("Two Nodes are the same instance by what was found for them, and nobody knows which is it.", "两个节点都被认定为同一个实例，无法判断是哪一个。"),
        Sentence::new("Correct the annotation of the one that is not, or delete that Node.", "改正错误的那个节点的注解，或删除它。")),
    failure(None, " already; delete whichever of the two is not, or correct its provider ID or annotation",
        Sentence::new("Another Node, which the message names, is this instance already, or is older and claims it.", "另一个节点（消息会指出）已经是该实例，或者更早并且也指向它。"),
        Sentence::new("As above. When the other Node goes, this one's turn comes at once.", "同上。另一个节点消失后，立即轮到本节点。")),
    failure(Some("InstanceAddressInvalid"), " for an address, which is none",
        Sentence::new("The cloud shows something as an address of the instance that is none.", "云给出的实例地址不是合法的地址。"),
        Sentence::new("Look at the instance in the console.", "在控制台检查该实例。")),
    failure(None, "; give kubelet another --node-ip, which sets it",
        Sentence::new("The annotation alpha.kubernetes.io/provided-node-ip cannot be read.", "无法读取注解 alpha.kubernetes.io/provided-node-ip。"),
        Sentence::new("Mend the kubelet's --node-ip.", "改正 kubelet 的 --node-ip。")),
    failure(None, ", but the cloud gives the instance no such address",
        Sentence::new("The kubelet was told a --node-ip that the instance does not have, or not yet.", "kubelet 的 --node-ip 不是该实例的地址，或者暂时还不是。"),
        Sentence::new("Wait until it has, or mend the kubelet's --node-ip.", "等待分配，或改正 kubelet 的 --node-ip。")),
    failure(None, "cannot write to the Node",
        Sentence::new("The API server did not take what the Node lacks.", "API server 没有接受节点所缺的内容。"),
        RBAC),
    failure(None, "no access token: ",
        Sentence::new("The token service did not give a token.", "令牌服务没有给出令牌。"),
        Sentence::new("It is tried again. If it lasts: credentials, proxy, CA file, the cloud's own state.", "会自动重试。如果持续出现，请检查凭据、代理、CA 文件和云自身的状态。")),
    failure(None, "no answer to ",
        Sentence::new("The ECS API did not answer; what follows says which call. When it refuses or answers nonsense, the message says that.", "ECS API 没有应答，其后的文字说明是哪个调用。拒绝请求或应答无法理解时，消息会如实说明。"),
        Sentence::new("As above; and is ecsUrl-pre right?", "同上；并检查 ecsUrl-pre 是否正确。")),
];

pub(super) const FAILURES_INTRO: Sentence = Sentence::new(
    "\
`NodeInitializationFailed` carries the reason in its message. What may mend itself is tried again, at first within a second, then after twice as long each time,
up to 17 minutes (or when the cloud asked for it); what only a change can mend, every five minutes; and either at once when the Node's labels, annotations, provider ID, taints
or addresses change. The other Nodes are not held up.",
    "\
`NodeInitializationFailed` 的消息中说明原因。可能自行恢复的，起初在一秒之内重试，之后每次间隔加倍，最长 17 分钟（或以云要求的时间为准）；只有改动才能解决的，每五分钟重试一次；
节点的标签、注解、provider ID、污点或地址变化时，两者都立即重试。其余节点不受影响。",
);
