//! What the API says of itself: versions, groups, resources, and as much OpenAPI as `kubectl apply` asks for.
//!
//! Documents are in the old, not aggregated form; a client that takes no other is answered 406, as servers before 1.26 do.

use serde_json::{Map, Value, json};

use super::KubeVersion;
use super::object::Resource;
use super::review::Review;

/// The document at `path`, if there is one.
pub(super) fn document(path: &str, version: KubeVersion) -> Option<Value> {
    match path.trim_end_matches('/') {
        "/version" => Some(version_info(version)),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        "/api/v1" => Some(resources("v1", "")),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
            coordination(), group(Review::TOKEN_GROUP), group(Review::ACCESS_GROUP),
        ]})),
        "/apis/coordination.k8s.io" => {
            let mut group = coordination();
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        "/apis/authentication.k8s.io/v1" => Some(reviews(Review::TOKEN_GROUP)),
        "/apis/authorization.k8s.io/v1" => Some(reviews(Review::ACCESS_GROUP)),
        "/apis/coordination.k8s.io/v1" => Some(resources("coordination.k8s.io/v1", "coordination.k8s.io")),
        "/openapi/v3" => Some(json!({"paths": {
            "api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"},
            "apis/coordination.k8s.io/v1": {"serverRelativeURL": "/openapi/v3/apis/coordination.k8s.io/v1"},
        }})),
        "/openapi/v3/api/v1" => Some(openapi("")),
        "/openapi/v3/apis/coordination.k8s.io/v1" => Some(openapi("coordination.k8s.io")),
        _ => None,
    }
}

fn version_info(version: KubeVersion) -> Value {
    let (minor, git) = match version {
        KubeVersion::V1_14 => ("14", "v1.14.10"),
        KubeVersion::Current => ("37", "v1.37.2"),
    };
    json!({
        "major": "1", "minor": minor, "gitVersion": git, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "simulated",
    })
}

fn coordination() -> Value {
    group("coordination.k8s.io")
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

/// What can only be created.
fn reviews(group: &str) -> Value {
    let reviews = Review::ALL.into_iter().filter(|review| review.group() == group);
    let resources: Vec<Value> = reviews
        .map(|review| {
            json!({
                "name": review.plural(), "singularName": review.kind().to_lowercase(), "namespaced": false,
                "kind": review.kind(), "verbs": ["create"],
            })
        })
        .collect();
    let version = format!("{group}/v1");
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}

fn in_group(group: &str) -> impl Iterator<Item = Resource> {
    Resource::ALL.into_iter().filter(move |r| r.group() == group)
}

fn resources(group_version: &str, group: &str) -> Value {
    let mut resources = Vec::new();
    for resource in in_group(group) {
        let mut verbs = vec!["create", "delete", "get", "list", "patch", "update", "watch"];
        if resource != Resource::Namespaces {
            verbs.insert(2, "deletecollection");
        }
        let entry = |name: String, singular: String, verbs: &[&str]| {
            json!({
                "name": name, "singularName": singular, "namespaced": resource.namespaced(),
                "kind": resource.kind(), "verbs": verbs,
            })
        };
        let mut whole = entry(resource.plural().into(), resource.kind().to_lowercase(), &verbs);
        if let Some(short) = resource.short_name() {
            whole["shortNames"] = json!([short]);
        }
        if resource == Resource::Services {
            whole["categories"] = json!(["all"]);
        }
        resources.push(whole);
        if resource.has_status() {
            let name = format!("{}/status", resource.plural());
            resources.push(entry(name, String::new(), &["get", "patch", "update"]));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

/// Enough for `kubectl` to see that the server validates fields; schemas it has built in.
fn openapi(group: &str) -> Value {
    let mut paths = Map::new();
    for resource in in_group(group) {
        let root = match group {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let namespace = if resource.namespaced() {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let path = format!("{root}{namespace}/{}/{{name}}", resource.plural());
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        let patch = json!({
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": group, "version": "v1", "kind": resource.kind()},
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": {"200": {"description": "OK"}},
        });
        paths.insert(path, json!({"patch": patch}));
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1.37"}, "paths": paths})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_listed_with_its_verbs() {
        let core = document("/api/v1/", KubeVersion::Current).unwrap();
        let names: Vec<_> = core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "namespaces",
                "namespaces/status",
                "nodes",
                "nodes/status",
                "services",
                "services/status",
                "events",
                "configmaps"
            ]
        );
        assert_eq!(core["resources"][4]["shortNames"], json!(["svc"]));
        let leases = document("/apis/coordination.k8s.io/v1", KubeVersion::Current).unwrap();
        assert_eq!(leases["resources"][0]["kind"], "Lease");
        assert!(document("/apis/nothing.io/v1", KubeVersion::Current).is_none());
    }

    #[test]
    fn the_version_is_the_one_played() {
        for (version, want) in [
            (KubeVersion::Current, "v1.37.2"),
            (KubeVersion::V1_14, "v1.14.10"),
        ] {
            assert_eq!(document("/version", version).unwrap()["gitVersion"], want);
        }
    }
}
