//! What a request asks for: path and query → verb and place. Source: apiserver pkg/endpoints/request/requestinfo.go.

use serde_json::Value;

use super::object::Resource;
use super::selector::Selector;
use super::status::Failure;
use crate::sim::server::Incoming;

/// What stands in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// No resource: `/version`, `/apis`, …
    Path(String),
    /// A collection, an object or its subresource; perhaps of no resource we know.
    Resource(Place),
}

/// Where in the API. Empty strings for what the path does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

impl Place {
    /// The resource, when it is one of ours in the one version we serve.
    pub(super) fn resource(&self) -> Option<Resource> {
        Resource::find(&self.group, &self.plural).filter(|_| self.version == "v1")
    }
}

/// Takes a path's segments apart. The second result is true for the old spelling of a watch, `/api/v1/watch/…`.
pub(super) fn target(segments: &[String]) -> (Target, bool) {
    let path = || Target::Path(format!("/{}", segments.join("/")));
    let trimmed: Vec<&str> = segments
        .iter()
        .map(String::as_str)
        .filter(|s| !s.is_empty())
        .collect();
    let (group, version, mut rest) = match trimmed.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return (path(), false),
    };
    let watch = rest.first() == Some(&"watch");
    if watch {
        rest = &rest[1..];
    }
    let (namespace, plural, rest) = match rest {
        // a namespace lies in itself
        ["namespaces", name] => (*name, "namespaces", &rest[1..]),
        ["namespaces", name, "status" | "finalize"] => (*name, "namespaces", &rest[1..]),
        ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest),
        [plural, rest @ ..] => ("", *plural, rest),
        [] => return (path(), false),
    };
    let place = Place {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: (*rest.first().unwrap_or(&"")).to_owned(),
        subresource: rest.get(1..).unwrap_or(&[]).join("/"),
    };
    (Target::Resource(place), watch)
}

/// A request's verb, as rules spell it.
pub(super) fn verb(method: &str, named: bool, watch: bool) -> &'static str {
    match (method, named) {
        ("GET" | "HEAD", _) if watch => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => "",
    }
}

/// How an object is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Plain,
    /// As rows to print.
    Table {
        /// Each row with the whole object, or with its metadata alone.
        whole: bool,
    },
}

/// The first form of `Accept` that can be served.
///
/// # Errors
/// 406 when there is none.
pub(super) fn form(request: &Incoming) -> Result<Form, Failure> {
    let accept = request.header("Accept").unwrap_or("*/*");
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        if !["application/json", "application/*", "*/*"].contains(&media) {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        match parts.iter().find_map(|part| part.strip_prefix("as=")) {
            None => return Ok(Form::Plain),
            Some("Table") if parts.contains(&"v=v1") => {
                let whole = request.query("includeObject").as_deref() == Some("Object");
                return Ok(Form::Table { whole });
            }
            Some(_) => {}
        }
    }
    Err(Failure::not_acceptable())
}

/// The options of list and watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    pub(super) selector: Selector,
    /// `None` when unset.
    pub(super) version: Option<String>,
    pub(super) version_match: String,
    pub(super) limit: usize,
    pub(super) next: Option<String>,
    pub(super) watch: bool,
    pub(super) bookmarks: bool,
    pub(super) initial_events: Option<bool>,
    pub(super) timeout_seconds: Option<u64>,
}

