//! What the API refuses of a Service.
//!
//! Source: kubernetes pkg/apis/core/validation (ValidateService, ValidateServiceUpdate, ValidateLoadBalancerStatus); wordings
//! compared with kube-apiserver 1.37.2.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::KubeVersion;
use super::super::admission::{label_fault, subdomain_fault};
use super::super::object::{self, list, text};
use super::super::status::Cause;
use super::{needs_cluster_ip, needs_node_ports, type_of};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What is wrong with a Service, metadata aside.
pub(in super::super) fn check(version: KubeVersion, service: &Value, before: Option<&Value>) -> Vec<Cause> {
    let mut causes = check_ports(version, service);
    let type_ = type_of(service);
    if !TYPES.contains(&type_) {
        causes.push(Cause::unsupported("spec.type", type_, &TYPES));
    }
    if type_ == "ExternalName" && text(service, "/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    } else if type_ == "ExternalName"
        && let Some(fault) = subdomain_fault(text(service, "/spec/externalName"))
    {
        causes.push(Cause::invalid(
            "spec.externalName",
            text(service, "/spec/externalName"),
            fault,
        ));
    }
    let policies = ["Cluster", "Local"];
    let policy = text(service, "/spec/externalTrafficPolicy");
    if !policy.is_empty() && !needs_node_ports(service) {
        let detail = "may only be set for externally-accessible services";
        causes.push(Cause::invalid("spec.externalTrafficPolicy", policy, detail));
    } else if !policy.is_empty() && !policies.contains(&policy) {
        causes.push(Cause::unsupported(
            "spec.externalTrafficPolicy",
            policy,
            &policies,
        ));
    }
    let affinities = ["ClientIP", "None"];
    let affinity = text(service, "/spec/sessionAffinity");
    if !affinities.contains(&affinity) {
        causes.push(Cause::unsupported("spec.sessionAffinity", affinity, &affinities));
    }
    causes.extend(check_class(service, before));
    let (old, new) = (
        before.map_or("", |b| text(b, "/spec/clusterIP")),
        text(service, "/spec/clusterIP"),
    );
    let fixed = before.is_some_and(needs_cluster_ip) && needs_cluster_ip(service) && !old.is_empty();
    if fixed && old != new {
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            json!([new]),
            "may not change once set",
        ));
    } else if !new.is_empty() && new != "None" && new.parse::<IpAddr>().is_err() {
        causes.push(Cause::invalid("spec.clusterIPs[0]", new, NOT_AN_IP));
    }
    causes.extend(check_ingress(version, service));
    causes
}

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

fn check_class(service: &Value, before: Option<&Value>) -> Option<Cause> {
    const FIELD: &str = "spec.loadBalancerClass";
    let class = |s: &Value| s.pointer("/spec/loadBalancerClass").cloned();
    if type_of(service) != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        return class(service).map(|_| Cause::forbidden(FIELD, detail));
    }
    let before = before.filter(|b| type_of(b) == "LoadBalancer")?;
    (class(service) != class(before)).then(|| {
        Cause::invalid(
            FIELD,
            class(service).unwrap_or_default(),
            "may not change once set",
        )
    })
}

fn check_ports(version: KubeVersion, service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = list(service, "/spec/ports");
    let headless = text(service, "/spec/clusterIP") == "None";
    if ports.is_empty() && !headless && needs_cluster_ip(service) {
        causes.push(Cause::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{at}]{name}");
        let (name, protocol, number) = (
            text(port, "/name"),
            text(port, "/protocol"),
            object::number(port, "/port"),
        );
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(field(".name"), ""));
            }
        } else if let Some(fault) = label_fault(name) {
            causes.push(Cause::invalid(field(".name"), name, fault));
        } else if ports[..at].iter().any(|p| text(p, "/name") == name) {
            causes.push(Cause::duplicate(field(".name"), name));
        }
        let out_of_range = |n: i64| !(1..=65535).contains(&n);
        const RANGE: &str = "must be between 1 and 65535, inclusive";
        if out_of_range(number) {
            causes.push(Cause::invalid(field(".port"), number, RANGE));
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        if !protocols.contains(&protocol) {
            causes.push(Cause::unsupported(field(".protocol"), protocol, &protocols));
        }
        if port
            .get("targetPort")
            .and_then(Value::as_i64)
            .is_some_and(out_of_range)
        {
            causes.push(Cause::invalid(
                field(".targetPort"),
                port["targetPort"].clone(),
                RANGE,
            ));
        }
        let node_port = object::number(port, "/nodePort");
        if node_port != 0 && !needs_node_ports(service) {
            let detail = format!("may not be used when `type` is '{}'", type_of(service));
            causes.push(Cause::forbidden(field(".nodePort"), &detail));
        }
        let same =
            |p: &Value, what: &str, n: i64| text(p, "/protocol") == protocol && object::number(p, what) == n;
        if node_port != 0 && ports[..at].iter().any(|p| same(p, "/nodePort", node_port)) {
            causes.push(Cause::duplicate(field(".nodePort"), port.clone()));
        }
        if ports[..at].iter().any(|p| same(p, "/port", number)) {
            let shown =
                json!({"Name": "", "Protocol": protocol, "Port": number, "TargetPort": 0, "NodePort": 0});
            causes.push(Cause::duplicate(field(""), shown));
        }
    }
    let mixed = ports
        .iter()
        .any(|p| text(p, "/protocol") != text(&ports[0], "/protocol"));
    if version == KubeVersion::V1_14 && type_of(service) == "LoadBalancer" && mixed {
        let detail = "cannot create an external load balancer with mix protocols";
        causes.push(Cause::invalid("spec.ports", Value::from(ports), detail));
    }
    causes
}

