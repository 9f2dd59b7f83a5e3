//! Paths of objects and collections. An empty name would turn one object's path into its collection's, so names
//! are looked at here, before anything is sent.

use super::error::Error;
use super::types::Resource;
use crate::http::percent_encode;

/// All objects of a kind, in every namespace.
pub fn collection<T: Resource>() -> String {
    format!("{}/{}", root(CORE), T::PLURAL)
}

/// One object of a kind. `namespace` is empty for a kind without namespaces, and only then.
///
/// # Errors
/// [`Error::Invalid`]: a name that is empty, or no segment of a path.
pub fn object<T: Resource>(
    namespace: &str,
    name: &str,
    subresource: Option<&'static str>,
) -> Result<String, Error> {
    if T::NAMESPACED == namespace.is_empty() {
        let which = if T::NAMESPACED { "needs a" } else { "has no" };
        return Err(invalid(format!("{} {name:?} {which} namespace", T::KIND)));
    }
    named(CORE, T::PLURAL, namespace, name, subresource)
}

/// The collection `plural` of the API `api` (`v1`, `coordination.k8s.io/v1`) in `namespace`: where its objects are made.
///
/// # Errors
/// [`Error::Invalid`]: a namespace that is empty, or no segment of a path.
pub fn in_namespace(api: &str, plural: &str, namespace: &str) -> Result<String, Error> {
    Ok(format!(
        "{}/namespaces/{}/{plural}",
        root(api),
        segment("namespace", namespace)?
    ))
}

/// One object of the collection `plural` of `api`; `namespace` is empty for a cluster-wide one.
///
/// # Errors
/// [`Error::Invalid`]: a name that is empty, or no segment of a path.
pub fn named(
    api: &str,
    plural: &str,
    namespace: &str,
    name: &str,
    subresource: Option<&'static str>,
) -> Result<String, Error> {
    let collection = match namespace {
        "" => format!("{}/{plural}", root(api)),
        _ => in_namespace(api, plural, namespace)?,
    };
    let name = segment("name", name)?;
    Ok(match subresource {
        None => format!("{collection}/{name}"),
        Some(subresource) => format!("{collection}/{name}/{subresource}"),
    })
}

/// The object that a path names: collection and name, still encoded. `None` for a collection.
pub(super) fn object_of(path: &str) -> Option<(&str, &str)> {
    let path = path.split('?').next().unwrap_or_default();
    let mut segments = path.trim_start_matches('/').split('/');
    let skipped = match segments.next()? {
        "api" => 1,
        "apis" => 2,
        _ => return None,
    };
    let rest: Vec<&str> = segments.skip(skipped).collect();
    match rest[..] {
        ["namespaces", _, plural, name] | ["namespaces", _, plural, name, _] => Some((plural, name)),
        // the namespace itself and its collections look alike, but for the number of segments
        ["namespaces", name] => Some(("namespaces", name)),
        ["namespaces", ..] => None,
        [plural, name] | [plural, name, _] => Some((plural, name)),
        _ => None,
    }
}

fn root(api: &str) -> String {
    if api.contains('/') {
        format!("/apis/{api}")
    } else {
        format!("/api/{api}")
    }
}

/// Source: apimachinery, pkg/api/validation/path/name.go.
fn segment(what: &str, text: &str) -> Result<String, Error> {
    let odd = matches!(text, "" | "." | "..") || text.contains(['/', '%']) || text.contains(char::is_control);
    if odd {
        return Err(invalid(format!("{text:?} is no {what}")));
    }
    Ok(percent_encode(text))
}

fn invalid(reason: String) -> Error {
    Error::Invalid { reason }
}

const CORE: &str = "v1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::types::{Node, Service};

    #[test]
    fn paths_are_built() {
        let lease = named("coordination.k8s.io/v1", "leases", "kube-system", "ccm", None);
        for (found, want) in [
            (Ok(collection::<Node>()), "/api/v1/nodes"),
            (object::<Node>("", "n-1", None), "/api/v1/nodes/n-1"),
            (
                object::<Service>("a", "b", Some("status")),
                "/api/v1/namespaces/a/services/b/status",
            ),
            (in_namespace("v1", "events", "a"), "/api/v1/namespaces/a/events"),
            (
                lease,
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ccm",
            ),
        ] {
            assert_eq!(found.unwrap(), want);
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["", ".", "..", "a/b", "a%2fb", "a\n"] {
            assert!(object::<Node>("", name, None).is_err(), "{name:?}");
            assert!(object::<Service>(name, "web", None).is_err(), "{name:?}");
        }
        assert!(object::<Node>("default", "n-1", None).is_err());
        assert_eq!(object::<Node>("", "a?b", None).unwrap(), "/api/v1/nodes/a%3Fb");
    }

    #[test]
    fn an_object_is_told_from_a_collection() {
        for (path, want) in [
            ("/api/v1/nodes", None),
            ("/api/v1/nodes/n-1", Some(("nodes", "n-1"))),
            ("/api/v1/nodes/n-1/status?fieldManager=x", Some(("nodes", "n-1"))),
            ("/api/v1/namespaces/a/services", None),
            ("/api/v1/namespaces/a/services?x=/y", None),
            ("/api/v1/namespaces/a/services/web", Some(("services", "web"))),
            (
                "/api/v1/namespaces/a/services/web/status",
                Some(("services", "web")),
            ),
            ("/api/v1/namespaces/a", Some(("namespaces", "a"))),
            ("/apis/coordination.k8s.io/v1/leases", None),
            (
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/l",
                Some(("leases", "l")),
            ),
            ("/version", None),
        ] {
            assert_eq!(object_of(path), want, "{path}");
        }
    }
}