impl ListOptions {
    /// # Errors
    /// 400 for what does not parse.
    pub(super) fn parse(resource: Resource, request: &Incoming) -> Result<Self, Failure> {
        let query = |name: &str| request.query(name).filter(|value| !value.is_empty());
        let flag = |name: &str| match query(name).as_deref() {
            None => Ok(None),
            Some("1" | "true" | "True" | "t" | "T" | "TRUE") => Ok(Some(true)),
            Some("0" | "false" | "False" | "f" | "F" | "FALSE") => Ok(Some(false)),
            Some(other) => Err(Failure::bad_request(format!(
                "strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        };
        let count = |name: &str| match query(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                Failure::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        };
        let text = |name: &str| query(name).unwrap_or_default();
        Ok(Self {
            selector: Selector::parse(resource, &text("labelSelector"), &text("fieldSelector"))?,
            version: query("resourceVersion"),
            version_match: text("resourceVersionMatch"),
            limit: usize::try_from(count("limit")?.unwrap_or(0)).unwrap_or(0),
            next: query("continue"),
            watch: flag("watch")?.unwrap_or(false),
            bookmarks: flag("allowWatchBookmarks")?.unwrap_or(false),
            initial_events: flag("sendInitialEvents")?,
            timeout_seconds: count("timeoutSeconds")?,
        })
    }
}

/// Whether a write only pretends. Source: `dryRun` of metav1.CreateOptions and the like.
pub(super) fn dry_run(request: &Incoming) -> bool {
    request.query("dryRun").as_deref() == Some("All")
}

/// Whether unknown fields are refused rather than dropped.
pub(super) fn strict(request: &Incoming) -> bool {
    request.query("fieldValidation").as_deref() == Some("Strict")
}

/// The JSON object in the body of a create or update.
///
/// # Errors
/// 415 for another media type, 400 for what is no object of `resource`.
pub(super) fn body_of(resource: Resource, request: &Incoming) -> Result<Value, Failure> {
    let media = request.header("Content-Type").unwrap_or("application/json");
    if !media.trim_start().starts_with("application/json") {
        return Err(Failure::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json",
        ));
    }
    let kind = resource.kind();
    let object: Value = serde_json::from_slice(&request.body).map_err(|error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error}"
        ))
    })?;
    let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("");
    let (sent, version) = (field("kind"), field("apiVersion"));
    let other = !sent.is_empty() && sent != kind || !version.is_empty() && version != resource.api_version();
    if !object.is_object() || other {
        return Err(Failure::bad_request(format!(
            "{sent} in version {version:?} cannot be handled as a {kind}"
        )));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(words: [&str; 6]) -> Target {
        let [group, version, plural, namespace, name, subresource] = words.map(str::to_owned);
        Target::Resource(Place {
            group,
            version,
            plural,
            namespace,
            name,
            subresource,
        })
    }

    #[test]
    fn a_path_names_a_place() {
        let lease = "coordination.k8s.io";
        for (path, want, watch) in [
            ("/version", Target::Path("/version".into()), false),
            (
                "/apis/coordination.k8s.io/v1",
                Target::Path("/apis/coordination.k8s.io/v1".into()),
                false,
            ),
            (
                "/api/v1/services",
                place(["", "v1", "services", "", "", ""]),
                false,
            ),
            (
                "/api/v1/watch/services",
                place(["", "v1", "services", "", "", ""]),
                true,
            ),
            (
                "/api/v1/namespaces/shop/services",
                place(["", "v1", "services", "shop", "", ""]),
                false,
            ),
            (
                "/api/v1/namespaces/shop/services/web/status",
                place(["", "v1", "services", "shop", "web", "status"]),
                false,
            ),
            (
                "/api/v1/namespaces",
                place(["", "v1", "namespaces", "", "", ""]),
                false,
            ),
            (
                "/api/v1/namespaces/shop",
                place(["", "v1", "namespaces", "shop", "shop", ""]),
                false,
            ),
            (
                "/api/v1/namespaces/shop/status",
                place(["", "v1", "namespaces", "shop", "shop", "status"]),
                false,
            ),
            (
                "/api/v1/nodes/n1/status",
                place(["", "v1", "nodes", "", "n1", "status"]),
                false,
            ),
            (
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ccm",
                place([lease, "v1", "leases", "kube-system", "ccm", ""]),
                false,
            ),
        ] {
            assert_eq!(
                target(&Incoming::new("GET", path).segments()),
                (want, watch),
                "{path}"
            );
        }
    }

    #[test]
    fn the_first_form_that_can_be_served_is() {
        for (accept, want) in [
            (None, Some(Form::Plain)),
            (Some("application/json"), Some(Form::Plain)),
            (
                Some("application/vnd.kubernetes.protobuf,application/json"),
                Some(Form::Plain),
            ),
            (
                Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
                Some(Form::Table { whole: false }),
            ),
            (
                Some("application/json;as=Table;g=meta.k8s.io;v=v1beta1,application/json"),
                Some(Form::Plain),
            ),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
                None,
            ),
            (Some("application/vnd.kubernetes.protobuf"), None),
        ] {
            let mut request = Incoming::new("GET", "/");
            if let Some(accept) = accept {
                request = request.with_header("Accept", accept);
            }
            assert_eq!(form(&request).ok(), want, "{accept:?}");
        }
    }

    #[test]
    fn options_that_do_not_parse_are_refused() {
        for (query, want) in [
            ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "watch=maybe",
                "strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
        ] {
            let request = Incoming::new("GET", &format!("/api/v1/nodes?{query}"));
            let failure = ListOptions::parse(Resource::Nodes, &request).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (400, want));
        }
    }
}
