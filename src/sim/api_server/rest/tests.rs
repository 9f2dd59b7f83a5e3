//! Requests and answers, as a client sees them, without locks or sockets.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::ApiServer;
use super::super::access::Rule;
use super::super::watch::Poll;
use super::*;

pub(in super::super) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(in super::super) const MERGE: &str = "application/merge-patch+json";
pub(in super::super) const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A server that lets everybody do everything, and the moment it is asked at.
pub(in super::super) struct Api {
    pub(in super::super) server: ApiServer,
    now: Now,
}

impl Api {
    pub(in super::super) fn new() -> Self {
        let server = ApiServer::new(1);
        server.open(true);
        let now = Now {
            monotonic: Instant::now(),
            wall: UNIX_EPOCH + Duration::from_secs(90),
        };
        Self { server, now }
    }

    pub(in super::super) fn send(&self, request: &Incoming) -> (u16, Value) {
        self.server.state.update(|state| {
            let reply = match state.route(request, self.now) {
                Routed::Done(Outcome::Full(reply)) => reply,
                Routed::Write(write) => state.act(&write, request, self.now),
                Routed::Done(Outcome::Watch(_)) => panic!("a watch, not an answer: {request:?}"),
            };
            let body = String::from_utf8(reply.body).unwrap();
            (
                reply.status,
                serde_json::from_str(&body).unwrap_or(Value::String(body)),
            )
        })
    }

    pub(in super::super) fn call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        self.send(&Incoming::new(method, target).with_body("application/json", body.to_string()))
    }

    pub(in super::super) fn get(&self, target: &str) -> (u16, Value) {
        self.send(&Incoming::new("GET", target))
    }

    pub(in super::super) fn patch(&self, target: &str, media: &str, body: &Value) -> (u16, Value) {
        self.send(&Incoming::new("PATCH", target).with_body(media, body.to_string()))
    }

    /// Creates a load balancer and returns it.
    pub(in super::super) fn service(&self, name: &str) -> Value {
        let body =
            json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
        let (status, service) = self.call("POST", SERVICES, &body);
        assert_eq!(status, 201, "{service}");
        service
    }

    pub(in super::super) fn version(&self) -> u64 {
        self.server.version()
    }

    /// What a watch from `version` has to say by now: types and names.
    pub(in super::super) fn events(&self, target: &str) -> Vec<String> {
        let request = Incoming::new("GET", target);
        self.server.state.read(|state| {
            let Routed::Done(Outcome::Watch(mut watch)) = state.route(&request, self.now) else {
                panic!("no watch: {target}")
            };
            let mut events = Vec::new();
            while let Poll::Bytes(bytes) = watch.poll(&state.store, &state.signals, self.now) {
                let event: Value = serde_json::from_slice(&bytes).unwrap();
                let name = event["object"]["metadata"]["name"]
                    .as_str()
                    .unwrap_or("-")
                    .to_owned();
                events.push(format!("{} {name}", event["type"].as_str().unwrap()));
            }
            events
        })
    }
}

/// What stands at each pointer.
pub(in super::super) fn fields(value: &Value, wanted: &[&str]) -> Vec<Value> {
    wanted
        .iter()
        .map(|p| value.pointer(p).cloned().unwrap_or(Value::Null))
        .collect()
}

#[test]
fn lists_watches_and_gets_are_of_what_was_asked() {
    let api = Api::new();
    api.service("web");
    api.service("api");
    let (_, list) = api.get("/api/v1/services?fieldSelector=metadata.name%3Dweb");
    assert_eq!(
        fields(
            &list,
            &[
                "/kind",
                "/items/0/metadata/name",
                "/items/1",
                "/metadata/resourceVersion"
            ]
        ),
        [json!("ServiceList"), json!("web"), Value::Null, json!("6")]
    );
    assert_eq!(
        api.events(&format!("{SERVICES}?watch=true&resourceVersion=5")),
        ["ADDED api"]
    );
    assert_eq!(
        api.events("/api/v1/watch/namespaces/default/services/web"),
        ["ADDED web"]
    );
    for (case, target, code) in [
        ("of the future", format!("{SERVICES}/web?resourceVersion=99"), 504),
        (
            "a list of the future",
            format!("{SERVICES}?resourceVersion=99"),
            504,
        ),
        (
            "a malformed watch",
            format!("{SERVICES}?watch=1&resourceVersion=x"),
            500,
        ),
        (
            "an empty namespace",
            "/api/v1/namespaces/nope/services".into(),
            200,
        ),
        ("nobody", format!("{SERVICES}/nope"), 404),
    ] {
        assert_eq!(api.get(&target).0, code, "{case}");
    }
    let late = api.send(&Incoming::new("GET", &format!("{SERVICES}?resourceVersion=99")));
    assert_eq!(late.1["details"]["retryAfterSeconds"], 1);
}

