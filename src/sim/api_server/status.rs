//! Refusals, as the API words them: `Status` objects.
//!
//! Source: apimachinery pkg/api/errors and pkg/util/validation/field; wordings compared with kube-apiserver 1.37.2.

use serde_json::{Map, Value, json};

use super::object::Resource;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    /// Absent from an internal error.
    pub(super) reason: Option<&'static str>,
    pub(super) message: String,
    pub(super) details: Option<Value>,
    /// A token to go on with, after a continue token that is too old.
    pub(super) next: Option<String>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}

impl Cause {
    pub(super) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = match detail {
            "" => "Required value".to_owned(),
            detail => format!("Required value: {detail}"),
        };
        Self {
            reason: "FieldValueRequired",
            message,
            field: field.into(),
        }
    }

    pub(super) fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {detail}", value.into()),
            field: field.into(),
        }
    }

    pub(super) fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {}", value.into()),
            field: field.into(),
        }
    }

    pub(super) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }

    pub(super) fn unsupported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|word| format!("{word:?}")).collect();
        Self {
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {}: supported values: {}",
                value.into(),
                supported.join(", ")
            ),
            field: field.into(),
        }
    }
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Value>) -> Self {
        Self {
            code,
            reason: Some(reason),
            message: message.into(),
            details,
            next: None,
        }
    }

    fn about(code: u16, reason: &'static str, resource: Resource, name: &str, what: &str) -> Self {
        let message = format!("{} \"{name}\" {what}", resource.qualified());
        Self::new(
            code,
            reason,
            message,
            Some(details(name, resource.group(), resource.plural())),
        )
    }

    pub(super) fn not_found(resource: Resource, name: &str) -> Self {
        Self::about(404, "NotFound", resource, name, "not found")
    }

    pub(super) fn already_exists(resource: Resource, name: &str) -> Self {
        Self::about(409, "AlreadyExists", resource, name, "already exists")
    }

    /// A stale resourceVersion or another's UID.
    pub(super) fn conflict(resource: Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(
            409,
            "Conflict",
            message,
            Some(details(name, resource.group(), resource.plural())),
        )
    }

    /// A precondition of a DELETE that does not hold; for once by kind. Source: apiserver pkg/registry/rest/delete.go.
    pub(super) fn conflict_of_kind(resource: Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.kind()
        );
        Self::new(
            409,
            "Conflict",
            message,
            Some(details(name, resource.group(), resource.kind())),
        )
    }

    pub(super) fn invalid(resource: Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(resource.group(), resource.kind(), name, causes)
    }

    pub(super) fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let each: Vec<String> = causes
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        let each = match each.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let mut details = details(name, group, kind);
        details["causes"] = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let message = format!("{qualified} \"{name}\" is invalid: {each}");
        Self::new(422, "Invalid", message, Some(details))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }

    /// `qualified` and `details` name what was asked for; `why` is the whole rest of the sentence.
    pub(super) fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let mut message = resource.to_owned();
        if !group.is_empty() {
            message = format!("{message}.{group}");
        }
        if !name.is_empty() {
            message = format!("{message} \"{name}\"");
        }
        Self::new(
            403,
            "Forbidden",
            format!("{message} is forbidden: {why}"),
            Some(details(name, group, resource)),
        )
    }

    pub(super) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Self::new(403, "Forbidden", message, Some(json!({})))
    }

    pub(super) fn namespace_terminating(resource: Resource, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut failure = Self::forbidden(resource.group(), resource.plural(), name, &why);
        let cause = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        failure.details.as_mut().expect("forbidden has details")["causes"] = cause;
        failure
    }

    /// The collection itself is not served.
    pub(super) fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, Some(json!({})))
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, Some(json!({})))
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/json;stream=watch";
        Self::new(406, "NotAcceptable", message, Some(json!({})))
    }

    pub(super) fn unsupported_media_type(message: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", message, None)
    }

    /// A JSON patch whose test or path fails.
    pub(super) fn unprocessable_patch() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, Some(json!({})))
    }

    /// History no longer reaches back to what was asked for.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message, None)
    }

    /// The asked-for version is of the future. Source: apiserver pkg/storage/errors.go (NewTooLargeResourceVersionError).
    pub(super) fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        let details = json!({"causes": cause, "retryAfterSeconds": 1});
        Self::new(504, "Timeout", message, Some(details))
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self {
            code: 500,
            reason: None,
            message: message.into(),
            details: None,
            next: None,
        }
    }

    /// The `Status` object to answer or to send in an `ERROR` event.
    pub(super) fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.next {
            metadata.insert("continue".into(), token.as_str().into());
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message, "code": self.code,
        });
        if let Some(reason) = self.reason {
            status["reason"] = reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }

    /// What a `Retry-After` header says, where there is one.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = Map::new();
    for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(field.into(), value.into());
        }
    }
    Value::Object(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_worded_as_the_real_server_words_it() {
        for (case, failure, want) in [
            (
                "not found",
                Failure::not_found(Resource::Services, "nope"),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "services \"nope\" not found", "reason": "NotFound",
                    "details": {"name": "nope", "kind": "services"}, "code": 404}),
            ),
            (
                "a lease that exists",
                Failure::already_exists(Resource::Leases, "l"),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "leases.coordination.k8s.io \"l\" already exists", "reason": "AlreadyExists",
                    "details": {"name": "l", "group": "coordination.k8s.io", "kind": "leases"}, "code": 409}),
            ),
            (
                "one invalid field",
                Failure::invalid(Resource::Services, "bad", &[Cause::required("spec.ports", "")]),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "Service \"bad\" is invalid: spec.ports: Required value", "reason": "Invalid",
                    "details": {"name": "bad", "kind": "Service", "causes": [
                        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.ports"}]},
                    "code": 422}),
            ),
            (
                "a version of the future",
                Failure::version_too_large(100_000, 255),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "Timeout: Too large resource version: 100000, current: 255", "reason": "Timeout",
                    "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                        "retryAfterSeconds": 1}, "code": 504}),
            ),
            (
                "an internal error",
                Failure::internal("resourceVersion should not be set on objects to be created"),
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "resourceVersion should not be set on objects to be created", "code": 500}),
            ),
        ] {
            assert_eq!(failure.to_value(), want, "{case}");
        }
    }

    #[test]
    fn several_invalid_fields_are_listed_in_brackets() {
        let causes = [
            Cause::invalid("spec.ports[0].port", 0, "must be between 1 and 65535, inclusive"),
            Cause::unsupported("spec.ports[1].protocol", "FOO", &["SCTP", "TCP", "UDP"]),
            Cause::duplicate("spec.ports[1].name", "a"),
        ];
        assert_eq!(
            Failure::invalid(Resource::Services, "bad", &causes).message,
            "Service \"bad\" is invalid: [spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
             spec.ports[1].protocol: Unsupported value: \"FOO\": supported values: \"SCTP\", \"TCP\", \"UDP\", \
             spec.ports[1].name: Duplicate value: \"a\"]"
        );
    }
}
