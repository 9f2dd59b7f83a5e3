//! A Service and Nodes, as the listeners and members they ask for. Pure.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::annotations::Wishes;
use super::health::health_check;
use super::model::{Backend, Frontend, ListenerSpec, LoadBalancer, Protocol, Settings};
use super::name::Owner;
use super::reasons;
use super::servers::{Server, servers};
use crate::cloud::{Note, Retry, Waiting};
use crate::k8s::types::{self, Node, Service, ServicePort};

/// All that decides.
pub struct Question<'a> {
    /// The Service as a maker of listeners.
    pub owner: &'a Owner,
    /// What is to be served.
    pub service: &'a Service,
    /// By whom; the ineligible are left out already.
    pub nodes: &'a [Arc<Node>],
    /// What its annotations say.
    pub asked: &'a Wishes,
    /// What the cloud config says.
    pub defaults: &'a Wishes,
    /// Frontends that an older Service has, by its key.
    pub denied: &'a BTreeMap<Frontend, Arc<str>>,
    /// On which SLB.
    pub slb: &'a LoadBalancer,
}

/// What there should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The listeners.
    pub listeners: BTreeMap<Frontend, Wanted>,
    /// Ports that cannot be served.
    pub waiting: Vec<Waiting>,
    /// Nodes that cannot serve.
    pub notes: Vec<Note>,
}

/// A listener and its members, in the order of their server ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How it is.
    pub spec: ListenerSpec,
    /// Who is behind it.
    pub members: Vec<Backend>,
}

/// What there should be.
pub fn desired(question: &Question<'_>) -> Desired {
    let (servers, unreachable) = servers(question.nodes, question.slb.business_ip);
    let mut desired = Desired {
        notes: unreachable_note(&unreachable).into_iter().collect(),
        ..Desired::default()
    };
    for port in &question.service.ports {
        match wanted(question, port, &servers) {
            Ok(wanted) => {
                desired.listeners.entry(wanted.spec.frontend).or_insert(wanted);
            }
            Err(waiting) => desired.waiting.push(waiting),
        }
    }
    desired
}

/// Where clients of `port` connect, if an SLB can listen there.
pub fn frontend(port: &ServicePort) -> Option<Frontend> {
    let protocol = match port.protocol {
        types::Protocol::Tcp => Protocol::Tcp,
        types::Protocol::Udp => Protocol::Udp,
        types::Protocol::Other(_) => return None,
    };
    Frontend::new(protocol, port.port)
}

fn wanted(question: &Question<'_>, port: &ServicePort, servers: &[Server]) -> Result<Wanted, Waiting> {
    let named = format!("{} port {}", port.protocol.as_str(), port.port);
    let frontend = frontend(port).ok_or_else(|| {
        let message = format!("{named} cannot be served: an SLB forwards TCP and UDP, on ports from 1 on");
        waiting(reasons::PROTOCOL_UNSUPPORTED, message, Retry::OnChange)
    })?;
    if let Some(holder) = question.denied.get(&frontend) {
        let slb = &question.slb.id;
        let message = format!(
            "{named} of SLB {slb} belongs to Service {holder}, which is older; choose another port or another SLB"
        );
        return Err(waiting(reasons::PORT_TAKEN, message, Retry::Backoff));
    }
    let node_port = NonZeroU16::new(port.node_port).ok_or_else(|| {
        let message = format!(
            "{named} has no nodePort for an SLB to forward to; do not set allocateLoadBalancerNodePorts to false"
        );
        waiting(reasons::NODE_PORT_MISSING, message, Retry::OnChange)
    })?;
    Ok(Wanted {
        spec: ListenerSpec {
            name: question.owner.listener_name(frontend),
            frontend,
            settings: Settings {
                rule: question.asked.rule.or(question.defaults.rule).unwrap_or_default(),
                health: health_check(
                    question.service,
                    frontend.protocol,
                    question.asked,
                    question.defaults,
                ),
            },
        },
        members: servers.iter().map(|server| server.on(node_port)).collect(),
    })
}

fn waiting(reason: &'static str, message: String, retry: Retry) -> Waiting {
    Waiting {
        note: Note { reason, message },
        retry,
    }
}

