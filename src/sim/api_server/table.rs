//! Rows for people: what `kubectl get` prints. Source: kubernetes pkg/printers/internalversion/printers.go.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::object::{Resource, list, number, text, texts};

/// A `Table` of `objects`. Each row carries the whole object, or its metadata alone.
pub(super) fn table<'a>(
    resource: Resource,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: &Value,
    whole: bool,
    now: SystemTime,
) -> Value {
    let columns: Vec<Value> = columns(resource)
        .iter()
        .map(|(name, priority)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": priority})
        })
        .collect();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let shown = match whole {
                true => object.clone(),
                false => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
            };
            json!({"cells": cells(resource, object, now), "object": shown})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// Names and priorities; a priority above 0 is shown on `-o wide` only.
fn columns(resource: Resource) -> &'static [(&'static str, u8)] {
    match resource {
        Resource::Namespaces => &[("Name", 0), ("Status", 0), ("Age", 0)],
        Resource::Nodes => &[
            ("Name", 0),
            ("Status", 0),
            ("Roles", 0),
            ("Age", 0),
            ("Version", 0),
            ("Internal-IP", 1),
            ("External-IP", 1),
        ],
        Resource::Services => &[
            ("Name", 0),
            ("Type", 0),
            ("Cluster-IP", 0),
            ("External-IP", 0),
            ("Port(s)", 0),
            ("Age", 0),
            ("Selector", 1),
        ],
        Resource::Events => &[
            ("Last Seen", 0),
            ("Type", 0),
            ("Reason", 0),
            ("Object", 0),
            ("Message", 0),
            ("Count", 1),
            ("Name", 1),
        ],
        Resource::ConfigMaps => &[("Name", 0), ("Data", 0), ("Age", 0)],
        Resource::Leases => &[("Name", 0), ("Holder", 0), ("Age", 0)],
    }
}

fn cells(resource: Resource, object: &Value, now: SystemTime) -> Vec<Value> {
    let name = text(object, "/metadata/name");
    let age = || since(text(object, "/metadata/creationTimestamp"), now);
    match resource {
        Resource::Namespaces => vec![name.into(), text(object, "/status/phase").into(), age().into()],
        Resource::ConfigMaps => {
            let held = |field: &str| object.get(field).and_then(Value::as_object).map_or(0, Map::len);
            vec![
                name.into(),
                (held("data") + held("binaryData")).into(),
                age().into(),
            ]
        }
        Resource::Leases => vec![
            name.into(),
            text(object, "/spec/holderIdentity").into(),
            age().into(),
        ],
        Resource::Nodes => vec![
            name.into(),
            node_status(object).into(),
            node_roles(object).into(),
            age().into(),
            text(object, "/status/nodeInfo/kubeletVersion").into(),
            node_address(object, "InternalIP").into(),
            node_address(object, "ExternalIP").into(),
        ],
        Resource::Services => vec![
            name.into(),
            text(object, "/spec/type").into(),
            or_none(text(object, "/spec/clusterIP").to_owned()).into(),
            external_ip(object).into(),
            ports(object).into(),
            age().into(),
            or_none(pairs(object, "/spec/selector")).into(),
        ],
        Resource::Events => {
            let about = format!(
                "{}/{}",
                text(object, "/involvedObject/kind").to_lowercase(),
                text(object, "/involvedObject/name")
            );
            vec![
                since(text(object, "/lastTimestamp"), now).into(),
                text(object, "/type").into(),
                text(object, "/reason").into(),
                about.into(),
                text(object, "/message").trim().into(),
                number(object, "/count").max(1).into(),
                name.into(),
            ]
        }
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "<none>".to_owned()
    } else {
        text
    }
}

fn pairs(object: &Value, pointer: &str) -> String {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let pairs = map
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")));
    pairs.collect::<Vec<_>>().join(",")
}

fn external_ip(service: &Value) -> String {
    let mut all: Vec<&str> = Vec::new();
    match text(service, "/spec/type") {
        "ExternalName" => return text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            for entry in list(service, "/status/loadBalancer/ingress") {
                all.extend(
                    [text(entry, "/ip"), text(entry, "/hostname")]
                        .iter()
                        .find(|t| !t.is_empty()),
                );
            }
            all.extend(texts(service, "/spec/externalIPs"));
            if all.is_empty() {
                return "<pending>".to_owned();
            }
        }
        _ => all.extend(texts(service, "/spec/externalIPs")),
    }
    or_none(all.join(","))
}

