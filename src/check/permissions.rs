//! What the daemon does in the cluster, and so must be allowed to. Pure.
//!
//! The list says what the code does, and `deploy/rbac.yaml` grants exactly that; with accounts of their own for the controllers, so
//! do it and `deploy/examples/service-account-credentials.yaml`. Tests compare them.

use serde_json::{Value, json};

use crate::config::flags::Flags;
use crate::controllers::{NODE, NODE_LIFECYCLE, SERVICE};

/// What may have to be done to objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    /// Empty for the core group.
    pub(super) group: &'static str,
    /// A plural, perhaps with a subresource: `nodes/status`.
    pub(super) resource: &'static str,
    pub(super) verbs: Vec<&'static str>,
    pub(super) scope: Scope,
    /// What cannot be done without it.
    pub(super) purpose: &'static str,
    /// Who does it.
    pub(super) who: Who,
    pub(super) weight: Weight,
}

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Everywhere,
    In(String),
    Named { namespace: String, name: String },
}

/// Who asks the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// The daemon.
    Us,
    /// The controller's own service account of that name in kube-system.
    Account(&'static str),
    /// Whoever the endpoint asks as.
    Authentication,
    /// Likewise, about what callers may do.
    Authorization,
}

/// Whether it works without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Needed,
    /// Somewhat worse.
    Wanted,
}

const KUBE_SYSTEM: &str = "kube-system";
const SERVICE_ACCOUNT: &str = "service-controller";
const NODE_ACCOUNT: &str = "node-controller";

