//! What writes answer and leave behind, as a client sees them.

use serde_json::{Value, json};

use super::super::KubeVersion;
use super::super::rest::tests::{Api, MERGE, SERVICES, STRATEGIC, fields};
use super::*;

#[test]
fn a_created_object_is_stamped_filled_and_found() {
    let api = Api::new();
    let created = api.service("web");
    assert_eq!(
        fields(
            &created,
            &[
                "/kind",
                "/apiVersion",
                "/metadata/namespace",
                "/metadata/creationTimestamp",
                "/metadata/resourceVersion"
            ]
        ),
        [
            json!("Service"),
            json!("v1"),
            json!("default"),
            json!("1970-01-01T00:01:30Z"),
            json!("5")
        ]
    );
    assert!(
        created["spec"]["ports"][0]["nodePort"].as_u64() >= Some(30000),
        "{created}"
    );
    let uid = created["metadata"]["uid"].as_str().unwrap();
    assert!(uid.len() == 36 && uid.as_bytes()[14] == b'4', "{uid}");
    assert_eq!(api.get(&format!("{SERVICES}/web")), (200, created));
    let generated = json!({"metadata": {"generateName": "gen-"}, "spec": {"ports": [{"port": 80}]}});
    let name = api.call("POST", SERVICES, &generated).1["metadata"]["name"].clone();
    assert!(
        name.as_str()
            .is_some_and(|n| n.len() == 9 && n.starts_with("gen-")),
        "{name}"
    );
}

#[test]
fn a_create_that_cannot_be_is_refused() {
    let api = Api::new();
    api.service("web");
    let named = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let elsewhere = json!({"metadata": {"name": "x", "namespace": "other"}});
    let versioned = json!({"metadata": {"name": "x", "resourceVersion": "5"}});
    let node = json!({"kind": "Node", "metadata": {"name": "x"}});
    for (case, target, body, code, reason) in [
        (
            "one that exists",
            SERVICES,
            named("web"),
            409,
            json!("AlreadyExists"),
        ),
        (
            "in no namespace",
            "/api/v1/namespaces/nope/services",
            named("x"),
            404,
            json!("NotFound"),
        ),
        (
            "for another namespace",
            SERVICES,
            elsewhere,
            400,
            json!("BadRequest"),
        ),
        ("of another kind", SERVICES, node, 400, json!("BadRequest")),
        ("with a version", SERVICES, versioned, 500, Value::Null),
        ("that is invalid", SERVICES, named("1Bad_"), 422, json!("Invalid")),
        (
            "misspelt",
            "/api/v1/namespaces/default/services?fieldValidation=Strict",
            json!({"metadata": {"name": "x"}, "spex": {}}),
            400,
            json!("BadRequest"),
        ),
    ] {
        let before = api.version();
        let (status, answer) = api.call("POST", target, &body);
        assert_eq!((status, &answer["reason"]), (code, &reason), "{case}: {answer}");
        assert_eq!(api.version(), before, "{case}: nothing is written");
    }
    let (status, pretended) = api.call("POST", &format!("{SERVICES}?dryRun=All"), &named("dry"));
    assert_eq!((status, &pretended["spec"]["type"]), (201, &json!("ClusterIP")));
    assert_eq!(api.get(&format!("{SERVICES}/dry")).0, 404);
}

#[test]
fn a_patch_with_another_version_or_uid_is_refused() {
    let api = Api::new();
    let service = api.service("web");
    let web = format!("{SERVICES}/web");
    let current = service["metadata"]["resourceVersion"].clone();
    let patch = |metadata: Value| json!({"metadata": metadata});
    for (case, metadata, code) in [
        (
            "a stale version",
            json!({"resourceVersion": "1", "labels": {"a": "1"}}),
            409,
        ),
        ("another UID", json!({"uid": "other", "labels": {"a": "1"}}), 422),
        ("another name", json!({"name": "other"}), 400),
        ("another namespace", json!({"namespace": "other"}), 400),
        ("a bad finalizer", json!({"finalizers": ["bad"]}), 422),
        (
            "the version and UID it has",
            json!({"resourceVersion": current, "uid": service["metadata"]["uid"], "labels": {"a": "1"}}),
            200,
        ),
    ] {
        let (status, answer) = api.patch(&web, MERGE, &patch(metadata));
        assert_eq!(status, code, "{case}: {answer}");
    }
    for (case, media, body, code) in [
        ("no such media type", "text/plain", json!({}), 415),
        (
            "server-side apply",
            "application/apply-patch+yaml",
            json!({}),
            415,
        ),
        ("a list", MERGE, json!([]), 400),
        (
            "no merge key",
            STRATEGIC,
            json!({"spec": {"ports": [{"name": "x"}]}}),
            500,
        ),
        (
            "a test that fails",
            "application/json-patch+json",
            json!([{"op": "test", "path": "/kind", "value": "x"}]),
            422,
        ),
        (
            "a misspelt field is dropped",
            MERGE,
            json!({"spec": {"foo": 1}}),
            200,
        ),
        (
            "a field of another type",
            MERGE,
            json!({"spec": {"type": 1}}),
            422,
        ),
    ] {
        let (status, answer) = api.patch(&web, media, &body);
        assert_eq!(status, code, "{case}: {answer}");
    }
    assert_eq!(api.patch(&format!("{SERVICES}/nope"), MERGE, &json!({})).0, 404);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let api = Api::new();
    let service = api.service("web");
    let before = api.version();
    let (web, status) = (format!("{SERVICES}/web"), format!("{SERVICES}/web/status"));
    for (case, target, media, body) in [
        ("nothing", &web, MERGE, json!({})),
        ("no labels", &web, MERGE, json!({"metadata": {"labels": null}})),
        (
            "what it is",
            &web,
            STRATEGIC,
            json!({"spec": {"ports": [{"port": 80}]}}),
        ),
        (
            "an empty status",
            &status,
            MERGE,
            json!({"status": {"loadBalancer": null}}),
        ),
        (
            "a spec by way of the status",
            &status,
            MERGE,
            json!({"spec": {"externalTrafficPolicy": "Local"}}),
        ),
        (
            "a status by way of the spec",
            &web,
            MERGE,
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
        ),
    ] {
        assert_eq!(api.patch(target, media, &body), (200, service.clone()), "{case}");
    }
    assert_eq!(api.version(), before);
    assert_eq!(
        api.events(&format!("{SERVICES}?watch=1&resourceVersion={before}")),
        Vec::<String>::new()
    );
}