#[test]
fn what_is_not_served_is_refused_as_the_real_server_does() {
    let api = Api::new();
    for (case, method, target, code, reason) in [
        (
            "an unknown resource",
            "GET",
            "/api/v1/foos",
            404,
            Some("NotFound"),
        ),
        ("an unknown group", "GET", "/apis/nothing.io/v1/things", 404, None),
        ("an unknown path", "GET", "/nothing", 404, None),
        (
            "a create everywhere",
            "POST",
            "/api/v1/services",
            405,
            Some("MethodNotAllowed"),
        ),
        (
            "a delete everywhere",
            "DELETE",
            "/api/v1/services",
            405,
            Some("MethodNotAllowed"),
        ),
        (
            "a post to an object",
            "POST",
            "/api/v1/nodes/n1",
            405,
            Some("MethodNotAllowed"),
        ),
        (
            "a put to a collection",
            "PUT",
            "/api/v1/nodes",
            405,
            Some("MethodNotAllowed"),
        ),
        (
            "a delete of a status",
            "DELETE",
            "/api/v1/nodes/n1/status",
            405,
            Some("MethodNotAllowed"),
        ),
        (
            "an unknown subresource",
            "GET",
            "/api/v1/nodes/n1/foo",
            404,
            Some("NotFound"),
        ),
        (
            "all namespaces",
            "DELETE",
            "/api/v1/namespaces",
            405,
            Some("MethodNotAllowed"),
        ),
    ] {
        let (status, answer) = api.call(method, target, &json!({}));
        assert_eq!((status, answer["reason"].as_str()), (code, reason), "{case}");
        assert_eq!(
            answer.is_string(),
            reason.is_none(),
            "{case}: plain text without a reason"
        );
    }
    let aggregated = Incoming::new("GET", "/apis").with_header(
        "Accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    );
    assert_eq!(api.send(&aggregated).0, 406);
    let table = Incoming::new("GET", "/api/v1/namespaces")
        .with_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let (_, table) = api.send(&table);
    assert_eq!(table["rows"][0]["cells"][0], "default");
}

#[test]
fn whoever_asks_is_known_and_allowed_or_refused() {
    let api = Api::new();
    api.server.open(false);
    api.server.admin_token("root");
    api.server.user_token("t0ken", "ccm");
    api.server.allow(
        "ccm",
        vec![
            Rule::new("list watch", "", "nodes"),
            Rule::new("get", "", "nodes").named("n1"),
        ],
    );
    let ask = |token: &str, target: &str| {
        let request = Incoming::new("GET", target);
        let request = if token.is_empty() {
            request
        } else {
            request.with_header("Authorization", &format!("Bearer {token}"))
        };
        api.send(&request).0
    };
    for (token, target, code) in [
        ("", "/api/v1/nodes", 401),
        ("wrong", "/api/v1/nodes", 401),
        ("root", "/api/v1/services", 200),
        ("t0ken", "/api/v1/nodes", 200),
        ("t0ken", "/api/v1/nodes/n1", 404),
        ("t0ken", "/api/v1/nodes/n2", 403),
        ("t0ken", "/api/v1/services", 403),
        ("t0ken", "/apis/nothing.io/v1/things", 403),
        ("t0ken", "/api/v1", 200),
        ("t0ken", "/nothing", 403),
        ("", "/api/v1", 401),
        ("", "/version", 200),
        ("", "/readyz", 200),
    ] {
        assert_eq!(ask(token, target), code, "{token:?} {target}");
    }
    api.server.revoke_token("t0ken");
    assert_eq!(ask("t0ken", "/api/v1/nodes"), 401);
}
