//! The resources served, and reading and writing fields of their JSON by pointer.

use serde_json::{Map, Value};

/// A resource the API serves, in the order its collections are documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `v1` namespaces.
    Namespaces,
    /// `v1` nodes.
    Nodes,
    /// `v1` services.
    Services,
    /// `v1` events.
    Events,
    /// `v1` config maps.
    ConfigMaps,
    /// `coordination.k8s.io/v1` leases.
    Leases,
}

impl Resource {
    pub(super) const ALL: [Self; 6] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Services,
        Self::Events,
        Self::ConfigMaps,
        Self::Leases,
    ];

    /// The one of that API group and plural.
    pub(super) fn find(group: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|r| r.group() == group && r.plural() == plural)
    }

    /// As paths spell it.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Services => "services",
            Self::Events => "events",
            Self::ConfigMaps => "configmaps",
            Self::Leases => "leases",
        }
    }

    /// As objects spell it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Services => "Service",
            Self::Events => "Event",
            Self::ConfigMaps => "ConfigMap",
            Self::Leases => "Lease",
        }
    }

    /// Empty for the core group.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Leases => "coordination.k8s.io",
            _ => "",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Leases => "coordination.k8s.io/v1",
            _ => "v1",
        }
    }

    pub(super) fn namespaced(self) -> bool {
        !matches!(self, Self::Namespaces | Self::Nodes)
    }

    pub(super) fn has_status(self) -> bool {
        matches!(self, Self::Namespaces | Self::Nodes | Self::Services)
    }

    pub(super) fn short_name(self) -> Option<&'static str> {
        match self {
            Self::Namespaces => Some("ns"),
            Self::Nodes => Some("no"),
            Self::Services => Some("svc"),
            Self::Events => Some("ev"),
            Self::ConfigMaps => Some("cm"),
            Self::Leases => None,
        }
    }

    /// Whether a PUT without a resourceVersion overwrites whatever is there. Source: kubernetes
    /// pkg/registry/coordination/lease/strategy.go (leases only refuse).
    pub(super) fn unconditional_update(self) -> bool {
        self != Self::Leases
    }

    /// Whether a PUT makes an object that does not exist. Source: the same.
    pub(super) fn create_on_update(self) -> bool {
        self == Self::Leases
    }

    /// `plural`, with the group where there is one: how errors name it.
    pub(super) fn qualified(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }
}

/// The string at `pointer`, or nothing where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The number at `pointer`, or zero.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The list at `pointer`, or an empty one.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of the list at `pointer`.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

/// Puts `value` at `pointer`, making the objects on the way.
pub(super) fn set(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut place = object;
    for step in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = place
            .as_object_mut()
            .expect("made an object above")
            .entry(step)
            .or_insert(Value::Null);
    }
    *place = value.into();
}

/// Takes the field at `pointer` away.
pub(super) fn remove(object: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, field) = pointer.rsplit_once('/')?;
    object.pointer_mut(parent)?.as_object_mut()?.remove(field)
}

/// Makes `to` have at `pointer` what `from` has there.
pub(super) fn copy(from: &Value, to: &mut Value, pointer: &str) {
    match from.pointer(pointer) {
        Some(value) => set(to, pointer, value.clone()),
        None => {
            remove(to, pointer);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_set_copied_and_removed_by_pointer() {
        let mut object = json!({"metadata": {"name": "web"}});
        assert_eq!(
            (text(&object, "/metadata/name"), text(&object, "/spec/type")),
            ("web", "")
        );
        set(&mut object, "/spec/type", "ClusterIP");
        assert_eq!(object["spec"], json!({"type": "ClusterIP"}));
        let mut other = json!({"spec": {"type": "NodePort"}, "status": {"phase": "x"}});
        for pointer in ["/spec/type", "/status"] {
            copy(&object, &mut other, pointer);
        }
        assert_eq!(other, json!({"spec": {"type": "ClusterIP"}}));
        assert_eq!(remove(&mut object, "/spec/type"), Some(json!("ClusterIP")));
        assert_eq!(remove(&mut object, "/nothing/here"), None);
    }

    #[test]
    fn a_resource_is_found_by_group_and_plural() {
        assert_eq!(
            Resource::find("coordination.k8s.io", "leases"),
            Some(Resource::Leases)
        );
        assert_eq!(Resource::find("", "leases"), None);
        assert_eq!(Resource::Leases.qualified(), "leases.coordination.k8s.io");
    }
}
