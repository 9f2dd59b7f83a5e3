//! The roles grant what the daemon does: by the audit logs of a whole run on real API servers.
//!
//! `make e2e` runs every scenario with `AUDIT_LOGS=DIR`, then judges them by `AUDIT_LOGS=DIR cargo test --test it -- --ignored least_rbac::`.

use std::fs;
use std::path::Path;

use cloud_provider_inspur::sim::api_server::{Grant, grants};
use serde_json::Value;

use crate::service_accounts;
use crate::support::api::text;
use crate::support::control_plane::audit_logs;

/// What the daemon's User-Agent begins with.
const PROGRAM: &str = "inspur-cloud-controller-manager/";

/// One request, as the API server's audit log tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    user: String,
    /// Whether the daemon sent it.
    ours: bool,
    verb: String,
    group: String,
    /// A plural, perhaps with a subresource; empty where a path is asked for that is no resource.
    resource: String,
    namespace: String,
    name: String,
    path: String,
    denied: bool,
    /// Which binding of which role to whom allowed it: `RBAC: allowed by RoleBinding "x/namespace" of Role "x" to …`.
    reason: String,
}

impl Request {
    fn of(event: &Value) -> Self {
        let (object, annotations) = (&event["objectRef"], &event["annotations"]);
        let own = |value: &Value| text(value).to_owned();
        let resource = match text(&object["subresource"]) {
            "" => own(&object["resource"]),
            sub => format!("{}/{sub}", text(&object["resource"])),
        };
        let path = text(&event["requestURI"]).split('?').next().unwrap_or_default();
        Self {
            user: own(&event["user"]["username"]),
            ours: text(&event["userAgent"]).starts_with(PROGRAM),
            verb: own(&event["verb"]),
            group: own(&object["apiGroup"]),
            resource,
            namespace: own(&object["namespace"]),
            // of what is created the log knows the name from the body, which no authorizer reads
            name: match (text(&event["verb"]), text(&object["subresource"])) {
                ("create", "") => String::new(),
                _ => own(&object["name"]),
            },
            path: path.to_owned(),
            denied: text(&annotations["authorization.k8s.io/decision"]) == "forbid"
                || event["responseStatus"]["code"] == 403,
            reason: own(&annotations["authorization.k8s.io/reason"]),
        }
    }

    /// Whether `role` allowed it.
    fn is_by(&self, role: &str) -> bool {
        !self.denied && self.reason.contains(&format!(" of {role} to "))
    }

    /// Whether everybody may ask it whom the API server knows, such as `/version`.
    fn is_open(&self) -> bool {
        !self.denied && self.reason.ends_with(r#" to Group "system:authenticated""#)
    }

    fn spelled(&self) -> String {
        format!("{} by {}: {} {}", self.verb, self.user, self.path, self.reason)
    }
}

/// One thing that a role grants: one verb on one kind of object or one path, and where it is narrowed, on one object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Permission {
    user: String,
    role: String,
    verb: String,
    target: Target,
}

/// What a permission is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Objects {
        group: String,
        resource: String,
        namespace: Option<String>,
        name: Option<String>,
    },
    /// A path that is no resource.
    Path(String),
}