fn check_ingress(version: KubeVersion, service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ingress = list(service, "/status/loadBalancer/ingress");
    if type_of(service) != "LoadBalancer" && !ingress.is_empty() && version != KubeVersion::V1_14 {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        return vec![Cause::forbidden("status.loadBalancer.ingress", detail)];
    }
    for (at, entry) in ingress.iter().enumerate() {
        let field = |name: &str| format!("status.loadBalancer.ingress[{at}].{name}");
        let (ip, hostname, mode) = (
            text(entry, "/ip"),
            text(entry, "/hostname"),
            text(entry, "/ipMode"),
        );
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            causes.push(Cause::invalid(field("ip"), ip, NOT_AN_IP));
        }
        if ip.is_empty() && !mode.is_empty() {
            causes.push(Cause::forbidden(
                field("ipMode"),
                "may not be specified when `ip` is not set",
            ));
        } else if !mode.is_empty() && !["Proxy", "VIP"].contains(&mode) {
            causes.push(Cause::unsupported(field("ipMode"), mode, &["Proxy", "VIP"]));
        }
        if !hostname.is_empty() {
            if let Some(fault) = subdomain_fault(hostname) {
                causes.push(Cause::invalid(field("hostname"), hostname, fault));
            }
            if hostname.parse::<IpAddr>().is_ok() {
                let detail = "must be a DNS name, not an IP address";
                causes.push(Cause::invalid(field("hostname"), hostname, detail));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::super::super::object::Resource;
    use super::super::super::status::Failure;
    use super::*;

    fn faults(version: KubeVersion, service: &Value, before: Option<&Value>) -> String {
        let causes = check(version, service, before);
        match causes.is_empty() {
            true => String::new(),
            false => Failure::invalid(Resource::Services, "x", &causes).message,
        }
    }

    fn valid(spec: &Value) -> Value {
        let mut service = json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "ports": [{"port": 80, "protocol": "TCP"}]}});
        for (field, value) in spec.as_object().unwrap() {
            service["spec"][field] = value.clone();
        }
        service
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tcp = |name: &str, port: i64| json!({"name": name, "port": port, "protocol": "TCP"});
        for (case, spec, want) in [
            ("nothing", json!({}), ""),
            ("no ports", json!({"ports": []}), "spec.ports: Required value"),
            (
                "no ports, but headless",
                json!({"ports": [], "clusterIP": "None"}),
                "",
            ),
            (
                "no names",
                json!({"ports": [tcp("", 80), tcp("b", 81)]}),
                "spec.ports[0].name: Required value",
            ),
            (
                "one name twice",
                json!({"ports": [tcp("a", 80), tcp("a", 81)]}),
                "spec.ports[1].name: Duplicate value: \"a\"",
            ),
            (
                "one port twice",
                json!({"ports": [tcp("a", 80), tcp("b", 80)]}),
                "spec.ports[1]: Duplicate value",
            ),
            (
                "a name in capitals",
                json!({"ports": [tcp("A", 80)]}),
                "spec.ports[0].name: Invalid value: \"A\"",
            ),
            (
                "port 0",
                json!({"ports": [tcp("", 0)]}),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                "port 65536",
                json!({"ports": [tcp("", 65536)]}),
                "spec.ports[0].port: Invalid value: 65536",
            ),
            (
                "a protocol",
                json!({"ports": [{"port": 80, "protocol": "FOO"}]}),
                "spec.ports[0].protocol: Unsupported value: \"FOO\"",
            ),
            (
                "a node port inside",
                json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ),
            (
                "a type",
                json!({"type": "Foo"}),
                "spec.type: Unsupported value: \"Foo\"",
            ),
            (
                "a name for nobody",
                json!({"type": "ExternalName"}),
                "spec.externalName: Required value",
            ),
            (
                "a policy inside",
                json!({"externalTrafficPolicy": "Local"}),
                "may only be set for externally-accessible services",
            ),
            (
                "a policy",
                json!({"type": "NodePort", "externalTrafficPolicy": "Foo"}),
                "spec.externalTrafficPolicy: Unsupported value: \"Foo\"",
            ),
            (
                "a class inside",
                json!({"loadBalancerClass": "x"}),
                "spec.loadBalancerClass: Forbidden",
            ),
            (
                "an address",
                json!({"clusterIP": "nonsense"}),
                "spec.clusterIPs[0]: Invalid value: \"nonsense\"",
            ),
        ] {
            let got = faults(KubeVersion::Current, &valid(&spec), None);
            assert!(
                got.contains(want) && got.is_empty() == want.is_empty(),
                "{case}: {got}"
            );
        }
    }

    #[test]
    fn some_things_are_for_ever() {
        let before =
            valid(&json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1", "loadBalancerClass": "a/b"}));
        for (case, pointer, value, want) in [
            ("the same", "clusterIP", json!("10.0.0.1"), ""),
            (
                "another address",
                "clusterIP",
                json!("10.0.0.2"),
                "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set",
            ),
            (
                "another class",
                "loadBalancerClass",
                json!("c/d"),
                "spec.loadBalancerClass: Invalid value: \"c/d\": may not change once set",
            ),
        ] {
            let mut service = before.clone();
            service["spec"][pointer] = value;
            let got = faults(KubeVersion::Current, &service, Some(&before));
            assert!(
                got.contains(want) && got.is_empty() == want.is_empty(),
                "{case}: {got}"
            );
        }
    }

    #[test]
    fn an_ingress_is_an_address_or_a_name_of_a_load_balancer() {
        for (case, type_, ingress, want) in [
            (
                "both",
                "LoadBalancer",
                json!([{"ip": "1.2.3.4", "ipMode": "VIP"}, {"hostname": "a.b"}]),
                "",
            ),
            (
                "no address",
                "LoadBalancer",
                json!([{"ip": "1.2.3.x"}]),
                "status.loadBalancer.ingress[0].ip: Invalid value: \"1.2.3.x\"",
            ),
            (
                "no name",
                "LoadBalancer",
                json!([{"hostname": "A_"}]),
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"A_\"",
            ),
            (
                "an address as a name",
                "LoadBalancer",
                json!([{"hostname": "1.2.3.4"}]),
                "must be a DNS name, not an IP address",
            ),
            (
                "an unknown mode",
                "LoadBalancer",
                json!([{"ip": "::1", "ipMode": "Foo"}]),
                "ipMode: Unsupported value: \"Foo\"",
            ),
            (
                "a mode of no address",
                "LoadBalancer",
                json!([{"hostname": "a", "ipMode": "VIP"}]),
                "ipMode: Forbidden",
            ),
            (
                "another type",
                "ClusterIP",
                json!([{"ip": "1.2.3.4"}]),
                "may only be used when `spec.type` is 'LoadBalancer'",
            ),
        ] {
            let mut service = valid(&json!({"type": type_}));
            service["status"] = json!({"loadBalancer": {"ingress": ingress}});
            let got = faults(KubeVersion::Current, &service, None);
            assert!(
                got.contains(want) && got.is_empty() == want.is_empty(),
                "{case}: {got}"
            );
        }
    }

    #[test]
    fn an_old_release_refuses_two_protocols_in_one_load_balancer() {
        let ports = json!([{"name": "a", "port": 53, "protocol": "TCP"}, {"name": "b", "port": 53, "protocol": "UDP"}]);
        let service = valid(&json!({"type": "LoadBalancer", "ports": ports}));
        assert_eq!(faults(KubeVersion::Current, &service, None), "");
        assert!(faults(KubeVersion::V1_14, &service, None).contains("mix protocols"));
    }
}