#[test]
fn each_endpoint_writes_its_half_and_both_write_metadata() {
    let api = Api::new();
    api.service("web");
    let body = json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    let (status, service) = api.patch(&format!("{SERVICES}/web/status"), STRATEGIC, &body);
    assert_eq!(status, 200);
    assert_eq!(
        fields(
            &service,
            &[
                "/metadata/labels",
                "/metadata/finalizers",
                "/status/loadBalancer/ingress"
            ]
        ),
        [
            json!({"a": "b"}),
            json!(["a.b/c"]),
            json!([{"ip": "1.2.3.4", "ipMode": "VIP"}])
        ]
    );
    let (_, service) = api.patch(
        &format!("{SERVICES}/web"),
        MERGE,
        &json!({"spec": {"type": "ClusterIP"}}),
    );
    assert_eq!(
        fields(
            &service,
            &["/status", "/spec/ports/0/nodePort", "/metadata/finalizers"]
        ),
        [json!({"loadBalancer": {}}), Value::Null, json!(["a.b/c"])]
    );
}

#[test]
fn finalizers_hold_an_object_that_is_deleted() {
    let api = Api::new();
    api.service("web");
    let web = format!("{SERVICES}/web");
    api.patch(
        &web,
        STRATEGIC,
        &json!({"metadata": {"finalizers": ["a.b/c", "a.b/d"]}}),
    );
    let start = api.version();
    let (status, marked) = api.call("DELETE", &web, &json!({}));
    assert_eq!(
        (status, &marked["metadata"]["deletionTimestamp"]),
        (200, &json!("1970-01-01T00:01:30Z"))
    );
    assert_eq!(
        api.call("DELETE", &web, &json!({})),
        (200, marked.clone()),
        "again is nothing new"
    );
    let too_late = api.patch(&web, STRATEGIC, &json!({"metadata": {"finalizers": ["a.b/e"]}}));
    assert_eq!(
        (too_late.0, &too_late.1["details"]["causes"][0]["reason"]),
        (422, &json!("FieldValueForbidden"))
    );
    for (finalizer, left) in [("a.b/c", json!(["a.b/d"])), ("a.b/d", Value::Null)] {
        let body = json!({"metadata": {"uid": marked["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": [finalizer]}});
        let (status, answer) = api.patch(&format!("{web}/status"), STRATEGIC, &body);
        assert_eq!(
            (status, answer["metadata"]["finalizers"].clone()),
            (200, left),
            "{finalizer}"
        );
    }
    assert_eq!(api.get(&web).0, 404);
    let events = api.events(&format!("{SERVICES}?watch=1&resourceVersion={start}"));
    assert_eq!(events, ["MODIFIED web", "MODIFIED web", "DELETED web"]);
}

#[test]
fn a_delete_obeys_its_preconditions_and_tells_what_went() {
    let api = Api::new();
    let service = api.service("web");
    let web = format!("{SERVICES}/web");
    for (case, preconditions) in [
        ("another UID", json!({"uid": "other"})),
        ("a stale version", json!({"resourceVersion": "1"})),
    ] {
        let (status, answer) = api.call("DELETE", &web, &json!({"preconditions": preconditions}));
        assert_eq!((status, &answer["reason"]), (409, &json!("Conflict")), "{case}");
    }
    let (status, gone) = api.call(
        "DELETE",
        &web,
        &json!({"preconditions": {"uid": service["metadata"]["uid"]}}),
    );
    assert_eq!(
        (status, &gone["kind"], &gone["metadata"]["uid"]),
        (200, &json!("Service"), &service["metadata"]["uid"])
    );
    let node = api
        .call("POST", "/api/v1/nodes", &json!({"metadata": {"name": "n1"}}))
        .1;
    let (_, answer) = api.call("DELETE", "/api/v1/nodes/n1", &json!({}));
    assert_eq!(
        answer,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "n1", "kind": "nodes", "uid": node["metadata"]["uid"]}})
    );
    assert_eq!(api.call("DELETE", "/api/v1/nodes/n1", &json!({})).0, 404);
    for name in ["a", "b"] {
        api.service(name);
    }
    assert_eq!(
        api.call(
            "DELETE",
            &format!("{SERVICES}?fieldSelector=metadata.name=a"),
            &json!({})
        )
        .0,
        200
    );
    assert_eq!(
        api.server
            .objects(Resource::Services)
            .into_keys()
            .collect::<Vec<_>>(),
        ["default/b"]
    );
}

