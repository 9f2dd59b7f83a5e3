//! Who asks, and what they may do: bearer tokens and rules in the manner of RBAC, as data.
//!
//! Source: apiserver pkg/endpoints/filters/authorization.go and kubernetes plugin/pkg/auth/authorizer/rbac.

use std::collections::BTreeMap;

use super::status::Failure;

/// One thing a user may do. `*` stands for any verb, group or resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verbs: Vec<String>,
    /// Empty string for the core group.
    pub groups: Vec<String>,
    /// Plurals; a subresource is `services/status`.
    pub resources: Vec<String>,
    /// Only these objects; empty for all.
    pub names: Vec<String>,
    /// Only in this namespace; `None` for everywhere, the cluster's scope included.
    pub namespace: Option<String>,
    /// Paths that are no resources: exactly these, or what they begin with before a `*` at their end.
    pub paths: Vec<String>,
}

impl Rule {
    /// Everywhere, on every object of one group. Words are separated by spaces: `Rule::new("get list", "", "nodes")`.
    pub fn new(verbs: &str, group: &str, resources: &str) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Self {
            verbs: words(verbs),
            groups: vec![group.to_owned()],
            resources: words(resources),
            ..Self::default()
        }
    }

    /// Paths that are no resources, as `nonResourceURLs` in a ClusterRole: `Rule::of_paths("get", "/metrics /configz")`.
    pub fn of_paths(verbs: &str, paths: &str) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Self {
            verbs: words(verbs),
            paths: words(paths),
            ..Self::default()
        }
    }

    /// Narrows it to one namespace, as a RoleBinding does.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Narrows it to one more object by name.
    pub fn named(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    fn allows(&self, ask: &Ask<'_>) -> bool {
        let has = |words: &[String], word: &str| words.iter().any(|w| w == "*" || w == word);
        has(&self.verbs, ask.verb)
            && has(&self.groups, ask.group)
            && has(&self.resources, &ask.full_resource())
            && (self.names.is_empty() || self.names.iter().any(|name| name == ask.name))
            && self.namespace.as_deref().is_none_or(|ns| ns == ask.namespace)
    }

    /// Source: kubernetes pkg/apis/rbac/v1/evaluation_helpers.go (NonResourceURLMatches).
    fn allows_path(&self, verb: &str, path: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == pattern,
        };
        self.verbs.iter().any(|v| v == "*" || v == verb) && self.paths.iter().any(fits)
    }
}

/// What somebody wants to do to a resource.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Want<'a> {
    /// To a resource.
    Resource(Ask<'a>),
    /// To a path that is none.
    Path { verb: &'a str, path: &'a str },
}

/// The group that may do everything.
pub(super) const MASTERS: &str = "system:masters";

impl Ask<'_> {
    fn full_resource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// May do everything.
    Admin,
    /// May do what its rules say.
    User(String),
}

/// Tokens and rules. `Debug` shows no token.
#[derive(Default)]
pub(super) struct Access {
    tokens: BTreeMap<String, Who>,
    rules: BTreeMap<String, Vec<Rule>>,
    /// Whether a request without a token is the admin's.
    open: bool,
}

