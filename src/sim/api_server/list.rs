//! Lists: which snapshot, which page. Source: kube-client.md 3.1 and 3.3, apiserver pkg/storage/continue.go.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::KubeVersion;
use super::object::{Resource, text};
use super::request::ListOptions;
use super::status::{Cause, Failure};
use super::store::Store;

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<Arc<Value>>,
    /// The list's `metadata`.
    pub(super) metadata: Value,
}

impl Page {
    /// The list object. Items bear no kind, as a typed server sends them.
    pub(super) fn to_value(&self, resource: Resource) -> Value {
        let items: Vec<Value> = self
            .objects
            .iter()
            .map(|object| match &**object {
                Value::Object(map) => {
                    let bare = |(field, _): &(&String, &Value)| *field != "kind" && *field != "apiVersion";
                    let map = map.iter().filter(bare);
                    Value::Object(map.map(|(f, v)| (f.clone(), v.clone())).collect())
                }
                other => other.clone(),
            })
            .collect();
        json!({
            "kind": format!("{}List", resource.kind()), "apiVersion": resource.api_version(),
            "metadata": self.metadata, "items": items,
        })
    }
}

/// Where a list goes on: after the object `start`, in the world as it was at `version`.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    /// `None` after the snapshot was lost: in today's world, whatever happened.
    version: Option<u64>,
    start: String,
}

impl Token {
    fn encode(&self) -> String {
        let version = self.version.map_or(json!(-1), Value::from);
        let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": self.start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn decode(text: &str) -> Result<Self, Failure> {
        let refused = || Failure::bad_request("invalid continue token: continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| refused())?;
        let start = token["start"].as_str().ok_or_else(refused)?;
        Ok(Self {
            version: token["rv"].as_u64(),
            start: start.to_owned(),
        })
    }
}

/// Reads a version as lists and watches send it.
pub(super) fn parse_version(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// The page that `options` ask for.
///
/// # Errors
/// 400 for a version or token that is none, 410 for what is forgotten, 422 for options that contradict each other, 504
/// for a version of the future.
pub(super) fn page(
    store: &Store,
    kube: KubeVersion,
    resource: Resource,
    namespace: &str,
    options: &ListOptions,
) -> Result<Page, Failure> {
    let asked = match options.version.as_deref() {
        None => None,
        Some(text) => Some(parse_version(text).ok_or_else(|| {
            Failure::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: \
                 invalid syntax"
            ))
        })?),
    };
    check_match(kube, options, asked)?;
    let mut limit = options.limit;
    let (version, start) = match &options.next {
        Some(token) => {
            let token = Token::decode(token)?;
            if asked.is_some_and(|v| v != 0) {
                return Err(Failure::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            (token.version.unwrap_or(store.version()), token.start)
        }
        None => {
            let exact = kube != KubeVersion::V1_14 && options.version_match == "Exact";
            let lenient = kube != KubeVersion::V1_14 && options.version_match == "NotOlderThan";
            match asked {
                None => (store.version(), String::new()),
                Some(asked) if asked > store.version() => {
                    return Err(Failure::version_too_large(asked, store.version()));
                }
                Some(0) => {
                    // from a cache, which knows no pages
                    limit = 0;
                    (store.version(), String::new())
                }
                Some(asked) if exact || (limit > 0 && !lenient) => (asked, String::new()),
                Some(_) => (store.version(), String::new()),
            }
        }
    };
    let all = store
        .list_at(version, resource, namespace)
        .ok_or_else(|| too_old(options, &start, version, store.oldest()))?;
    let place = |object: &Value| match text(object, "/metadata/namespace") {
        "" => text(object, "/metadata/name").to_owned(),
        namespace => format!("{namespace}/{}", text(object, "/metadata/name")),
    };
    let mut rest = all
        .into_iter()
        .filter(|o| options.selector.matches(o))
        .skip_while(|o| !start.is_empty() && !after(&place(o), &start))
        .peekable();
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), version.to_string().into());
    let size = if limit == 0 { usize::MAX } else { limit };
    let objects: Vec<_> = rest.by_ref().take(size).collect();
    if let (Some(last), true) = (objects.last(), rest.peek().is_some()) {
        let token = Token {
            version: Some(version),
            start: place(last),
        };
        metadata.insert("continue".into(), token.encode().into());
        if options.selector.is_empty() && kube != KubeVersion::V1_14 {
            metadata.insert("remainingItemCount".into(), rest.count().into());
        }
    }
    Ok(Page {
        objects,
        metadata: Value::Object(metadata),
    })
}

/// Whether `place` comes after `start`, in the order of keys: by namespace, then by name.
fn after(place: &str, start: &str) -> bool {
    let parts = |text: &str| match text.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (String::new(), text.to_owned()),
    };
    parts(place) > parts(start)
}