/// Namespaces are cluster-wide objects, and stand in themselves.
fn named(namespace: &str, name: &str) -> Scope {
    Scope::Named {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// All that a daemon with these flags does. `knows_itself` says whether the cloud config has a cluster-id.
pub(super) fn needs(flags: &Flags, knows_itself: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    of_controllers(flags, &mut needs);
    let runs = !needs.is_empty();
    if runs && !knows_itself {
        let purpose = "learn who this cluster is in the cloud, as the cloud config has no cluster-id";
        needs.push(us("", "namespaces", &["get"], named("", KUBE_SYSTEM), purpose));
    }
    if runs || flags.election.is_some() {
        let purpose = "tell what happens in Events";
        needs.push(us("", "events", &["create", "patch"], Scope::Everywhere, purpose));
    }
    of_election(flags, &mut needs);
    of_endpoint(flags, &mut needs);
    of_accounts(flags, &mut needs);
    needs
}

fn us(
    group: &'static str,
    resource: &'static str,
    verbs: &[&'static str],
    scope: Scope,
    purpose: &'static str,
) -> Need {
    Need {
        group,
        resource,
        verbs: verbs.to_vec(),
        scope,
        purpose,
        who: Who::Us,
        weight: Weight::Needed,
    }
}

/// Whether services, Nodes and the end of Nodes are looked after.
fn enabled(flags: &Flags) -> [bool; 3] {
    [SERVICE, NODE, NODE_LIFECYCLE].map(|name| flags.controllers.enables(name))
}

fn of_controllers(flags: &Flags, needs: &mut Vec<Need>) {
    let [service, node, lifecycle] = enabled(flags);
    let account = |name| match flags.use_service_account_credentials {
        true => Who::Account(name),
        false => Who::Us,
    };
    let mut push = |resource, verbs: &[&'static str], purpose, who| {
        needs.push(Need {
            who,
            ..us("", resource, verbs, Scope::Everywhere, purpose)
        });
    };
    let (of_services, of_nodes) = (account(SERVICE_ACCOUNT), account(NODE_ACCOUNT));
    if service || node || lifecycle {
        push("nodes", &["list", "watch"], "know the Nodes", Who::Us);
    }
    if node || lifecycle {
        let verbs: &[&str] = if lifecycle {
            &["get", "patch", "delete"]
        } else {
            &["get", "patch"]
        };
        let purpose = "initialise, label and taint Nodes, and delete those that are gone";
        push("nodes", verbs, purpose, of_nodes.clone());
    }
    if node {
        push(
            "nodes/status",
            &["patch"],
            "write the addresses of Nodes",
            of_nodes,
        );
    }
    if service {
        push("services", &["list", "watch"], "know the Services", Who::Us);
        let purpose = "look at a Service before the first change after a takeover";
        push("services", &["get"], purpose, of_services.clone());
        let purpose = "write finalizer, record and status of Services";
        push("services/status", &["patch"], purpose, of_services);
    }
}

fn of_election(flags: &Flags, needs: &mut Vec<Need>) {
    const LEASES: &str = "coordination.k8s.io";
    let Some(election) = &flags.election else { return };
    let purpose = "hold the lease";
    let lease = || named(&election.namespace, &election.name);
    let anywhere = Scope::In(election.namespace.clone());
    needs.push(us(LEASES, "leases", &["get", "update"], lease(), purpose));
    // a permission to create cannot be narrowed to a name
    needs.push(us(LEASES, "leases", &["create"], anywhere, purpose));
    needs.push(Need {
        weight: Weight::Wanted,
        ..us(
            LEASES,
            "leases",
            &["watch"],
            lease(),
            "see at once when another replica gives the lease up",
        )
    });
}

/// The accounts are made where they are missing, and asked for tokens.
fn of_accounts(flags: &Flags, needs: &mut Vec<Need>) {
    if !flags.use_service_account_credentials {
        return;
    }
    let [service, node, lifecycle] = enabled(flags);
    let purpose = "write as each controller's own account (--use-service-account-credentials)";
    let accounts = [(SERVICE_ACCOUNT, service), (NODE_ACCOUNT, node || lifecycle)];
    let mut used = accounts.iter().filter(|(_, used)| *used).peekable();
    if used.peek().is_some() {
        // a permission to create cannot be narrowed to a name
        let anywhere = Scope::In(KUBE_SYSTEM.to_owned());
        needs.push(us("", "serviceaccounts", &["create"], anywhere, purpose));
    }
    for (name, _) in used {
        let account = || named(KUBE_SYSTEM, name);
        needs.push(us("", "serviceaccounts", &["get"], account(), purpose));
        // this one can: the name is in the path
        needs.push(us("", "serviceaccounts/token", &["create"], account(), purpose));
    }
}

fn of_endpoint(flags: &Flags, needs: &mut Vec<Need>) {
    let Some(serving) = &flags.serving else { return };
    let authentication = &serving.authentication;
    let mut push = |group, resource, verb, scope, purpose, who, weight| {
        needs.push(Need {
            who,
            weight,
            ..us(group, resource, &[verb], scope, purpose)
        });
    };
    push(
        "authentication.k8s.io",
        "tokenreviews",
        "create",
        Scope::Everywhere,
        "tell who calls the endpoint with a token",
        Who::Authentication,
        Weight::Needed,
    );
    push(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "create",
        Scope::Everywhere,
        "tell what callers of the endpoint may read",
        Who::Authorization,
        Weight::Needed,
    );
    let given =
        authentication.client_ca_file.is_some() && authentication.request_header.client_ca_file.is_some();
    if !authentication.skip_lookup && !given {
        push(
            "",
            "configmaps",
            "get",
            named(KUBE_SYSTEM, "extension-apiserver-authentication"),
            "learn whose certificates callers of the endpoint may show",
            Who::Authentication,
            match authentication.tolerate_lookup_failure {
                true => Weight::Wanted,
                false => Weight::Needed,
            },
        );
    }
}

impl Need {
    /// For the row: `nodes/status`, `leases kube-system/cloud-controller-manager`.
    pub(super) fn object(&self) -> String {
        match &self.scope {
            Scope::Everywhere => self.resource.to_owned(),
            Scope::In(namespace) => format!("{} in {namespace}", self.resource),
            Scope::Named { namespace, name } if namespace.is_empty() => format!("{} {name}", self.resource),
            Scope::Named { namespace, name } => format!("{} {namespace}/{name}", self.resource),
        }
    }

    /// The question whether `verb` is allowed: to us, or by somebody else to the account.
    pub(super) fn review(&self, verb: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let mut attributes = json!({ "verb": verb, "group": self.group, "resource": resource });
        if !subresource.is_empty() {
            attributes["subresource"] = subresource.into();
        }
        match &self.scope {
            Scope::Everywhere => {}
            Scope::In(namespace) => attributes["namespace"] = namespace.as_str().into(),
            Scope::Named { namespace, name } => {
                attributes["namespace"] = namespace.as_str().into();
                attributes["name"] = name.as_str().into();
            }
        }
        let kind = match self.who {
            Who::Account(_) => "SubjectAccessReview",
            Who::Us | Who::Authentication | Who::Authorization => "SelfSubjectAccessReview",
        };
        let mut review = json!({
            "kind": kind, "apiVersion": "authorization.k8s.io/v1", "spec": { "resourceAttributes": attributes },
        });
        if let Who::Account(name) = self.who {
            review["spec"]["user"] = format!("system:serviceaccount:{KUBE_SYSTEM}:{name}").into();
            review["spec"]["groups"] = json!([
                "system:serviceaccounts",
                format!("system:serviceaccounts:{KUBE_SYSTEM}"),
                "system:authenticated",
            ]);
        }
        review
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    use super::*;
    use crate::config::flags::{self, Parsed};
    use crate::sim::api_server::grants;

    fn flags(args: &[&str]) -> Flags {
        let args = ["--cloud-config=/x"].iter().chain(args).map(OsString::from);
        match flags::parse(args) {
            Parsed::Do { flags: Ok(flags), .. } => *flags,
            other => panic!("{other:?}"),
        }
    }

    /// `verb group/resource`, with `@namespace`, `@namespace/name` or `@/name` where it is narrowed.
    fn spelled(verb: &str, group: &str, resource: &str, scope: &Scope) -> String {
        let at = match scope {
            Scope::Everywhere => String::new(),
            Scope::In(namespace) => format!(" @{namespace}"),
            Scope::Named { namespace, name } => format!(" @{namespace}/{name}"),
        };
        format!("{verb} {group}/{resource}{at}")
    }

    fn needed(args: &[&str], knows_itself: bool) -> BTreeSet<String> {
        needed_by(args, knows_itself, |_| true)
    }

    fn needed_by(args: &[&str], knows_itself: bool, asked: impl Fn(&Who) -> bool) -> BTreeSet<String> {
        let needs = needs(&flags(args), knows_itself);
        let one = |need: &Need| {
            let spelled = |verb: &&str| spelled(verb, need.group, need.resource, &need.scope);
            need.verbs.iter().map(spelled).collect::<Vec<_>>()
        };
        needs
            .iter()
            .filter(|need| asked(&need.who))
            .flat_map(one)
            .collect()
    }

    const MANIFEST: &str = include_str!("../../deploy/rbac.yaml");
    const OF_ACCOUNTS: &str = include_str!("../../deploy/examples/service-account-credentials.yaml");

    /// What manifests grant to that account of kube-system.
    fn granted(manifests: &[&str], account: &str) -> BTreeSet<String> {
        let user = format!("system:serviceaccount:{KUBE_SYSTEM}:{account}");
        let mut granted = BTreeSet::new();
        let grants = manifests.iter().flat_map(|manifest| grants(manifest).unwrap());
        for rule in grants.filter(|grant| grant.user == user).map(|grant| grant.rule) {
            let namespace = rule.namespace.unwrap_or_default();
            let scopes: Vec<Scope> = match (&*rule.names, &*namespace) {
                ([], "") => vec![Scope::Everywhere],
                ([], namespace) => vec![Scope::In(namespace.to_owned())],
                (names, namespace) => names.iter().map(|name| named(namespace, name)).collect(),
            };
            for group in &rule.groups {
                for resource in &rule.resources {
                    for verb in &rule.verbs {
                        granted.extend(scopes.iter().map(|scope| spelled(verb, group, resource, scope)));
                    }
                }
            }
        }
        granted
    }

    #[test]
    fn the_manifest_grants_exactly_what_a_daemon_by_default_needs() {
        assert_eq!(
            needed(&[], false),
            granted(&[MANIFEST], "inspur-cloud-controller-manager")
        );
    }

    #[test]
    fn the_example_adds_exactly_what_accounts_of_their_own_need() {
        let flags = ["--use-service-account-credentials"];
        for account in [SERVICE_ACCOUNT, NODE_ACCOUNT] {
            let theirs = needed_by(&flags, false, |who| *who == Who::Account(account));
            assert_eq!(theirs, granted(&[OF_ACCOUNTS], account), "{account}");
        }
        let ours = needed_by(&flags, false, |who| !matches!(who, Who::Account(_)));
        let all = needed(&[], false).union(&ours).cloned().collect::<BTreeSet<_>>();
        assert_eq!(
            all,
            granted(&[MANIFEST, OF_ACCOUNTS], "inspur-cloud-controller-manager")
        );
    }

    #[test]
    fn each_feature_brings_its_own_needs() {
        let all = needed(&[], false);
        let without = |args: &[&str]| {
            let fewer = needed(args, false);
            assert!(fewer.is_subset(&all), "{args:?}");
            all.difference(&fewer).cloned().collect::<Vec<_>>()
        };
        for (args, want) in [
            (
                &["--leader-elect=false"][..],
                &[
                    "create coordination.k8s.io/leases @kube-system",
                    "get coordination.k8s.io/leases @kube-system/cloud-controller-manager",
                    "update coordination.k8s.io/leases @kube-system/cloud-controller-manager",
                    "watch coordination.k8s.io/leases @kube-system/cloud-controller-manager",
                ][..],
            ),
            (
                &["--secure-port=0"],
                &[
                    "create authentication.k8s.io/tokenreviews",
                    "create authorization.k8s.io/subjectaccessreviews",
                    "get /configmaps @kube-system/extension-apiserver-authentication",
                ],
            ),
            (
                &["--authentication-skip-lookup"],
                &["get /configmaps @kube-system/extension-apiserver-authentication"],
            ),
            (&["--controllers=*,-cloud-node-lifecycle"], &["delete /nodes"]),
            (&["--controllers=*,-cloud-node"], &["patch /nodes/status"]),
            (
                &["--controllers=*,-service"],
                &[
                    "get /services",
                    "list /services",
                    "patch /services/status",
                    "watch /services",
                ],
            ),
            (
                &["--controllers=service"],
                &[
                    "delete /nodes",
                    "get /nodes",
                    "patch /nodes",
                    "patch /nodes/status",
                ],
            ),
        ] {
            assert_eq!(without(args), want, "{args:?}");
        }
        let knows_itself = needed(&[], true);
        assert_eq!(
            all.difference(&knows_itself).collect::<Vec<_>>(),
            ["get /namespaces @/kube-system"]
        );
        let nothing = needed(
            &["--controllers=", "--leader-elect=false", "--secure-port=0"],
            false,
        );
        assert!(nothing.is_empty(), "{nothing:?}");
        let accounts = needed(&["--use-service-account-credentials"], false);
        assert_eq!(
            accounts.difference(&all).collect::<Vec<_>>(),
            [
                "create /serviceaccounts @kube-system",
                "create /serviceaccounts/token @kube-system/node-controller",
                "create /serviceaccounts/token @kube-system/service-controller",
                "get /serviceaccounts @kube-system/node-controller",
                "get /serviceaccounts @kube-system/service-controller",
            ]
        );
        let of_services = needed(
            &["--use-service-account-credentials", "--controllers=service"],
            false,
        );
        assert!(
            of_services.iter().all(|need| !need.contains("node-controller")),
            "{of_services:?}"
        );
    }

    #[test]
    fn a_review_asks_for_us_or_for_an_account() {
        let lease = named("kube-system", "ccm");
        let ours = us("coordination.k8s.io", "leases", &["get"], lease, "");
        assert_eq!(
            ours.review("get"),
            json!({
                "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
                "spec": {"resourceAttributes": {
                    "verb": "get", "group": "coordination.k8s.io", "resource": "leases",
                    "namespace": "kube-system", "name": "ccm",
                }},
            })
        );
        let theirs = Need {
            who: Who::Account("node-controller"),
            ..us("", "nodes/status", &["patch"], Scope::Everywhere, "")
        };
        assert_eq!(
            theirs.review("patch"),
            json!({
                "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
                "spec": {
                    "resourceAttributes": {"verb": "patch", "group": "", "resource": "nodes", "subresource": "status"},
                    "user": "system:serviceaccount:kube-system:node-controller",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                },
            })
        );
    }
}
