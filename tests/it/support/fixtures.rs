//! Objects for tests: take what matters, default the rest.

use serde_json::{Value, json};

/// The id annotation, in the spelling that most clusters have.
pub const SLB_ID: &str = "service.beta.kubernetes.io/inspur-load-balancer-slbid";

/// A Service of type LoadBalancer in the namespace `default`.
pub struct ServiceFixture(Value);

/// A Service called `name`, without ports and SLB.
pub fn service(name: &str) -> ServiceFixture {
    ServiceFixture(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "annotations": {}},
        "spec": {"type": "LoadBalancer", "ports": []},
    }))
}

impl ServiceFixture {
    /// Names the SLB.
    pub fn slb(self, id: &str) -> Self {
        self.annotation(SLB_ID, id)
    }

    /// Sets an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Adds a TCP port.
    pub fn port(self, port: u16, node_port: u16) -> Self {
        self.port_of("TCP", port, node_port)
    }

    /// Adds a port.
    pub fn port_of(mut self, protocol: &str, port: u16, node_port: u16) -> Self {
        let ports = self.0["spec"]["ports"].as_array_mut().expect("made above");
        let name = format!("{}-{port}", protocol.to_lowercase());
        ports.push(json!({"name": name, "protocol": protocol, "port": port, "targetPort": port, "nodePort": node_port}));
        self
    }

    /// Sets a field of the spec.
    pub fn spec(mut self, key: &str, value: Value) -> Self {
        self.0["spec"][key] = value;
        self
    }

    /// The object.
    pub fn json(self) -> Value {
        self.0
    }
}

/// A Node with one internal address whose instance is called like it, with an `i-` before.
pub fn node(name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name},
        "spec": {"providerID": format!("incloud://i-{name}")},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]},
    })
}

/// The path of a Service in the namespace `default`.
pub fn service_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/services/{name}")
}

/// The collection of Services in the namespace `default`.
pub const SERVICES: &str = "/api/v1/namespaces/default/services";

/// The collection of Nodes.
pub const NODES: &str = "/api/v1/nodes";