fn check_match(kube: KubeVersion, options: &ListOptions, asked: Option<u64>) -> Result<(), Failure> {
    if options.version_match.is_empty() || kube == KubeVersion::V1_14 {
        return Ok(());
    }
    const FIELD: &str = "resourceVersionMatch";
    let cause = if asked.is_none() {
        Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )
    } else if options.next.is_some() {
        Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden when continue is provided",
        )
    } else if !["Exact", "NotOlderThan"].contains(&options.version_match.as_str()) {
        let supported = ["Exact", "NotOlderThan"];
        Cause::unsupported(FIELD, options.version_match.as_str(), &supported)
    } else if options.version_match == "Exact" && asked == Some(0) {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        Cause::forbidden(FIELD, detail)
    } else {
        return Ok(());
    };
    Err(Failure::invalid_kind("meta.k8s.io", "ListOptions", "", &[cause]))
}

fn too_old(options: &ListOptions, start: &str, version: u64, oldest: u64) -> Failure {
    if options.next.is_none() {
        return Failure::expired(format!("too old resource version: {version} ({oldest})"));
    }
    let mut failure = Failure::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let token = Token {
        version: None,
        start: start.to_owned(),
    };
    failure.next = Some(token.encode());
    failure
}

#[cfg(test)]
mod tests {
    use super::super::store::Key;
    use super::*;

    fn store() -> Store {
        let mut store = Store::new(100);
        for (namespace, name) in [("a", "x"), ("a-b", "y"), ("a", "z")] {
            let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}});
            store.put(Key::of(Resource::Services, &object), object);
        }
        store
    }

    fn list(store: &Store, options: &ListOptions) -> Result<Page, Failure> {
        page(store, KubeVersion::Current, Resource::Services, "", options)
    }

    fn names(page: &Page) -> Vec<&str> {
        page.objects.iter().map(|o| text(o, "/metadata/name")).collect()
    }

    #[test]
    fn pages_show_the_world_as_it_was_at_the_first() {
        let mut store = store();
        let mut options = ListOptions {
            limit: 2,
            ..ListOptions::default()
        };
        let first = list(&store, &options).unwrap();
        assert_eq!(names(&first), ["x", "z"]);
        assert_eq!(first.metadata["resourceVersion"], "3");
        assert_eq!(first.metadata["remainingItemCount"], 1);
        store.remove(&Key::new(Resource::Services, "a-b", "y"));
        options.next = first.metadata["continue"].as_str().map(str::to_owned);
        let second = list(&store, &options).unwrap();
        assert_eq!(names(&second), ["y"]);
        assert_eq!(second.metadata, json!({"resourceVersion": "3"}));
        store.compact();
        let failure = list(&store, &options).unwrap_err();
        assert_eq!((failure.code, failure.reason), (410, Some("Expired")));
        options.next = failure.next;
        let inconsistent = list(&store, &options).unwrap();
        assert_eq!(
            (names(&inconsistent), &inconsistent.metadata["resourceVersion"]),
            (vec![], &json!("4"))
        );
    }

    #[test]
    fn a_version_means_what_the_match_and_the_limit_make_of_it() {
        let mut store = store();
        store.remove(&Key::new(Resource::Services, "a-b", "y"));
        for (case, version, version_match, limit, want) in [
            ("unset", None, "", 0, Ok((2, "4"))),
            ("zero ignores the limit", Some("0"), "", 1, Ok((2, "4"))),
            ("not older than", Some("2"), "", 0, Ok((2, "4"))),
            ("with a limit: exactly", Some("3"), "", 9, Ok((3, "3"))),
            (
                "with a limit, but lenient",
                Some("3"),
                "NotOlderThan",
                9,
                Ok((2, "4")),
            ),
            ("exactly", Some("1"), "Exact", 0, Ok((1, "1"))),
            ("of the future", Some("5"), "", 0, Err(504)),
            ("no number", Some("abc"), "", 0, Err(400)),
            ("a match without a version", None, "Exact", 0, Err(422)),
            ("exactly zero", Some("0"), "Exact", 0, Err(422)),
        ] {
            let options = ListOptions {
                version: version.map(str::to_owned),
                version_match: version_match.into(),
                limit,
                ..ListOptions::default()
            };
            let got = list(&store, &options)
                .map(|page| {
                    (
                        page.objects.len(),
                        page.metadata["resourceVersion"].as_str().unwrap().to_owned(),
                    )
                })
                .map_err(|failure| failure.code);
            assert_eq!(got, want.map(|(n, v)| (n, v.to_owned())), "{case}");
        }
    }

    #[test]
    fn a_token_of_somebody_else_is_refused() {
        for next in ["xx", "e30"] {
            let options = ListOptions {
                next: Some(next.into()),
                ..ListOptions::default()
            };
            assert_eq!(list(&store(), &options).unwrap_err().code, 400, "{next}");
        }
    }

    #[test]
    fn items_bear_no_kind() {
        let list = list(&store(), &ListOptions::default())
            .unwrap()
            .to_value(Resource::Services);
        assert_eq!(
            (&list["kind"], &list["items"][0]["kind"]),
            (&json!("ServiceList"), &Value::Null)
        );
    }
}
