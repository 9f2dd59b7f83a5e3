//! Listeners, backends, health checks and instances in our words and units.
//!
//! Parsed once, at the border: nothing here can hold a port 0 of ours, an unknown rule or half a health check. What others made
//! on a shared SLB may be anything; a [`Listener`] keeps of it what is needed to leave it alone.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::cloud::InstanceState;

/// What a listener of ours speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// As Kubernetes and the API spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// Where clients connect. TCP and UDP on one number are two frontends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Never 0.
    pub port: NonZeroU16,
}

impl Frontend {
    /// `None` for port 0.
    pub fn new(protocol: Protocol, port: u16) -> Option<Self> {
        NonZeroU16::new(port).map(|port| Self { protocol, port })
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.protocol.as_str(), self.port)
    }
}

/// How a listener chooses the next member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardRule {
    /// In turn.
    #[default]
    RoundRobin,
    /// In turn, in proportion to the members' weights.
    WeightedRoundRobin,
}

impl ForwardRule {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::WeightedRoundRobin];

    /// As the API and the annotation spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "RR",
            Self::WeightedRoundRobin => "WRR",
        }
    }
}

/// Whether and how a listener finds out that a member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// Every member gets traffic.
    Off,
    /// Only members that answer do.
    On(Probe),
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// Which port is asked; `None` = the one the member serves on.
    pub port: Option<NonZeroU16>,
    /// Seconds between two probes.
    pub period_seconds: u16,
    /// Seconds to wait for an answer.
    pub timeout_seconds: u16,
    /// How many probes in a row must agree before a member's state changes.
    pub tries: u16,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// Whether a connection opens.
    Tcp,
    /// Whether a GET is answered well.
    Http {
        /// The `Host` header; may be empty.
        domain: Box<str>,
        /// Begins with `/`.
        path: Box<str>,
    },
}

/// What may change on a listener while it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How members are chosen.
    pub rule: ForwardRule,
    /// How members are checked.
    pub health: HealthCheck,
}

/// A listener as we want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpec {
    /// Says who owns it: see [`super::name`].
    pub name: Box<str>,
    /// Never changes while it stands.
    pub frontend: Frontend,
    /// All the rest.
    pub settings: Settings,
}

/// A listener as it is, ours or anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The cloud's name for it; never empty.
    pub id: Box<str>,
    /// Given by whoever made it; may be empty.
    pub name: Box<str>,
    /// What it speaks.
    pub protocol: ListenerProtocol,
    /// Where it listens; 0 when that could not be read.
    pub port: u16,
    /// `None` when they are none that we could have made: then they differ from everything we want.
    pub settings: Option<Settings>,
}

/// What any listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// TCP or UDP, like ours.
    Plain(Protocol),
    /// HTTP or HTTPS: never ours, but it takes a TCP port.
    Http,
    /// A word we do not know: never ours, and it may take its port of either kind.
    Unknown,
}

impl Listener {
    /// Where it listens, if that is a place where one of ours could.
    pub fn frontend(&self) -> Option<Frontend> {
        match self.protocol {
            ListenerProtocol::Plain(protocol) => Frontend::new(protocol, self.port),
            ListenerProtocol::Http | ListenerProtocol::Unknown => None,
        }
    }

    /// Whether nobody else can listen on `frontend` while this one does.
    pub fn occupies(&self, frontend: Frontend) -> bool {
        let speaks = match self.protocol {
            ListenerProtocol::Plain(protocol) => protocol == frontend.protocol,
            ListenerProtocol::Http => frontend.protocol == Protocol::Tcp,
            ListenerProtocol::Unknown => true,
        };
        speaks && self.port == frontend.port.get()
    }
}

/// A member as we want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The instance's id.
    pub server_id: Box<str>,
    /// For people.
    pub server_name: Box<str>,
    /// Where it answers.
    pub address: IpAddr,
    /// Which port it answers on.
    pub port: NonZeroU16,
}

/// A member as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The cloud's name for it, by which it is removed. `None` when the cloud has not told it yet.
    pub backend_id: Option<Box<str>>,
    /// The instance's id; may be empty.
    pub server_id: Box<str>,
    /// `None` when it was not told.
    pub address: Option<IpAddr>,
    /// 0 when it could not be read.
    pub port: u16,
}

impl Backend {
    /// Which port of which instance: no listener needs it twice.
    pub fn at(&self) -> (&str, u16) {
        (&self.server_id, self.port.get())
    }
}