fn unreachable_note(names: &[&str]) -> Option<Note> {
    const SHOWN: usize = 5;
    let mut names = names.to_vec();
    names.sort_unstable();
    let more = match names.len() {
        0 => return None,
        n if n <= SHOWN => String::new(),
        n => format!(" and {} more", n - SHOWN),
    };
    names.truncate(SHOWN);
    let names = names.join(", ");
    Some(Note {
        reason: reasons::NODE_ADDRESS_MISSING,
        message: format!(
            "no traffic goes to Nodes without an InternalIP that the SLB can reach: {names}{more}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::model::{ForwardRule, Scheme};
    use crate::inspur::name::ClusterId;
    use crate::inspur::testing::{node, service};
    use crate::k8s::types::{Taint, UNINITIALIZED};

    struct World {
        service: Service,
        nodes: Vec<Arc<Node>>,
        asked: Wishes,
        defaults: Wishes,
        denied: BTreeMap<Frontend, Arc<str>>,
        slb: LoadBalancer,
    }

    impl World {
        fn new(service: Service) -> Self {
            Self {
                service,
                nodes: vec![node("n1", "10.0.0.1")],
                asked: Wishes::default(),
                defaults: Wishes::default(),
                denied: BTreeMap::new(),
                slb: LoadBalancer {
                    id: "slb-1".into(),
                    scheme: Scheme::InternetFacing,
                    business_ip: None,
                    eip: None,
                },
            }
        }

        fn desired(&self) -> Desired {
            desired(&Question {
                owner: &Owner::new(&ClusterId::parse("c1").unwrap(), &self.service),
                service: &self.service,
                nodes: &self.nodes,
                asked: &self.asked,
                defaults: &self.defaults,
                denied: &self.denied,
                slb: &self.slb,
            })
        }
    }

    fn set(wishes: &mut Wishes, pairs: &[(&str, &str)]) {
        for (key, value) in pairs {
            assert_eq!(
                super::super::annotations::set_default(wishes, key, value),
                Ok(true)
            );
        }
    }

    #[test]
    fn a_listener_stands_on_the_port_and_its_members_on_the_node_port() {
        let mut world = World::new(service("web").tcp(80, 30080).udp(80, 30081).build());
        world.nodes = vec![node("n2", "10.0.0.2"), node("n1", "10.0.0.1")];
        let desired = world.desired();
        let seen: Vec<_> = desired
            .listeners
            .iter()
            .map(|(frontend, wanted)| {
                let members: Vec<_> = wanted
                    .members
                    .iter()
                    .map(|m| format!("{} {} {}:{}", m.server_id, m.server_name, m.address, m.port))
                    .collect();
                (
                    frontend.to_string(),
                    wanted.spec.name.to_string(),
                    members.join(", "),
                )
            })
            .collect();
        let want = |frontend: &str, name: &str, port: u16| {
            let members = format!("i-n1 n1 10.0.0.1:{port}, i-n2 n2 10.0.0.2:{port}");
            (frontend.to_string(), name.to_string(), members)
        };
        assert_eq!(
            seen,
            [
                want("TCP port 80", "k8s_c1_shop_web_tcp80", 30080),
                want("UDP port 80", "k8s_c1_shop_web_udp80", 30081)
            ]
        );
        assert_eq!((desired.waiting, desired.notes), (vec![], vec![]));
    }

    #[test]
    fn a_port_that_cannot_be_served_waits_and_the_others_do_not() {
        let mut world = World::new(
            service("web")
                .tcp(80, 30080)
                .tcp(81, 0)
                .port(types::Protocol::Other("SCTP".into()), 82, 30082)
                .tcp(83, 30083)
                .build(),
        );
        let denied = Frontend::new(Protocol::Tcp, 83).unwrap();
        world.denied.insert(denied, "shop/old".into());
        let desired = world.desired();
        let served: Vec<_> = desired.listeners.keys().map(ToString::to_string).collect();
        assert_eq!(served, ["TCP port 80"]);
        let waiting: Vec<_> = desired
            .waiting
            .iter()
            .map(|w| (w.note.reason, w.retry, &*w.note.message))
            .collect();
        assert_eq!(
            waiting,
            [
                (
                    "NodePortMissing",
                    Retry::OnChange,
                    "TCP port 81 has no nodePort for an SLB to forward to; do not set allocateLoadBalancerNodePorts to false"
                ),
                (
                    "ProtocolUnsupported",
                    Retry::OnChange,
                    "SCTP port 82 cannot be served: an SLB forwards TCP and UDP, on ports from 1 on"
                ),
                (
                    "PortTaken",
                    Retry::Backoff,
                    "TCP port 83 of SLB slb-1 belongs to Service shop/old, which is older; choose another port or another SLB"
                ),
            ]
        );
    }

    #[test]
    fn the_rule_of_the_annotation_wins() {
        for (case, asked, defaults, want) in [
            ("neither", None, None, "RR"),
            ("config", None, Some("WRR"), "WRR"),
            ("both", Some("RR"), Some("WRR"), "RR"),
        ] {
            let mut world = World::new(service("web").tcp(80, 30080).build());
            for (wishes, rule) in [(&mut world.asked, asked), (&mut world.defaults, defaults)] {
                if let Some(rule) = rule {
                    set(wishes, &[("forward-rule", rule)]);
                }
            }
            let rule: ForwardRule = world
                .desired()
                .listeners
                .pop_first()
                .unwrap()
                .1
                .spec
                .settings
                .rule;
            assert_eq!(rule.as_str(), want, "{case}");
        }
    }

    #[test]
    fn a_member_has_an_address_of_the_slbs_family() {
        for (case, slb, addresses, want) in [
            ("both, SLB not known", "", "fd00::1 10.0.0.1", Some("10.0.0.1")),
            ("IPv6 alone, SLB not known", "", "fd00::1", Some("fd00::1")),
            (
                "both, IPv4",
                "10.9.9.9",
                "fd00::1 10.0.0.1 10.0.0.2",
                Some("10.0.0.1"),
            ),
            ("both, IPv6", "fd00::9", "10.0.0.1 fd00::1", Some("fd00::1")),
            ("the wrong one alone", "fd00::9", "10.0.0.1", None),
            ("none", "", "", None),
        ] {
            let mut world = World::new(service("web").tcp(80, 30080).build());
            world.slb.business_ip = slb.parse().ok();
            world.nodes = vec![node("n1", addresses)];
            let desired = world.desired();
            let members = &desired.listeners.first_key_value().unwrap().1.members;
            let got: Vec<_> = members.iter().map(|m| m.address.to_string()).collect();
            assert_eq!(got, want.into_iter().collect::<Vec<_>>(), "{case}");
            assert_eq!(desired.notes.len(), usize::from(want.is_none()), "{case}");
        }
    }

    #[test]
    fn nodes_without_an_address_are_named_up_to_a_few() {
        let mut world = World::new(service("web").tcp(80, 30080).build());
        world.nodes = (1..=7).rev().map(|n| node(&format!("n{n}"), "")).collect();
        let note = world.desired().notes.remove(0);
        assert_eq!(note.reason, "NodeAddressMissing");
        assert_eq!(
            note.message,
            "no traffic goes to Nodes without an InternalIP that the SLB can reach: n1, n2, n3, n4, n5 and 2 more"
        );
    }

    #[test]
    fn a_node_that_is_to_get_its_addresses_is_awaited_in_silence() {
        let mut world = World::new(service("web").tcp(80, 30080).build());
        let taint = Taint::new(UNINITIALIZED, "NoSchedule");
        let waits = |addresses| {
            Arc::new(Node {
                taints: [taint.clone()].into(),
                ..(*node("n2", addresses)).clone()
            })
        };
        for (addresses, members) in [("", 1), ("10.0.0.2", 2)] {
            world.nodes = vec![node("n1", "10.0.0.1"), waits(addresses)];
            let desired = world.desired();
            let (_, listener) = desired.listeners.first_key_value().unwrap();
            assert_eq!(
                (listener.members.len(), desired.notes.as_slice()),
                (members, &[][..])
            );
        }
    }

    #[test]
    fn two_nodes_of_one_instance_are_one_member() {
        let mut world = World::new(service("web").tcp(80, 30080).build());
        let twin = Node {
            provider_id: "incloud://i-n1".into(),
            ..(*node("n2", "10.0.0.2")).clone()
        };
        world.nodes.push(Arc::new(twin));
        let desired = world.desired();
        assert_eq!(desired.listeners.first_key_value().unwrap().1.members.len(), 1);
    }
}
