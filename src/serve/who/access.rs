//! Whether a caller may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::{Answers, Lifetimes, Unanswered};
use super::counters::{Counters, Kind};
use super::reviews::{AccessAsk, Reviews, Verdict};
use super::user::{MASTERS, User};
use crate::runtime::clock::Clock;
use crate::serve::options::{Authorization, PathPattern};

/// Decides, the first opinion counts: the group that may do everything; paths for everybody; the API server.
pub(super) struct Access {
    always: Vec<PathPattern>,
    reviews: Option<Arc<dyn Reviews>>,
    answers: Answers<Verdict>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Access {
    pub(super) fn new(
        options: &Authorization,
        reviews: Option<Arc<dyn Reviews>>,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lifetimes = Lifetimes {
            yes: options.authorized_ttl,
            no: options.unauthorized_ttl,
        };
        let is_yes = |verdict: &Verdict| *verdict == Verdict::Allowed;
        Self {
            always: options.always_allow.clone(),
            reviews,
            answers: Answers::new(lifetimes, is_yes, clock.now()),
            counters,
            clock,
        }
    }

    /// Whether `user` may do `verb` to `path`.
    pub(super) fn verdict(&self, ask: &AccessAsk<'_>, now: Instant) -> Result<Verdict, Unanswered> {
        if ask.user.is_in(MASTERS) || self.always.iter().any(|pattern| matches(pattern, ask.path)) {
            return Ok(Verdict::Allowed);
        }
        let Some(reviews) = &self.reviews else {
            let reason = String::new();
            return Ok(Verdict::NoOpinion { reason });
        };
        let given = self.answers.get(&question(ask), now, LIMIT, |within| {
            let started = self.clock.now();
            let result = reviews.access(ask, within);
            let took = self.clock.now().saturating_duration_since(started);
            self.counters.reviewed(Kind::Access, &result, took);
            result
        });
        given.map(|given| given.answer)
    }
}

/// Everything that the answer depends on, told apart.
fn question(ask: &AccessAsk<'_>) -> Vec<u8> {
    let User {
        name,
        uid,
        groups,
        extra,
    } = ask.user;
    let all = (name, uid, groups, extra, ask.verb, ask.path);
    serde_json::to_vec(&all).expect("strings and lists of strings are JSON")
}

/// With or without a slash at the beginning. Source: apiserver pkg/authorization/path/path.go.
fn matches(pattern: &PathPattern, path: &str) -> bool {
    let bare = |path: &'_ str| path.strip_prefix('/').unwrap_or(path).to_owned();
    match pattern {
        PathPattern::Exact(exact) => bare(path) == bare(exact),
        PathPattern::Prefix(prefix) => bare(path).starts_with(&bare(prefix)),
    }
}

/// For one review with its retries; see `token::LIMIT`.
pub(super) const LIMIT: Duration = Duration::from_millis(2_200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_exact_or_beginnings() {
        let exact = |path: &str| PathPattern::Exact(path.to_owned());
        let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
        for (pattern, path, want) in [
            (exact("/healthz"), "/healthz", true),
            (exact("/healthz"), "/healthz/", false),
            (exact("/healthz"), "/healthz/ping", false),
            (exact("/healthz"), "/healthzz", false),
            (exact("/healthz"), "/", false),
            (exact("/healthz"), "//healthz", false),
            (exact("/healthz"), "/%68ealthz", false),
            (exact("healthz"), "/healthz", true),
            (exact("/"), "/", true),
            (exact("/"), "/metrics", false),
            (prefix("/healthz"), "/healthz", true),
            (prefix("/healthz"), "/healthz/ping", true),
            (prefix("/healthz"), "/health", false),
            (prefix("/debug/"), "/debug", false),
            (prefix("/debug/"), "/debug/flags/v", true),
            (prefix(""), "/anything", true),
            (prefix("/"), "/anything", true),
        ] {
            assert_eq!(matches(&pattern, path), want, "{pattern:?} {path}");
        }
    }

    #[test]
    fn questions_that_differ_in_anything_are_told_apart() {
        let user = User {
            name: "a".into(),
            groups: vec!["b".into(), "c".into()],
            ..User::default()
        };
        let mut others = vec![user.clone(); 4];
        others[0].name = "ab".into();
        others[1].uid = "u".into();
        others[2].groups = vec!["b,c".into()];
        others[3].extra.insert("k".into(), vec!["v".into()]);
        let ask = AccessAsk {
            user: &user,
            verb: "get",
            path: "/x",
        };
        let mut questions = vec![question(&ask), question(&AccessAsk { verb: "put", ..ask })];
        questions.push(question(&AccessAsk { path: "/y", ..ask }));
        questions.extend(others.iter().map(|user| question(&AccessAsk { user, ..ask })));
        let all = questions.len();
        questions.sort();
        questions.dedup();
        assert_eq!(questions.len(), all);
        assert_eq!(question(&ask), question(&ask));
    }
}