impl Permission {
    /// Each that a rule grants.
    fn of(grant: &Grant) -> Vec<Self> {
        let rule = &grant.rule;
        let names: Vec<Option<String>> = match &*rule.names {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        let mut targets: Vec<Target> = rule.paths.iter().cloned().map(Target::Path).collect();
        for group in &rule.groups {
            for resource in &rule.resources {
                targets.extend(names.iter().map(|name| Target::Objects {
                    group: group.clone(),
                    resource: resource.clone(),
                    namespace: rule.namespace.clone(),
                    name: name.clone(),
                }));
            }
        }
        let one = |target: &Target, verb: &String| Self {
            user: grant.user.clone(),
            role: grant.role.clone(),
            verb: verb.clone(),
            target: target.clone(),
        };
        let of_target = |target| rule.verbs.iter().map(move |verb| one(target, verb));
        targets.iter().flat_map(of_target).collect()
    }

    /// Whether `request` was allowed by it. A `*` is never asked for, and so never used.
    fn was_used_by(&self, request: &Request) -> bool {
        let fits = match &self.target {
            Target::Path(path) => request.resource.is_empty() && *path == request.path,
            Target::Objects {
                group,
                resource,
                namespace,
                name,
            } => {
                (group, resource) == (&request.group, &request.resource)
                    && namespace.as_ref().is_none_or(|one| *one == request.namespace)
                    && name.as_ref().is_none_or(|one| *one == request.name)
            }
        };
        fits && request.is_by(&self.role) && (&self.user, &self.verb) == (&request.user, &request.verb)
    }

    fn spelled(&self) -> String {
        let target = match &self.target {
            Target::Path(path) => path.clone(),
            Target::Objects {
                group,
                resource,
                namespace,
                name,
            } => {
                let parts = [namespace, name].map(|part| part.as_deref().unwrap_or("*"));
                format!("{group}/{resource} {}", parts.join("/"))
            }
        };
        format!("{}: {} {target}", self.role, self.verb)
    }
}

/// What is wrong with what was granted, by what was asked under it; empty when exactly that was granted.
fn faults(grants: &[Grant], requests: &[Request]) -> Vec<String> {
    let known = |user: &String| grants.iter().any(|grant| grant.user == *user);
    let granted = |request: &Request| grants.iter().any(|grant| request.is_by(&grant.role));
    let mut faults = Vec::new();
    for request in requests {
        if !known(&request.user) && !request.ours {
            continue;
        }
        if request.denied {
            faults.push(format!("denied: {}", request.spelled()));
        } else if !granted(request) && !request.is_open() {
            faults.push(format!("not by the roles: {}", request.spelled()));
        }
    }
    let permissions = grants.iter().flat_map(Permission::of);
    let unused = permissions.filter(|permission| !requests.iter().any(|one| permission.was_used_by(one)));
    faults.extend(unused.map(|one| format!("never used: {}", one.spelled())));
    faults.dedup();
    faults
}

/// Every request in a folder's audit logs. A last line without its end was cut off by the end of the run.
fn requests(dir: &Path) -> Vec<Request> {
    let mut requests = Vec::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("the folder can be read").path();
        let log = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            requests.push(Request::of(&event));
        }
    }
    requests
}

/// What the manifests in `deploy/` grant.
fn deployed() -> Vec<Grant> {
    let accounts = fs::read_to_string(service_accounts::RIGHTS).expect("it is in deploy/");
    let manifests = [include_str!("../../deploy/rbac.yaml"), &accounts];
    let read = |manifest| grants(manifest).expect("what is bound is in the manifest");
    manifests.into_iter().flat_map(read).collect()
}

