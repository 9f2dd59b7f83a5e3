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
    if type_ == "ExternalName" {
        if let Some(fault) = subdomain_fault(text(service, "/spec/externalName")) {
            causes.push(Cause::invalid(
                "spec.externalName",
                text(service, "/spec/externalName"),
                fault,
            ));
        }
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
