//! Services.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ObjectMeta, Resource, null_default};

/// A Service, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Wire")]
pub struct Service {
    /// Name, UID, finalizers, annotations.
    pub meta: ObjectMeta,
    /// `LoadBalancer`, `ClusterIP`, …
    pub type_: Box<str>,
    /// Set, even to nothing: another implementation's Service.
    pub load_balancer_class: Option<Box<str>>,
    /// In the order of the Service.
    pub ports: Box<[ServicePort]>,
    /// Whether `externalTrafficPolicy` is `Local`.
    pub local_traffic_only: bool,
    /// Where kube-proxy answers health checks for a `Local` Service; 0 when there is none.
    pub health_check_node_port: u16,
    /// What `status` says of where traffic enters.
    pub ingress: Box<[LoadBalancerIngress]>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// What Kubernetes says; see [`Protocol`].
    pub protocol: Protocol,
    /// Where clients connect.
    #[serde(deserialize_with = "null_default")]
    pub port: u16,
    /// Where every Node answers; 0 when none was allocated.
    #[serde(deserialize_with = "null_default")]
    pub node_port: u16,
}

/// A transport protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(from = "Option<Box<str>>")]
pub enum Protocol {
    /// Also when none is given. Source: api `core/v1.ServicePort`.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// SCTP, or a word of the future.
    Other(Box<str>),
}

impl Protocol {
    /// As Kubernetes spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Other(word) => word,
        }
    }
}

impl From<Option<Box<str>>> for Protocol {
    fn from(word: Option<Box<str>>) -> Self {
        match word.as_deref() {
            None | Some("" | "TCP") => Self::Tcp,
            Some("UDP") => Self::Udp,
            Some(other) => Self::Other(other.into()),
        }
    }
}

/// Where traffic enters, in a Service's status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// An address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Box<str>>,
    /// Or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Box<str>>,
    /// The server's default is filled in where we sent none, and old servers drop it: see [`IpMode`].
    #[serde(skip_serializing_if = "IpMode::is_default")]
    pub ip_mode: IpMode,
}

impl LoadBalancerIngress {
    /// Entry by an address, the way most clouds do.
    pub fn ip(address: IpAddr) -> Self {
        Self {
            ip: Some(address.to_string().into()),
            ..Self::default()
        }
    }
}

/// Whether packets reach a Node with the load balancer's address still on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(from = "Option<Box<str>>")]
pub enum IpMode {
    /// Yes, or not said: servers since 1.29 fill this in, older ones drop it. Both compare equal.
    #[default]
    #[serde(rename = "VIP")]
    Vip,
    /// No.
    Proxy,
}

impl IpMode {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Option<Box<str>>> for IpMode {
    fn from(word: Option<Box<str>>) -> Self {
        if word.as_deref() == Some("Proxy") {
            Self::Proxy
        } else {
            Self::Vip
        }
    }
}

impl Resource for Service {
    const KIND: &'static str = "Service";
    const PLURAL: &'static str = "services";
    const NAMESPACED: bool = true;
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "null_default")]
    spec: SpecWire,
    #[serde(default, deserialize_with = "null_default")]
    status: StatusWire,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SpecWire {
    #[serde(rename = "type", deserialize_with = "null_default")]
    type_: Box<str>,
    load_balancer_class: Option<Box<str>>,
    #[serde(deserialize_with = "null_default")]
    ports: Box<[ServicePort]>,
    #[serde(deserialize_with = "null_default")]
    external_traffic_policy: Box<str>,
    #[serde(deserialize_with = "null_default")]
    health_check_node_port: u16,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StatusWire {
    #[serde(deserialize_with = "null_default")]
    load_balancer: LoadBalancerWire,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoadBalancerWire {
    #[serde(deserialize_with = "null_default")]
    ingress: Box<[LoadBalancerIngress]>,
}

impl From<Wire> for Service {
    fn from(wire: Wire) -> Self {
        Self {
            meta: wire.metadata,
            type_: wire.spec.type_,
            load_balancer_class: wire.spec.load_balancer_class,
            ports: wire.spec.ports,
            local_traffic_only: &*wire.spec.external_traffic_policy == "Local",
            health_check_node_port: wire.spec.health_check_node_port,
            ingress: wire.status.load_balancer.ingress,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_decodes_with_what_it_lacks() {
        let service: Service = serde_json::from_str(
            r#"{"kind":"Service","metadata":{"name":"web","namespace":"shop","uid":"u1","managedFields":null,
                "annotations":{"loadbalancer.inspur.com/forward-rule":"WRR","kubectl.kubernetes.io/last-applied-configuration":"{}"}},
                "spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":31000,
                "ports":[{"port":80,"nodePort":30080},{"protocol":"UDP","port":53,"nodePort":30053},{"protocol":"SCTP","port":9}]},
                "status":{"loadBalancer":{"ingress":[{"ip":"10.0.0.1","ipMode":"VIP","ports":null}]},"conditions":null}}"#,
        )
        .unwrap();
        assert_eq!(service.meta.key(), "shop/web");
        assert_eq!(
            service.meta.annotations.iter().collect::<Vec<_>>(),
            [("loadbalancer.inspur.com/forward-rule", "WRR")]
        );
        assert_eq!(
            (&*service.type_, service.load_balancer_class.as_ref()),
            ("LoadBalancer", None)
        );
        assert_eq!(
            (service.local_traffic_only, service.health_check_node_port),
            (true, 31000)
        );
        let ports: Vec<_> = service
            .ports
            .iter()
            .map(|p| (p.protocol.as_str(), p.port, p.node_port))
            .collect();
        assert_eq!(ports, [("TCP", 80, 30080), ("UDP", 53, 30053), ("SCTP", 9, 0)]);
        assert_eq!(
            *service.ingress,
            [LoadBalancerIngress::ip("10.0.0.1".parse().unwrap())]
        );
    }

    #[test]
    fn a_service_with_nothing_in_it_decodes() {
        let empty: Service =
            serde_json::from_str(r#"{"metadata":{"name":"x"},"spec":null,"status":null}"#).unwrap();
        assert_eq!((&*empty.meta.name, empty.ports.len()), ("x", 0));
    }

    #[test]
    fn an_empty_class_is_still_a_class() {
        let service: Service = serde_json::from_str(r#"{"spec":{"loadBalancerClass":""}}"#).unwrap();
        assert_eq!(service.load_balancer_class.as_deref(), Some(""));
    }

    #[test]
    fn the_servers_default_mode_is_not_written() {
        let ingress = LoadBalancerIngress::ip("10.0.0.1".parse().unwrap());
        assert_eq!(serde_json::to_string(&ingress).unwrap(), r#"{"ip":"10.0.0.1"}"#);
    }
}