impl Access {
    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    pub(super) fn grant(&mut self, token: &str, who: Who) {
        self.tokens.insert(token.to_owned(), who);
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// Replaces what `user` may do.
    pub(super) fn set_rules(&mut self, user: &str, rules: Vec<Rule>) {
        self.rules.insert(user.to_owned(), rules);
    }

    /// Who sends that `Authorization` header.
    ///
    /// # Errors
    /// 401 for an unknown token, and for none unless the server is open.
    pub(super) fn authenticate(&self, header: Option<&str>) -> Result<Who, Failure> {
        match header {
            None if self.open => Ok(Who::Admin),
            None => Err(Failure::unauthorized()),
            Some(header) => header
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .and_then(|(_, token)| self.tokens.get(token.trim()))
                .cloned()
                .ok_or_else(Failure::unauthorized),
        }
    }

    /// Whose token that is.
    pub(super) fn whose(&self, token: &str) -> Option<&Who> {
        self.tokens.get(token)
    }

    /// Whether one of the rules of `user`, or of one of `groups`, allows `want`. Rules of a group stand under its name.
    pub(super) fn grants(&self, user: &str, groups: &[&str], want: &Want<'_>) -> bool {
        let rules = |name: &str| self.rules.get(name).map_or(&[][..], Vec::as_slice);
        let mut names = groups.iter().copied().chain([user]);
        names.any(|name| {
            name == MASTERS
                || rules(name).iter().any(|rule| match want {
                    Want::Resource(ask) => rule.allows(ask),
                    Want::Path { verb, path } => rule.allows_path(verb, path),
                })
        })
    }

    /// # Errors
    /// 403 in the real server's words.
    pub(super) fn authorize(&self, who: &Who, ask: &Ask<'_>) -> Result<(), Failure> {
        let Who::User(user) = who else {
            return Ok(());
        };
        let rules = self.rules.get(user).map_or(&[][..], Vec::as_slice);
        if rules.iter().any(|rule| rule.allows(ask)) {
            return Ok(());
        }
        let scope = match ask.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let why = format!(
            "User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
            ask.verb,
            ask.full_resource(),
            ask.group
        );
        Err(Failure::forbidden(ask.group, ask.resource, ask.name, &why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let mut access = Access::default();
        access.grant("root", Who::Admin);
        access.grant("t0ken", Who::User("ccm".into()));
        access.set_rules(
            "ccm",
            vec![
                Rule::new("list watch", "", "services nodes"),
                Rule::new("patch", "", "services/status"),
                Rule::new("get update", "coordination.k8s.io", "leases")
                    .in_namespace("kube-system")
                    .named("ccm"),
            ],
        );
        access
    }

    #[test]
    fn a_token_tells_who_asks() {
        let mut access = access();
        let ccm = Who::User("ccm".into());
        for (header, want) in [
            (Some("Bearer root"), Ok(Who::Admin)),
            (Some("bearer t0ken"), Ok(ccm)),
            (Some("Bearer other"), Err(401)),
            (Some("Basic cm9vdA=="), Err(401)),
            (None, Err(401)),
        ] {
            assert_eq!(
                access.authenticate(header).map_err(|f| f.code),
                want,
                "{header:?}"
            );
        }
        access.set_open(true);
        assert_eq!(access.authenticate(None), Ok(Who::Admin));
        access.revoke("t0ken");
        assert!(access.authenticate(Some("Bearer t0ken")).is_err());
    }

    #[test]
    fn a_user_may_do_what_a_rule_says_and_no_more() {
        let access = access();
        let ask = |words: [&'static str; 6]| {
            let [verb, group, resource, subresource, namespace, name] = words;
            Ask {
                verb,
                group,
                resource,
                subresource,
                namespace,
                name,
            }
        };
        let lease = "coordination.k8s.io";
        for (words, allowed) in [
            (["list", "", "services", "", "", ""], true),
            (["list", "", "services", "", "shop", ""], true),
            (["get", "", "services", "", "shop", "web"], false),
            (["patch", "", "services", "status", "shop", "web"], true),
            (["patch", "", "services", "", "shop", "web"], false),
            (["update", lease, "leases", "", "kube-system", "ccm"], true),
            (["update", lease, "leases", "", "kube-system", "other"], false),
            (["update", lease, "leases", "", "default", "ccm"], false),
            (["update", "", "leases", "", "kube-system", "ccm"], false),
        ] {
            let got = access.authorize(&Who::User("ccm".into()), &ask(words)).is_ok();
            assert_eq!(got, allowed, "{words:?}");
            assert!(access.authorize(&Who::Admin, &ask(words)).is_ok());
        }
    }

    #[test]
    fn paths_are_granted_to_users_and_groups() {
        let mut access = access();
        access.set_rules(
            "system:authenticated",
            vec![Rule::of_paths("get", "/healthz/* /version")],
        );
        access.set_rules("scraper", vec![Rule::of_paths("get", "/metrics")]);
        for (user, groups, verb, path, want) in [
            ("scraper", &[][..], "get", "/metrics", true),
            ("scraper", &[], "post", "/metrics", false),
            ("scraper", &[], "get", "/metrics/slis", false),
            ("other", &[], "get", "/metrics", false),
            ("other", &["system:authenticated"], "get", "/healthz/ping", true),
            ("other", &["system:authenticated"], "get", "/healthz", false),
            ("other", &[MASTERS], "delete", "/anything", true),
        ] {
            let got = access.grants(user, groups, &Want::Path { verb, path });
            assert_eq!(got, want, "{user} {groups:?} {verb} {path}");
        }
        let get = Ask {
            verb: "get",
            resource: "services",
            ..Ask::default()
        };
        assert!(!access.grants("ccm", &["system:authenticated"], &Want::Resource(get)));
        let list = Ask { verb: "list", ..get };
        assert!(access.grants("ccm", &[], &Want::Resource(list)));
    }

    #[test]
    fn a_refusal_is_worded_as_the_real_server_words_it() {
        let access = access();
        for (ask, want) in [
            (
                Ask {
                    verb: "list",
                    resource: "events",
                    ..Ask::default()
                },
                "events is forbidden: User \"x\" cannot list resource \"events\" in API group \"\" at the cluster scope",
            ),
            (
                Ask {
                    verb: "patch",
                    resource: "services",
                    subresource: "status",
                    namespace: "default",
                    name: "web",
                    group: "",
                },
                "services \"web\" is forbidden: User \"x\" cannot patch resource \"services/status\" in API group \"\" in \
                 the namespace \"default\"",
            ),
            (
                Ask {
                    verb: "create",
                    group: "coordination.k8s.io",
                    resource: "leases",
                    namespace: "kube-system",
                    ..Ask::default()
                },
                "leases.coordination.k8s.io is forbidden: User \"x\" cannot create resource \"leases\" in API group \
                 \"coordination.k8s.io\" in the namespace \"kube-system\"",
            ),
        ] {
            let failure = access.authorize(&Who::User("x".into()), &ask).unwrap_err();
            assert_eq!((failure.code, failure.message.as_str()), (403, want));
        }
    }
}
