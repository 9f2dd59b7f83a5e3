//! One call to the API server, as plain data.

use std::borrow::Cow;
use std::time::Duration;

use super::client::PROGRAM;
use super::types::ObjectMeta;
use crate::http::{Limits, Method};
use crate::runtime::gate::{Gate, Harmless, Permit, Shut};

/// One call: what to do with which path.
#[derive(Debug, Clone)]
pub struct Call {
    /// The verb.
    pub method: Method,
    /// From `/api` on, percent-encoded, with its query.
    pub path: String,
    /// Type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Deadlines of one attempt.
    pub limits: Limits,
    /// How long all attempts, and the waits between them, may take; a watch has one attempt.
    pub budget: Duration,
    /// Why it needs no gate though it is no read.
    harmless: Option<Harmless>,
}

/// What can be asked by creating it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Who has this token?
    Token,
    /// May that user do this?
    SubjectAccess,
    /// May we do this?
    SelfSubjectAccess,
    /// Who are we? Served from 1.28 on.
    SelfSubject,
}

impl Review {
    fn path(self) -> &'static str {
        match self {
            Self::Token => "/apis/authentication.k8s.io/v1/tokenreviews",
            Self::SubjectAccess => "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            Self::SelfSubjectAccess => "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            Self::SelfSubject => "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        }
    }
}

/// The kinds of PATCH in use. Source: kube-client.md 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 7386: maps merge, lists are replaced.
    Merge,
    /// Lists follow Kubernetes' metadata: finalizers merge as a set.
    Strategic,
}

impl PatchType {
    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl Call {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::Get,
            path: path.into(),
            body: None,
            limits: Limits::default(),
            budget: BUDGET,
            harmless: None,
        }
    }

    /// A partial change. It must be one that may happen twice.
    pub fn patch(path: impl Into<String>, kind: PatchType, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Patch,
            body: Some((kind.content_type(), bytes)),
            ..Self::get(path)
        }
    }

    /// Makes a new object.
    pub fn create(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Post,
            body: Some(("application/json", bytes)),
            ..Self::get(path)
        }
    }

    /// Asks a question by creating what nobody keeps: a TokenReview, an access review. It needs no gate.
    pub fn review(review: Review, body: &serde_json::Value) -> Self {
        Self {
            harmless: Some(Harmless::Review),
            ..Self::create(review.path(), body)
        }
    }

    /// For a change of the lease itself: it needs no gate, for it is what opens it.
    pub fn of_lease(self) -> Self {
        Self {
            harmless: Some(Harmless::Lease),
            ..self
        }
    }

    /// Leave to send it now.
    ///
    /// # Errors
    /// It changes something, and the gate is shut.
    pub(super) fn permit(&self, gate: &Gate) -> Result<Permit, Shut> {
        match (self.method, self.harmless) {
            (_, Some(why)) => Ok(Permit::harmless(why)),
            (Method::Get, None) => Ok(Permit::harmless(Harmless::Read)),
            (_, None) => gate.pass(),
        }
    }

    /// Replaces an object by all of it, as it was read with what is changed. It must carry its `resourceVersion`.
    pub fn replace(path: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self {
            method: Method::Put,
            body: Some(("application/json", bytes)),
            ..Self::get(path)
        }
    }

    /// Deletes the object with that UID, and no later one of the same name.
    pub fn delete(path: impl Into<String>, uid: &str) -> Self {
        let options = serde_json::json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "uid": uid },
        });
        Self {
            method: Method::Delete,
            body: Some(("application/json", options.to_string().into_bytes())),
            ..Self::get(path)
        }
    }

    /// Deletes the object that was read with this metadata, if nobody changed it since: for a deletion that depends on what
    /// the object says.
    pub fn delete_unchanged(path: impl Into<String>, meta: &ObjectMeta) -> Self {
        let options = serde_json::json!({
            "kind": "DeleteOptions", "apiVersion": "v1",
            "preconditions": { "uid": meta.uid, "resourceVersion": meta.resource_version },
        });
        Self {
            body: Some(("application/json", options.to_string().into_bytes())),
            ..Self::delete(path, &meta.uid)
        }
    }

    /// Sets the deadlines of one attempt.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long all attempts may take.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// For errors and logs.
    pub fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Its path, with the owner of the fields that a write sets. Source: kube-client.md 5.6.
    pub(super) fn path_with_owner(&self) -> Cow<'_, str> {
        match self.method {
            Method::Get | Method::Delete => Cow::Borrowed(&self.path),
            Method::Post | Method::Put | Method::Patch => {
                let separator = if self.path.contains('?') { '&' } else { '?' };
                Cow::Owned(format!("{}{separator}fieldManager={PROGRAM}", self.path))
            }
        }
    }
}

/// Source: kube-client.md 5.4.
const BUDGET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_deletion_names_whom_it_is_for() {
        let meta = ObjectMeta {
            uid: "u1".into(),
            resource_version: "7".into(),
            ..ObjectMeta::default()
        };
        let (by_uid, unchanged) = (json!({"uid": "u1"}), json!({"uid": "u1", "resourceVersion": "7"}));
        for (case, call, want) in [
            ("by UID", Call::delete("/x", "u1"), by_uid),
            ("unchanged", Call::delete_unchanged("/x", &meta), unchanged),
        ] {
            let (_, body) = call.body.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (call.method, &body["preconditions"]),
                (Method::Delete, &want),
                "{case}"
            );
        }
    }
}
