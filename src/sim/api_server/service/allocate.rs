//! Node ports and cluster addresses: who holds which, and handing out more.
//!
//! Source: kubernetes pkg/registry/core/service/storage/alloc.go; compared with kube-apiserver 1.37.2.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::super::KubeVersion;
use super::super::object::{list, number, set, text};
use super::super::status::Cause;
use super::super::store::Key;
use super::{needs_cluster_ip, needs_health_check, needs_node_ports, ports_mut, type_of};

/// Source: kube-apiserver `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;

/// What has been handed out, and to whom.
#[derive(Debug, Default)]
pub(in super::super) struct Allocations {
    node_ports: BTreeMap<u16, Key>,
    cluster_ips: BTreeMap<Ipv4Addr, Key>,
}

impl Allocations {
    /// Notes what a stored change of a Service gives back and takes.
    pub(in super::super) fn follow(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        for port in before.into_iter().flat_map(ports_held) {
            self.node_ports.remove(&port);
        }
        if let Some(address) = before.and_then(cluster_ip) {
            self.cluster_ips.remove(&address);
        }
        for port in after.into_iter().flat_map(ports_held) {
            self.node_ports.insert(port, key.clone());
        }
        if let Some(address) = after.and_then(cluster_ip) {
            self.cluster_ips.insert(address, key.clone());
        }
    }

    /// Hands out what `service` still needs. `dice` says where to begin to look.
    pub(in super::super) fn fill(
        &self,
        key: &Key,
        version: KubeVersion,
        service: &mut Value,
        dice: impl Fn() -> u64,
    ) -> Vec<Cause> {
        let mut causes = Vec::new();
        if needs_cluster_ip(service) {
            self.fill_cluster_ip(key, version, service, &dice, &mut causes);
        }
        let allocate = service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
        if needs_node_ports(service) {
            let give = type_of(service) == "NodePort" || allocate;
            self.fill_node_ports(key, service, give, &dice, &mut causes);
        }
        if needs_health_check(service)
            && number(service, "/spec/healthCheckNodePort") == 0
            && let Some(port) = self.free_port(&ports_held(service), &dice)
        {
            set(service, "/spec/healthCheckNodePort", port);
        }
        causes
    }

    fn fill_cluster_ip(
        &self,
        key: &Key,
        version: KubeVersion,
        service: &mut Value,
        dice: &impl Fn() -> u64,
        causes: &mut Vec<Cause>,
    ) {
        let wanted = text(service, "/spec/clusterIP").to_owned();
        let address = if wanted.is_empty() {
            // 10.0.0.0/16, without its first and last address
            let free = |offset: u64| {
                let [high, low] = u16::try_from(1 + offset % 65534).unwrap_or(1).to_be_bytes();
                Some(Ipv4Addr::new(10, 0, high, low)).filter(|a| !self.cluster_ips.contains_key(a))
            };
            let start = dice() % 65534;
            match (start..start + 65534).find_map(free) {
                Some(address) => address.to_string(),
                None => return,
            }
        } else {
            let holder = wanted.parse().ok().and_then(|a| self.cluster_ips.get(&a));
            if holder.is_some_and(|holder| holder != key) {
                let detail = format!("failed to allocate IP {wanted}: provided IP is already allocated");
                causes.push(Cause::invalid("spec.clusterIPs", json!([wanted]), &detail));
            }
            wanted
        };
        set(service, "/spec/clusterIP", address.as_str());
        if version != KubeVersion::V1_14 {
            let family = if address.contains(':') { "IPv6" } else { "IPv4" };
            set(service, "/spec/clusterIPs", json!([address]));
            for (pointer, value) in [
                ("/spec/ipFamilies", json!([family])),
                ("/spec/ipFamilyPolicy", json!("SingleStack")),
            ] {
                if service.pointer(pointer).is_none() {
                    set(service, pointer, value);
                }
            }
        }
    }

    fn fill_node_ports(
        &self,
        key: &Key,
        service: &mut Value,
        give: bool,
        dice: &impl Fn() -> u64,
        causes: &mut Vec<Cause>,
    ) {
        for (at, port) in list(service, "/spec/ports").iter().enumerate() {
            let wanted = number(port, "/nodePort");
            let field = format!("spec.ports[{at}].nodePort");
            match u16::try_from(wanted) {
                Ok(0) => {}
                Ok(number) if NODE_PORTS.contains(&number) => {
                    if self.node_ports.get(&number).is_some_and(|holder| holder != key) {
                        causes.push(Cause::invalid(
                            field,
                            wanted,
                            "provided port is already allocated",
                        ));
                    }
                }
                _ => causes.push(Cause::invalid(
                    field,
                    wanted,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                )),
            }
        }
        // one port number on two protocols shares its node port
        let mut given: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
        for port in list(service, "/spec/ports")
            .iter()
            .filter(|p| number(p, "/nodePort") != 0)
        {
            let entry = (text(port, "/protocol").to_owned(), number(port, "/nodePort"));
            given.entry(number(port, "/port")).or_default().push(entry);
        }
        let mut held = ports_held(service);
        for port in ports_mut(service).iter_mut().filter(|_| give) {
            if number(port, "/nodePort") != 0 {
                continue;
            }
            let (number, protocol) = (number(port, "/port"), text(port, "/protocol").to_owned());
            let siblings = given.entry(number).or_default();
            let shared = siblings.iter().find(|(p, node_port)| {
                *p != protocol && !siblings.iter().any(|(q, n)| q == &protocol && n == node_port)
            });
            let node_port = match shared {
                Some((_, node_port)) => Some(*node_port),
                None => self.free_port(&held, dice).map(i64::from),
            };
            if let Some(node_port) = node_port {
                port["nodePort"] = node_port.into();
                held.extend(u16::try_from(node_port));
                siblings.push((protocol, node_port));
            }
        }
    }