fn ports(service: &Value) -> String {
    let ports = list(service, "/spec/ports").iter().map(|port| {
        let (number_, node_port) = (number(port, "/port"), number(port, "/nodePort"));
        let protocol = text(port, "/protocol");
        match node_port {
            0 => format!("{number_}/{protocol}"),
            node_port => format!("{number_}:{node_port}/{protocol}"),
        }
    });
    or_none(ports.collect::<Vec<_>>().join(","))
}

fn node_status(node: &Value) -> String {
    let ready = list(node, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let roles = labels.into_iter().flatten().filter_map(|(key, value)| {
        let role = key.strip_prefix("node-role.kubernetes.io/");
        role.or_else(|| value.as_str().filter(|_| key == "kubernetes.io/role"))
            .filter(|role| !role.is_empty())
    });
    or_none(roles.collect::<Vec<_>>().join(","))
}

fn node_address(node: &Value, type_: &str) -> String {
    let address = list(node, "/status/addresses")
        .iter()
        .find(|a| text(a, "/type") == type_);
    or_none(address.map_or(String::new(), |a| text(a, "/address").to_owned()))
}

fn since(timestamp: &str, now: SystemTime) -> String {
    match humantime::parse_rfc3339(timestamp) {
        Ok(then) => human(now.duration_since(then).unwrap_or_default()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Source: apimachinery pkg/util/duration (HumanDuration).
fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: u64, unit: char, small: u64, part: char| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{part}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => two(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () if days < 8 * 365 => two(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn row(resource: Resource, object: &Value) -> Value {
        let now = UNIX_EPOCH + Duration::from_secs(90);
        let table = table(resource, [object], &json!({}), false, now);
        assert_eq!(
            table["columnDefinitions"].as_array().unwrap().len(),
            table["rows"][0]["cells"].as_array().unwrap().len(),
            "a cell for each column"
        );
        table["rows"][0]["cells"].clone()
    }

    #[test]
    fn a_row_says_what_people_want_to_know() {
        let born = "1970-01-01T00:00:00Z";
        for (case, resource, object, want) in [
            (
                "a Service that waits",
                Resource::Services,
                json!({"metadata": {"name": "web", "creationTimestamp": born}, "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.9",
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}], "selector": {"a": "b"}}}),
                json!([
                    "web",
                    "LoadBalancer",
                    "10.0.0.9",
                    "<pending>",
                    "80:30080/TCP,53/UDP",
                    "90s",
                    "a=b"
                ]),
            ),
            (
                "a Service that is served",
                Resource::Services,
                json!({"metadata": {"name": "web", "creationTimestamp": born}, "spec": {"type": "LoadBalancer", "clusterIP": "None"},
                    "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "a.b"}]}}}),
                json!([
                    "web",
                    "LoadBalancer",
                    "None",
                    "1.2.3.4,a.b",
                    "<none>",
                    "90s",
                    "<none>"
                ]),
            ),
            (
                "a node",
                Resource::Nodes,
                json!({"metadata": {"name": "n1", "creationTimestamp": born, "labels": {"node-role.kubernetes.io/worker": ""}},
                    "spec": {"unschedulable": true},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
                json!([
                    "n1",
                    "Ready,SchedulingDisabled",
                    "worker",
                    "90s",
                    "",
                    "10.0.0.1",
                    "<none>"
                ]),
            ),
            (
                "an event",
                Resource::Events,
                json!({"metadata": {"name": "e"}, "lastTimestamp": born, "type": "Normal", "reason": "R", "message": "m\n", "count": 3,
                    "involvedObject": {"kind": "Service", "name": "web"}}),
                json!(["90s", "Normal", "R", "service/web", "m", 3, "e"]),
            ),
            (
                "a config map",
                Resource::ConfigMaps,
                json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}),
                json!(["c", 2, "<unknown>"]),
            ),
            (
                "a lease",
                Resource::Leases,
                json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}),
                json!(["l", "me", "<unknown>"]),
            ),
        ] {
            assert_eq!(row(resource, &object), want, "{case}");
        }
    }

    #[test]
    fn ages_get_coarser_as_they_grow() {
        for (seconds, want) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3599, "59m"),
            (3 * 3600 + 60, "3h1m"),
            (10 * 3600, "10h"),
            (50 * 3600, "2d2h"),
            (20 * 86400, "20d"),
            (800 * 86400, "2y70d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), want, "{seconds} s");
        }
    }
}