impl Member {
    /// Which port of which instance.
    pub fn at(&self) -> (&str, u16) {
        (&self.server_id, self.port)
    }

    /// Whether it does `backend`'s work. Its weight and its server's name do not matter: a weight that people
    /// changed by hand stays.
    pub fn serves(&self, backend: &Backend) -> bool {
        self.at() == backend.at() && self.address.is_none_or(|address| address == backend.address)
    }
}

/// An SLB, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The cloud's name for it.
    pub id: Box<str>,
    /// Where its addresses are reached from.
    pub scheme: Scheme,
    /// Inside the VPC.
    pub business_ip: Option<IpAddr>,
    /// On the Internet; `None` where none is bound.
    pub eip: Option<IpAddr>,
}

/// Where an SLB is reached from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The Internet, and the cloud's default.
    InternetFacing,
    /// The VPC alone.
    Internal,
}

impl LoadBalancer {
    /// Where traffic enters: the public address if there is one to be used, else the one in the VPC.
    pub fn entry(&self) -> Option<IpAddr> {
        match self.scheme {
            Scheme::InternetFacing => self.eip.or(self.business_ip),
            Scheme::Internal => self.business_ip,
        }
    }
}

/// An instance as the ECS API shows it. What is not told is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Never empty.
    pub id: Box<str>,
    /// Not unique.
    pub name: Box<str>,
    /// What it calls itself.
    pub host_name: Box<str>,
    /// Whether it runs.
    pub state: InstanceState,
    /// Its size.
    pub instance_type: Box<str>,
    /// Where it is.
    pub region: Box<str>,
    /// Where in the region.
    pub zone: Box<str>,
    /// Its network.
    pub vpc: Box<str>,
    /// Where in the network.
    pub subnet: Box<str>,
    /// Its addresses in the VPC, as the cloud spells them: perhaps not addresses at all.
    pub private_ips: Vec<Box<str>>,
    /// Its IPv6 addresses, as above.
    pub ipv6s: Vec<Box<str>>,
    /// Its public address, as above.
    pub eip: Box<str>,
}

impl Machine {
    /// Its addresses inside the cloud, as far as they are addresses.
    pub fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.private_ips.iter().chain(&self.ipv6s);
        all.filter_map(|text| text.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_listener_still_occupies_its_port() {
        let (tcp, udp) = (
            ListenerProtocol::Plain(Protocol::Tcp),
            ListenerProtocol::Plain(Protocol::Udp),
        );
        for (case, protocol, on_tcp, on_udp, frontend) in [
            ("TCP", tcp, true, false, Frontend::new(Protocol::Tcp, 80)),
            ("UDP", udp, false, true, Frontend::new(Protocol::Udp, 80)),
            ("HTTP", ListenerProtocol::Http, true, false, None),
            (
                "a word of the future",
                ListenerProtocol::Unknown,
                true,
                true,
                None,
            ),
        ] {
            let listener = Listener {
                id: "l-1".into(),
                name: "".into(),
                protocol,
                port: 80,
                settings: None,
            };
            let occupies = |protocol, port| listener.occupies(Frontend::new(protocol, port).unwrap());
            assert_eq!(occupies(Protocol::Tcp, 80), on_tcp, "{case}");
            assert_eq!(occupies(Protocol::Udp, 80), on_udp, "{case}");
            assert!(
                !occupies(Protocol::Tcp, 81) && !occupies(Protocol::Udp, 81),
                "{case}"
            );
            assert_eq!(listener.frontend(), frontend, "{case}");
        }
    }

    #[test]
    fn traffic_enters_by_the_public_address_unless_the_slb_is_internal() {
        let (eip, vpc) = ("1.2.3.4".parse().ok(), "10.0.0.1".parse().ok());
        for (case, scheme, business_ip, eip, want) in [
            ("public", Scheme::InternetFacing, vpc, eip, eip),
            ("public, none bound", Scheme::InternetFacing, vpc, None, vpc),
            ("internal with a public one", Scheme::Internal, vpc, eip, vpc),
            ("none yet", Scheme::InternetFacing, None, None, None),
        ] {
            let slb = LoadBalancer {
                id: "slb-1".into(),
                scheme,
                business_ip,
                eip,
            };
            assert_eq!(slb.entry(), want, "{case}");
        }
    }
}
