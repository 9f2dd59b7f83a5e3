//! The cluster as a test's author sees it: an all-powerful client of whichever API server the tests run on.

use std::path::PathBuf;
use std::sync::Arc;

use cloud_provider_inspur::http::{Method, Request, Transport};
use cloud_provider_inspur::runtime::gate::{Harmless, Permit};
use serde_json::{Value, json};

/// A client that may do everything.
pub struct Api {
    /// Scheme, host and port.
    pub base: String,
    /// What the daemon gets: exactly what `deploy/rbac.yaml` grants.
    pub daemon_kubeconfig: PathBuf,
    /// What `kubectl` gets: everything.
    pub admin_kubeconfig: PathBuf,
    /// The bearer token in `daemon_kubeconfig`, to look for in logs.
    pub daemon_token: String,
    /// Another one of the same account, as after a rotation. To a real API server its UID is `ccm-b`.
    pub second_daemon_token: String,
    /// Where the client certificates of `run.sh` are, on a real API server.
    pub client_certificates: Option<PathBuf>,
    pub(super) admin_token: String,
    pub(super) transport: Arc<dyn Transport>,
}

impl Api {
    /// The token of somebody who may do everything.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A kubeconfig's text with this token, for a file anywhere.
    pub fn kubeconfig_with(&self, token: &str) -> String {
        let text = super::kubeconfig(&self.base, token);
        let Some(folder) = &self.client_certificates else {
            return text;
        };
        let ca = folder.join("ca.crt");
        let authority = format!(", certificate-authority: \"{}\"}}}}]", ca.display());
        text.replacen("}}]", &authority, 1)
    }

    /// Sends one request and returns status and body.
    pub fn call(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> (u16, Value) {
        let permit = Permit::harmless(Harmless::Outside);
        let mut request = Request::permitted(permit, method, format!("{}{path}", self.base))
            .header("Accept", "application/json")
            .header("Authorization", format!("Bearer {}", self.admin_token));
        if let Some((content_type, body)) = body {
            request = request.body(content_type, body.to_string());
        }
        let response = self.transport.exchange(&request).unwrap_or_else(|error| {
            panic!(
                "{method} {path}: {}",
                cloud_provider_inspur::runtime::chain(&error)
            )
        });
        let status = response.status;
        let bytes = response
            .into_bytes(64 << 20)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn must(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// The object at `path`, if it is there.
    pub fn get(&self, path: &str) -> Option<Value> {
        match self.call(Method::Get, path, None) {
            (404, _) => None,
            (200, object) => Some(object),
            (status, answer) => panic!("GET {path}: {status} {answer}"),
        }
    }

    /// The items of the collection at `path`.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let list = self.must(Method::Get, path, None);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Makes `object` in the collection at `path`.
    pub fn create(&self, path: &str, object: &Value) -> Value {
        self.must(Method::Post, path, Some(("application/json", object)))
    }

    /// Merges `patch` into the object at `path` (RFC 7386). Again where somebody else wrote meanwhile, as kubectl does: the oldest
    /// servers answer with a conflict to a patch that names no version.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let body = Some(("application/merge-patch+json", patch));
        let mut tries = 0..5;
        loop {
            match self.call(Method::Patch, path, body) {
                (409, _) if tries.next().is_some() => {}
                (200, object) => return object,
                (status, answer) => panic!("PATCH {path}: {status} {answer}"),
            }
        }
    }

    /// Deletes the object at `path`; fine when it is gone already.
    pub fn delete(&self, path: &str) {
        let (status, answer) = self.call(Method::Delete, path, None);
        assert!(
            matches!(status, 200 | 202 | 404),
            "DELETE {path}: {status} {answer}"
        );
    }

    /// The minor version of Kubernetes: 14 for 1.14.
    pub fn minor(&self) -> u32 {
        let version = self.must(Method::Get, "/version", None);
        let minor = version["minor"]
            .as_str()
            .unwrap_or_default()
            .trim_end_matches('+');
        minor.parse().unwrap_or_else(|_| panic!("{version}"))
    }

    /// Removes every Service, Node and Event, and the Lease of the election, so that the next test begins with an empty cluster.
    pub(super) fn clean(&self) {
        for service in self.list("/api/v1/services") {
            let path = path_of("services", &service["metadata"]);
            if path != "/api/v1/namespaces/default/services/kubernetes" {
                // the daemon of the test is gone: nobody else takes the finalizer away
                self.call(
                    Method::Patch,
                    &path,
                    Some((
                        "application/merge-patch+json",
                        &json!({"metadata":{"finalizers":null}}),
                    )),
                );
                self.delete(&path);
            }
        }
        for node in self.list("/api/v1/nodes") {
            self.delete(&format!("/api/v1/nodes/{}", text(&node["metadata"]["name"])));
        }
        for event in self.list("/api/v1/events") {
            self.delete(&path_of("events", &event["metadata"]));
        }
        self.delete(LEASE);
    }
}

/// The Lease of the election.
pub const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/cloud-controller-manager";

/// The path of a namespaced object.
fn path_of(plural: &str, metadata: &Value) -> String {
    format!(
        "/api/v1/namespaces/{}/{plural}/{}",
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

/// A JSON string, or nothing.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
