//! What a manifest of roles and bindings grants, as rules.

use serde_json::Value;
use thiserror::Error;

use super::access::Rule;
use super::object::{list, text, texts};
use crate::runtime::yaml;

/// A rule of a role, bound to a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The account's name as a user: `system:serviceaccount:kube-system:ccm`.
    pub user: String,
    /// The role, as a real API server names it where it says why a request was allowed: `ClusterRole "ccm"`.
    pub role: String,
    /// What it may do, and in which namespace.
    pub rule: Rule,
}

/// Why a manifest does not say who may do what.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It is not YAML.
    #[error("document {number} is not YAML")]
    NotYaml {
        /// From 1.
        number: usize,
        /// Why not.
        source: yaml::Error,
    },
    /// What is bound is elsewhere, and so nobody knows what it allows.
    #[error("{binding} binds {role}, which the manifest does not have")]
    NoRole {
        /// Kind and name.
        binding: String,
        /// Kind and name.
        role: String,
    },
    /// Something else than a service account is bound.
    #[error("{binding} has a subject that is no service account")]
    NoServiceAccount {
        /// Kind and name.
        binding: String,
    },
}

/// What the roles and bindings among the documents of `manifest` grant, a rule of the role for each.
///
/// # Errors
/// What binds something else than a role of the manifest to service accounts.
pub fn grants(manifest: &str) -> Result<Vec<Grant>, ManifestError> {
    let documents = manifest.split("\n---\n").enumerate().map(|(index, document)| {
        let number = index + 1;
        yaml::parse(document).map_err(|source| ManifestError::NotYaml { number, source })
    });
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    let mut grants = Vec::new();
    for binding in documents
        .iter()
        .filter(|one| text(one, "/kind").ends_with("RoleBinding"))
    {
        let name = || format!("{} {}", text(binding, "/kind"), text(binding, "/metadata/name"));
        let role = role_of(binding, &documents).ok_or_else(|| ManifestError::NoRole {
            binding: name(),
            role: format!(
                "{} {}",
                text(binding, "/roleRef/kind"),
                text(binding, "/roleRef/name")
            ),
        })?;
        for subject in list(binding, "/subjects") {
            if subject["kind"] != "ServiceAccount" {
                return Err(ManifestError::NoServiceAccount { binding: name() });
            }
            let (namespace, name) = (text(subject, "/namespace"), text(subject, "/name"));
            let user = format!("system:serviceaccount:{namespace}:{name}");
            grants.extend(list(role, "/rules").iter().map(|one| Grant {
                user: user.clone(),
                role: format!("{} {:?}", text(role, "/kind"), text(role, "/metadata/name")),
                rule: rule(one, namespace_of(binding)),
            }));
        }
    }
    Ok(grants)
}

fn namespace_of(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// A Role is of the binding's namespace, a ClusterRole of none.
fn role_of<'a>(binding: &Value, documents: &'a [Value]) -> Option<&'a Value> {
    let wanted = &binding["roleRef"];
    documents.iter().find(|one| {
        let is_near = one["kind"] == "ClusterRole" || namespace_of(one) == namespace_of(binding);
        one["kind"] == wanted["kind"] && one["metadata"]["name"] == wanted["name"] && is_near
    })
}

fn rule(rule: &Value, namespace: &str) -> Rule {
    let words = |pointer| texts(rule, pointer).into_iter().map(str::to_owned).collect();
    Rule {
        verbs: words("/verbs"),
        groups: words("/apiGroups"),
        resources: words("/resources"),
        names: words("/resourceNames"),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        paths: words("/nonResourceURLs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::chain;

    const ROLES: &str = r#"
kind: ServiceAccount
metadata: {name: ccm, namespace: kube-system}
---
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: ["nodes", "services"], verbs: ["list", "watch"]}
- {nonResourceURLs: ["/metrics"], verbs: ["get"]}
---
kind: Role
metadata: {name: reader, namespace: kube-system}
rules: [{apiGroups: ["coordination.k8s.io"], resources: ["leases"], resourceNames: ["ccm"], verbs: ["get"]}]
---
"#;

    /// A binding of that kind, in that namespace, of that role, to a subject of that kind.
    fn bound(kind: &str, namespace: &str, role: &str, subject: &str) -> String {
        format!(
            "{ROLES}kind: {kind}\nmetadata: {{name: b{namespace}}}\nroleRef: {{kind: {role}, name: reader}}\n\
             subjects: [{{kind: {subject}, namespace: kube-system, name: ccm}}]\n"
        )
    }

    #[test]
    fn what_is_bound_is_granted_where_it_is_bound() {
        let (everywhere, here) = ("", ", namespace: kube-system");
        let reads = Rule::new("list watch", "", "nodes services");
        let scrapes = Rule::of_paths("get", "/metrics");
        let leads = Rule::new("get", "coordination.k8s.io", "leases").named("ccm");
        for (case, text, role, want) in [
            (
                "a ClusterRole everywhere",
                bound("ClusterRoleBinding", everywhere, "ClusterRole", "ServiceAccount"),
                "ClusterRole \"reader\"",
                vec![reads.clone(), scrapes.clone()],
            ),
            (
                "a ClusterRole in a namespace",
                bound("RoleBinding", here, "ClusterRole", "ServiceAccount"),
                "ClusterRole \"reader\"",
                vec![
                    reads.in_namespace("kube-system"),
                    scrapes.in_namespace("kube-system"),
                ],
            ),
            (
                "a Role",
                bound("RoleBinding", here, "Role", "ServiceAccount"),
                "Role \"reader\"",
                vec![leads.in_namespace("kube-system")],
            ),
            (
                "nothing",
                ROLES.trim_end_matches("---\n").to_owned(),
                "",
                Vec::new(),
            ),
        ] {
            let grants = grants(&text).unwrap();
            let user = "system:serviceaccount:kube-system:ccm";
            assert!(
                grants
                    .iter()
                    .all(|grant| grant.user == user && grant.role == role),
                "{case}: {grants:?}"
            );
            let rules: Vec<Rule> = grants.into_iter().map(|grant| grant.rule).collect();
            assert_eq!(rules, want, "{case}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        let elsewhere = bound("RoleBinding", ", namespace: default", "Role", "ServiceAccount");
        let group = bound("ClusterRoleBinding", "", "ClusterRole", "Group");
        for (text, want) in [
            (
                elsewhere.as_str(),
                "RoleBinding b binds Role reader, which the manifest does not have",
            ),
            (
                &group,
                "ClusterRoleBinding b has a subject that is no service account",
            ),
            ("kind: Role\n---\n}{", "document 2 is not YAML"),
        ] {
            let error = chain(&grants(text).unwrap_err());
            assert!(error.starts_with(want), "{error}");
        }
    }
}
