//! RBAC manifests, read: roles, bindings, and what a rule grants one by one.

use cloud_provider_inspur::runtime::yaml;
use serde_json::Value;

use super::api::text;

/// One thing that a role grants: one verb on one kind of object or one path, and where it is narrowed, on one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// As the API server names it in its audit log: `ClusterRole "x"`.
    pub role: String,
    /// `get`, `list`, `watch`…
    pub verb: String,
    /// What it is about.
    pub target: Target,
}

/// What a permission is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Objects.
    Objects {
        /// Empty for the core group.
        group: String,
        /// A plural, perhaps with a subresource: `nodes/status`.
        resource: String,
        /// Only in this namespace, as a Role grants.
        namespace: Option<String>,
        /// Only the object of this name.
        name: Option<String>,
    },
    /// A path that is no resource.
    Path(String),
}

/// A role bound to accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// As the API server names it in its audit log: `RoleBinding "x/namespace"`.
    pub name: String,
    /// The bound role's name.
    pub role: String,
    /// The users that the service accounts are.
    pub users: Vec<String>,
}

/// What some manifests grant.
#[derive(Debug, Default)]
pub struct Manifests {
    /// By the roles in them.
    pub permissions: Vec<Permission>,
    /// Their bindings, also of roles that every cluster has.
    pub bindings: Vec<Binding>,
}

/// The documents of a manifest.
pub fn documents(manifest: &str) -> Vec<Value> {
    let parse = |document| yaml::parse(document).expect("the manifest is YAML");
    manifest.split("\n---\n").map(parse).collect()
}

/// The strings of a list.
pub fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.map(|word| text(word).to_owned()).collect()
}

impl Manifests {
    /// Reads manifests.
    pub fn read(manifests: &[&str]) -> Self {
        let mut all = Self::default();
        for document in manifests.iter().flat_map(|manifest| documents(manifest)) {
            match text(&document["kind"]) {
                "ClusterRole" | "Role" => all.permissions.extend(permissions(&document)),
                "ClusterRoleBinding" | "RoleBinding" => all.bindings.push(binding(&document)),
                _ => {}
            }
        }
        all
    }
}

fn permissions(role: &Value) -> Vec<Permission> {
    let named = format!("{} {:?}", text(&role["kind"]), text(&role["metadata"]["name"]));
    let namespace = role["metadata"]["namespace"].as_str();
    let of_rule = |rule: &Value| {
        let permission = |(verb, target): (String, Target)| Permission {
            role: named.clone(),
            verb,
            target,
        };
        let targets = targets(rule, namespace);
        let pairs = words(&rule["verbs"])
            .into_iter()
            .flat_map(|verb| targets.iter().cloned().map(move |target| (verb.clone(), target)));
        pairs.map(permission).collect::<Vec<_>>()
    };
    let rules = role["rules"].as_array().expect("a role has rules");
    rules.iter().flat_map(of_rule).collect()
}

fn targets(rule: &Value, namespace: Option<&str>) -> Vec<Target> {
    let mut names: Vec<_> = words(&rule["resourceNames"]).into_iter().map(Some).collect();
    if names.is_empty() {
        names.push(None);
    }
    let mut targets: Vec<_> = words(&rule["nonResourceURLs"])
        .into_iter()
        .map(Target::Path)
        .collect();
    for group in words(&rule["apiGroups"]) {
        for resource in words(&rule["resources"]) {
            targets.extend(names.iter().map(|name| Target::Objects {
                group: group.clone(),
                resource: resource.clone(),
                namespace: namespace.map(str::to_owned),
                name: name.clone(),
            }));
        }
    }
    targets
}

fn binding(object: &Value) -> Binding {
    let metadata = &object["metadata"];
    let name = match metadata["namespace"].as_str() {
        Some(namespace) => format!("{}/{namespace}", text(&metadata["name"])),
        None => text(&metadata["name"]).to_owned(),
    };
    let user = |subject: &Value| {
        assert_eq!(text(&subject["kind"]), "ServiceAccount", "{object}");
        let (namespace, name) = (text(&subject["namespace"]), text(&subject["name"]));
        format!("system:serviceaccount:{namespace}:{name}")
    };
    Binding {
        name: format!("{} {name:?}", text(&object["kind"])),
        role: text(&object["roleRef"]["name"]).to_owned(),
        users: object["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .map(user)
            .collect(),
    }
}
