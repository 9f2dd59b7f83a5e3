//! Questions asked by creating what nobody keeps: whose token is this, may they, may I.
//!
//! Source: kubernetes pkg/registry/authentication/tokenreview, pkg/registry/authorization, pkg/apis/authorization/validation.

use serde_json::{Value, json};

use super::State;
use super::access::{Ask, MASTERS, Want, Who};
use super::object::{text, texts};
use super::request::Place;
use super::status::{Cause, Failure};
use crate::sim::server::{Incoming, Reply};

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Review {
    Token,
    SubjectAccess,
    SelfSubjectAccess,
}

impl Review {
    pub(super) const ALL: [Self; 3] = [Self::Token, Self::SubjectAccess, Self::SelfSubjectAccess];
    pub(super) const TOKEN_GROUP: &str = "authentication.k8s.io";
    pub(super) const ACCESS_GROUP: &str = "authorization.k8s.io";

    /// The one that `place` names.
    pub(super) fn at(place: &Place) -> Option<Self> {
        let here = |review: &Self| review.group() == place.group && review.plural() == place.plural;
        let found = Self::ALL.into_iter().find(here)?;
        (place.version == "v1").then_some(found)
    }

    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Token => Self::TOKEN_GROUP,
            Self::SubjectAccess | Self::SelfSubjectAccess => Self::ACCESS_GROUP,
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Token => "tokenreviews",
            Self::SubjectAccess => "subjectaccessreviews",
            Self::SelfSubjectAccess => "selfsubjectaccessreviews",
        }
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Token => "TokenReview",
            Self::SubjectAccess => "SubjectAccessReview",
            Self::SelfSubjectAccess => "SelfSubjectAccessReview",
        }
    }
}

const ADMIN: &str = "admin";
const AUTHENTICATED: &str = "system:authenticated";

impl State {
    /// Answers a review that `who` asks for.
    pub(super) fn review(
        &self,
        review: Review,
        place: &Place,
        who: &Who,
        request: &Incoming,
    ) -> Result<Reply, Failure> {
        if request.method != "POST" || !place.name.is_empty() {
            return Err(Failure::method_not_allowed());
        }
        let mut asked = asked(review, request)?;
        let status = match review {
            Review::Token => self.token_status(text(&asked, "/spec/token"))?,
            Review::SubjectAccess => {
                let (user, groups) = (text(&asked, "/spec/user"), texts(&asked, "/spec/groups"));
                if user.is_empty() && groups.is_empty() {
                    let cause =
                        Cause::invalid("spec.user", "", "at least one of user or group must be specified");
                    return Err(invalid(review, cause));
                }
                self.access_status(review, user, &groups, &asked)?
            }
            Review::SelfSubjectAccess => {
                let (user, groups) = identity(who);
                self.access_status(review, user, groups, &asked)?
            }
        };
        asked["kind"] = review.kind().into();
        asked["apiVersion"] = format!("{}/v1", review.group()).into();
        if asked.get("metadata").is_none() {
            asked["metadata"] = json!({});
        }
        asked["status"] = status;
        Ok(Reply::json(201, &asked))
    }

    fn token_status(&self, token: &str) -> Result<Value, Failure> {
        if token.is_empty() {
            let message = "token is required for TokenReview in authentication";
            return Err(Failure::bad_request(message));
        }
        Ok(match self.access.whose(token) {
            // a real server says so of every token that it does not know, too
            None => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
            Some(who) => {
                let (user, groups) = identity(who);
                json!({"authenticated": true, "user": {"username": user, "groups": groups}})
            }
        })
    }

    fn access_status(
        &self,
        review: Review,
        user: &str,
        groups: &[&str],
        asked: &Value,
    ) -> Result<Value, Failure> {
        let (resource, path) = ("/spec/resourceAttributes", "/spec/nonResourceAttributes");
        let (resource, path) = (asked.pointer(resource), asked.pointer(path));
        let want = match (resource, path) {
            (Some(what), None) => Want::Resource(Ask {
                verb: text(what, "/verb"),
                group: text(what, "/group"),
                resource: text(what, "/resource"),
                subresource: text(what, "/subresource"),
                namespace: text(what, "/namespace"),
                name: text(what, "/name"),
            }),
            (None, Some(what)) => Want::Path {
                verb: text(what, "/verb"),
                path: text(what, "/path"),
            },
            (None, None) | (Some(_), Some(_)) => {
                let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                let cause = Cause::invalid("spec.resourceAttributes", "null", detail);
                return Err(invalid(review, cause));
            }
        };
        Ok(match self.access.grants(user, groups, &want) {
            true => json!({"allowed": true, "reason": "RBAC: allowed by a rule"}),
            false => json!({"allowed": false}),
        })
    }
}

/// Name and groups, as a token's review tells them.
fn identity(who: &Who) -> (&str, &'static [&'static str]) {
    match who {
        Who::Admin => (ADMIN, &[MASTERS, AUTHENTICATED]),
        Who::User(name) => (name, &[AUTHENTICATED]),
    }
}

fn asked(review: Review, request: &Incoming) -> Result<Value, Failure> {
    let kind = review.kind();
    let unreadable = |error: serde_json::Error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error}"
        ))
    };
    let asked: Value = serde_json::from_slice(&request.body).map_err(unreadable)?;
    match text(&asked, "/kind") {
        "" => {}
        same if same == kind => {}
        other => {
            let version = text(&asked, "/apiVersion");
            let message = format!("{other} in version {version:?} cannot be handled as a {kind}");
            return Err(Failure::bad_request(message));
        }
    }
    match asked.is_object() {
        true => Ok(asked),
        false => Err(Failure::bad_request(format!("no {kind}"))),
    }
}

