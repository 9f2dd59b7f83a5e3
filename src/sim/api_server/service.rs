//! What the API makes of a Service: defaults, what an update keeps and what it drops. Addresses and ports handed out:
//! `allocate.rs`; what is refused: `check.rs`.
//!
//! Source: kubernetes pkg/apis/core/v1/defaults.go, pkg/registry/core/service (storage, strategy: patchAllocatedValues,
//! dropTypeDependentFields); compared with kube-apiserver 1.37.2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::KubeVersion;
use super::object::{copy, list, number, remove, set, text};

mod allocate;
mod check;

pub(super) use allocate::Allocations;
pub(super) use check::check;

fn type_of(service: &Value) -> &str {
    text(service, "/spec/type")
}

fn needs_cluster_ip(service: &Value) -> bool {
    type_of(service) != "ExternalName"
}

fn needs_node_ports(service: &Value) -> bool {
    matches!(type_of(service), "NodePort" | "LoadBalancer")
}

fn needs_health_check(service: &Value) -> bool {
    type_of(service) == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn ports_mut(service: &mut Value) -> &mut [Value] {
    service
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .map_or(&mut [], Vec::as_mut_slice)
}

/// Fills what was left out.
pub(super) fn default(version: KubeVersion, service: &mut Value) {
    for (pointer, value) in [
        ("/spec/sessionAffinity", "None".into()),
        ("/spec/type", "ClusterIP".into()),
        ("/status/loadBalancer", json!({})),
    ] {
        if service.pointer(pointer).is_none() {
            set(service, pointer, value);
        }
    }
    if text(service, "/spec/sessionAffinity") == "ClientIP"
        && service["spec"]["sessionAffinityConfig"].is_null()
    {
        set(
            service,
            "/spec/sessionAffinityConfig/clientIP/timeoutSeconds",
            10800,
        );
    }
    for port in ports_mut(service).iter_mut().filter(|port| port.is_object()) {
        if text(port, "/protocol").is_empty() {
            port["protocol"] = "TCP".into();
        }
        if matches!(port.get("targetPort"), None | Some(Value::Null))
            || port["targetPort"] == 0
            || port["targetPort"] == ""
        {
            port["targetPort"] = port["port"].clone();
        }
    }
    if needs_node_ports(service) && text(service, "/spec/externalTrafficPolicy").is_empty() {
        set(service, "/spec/externalTrafficPolicy", "Cluster");
    }
    if version == KubeVersion::V1_14 {
        return;
    }
    if needs_cluster_ip(service) && text(service, "/spec/internalTrafficPolicy").is_empty() {
        set(service, "/spec/internalTrafficPolicy", "Cluster");
    }
    if type_of(service) == "LoadBalancer" {
        if service.pointer("/spec/allocateLoadBalancerNodePorts").is_none() {
            set(service, "/spec/allocateLoadBalancerNodePorts", true);
        }
        let ingress = service
            .pointer_mut("/status/loadBalancer/ingress")
            .and_then(Value::as_array_mut);
        for entry in ingress.into_iter().flatten() {
            if !text(entry, "/ip").is_empty() && entry.get("ipMode").is_none() {
                entry["ipMode"] = "VIP".into();
            }
        }
    }
}

/// Makes an update keep what was handed out, where the update does not say.
pub(super) fn keep_allocated(service: &mut Value, before: &Value) {
    if needs_cluster_ip(before) && needs_cluster_ip(service) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let pointer = format!("/spec/{field}");
            if service.pointer(&pointer).is_none() {
                copy(before, service, &pointer);
            }
        }
    }
    if needs_node_ports(before) && needs_node_ports(service) {
        let (old, new) = (node_ports(before), node_ports(service));
        let mut used: Vec<i64> = old.into_iter().filter(|p| *p != 0 && new.contains(p)).collect();
        // by name: a port that is renamed gets another node port
        let by_name: BTreeMap<&str, i64> = list(before, "/spec/ports")
            .iter()
            .map(|p| (text(p, "/name"), number(p, "/nodePort")))
            .collect();
        for port in ports_mut(service) {
            let known = by_name.get(text(port, "/name")).copied().unwrap_or(0);
            if number(port, "/nodePort") == 0 && known != 0 && !used.contains(&known) {
                port["nodePort"] = known.into();
                used.push(known);
            }
        }
    }
    if needs_health_check(before)
        && needs_health_check(service)
        && number(service, "/spec/healthCheckNodePort") == 0
    {
        copy(before, service, "/spec/healthCheckNodePort");
    }
}

