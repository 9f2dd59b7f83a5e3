//! The simulated cluster in its administrator's hands: what `kubectl` does, without `kubectl`.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::server::{Answer, Core, Incoming, Now};

/// The administrator's token. Where the server is open it opens nothing more: kubectl sends none over plain HTTP.
pub const TOKEN: &str = "inspur-sim-admin";

/// A kubeconfig for the administrator of the cluster at `url`.
pub fn kubeconfig(url: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: inspur-sim\n\
         clusters:\n- name: inspur-sim\n  cluster:\n    server: {url}\n\
         contexts:\n- name: inspur-sim\n  context:\n    cluster: inspur-sim\n    user: admin\n\
         users:\n- name: admin\n  user:\n    token: {TOKEN}\n"
    )
}

/// Adds a Ready Node, address and all in one, as a kubelet does: nobody sees it without.
///
/// # Errors
/// The server's refusal.
pub fn add_node(api: &ApiServer, name: &str, ip: IpAddr) -> Result<(), String> {
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": ip.to_string()},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated"}],
        },
    });
    api.create(Resource::Nodes, &node).map(drop)
}

/// Adds a Ready Node as a kubelet with `--cloud-provider=external` registers it: with a taint that keeps pods away, without addresses
/// and provider ID, all of which is the cloud controller's business. The Node as it was stored.
///
/// Source: kubernetes/kubernetes, pkg/kubelet/kubelet_node_status.go and pkg/kubelet/nodestatus/setters.go.
///
/// # Errors
/// The server's refusal.
pub(super) fn register_node(api: &ApiServer, name: &str) -> Result<Value, String> {
    let taint = json!({
        "key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule",
    });
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": [taint]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "simulated"}],
        },
    });
    api.create(Resource::Nodes, &node)
}

/// What Kubernetes says of a Node whose kubelet has fallen silent.
///
/// Source: kubernetes/kubernetes, pkg/controller/nodelifecycle/node_lifecycle_controller.go.
///
/// # Errors
/// The server's refusal.
pub(super) fn silence_node(api: &ApiServer, name: &str) -> Result<(), String> {
    let message = "Kubelet stopped posting node status.";
    let ready =
        json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": message});
    let patch = json!({"status": {"conditions": [ready]}});
    api.patch_status(Resource::Nodes, "", name, &patch).map(drop)
}

/// Some of what `kubectl describe node` prints of a Node.
pub(super) fn described(node: &Value) -> Vec<Vec<String>> {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| format!("{name}={}", text(value)));
    let taints = list(&node["spec"]["taints"]).iter();
    let taints = taints.map(|taint| {
        let [key, value, effect] = ["key", "value", "effect"].map(|part| text(&taint[part]));
        format!("{key}={value}:{effect}")
    });
    let addresses = list(&node["status"]["addresses"]).iter();
    let addresses =
        addresses.map(|address| format!("{}: {}", text(&address["type"]), text(&address["address"])));
    let provider_id = node["spec"]["providerID"].as_str().map(str::to_owned);
    let none = || vec!["<none>".to_owned()];
    let rows = |title: &str, lines: Vec<String>| -> Vec<Vec<String>> {
        let lines = if lines.is_empty() { none() } else { lines };
        let titles = std::iter::once(format!("{title}:")).chain(std::iter::repeat(String::new()));
        titles.zip(lines).map(|(title, line)| vec![title, line]).collect()
    };
    [
        rows("Name", vec![text(&node["metadata"]["name"])]),
        rows("Labels", labels.collect()),
        rows("Taints", taints.collect()),
        rows("Addresses", addresses.collect()),
        rows("ProviderID", provider_id.into_iter().collect()),
    ]
    .concat()
}

/// Applies an RFC 6902 patch, as `kubectl patch --type json` does, to an object of an open server.
///
/// # Errors
/// The server's refusal.
pub(super) fn json_patch(api: &ApiServer, path: &str, operations: &Value) -> Result<(), String> {
    let request =
        Incoming::new("PATCH", path).with_body("application/json-patch+json", operations.to_string());
    send(api, &request).map(drop)
}

/// What `kubectl get` prints for a path, a line an entry; with `wide` what `-o wide` prints. The server must be open.
///
/// # Errors
/// The server's refusal.
pub(super) fn table(api: &ApiServer, path: &str, width: Width) -> Result<Vec<Vec<String>>, String> {
    let request =
        Incoming::new("GET", path).with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = send(api, &request)?;
    let columns = list(&table["columnDefinitions"]);
    let shown = |cells: &[Value]| -> Vec<String> {
        let cells = columns.iter().zip(cells);
        let cells = cells.filter(|(column, _)| width == Width::Wide || column["priority"] == 0);
        cells.map(|(_, cell)| text(cell)).collect()
    };
    let names: Vec<Value> = columns
        .iter()
        .map(|column| text(&column["name"]).to_uppercase().into())
        .collect();
    let rows = list(&table["rows"]).iter().map(|row| shown(list(&row["cells"])));
    Ok(std::iter::once(shown(&names)).chain(rows).collect())
}

/// Which columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// The important ones.
    Narrow,
    /// All.
    Wide,
}

fn send(api: &ApiServer, request: &Incoming) -> Result<Value, String> {
    let now = Now {
        monotonic: Instant::now(),
        wall: SystemTime::now(),
    };
    let Answer::Full(reply) = api.respond(request, now) else {
        return Err(format!("{request:?} is answered with a stream"));
    };
    let body: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
    match reply.status {
        200..300 => Ok(body),
        status => Err(format!("{request:?}: {status} {}", text(&body["message"]))),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A cell as it is printed.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> ApiServer {
        let api = ApiServer::new(1);
        api.open(true);
        add_node(&api, "node-1", [127, 0, 30, 1].into()).unwrap();
        api
    }

    #[test]
    fn a_node_is_shown_as_kubectl_shows_it() {
        let api = open();
        let narrow = table(&api, "/api/v1/nodes/node-1", Width::Narrow).unwrap();
        assert_eq!(narrow[0], ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
        assert_eq!(narrow[1][..3], ["node-1", "Ready", "<none>"]);
        let wide = table(&api, "/api/v1/nodes", Width::Wide).unwrap();
        assert_eq!((wide.len(), wide[1][5].as_str()), (2, "127.0.30.1"));
    }

    #[test]
    fn a_kubelet_registers_a_node_for_somebody_else_to_finish() {
        let api = open();
        let node = register_node(&api, "node-2").unwrap();
        let shown: Vec<String> = described(&node).into_iter().map(|row| row.join(" ")).collect();
        let want = [
            "Name: node-2",
            "Labels: kubernetes.io/hostname=node-2",
            "Taints: node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule",
            "Addresses: <none>",
            "ProviderID: <none>",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn a_silent_node_is_not_ready() {
        let api = open();
        silence_node(&api, "node-1").unwrap();
        let shown = table(&api, "/api/v1/nodes/node-1", Width::Narrow).unwrap();
        assert_eq!(shown[1][1], "NotReady");
    }

    #[test]
    fn a_refusal_is_told() {
        let api = open();
        let error = table(&api, "/api/v1/nodes/node-9", Width::Narrow).unwrap_err();
        assert!(error.contains("404") && error.contains("node-9"), "{error}");
        let label = json!([{"op": "test", "path": "/metadata/name", "value": "node-2"}]);
        assert!(json_patch(&api, "/api/v1/nodes/node-1", &label).is_err());
    }
}