    fn free_port(&self, held: &[u16], dice: &impl Fn() -> u64) -> Option<u16> {
        let (first, last) = (u64::from(*NODE_PORTS.start()), u64::from(*NODE_PORTS.end()));
        let size = last - first + 1;
        let start = dice() % size;
        (start..start + size)
            .filter_map(|offset| u16::try_from(first + offset % size).ok())
            .find(|port| !self.node_ports.contains_key(port) && !held.contains(port))
    }
}

fn ports_held(service: &Value) -> Vec<u16> {
    list(service, "/spec/ports")
        .iter()
        .map(|port| number(port, "/nodePort"))
        .chain([number(service, "/spec/healthCheckNodePort")])
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect()
}

fn cluster_ip(service: &Value) -> Option<Ipv4Addr> {
    text(service, "/spec/clusterIP").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::object::Resource;
    use super::super::node_ports;
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Resource::Services, "default", name)
    }

    fn fill(held: &Allocations, name: &str, service: &mut Value) -> Vec<Cause> {
        held.fill(&key(name), KubeVersion::Current, service, || 5)
    }

    #[test]
    fn what_is_held_is_not_handed_out_twice_and_comes_back() {
        let mut held = Allocations::default();
        let new = || json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
        let (mut one, mut two, mut three) = (new(), new(), new());
        fill(&held, "one", &mut one);
        held.follow(&key("one"), None, Some(&one));
        fill(&held, "two", &mut two);
        held.follow(&key("one"), Some(&one), None);
        fill(&held, "three", &mut three);
        let got = |s: &Value| (node_ports(s), text(s, "/spec/clusterIP").to_owned());
        assert_eq!(got(&one), (vec![30005, 30006], "10.0.0.6".into()));
        assert_eq!(got(&two), (vec![30007, 30008], "10.0.0.7".into()));
        assert_eq!(got(&three), got(&one));
    }

    #[test]
    fn each_type_gets_what_it_needs() {
        for (case, spec, want_ports, want_health) in [
            (
                "inside only",
                json!({"type": "ClusterIP", "ports": [{"port": 80}]}),
                vec![0],
                0,
            ),
            (
                "no node ports wanted",
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}),
                vec![0],
                0,
            ),
            (
                "one number on two protocols shares its node port",
                json!({"type": "LoadBalancer", "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 54, "protocol": "TCP"}]}),
                vec![30005, 30005, 30006],
                0,
            ),
            (
                "local traffic",
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}),
                vec![30005],
                30006,
            ),
            (
                "a wish",
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]}),
                vec![30123],
                0,
            ),
        ] {
            let mut service = json!({"spec": spec});
            assert_eq!(fill(&Allocations::default(), "x", &mut service), [], "{case}");
            let got = (
                node_ports(&service),
                number(&service, "/spec/healthCheckNodePort"),
            );
            assert_eq!(got, (want_ports, want_health), "{case}");
        }
    }

    #[test]
    fn a_headless_service_keeps_its_none() {
        let mut service = json!({"spec": {"type": "ClusterIP", "clusterIP": "None"}});
        fill(&Allocations::default(), "x", &mut service);
        assert_eq!(service["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn what_another_holds_or_is_out_of_range_is_refused() {
        let mut held = Allocations::default();
        let other = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30123}]}});
        held.follow(&key("other"), None, Some(&other));
        let port =
            |node_port: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]});
        let range = "provided port is not in the valid range. The range of valid ports is 30000-32767";
        for (case, spec, want) in [
            (
                "held",
                port(30123),
                Cause::invalid(
                    "spec.ports[0].nodePort",
                    30123,
                    "provided port is already allocated",
                ),
            ),
            (
                "too low",
                port(123),
                Cause::invalid("spec.ports[0].nodePort", 123, range),
            ),
            (
                "negative",
                port(-1),
                Cause::invalid("spec.ports[0].nodePort", -1, range),
            ),
            (
                "a held address",
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}),
                Cause::invalid(
                    "spec.clusterIPs",
                    json!(["10.0.0.1"]),
                    "failed to allocate IP 10.0.0.1: provided IP is already allocated",
                ),
            ),
        ] {
            assert_eq!(fill(&held, "x", &mut json!({"spec": spec})), [want], "{case}");
        }
        assert_eq!(
            fill(&held, "other", &mut other.clone()),
            [],
            "its holder may keep it"
        );
    }
}