#[test]
#[ignore = "judges a whole run on the real control plane: make e2e"]
fn the_roles_grant_what_the_run_used_and_nothing_else() {
    let dir = audit_logs().expect("AUDIT_LOGS names the folder of the run's audit logs");
    let faults = faults(&deployed(), &requests(&dir));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROLES: &str = r#"
kind: ClusterRole
metadata:
  name: x
rules:
- apiGroups: [""]
  resources: ["services", "services/status"]
  verbs: ["get", "patch"]
- nonResourceURLs: ["/metrics"]
  verbs: ["get"]
---
kind: Role
metadata:
  name: x
  namespace: kube-system
rules:
- apiGroups: ["coordination.k8s.io"]
  resources: ["leases"]
  resourceNames: ["a", "b"]
  verbs: ["get"]
---
kind: ClusterRoleBinding
metadata:
  name: x
roleRef: {kind: ClusterRole, name: x}
subjects: [{kind: ServiceAccount, name: x, namespace: kube-system}]
---
kind: RoleBinding
metadata:
  name: x
  namespace: kube-system
roleRef: {kind: Role, name: x}
subjects: [{kind: ServiceAccount, name: x, namespace: kube-system}]
"#;

    const OF_CLUSTER: &str = r#"ClusterRoleBinding "x" of ClusterRole "x""#;
    const OF_LEASES: &str = r#"RoleBinding "x/kube-system" of Role "x""#;
    const OPEN: &str =
        r#"RBAC: allowed by ClusterRoleBinding "y" of ClusterRole "y" to Group "system:authenticated""#;
    const USER: &str = "system:serviceaccount:kube-system:x";

    /// An allowed request: verb, path, `resource`, `subresource`, `namespace/name`, by which binding.
    fn event(verb: &str, path: &str, resource: [&str; 3], at: [&str; 2], by: &str) -> Value {
        let [group, resource, subresource] = resource;
        json!({
            "verb": verb, "requestURI": path, "userAgent": format!("{PROGRAM}1.0"), "user": {"username": USER},
            "objectRef": {
                "apiGroup": group, "resource": resource, "subresource": subresource, "namespace": at[0], "name": at[1],
            },
            "responseStatus": {"code": 200},
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": format!("RBAC: allowed by {by} to ServiceAccount \"x/kube-system\""),
            },
        })
    }

    /// Requests that use everything in [`ROLES`], each for one thing.
    fn all() -> Vec<Value> {
        let (services, web, leases) = ("/api/v1/services", ["default", "web"], "coordination.k8s.io");
        vec![
            event("get", services, ["", "services", ""], web, OF_CLUSTER),
            event("patch", services, ["", "services", ""], web, OF_CLUSTER),
            event("get", services, ["", "services", "status"], web, OF_CLUSTER),
            event("patch", services, ["", "services", "status"], web, OF_CLUSTER),
            event("get", "/metrics?x", ["", "", ""], ["", ""], OF_CLUSTER),
            event("get", "", [leases, "leases", ""], ["kube-system", "a"], OF_LEASES),
            event("get", "", [leases, "leases", ""], ["kube-system", "b"], OF_LEASES),
        ]
    }

    fn judged(events: &[Value]) -> Vec<String> {
        let requests: Vec<Request> = events.iter().map(Request::of).collect();
        faults(&grants(ROLES).unwrap(), &requests)
    }

    #[test]
    fn roles_that_grant_what_is_asked_for_are_least() {
        assert_eq!(judged(&all()), [""; 0]);
    }

    #[test]
    fn whatever_nobody_asked_for_is_told_one_by_one() {
        let unused = [
            "ClusterRole \"x\": get /services */*",
            "ClusterRole \"x\": patch /services */*",
            "ClusterRole \"x\": get /services/status */*",
            "ClusterRole \"x\": patch /services/status */*",
            "ClusterRole \"x\": get /metrics",
            "Role \"x\": get coordination.k8s.io/leases kube-system/a",
            "Role \"x\": get coordination.k8s.io/leases kube-system/b",
        ];
        for (left_out, want) in unused.iter().enumerate() {
            let mut events = all();
            events.remove(left_out);
            assert_eq!(judged(&events), [format!("never used: {want}")]);
        }
    }

    #[test]
    fn a_request_uses_only_what_it_needs() {
        let elsewhere = |change: fn(&mut Value)| {
            let mut events = all();
            change(&mut events[5]); // get leases a
            judged(&events)
        };
        let unused = ["never used: Role \"x\": get coordination.k8s.io/leases kube-system/a"];
        for change in [
            (|event| event["verb"] = "list".into()) as fn(&mut Value),
            |event| event["verb"] = "watch".into(),
            |event| event["objectRef"]["name"] = "".into(),
            |event| event["objectRef"]["name"] = "c".into(),
            |event| event["objectRef"]["namespace"] = "default".into(),
            |event| event["objectRef"]["apiGroup"] = "".into(),
            |event| event["objectRef"]["subresource"] = "status".into(),
            |event| event["annotations"]["authorization.k8s.io/reason"] = OPEN.into(),
        ] {
            assert_eq!(elsewhere(change), unused);
        }
    }

    #[test]
    fn what_is_created_has_no_name_for_the_authorizer_but_what_is_made_of_it_has() {
        let granted = ROLES.replace(
            r#"verbs: ["get"]
---
kind: ClusterRoleBinding"#,
            r#"verbs: ["create"]
---
kind: ClusterRoleBinding"#,
        );
        let create = |subresource| {
            let leases = ["coordination.k8s.io", "leases", subresource];
            event("create", "", leases, ["kube-system", "a"], OF_LEASES)
        };
        let told = |granted: &str, event: &Value| {
            let faults = faults(&grants(granted).unwrap(), &[Request::of(event)]);
            faults
                .iter()
                .any(|fault| fault.ends_with("/leases kube-system/a"))
        };
        assert!(told(&granted, &create("")), "it is not used");
        let of_token = granted.replace(r#"["leases"]"#, r#"["leases/token"]"#);
        assert!(!told(&of_token, &create("token")), "it is used");
    }

    #[test]
    fn what_another_role_allows_is_told_unless_everybody_may_do_it() {
        for (reason, want) in [
            (OPEN, 0),
            (&OPEN.replace("system:authenticated", "system:serviceaccounts"), 1),
            (
                r#"RBAC: allowed by ClusterRoleBinding "y" of ClusterRole "y" to ServiceAccount "x/kube-system""#,
                1,
            ),
        ] {
            let mut events = all();
            let mut more = event("get", "/version", ["", "", ""], ["", ""], "");
            more["annotations"]["authorization.k8s.io/reason"] = reason.into();
            events.push(more);
            let told = judged(&events);
            let is_told = told
                .iter()
                .all(|fault| fault.starts_with("not by the roles: get by "));
            assert!(told.len() == want && is_told, "{reason}: {told:?}");
        }
    }

    #[test]
    fn a_denied_call_is_told_and_uses_nothing() {
        for change in [
            (|event| event["annotations"]["authorization.k8s.io/decision"] = "forbid".into())
                as fn(&mut Value),
            |event| event["responseStatus"]["code"] = 403.into(),
        ] {
            let mut events = all();
            change(&mut events[1]);
            // whatever asks as the account
            events[1]["userAgent"] = "x".into();
            let told = judged(&events);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].starts_with(&format!("denied: patch by {USER}: /api/v1/services ")));
            assert_eq!(told[1], "never used: ClusterRole \"x\": patch /services */*");
        }
    }

    #[test]
    fn a_daemon_under_another_user_may_have_the_same_roles_and_no_others() {
        let told = |by: &str, status: u16, agent: &str| {
            let mut events = all();
            let mut more = event("watch", "/api/v1/nodes", ["", "nodes", ""], ["", ""], by);
            more["user"]["username"] = "other".into();
            more["responseStatus"]["code"] = status.into();
            more["userAgent"] = agent.into();
            events.push(more);
            let faults = judged(&events);
            assert!(
                faults
                    .iter()
                    .all(|fault| fault.contains("watch by other: /api/v1/nodes"))
            );
            let what = |fault: &String| fault.split(':').next().unwrap_or_default().to_owned();
            faults.iter().map(what).collect::<Vec<_>>()
        };
        let (daemon, others) = (format!("{PROGRAM}1.0"), "kubectl/v1.37.2");
        assert_eq!(told(OF_CLUSTER, 200, &daemon), [""; 0]);
        assert_eq!(told(OF_CLUSTER, 403, &daemon), ["denied"]);
        assert_eq!(told("nobody", 200, &daemon), ["not by the roles"]);
        assert_eq!(told("nobody", 200, others), [""; 0]);
        assert_eq!(told(OF_CLUSTER, 403, others), [""; 0]);
    }

    #[test]
    fn a_star_is_never_least() {
        let granted = grants(&ROLES.replace(r#"["get", "patch"]"#, r#"["*"]"#)).unwrap();
        let requests: Vec<Request> = all().iter().map(Request::of).collect();
        let told = faults(&granted, &requests);
        assert_eq!(
            told,
            [
                "never used: ClusterRole \"x\": * /services */*",
                "never used: ClusterRole \"x\": * /services/status */*",
            ]
        );
    }
}