/// Drops from an update what only the old type had, where the update leaves it as it was.
pub(super) fn drop_dependent(service: &mut Value, before: &Value) {
    if needs_cluster_ip(before) && !needs_cluster_ip(service) {
        let fields = [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ];
        drop_unless_changed(service, before, &fields);
    }
    if type_of(before) == "LoadBalancer" && type_of(service) != "LoadBalancer" {
        drop_unless_changed(
            service,
            before,
            &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        );
    }
    if needs_health_check(before) && !needs_health_check(service) {
        drop_unless_changed(service, before, &["healthCheckNodePort"]);
    }
    if needs_node_ports(before) && !needs_node_ports(service) {
        drop_unless_changed(service, before, &["externalTrafficPolicy"]);
        let old = node_ports(before);
        for port in ports_mut(service) {
            if old.contains(&number(port, "/nodePort")) {
                remove(port, "/nodePort");
            }
        }
    }
    if type_of(service) != "LoadBalancer" {
        set(service, "/status/loadBalancer", json!({}));
    }
}

fn drop_unless_changed(service: &mut Value, before: &Value, fields: &[&str]) {
    for field in fields {
        let pointer = format!("/spec/{field}");
        if service.pointer(&pointer) == before.pointer(&pointer) {
            remove(service, &pointer);
        }
    }
}

fn node_ports(service: &Value) -> Vec<i64> {
    list(service, "/spec/ports")
        .iter()
        .map(|port| number(port, "/nodePort"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(before: &Value, mut service: Value) -> Value {
        keep_allocated(&mut service, before);
        default(KubeVersion::Current, &mut service);
        drop_dependent(&mut service, before);
        service
    }

    #[test]
    fn what_is_left_out_is_filled() {
        for (case, version, spec, want) in [
            (
                "a port and no more",
                KubeVersion::Current,
                json!({"ports": [{"port": 80}]}),
                json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                    "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}),
            ),
            (
                "a load balancer",
                KubeVersion::Current,
                json!({"type": "LoadBalancer", "ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
                json!({"type": "LoadBalancer", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                    "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
                    "ports": [{"port": 53, "protocol": "UDP", "targetPort": "dns"}]}),
            ),
            (
                "a load balancer, long ago",
                KubeVersion::V1_14,
                json!({"type": "LoadBalancer"}),
                json!({"type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster"}),
            ),
            (
                "a name elsewhere",
                KubeVersion::Current,
                json!({"type": "ExternalName", "externalName": "a.b"}),
                json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"}),
            ),
        ] {
            let mut service = json!({"spec": spec});
            default(version, &mut service);
            assert_eq!(service["spec"], want, "{case}");
            assert_eq!(service["status"], json!({"loadBalancer": {}}), "{case}");
        }
    }

    #[test]
    fn an_address_is_a_vip_unless_the_release_does_not_know_the_word() {
        let sent = json!({"spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"hostname": "a.b"}]}}});
        for (version, want) in [
            (
                KubeVersion::Current,
                json!([{"ip": "1.2.3.4", "ipMode": "VIP"}, {"ip": "1.2.3.5", "ipMode": "Proxy"}, {"hostname": "a.b"}]),
            ),
            (
                KubeVersion::V1_14,
                sent["status"]["loadBalancer"]["ingress"].clone(),
            ),
        ] {
            let mut service = sent.clone();
            default(version, &mut service);
            assert_eq!(service["status"]["loadBalancer"]["ingress"], want, "{version:?}");
        }
    }

    fn load_balancer() -> Value {
        json!({
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None", "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b",
                "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "healthCheckNodePort": 31000, "ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}},
        })
    }

    #[test]
    fn an_update_keeps_what_was_handed_out() {
        let before = load_balancer();
        let port = |name: &str, port: u16| json!({"name": name, "port": port});
        for (case, ports, want) in [
            ("the same", json!([port("a", 80)]), vec![30080]),
            (
                "another number under the old name",
                json!([port("a", 81)]),
                vec![30080],
            ),
            ("another name loses it", json!([port("b", 80)]), vec![0]),
            ("one more", json!([port("a", 80), port("b", 81)]), vec![30080, 0]),
        ] {
            let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports});
            let service = updated(&before, json!({"spec": spec}));
            assert_eq!(node_ports(&service), want, "{case}");
            let kept = (
                &service["spec"]["clusterIP"],
                &service["spec"]["healthCheckNodePort"],
            );
            assert_eq!(kept, (&json!("10.0.0.9"), &json!(31000)), "{case}");
        }
    }

    #[test]
    fn another_type_loses_what_only_the_old_one_had() {
        let before = load_balancer();
        let mut service = before.clone();
        service["spec"]["type"] = "ClusterIP".into();
        let service = updated(&before, service);
        assert_eq!(
            service,
            json!({
                "spec": {"type": "ClusterIP", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "clusterIP": "10.0.0.9",
                    "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                    "ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80}]},
                "status": {"loadBalancer": {}},
            })
        );
    }

    #[test]
    fn a_policy_for_all_nodes_needs_no_health_check_port() {
        let before = load_balancer();
        let mut service = before.clone();
        service["spec"]["externalTrafficPolicy"] = "Cluster".into();
        let service = updated(&before, service);
        assert_eq!(service["spec"].get("healthCheckNodePort"), None);
        assert_eq!(service["status"], before["status"]);
    }
}