#[test]
fn a_put_makes_a_lease_unless_it_means_one_that_is_gone() {
    let api = Api::new();
    let l = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l";
    let spec = json!({"holderIdentity": "a", "strategy": "s", "preferredHolder": "b"});
    let put = |metadata: Value| api.call("PUT", l, &json!({"metadata": metadata, "spec": spec}));
    let (status, refusal) = put(json!({"name": "l", "uid": "gone", "resourceVersion": "1"}));
    assert_eq!(
        (status, &refusal["reason"]),
        (409, &json!("Conflict")),
        "{refusal}"
    );
    let (status, lease) = put(json!({"name": "l", "resourceVersion": "1"}));
    assert_eq!(status, 201, "{lease}");
    assert_eq!(
        lease["spec"],
        json!({"holderIdentity": "a"}),
        "coordination is off"
    );
    let mut coordinated = lease;
    coordinated["spec"] = spec.clone();
    let stored = api.server.put_unchecked(Resource::Leases, coordinated);
    let (status, lease) = put(stored["metadata"].clone());
    assert_eq!((status, &lease["spec"]), (200, &spec), "what is there stays");
}

#[test]
fn a_put_replaces_under_its_conditions() {
    let api = Api::new();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let created = api
        .call(
            "POST",
            lease,
            &json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "leaseTransitions": 0}}),
        )
        .1;
    let l = format!("{lease}/l");
    let uid = created["metadata"]["uid"].clone();
    for (case, metadata, code) in [
        ("no version", json!({"name": "l"}), 422),
        (
            "a stale version",
            json!({"name": "l", "resourceVersion": "1"}),
            409,
        ),
        (
            "another UID",
            json!({"name": "l", "uid": "other", "resourceVersion": created["metadata"]["resourceVersion"]}),
            409,
        ),
        ("another name", json!({"name": "m"}), 400),
        (
            "all as it should be",
            json!({"name": "l", "uid": uid, "resourceVersion": created["metadata"]["resourceVersion"]}),
            200,
        ),
    ] {
        let (status, answer) = api.call(
            "PUT",
            &l,
            &json!({"metadata": metadata, "spec": {"holderIdentity": "b"}}),
        );
        assert_eq!(status, code, "{case}: {answer}");
    }
    assert_eq!(api.get(&l).1["spec"], json!({"holderIdentity": "b"}));
    api.service("web");
    let (status, service) = api.call(
        "PUT",
        &format!("{SERVICES}/web"),
        &json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 81}]}}),
    );
    assert_eq!(
        (status, &service["spec"]["type"]),
        (200, &json!("ClusterIP")),
        "a Service needs no version"
    );
}

#[test]
fn a_namespace_that_terminates_takes_nothing_new() {
    let api = Api::new();
    assert_eq!(
        api.call(
            "POST",
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "shop"}})
        )
        .0,
        201
    );
    let (_, marked) = api.call("DELETE", "/api/v1/namespaces/shop", &json!({}));
    assert_eq!(marked["status"]["phase"], "Terminating");
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "shop"}});
    let (status, refused) = api.call("POST", "/api/v1/namespaces/shop/events", &event);
    assert_eq!(
        (status, &refused["details"]["causes"][0]["reason"]),
        (403, &json!("NamespaceTerminating"))
    );
    assert_eq!(
        api.call("DELETE", "/api/v1/namespaces/default", &json!({})).0,
        403
    );
}

#[test]
fn an_old_server_drops_what_it_does_not_know_and_answers_in_its_way() {
    let api = Api::new();
    api.server
        .configure(|settings| settings.version = KubeVersion::V1_14);
    api.service("web");
    let web = format!("{SERVICES}/web");
    let body = json!({"metadata": {"finalizers": ["a.b/c"]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}}});
    let (_, service) = api.patch(&format!("{web}/status"), MERGE, &body);
    assert_eq!(
        service["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "1.2.3.4"}])
    );
    assert_eq!(service["spec"].get("clusterIPs"), None);
    let (_, answer) = api.call("DELETE", &web, &json!({}));
    assert_eq!(
        (&answer["kind"], &answer["status"]),
        (&json!("Status"), &json!("Success"))
    );
    let both = json!({"metadata": {"name": "dns"}, "spec": {"type": "LoadBalancer", "ports": [{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]}});
    assert_eq!(api.call("POST", SERVICES, &both).0, 422);
}