fn invalid(review: Review, cause: Cause) -> Failure {
    Failure::invalid_kind(review.group(), review.kind(), "", &[cause])
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::super::rest::tests::Api;
    use super::*;

    const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
    const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    const OWN: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

    fn api() -> Api {
        let api = Api::new();
        api.server.open(false);
        api.server.admin_token("root");
        api.server.user_token("t0ken", "ccm");
        api.server.user_token("s0me", "scraper");
        let reviews = "tokenreviews subjectaccessreviews";
        api.server.allow(
            "ccm",
            vec![
                Rule::new("create", "authentication.k8s.io", reviews),
                Rule::new("create", "authorization.k8s.io", reviews),
            ],
        );
        api.server
            .allow("scraper", vec![Rule::of_paths("get", "/metrics")]);
        api
    }

    fn ask(api: &Api, token: &str, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let request = Incoming::new(method, target)
            .with_header("Authorization", &format!("Bearer {token}"))
            .with_body("application/json", body.to_string());
        api.send(&request)
    }

    #[test]
    fn a_token_is_reviewed() {
        let api = api();
        for (token, want) in [
            (
                "s0me",
                json!({"authenticated": true, "user": {"username": "scraper", "groups": ["system:authenticated"]}}),
            ),
            (
                "root",
                json!({"authenticated": true, "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]}}),
            ),
            (
                "other",
                json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
            ),
        ] {
            let (status, answer) = ask(&api, "t0ken", "POST", TOKENS, &json!({"spec": {"token": token}}));
            assert_eq!((status, &answer["status"]), (201, &want), "{token}");
            assert_eq!(answer["kind"], "TokenReview");
        }
    }

    #[test]
    fn access_is_reviewed_for_others_and_for_oneself() {
        let api = api();
        let metrics = json!({"path": "/metrics", "verb": "get"});
        let tokens = json!({"verb": "create", "group": "authentication.k8s.io", "resource": "tokenreviews"});
        for (case, target, spec, want) in [
            (
                "a scraper",
                ACCESS,
                json!({"user": "scraper", "nonResourceAttributes": metrics}),
                true,
            ),
            (
                "somebody",
                ACCESS,
                json!({"user": "x", "nonResourceAttributes": metrics}),
                false,
            ),
            (
                "a master",
                ACCESS,
                json!({"user": "x", "groups": ["system:masters"], "nonResourceAttributes": metrics}),
                true,
            ),
            ("oneself", OWN, json!({"nonResourceAttributes": metrics}), false),
            (
                "oneself, a resource",
                OWN,
                json!({"resourceAttributes": tokens}),
                true,
            ),
        ] {
            let (status, answer) = ask(&api, "t0ken", "POST", target, &json!({"spec": spec}));
            assert_eq!(
                (status, &answer["status"]["allowed"]),
                (201, &json!(want)),
                "{case}"
            );
        }
    }

    #[test]
    fn who_may_not_ask_and_what_is_no_question_is_refused() {
        let api = api();
        let (token, path) = (
            json!({"spec": {"token": "x"}}),
            json!({"nonResourceAttributes": {"path": "/x", "verb": "get"}}),
        );
        for (case, who, method, target, body, want) in [
            ("no permission", "s0me", "POST", TOKENS, token.clone(), 403),
            (
                "no permission for access",
                "s0me",
                "POST",
                ACCESS,
                json!({"spec": {"user": "x"}}),
                403,
            ),
            (
                "everybody asks about themselves",
                "s0me",
                "POST",
                OWN,
                json!({"spec": path}),
                201,
            ),
            ("nobody", "nobody", "POST", OWN, json!({"spec": path}), 401),
            ("a get", "root", "GET", TOKENS, token.clone(), 405),
            ("no token", "root", "POST", TOKENS, json!({"spec": {}}), 400),
            (
                "another kind",
                "root",
                "POST",
                TOKENS,
                json!({"kind": "Pod", "spec": {"token": "x"}}),
                400,
            ),
            ("nobody meant", "root", "POST", ACCESS, json!({"spec": path}), 422),
            (
                "nothing wanted",
                "root",
                "POST",
                ACCESS,
                json!({"spec": {"user": "x"}}),
                422,
            ),
        ] {
            assert_eq!(ask(&api, who, method, target, &body).0, want, "{case}");
        }
    }

    #[test]
    fn a_config_map_is_read_and_watched() {
        let api = api();
        let trust = json!({"metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {"client-ca-file": "PEM"}});
        api.server
            .create(super::super::Resource::ConfigMaps, &trust)
            .unwrap();
        let path = "/api/v1/namespaces/kube-system/configmaps";
        let name = "extension-apiserver-authentication";
        let (status, found) = ask(&api, "root", "GET", &format!("{path}/{name}"), &json!({}));
        assert_eq!((status, &found["data"]["client-ca-file"]), (200, &json!("PEM")));
        let (status, list) = ask(
            &api,
            "root",
            "GET",
            &format!("{path}?fieldSelector=metadata.name%3D{name}"),
            &json!({}),
        );
        assert_eq!((status, list["items"].as_array().map(Vec::len)), (200, Some(1)));
        assert_eq!(
            ask(&api, "t0ken", "GET", &format!("{path}/{name}"), &json!({})).0,
            403
        );
        api.server.open(true);
        assert_eq!(api.events(&format!("{path}?watch=1")), [format!("ADDED {name}")]);
    }
}
