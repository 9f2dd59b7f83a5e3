//! Bearer tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::{Answers, Given, Lifetimes, Unanswered};
use super::counters::{Counters, Kind};
use super::reviews::Reviews;
use super::user::User;
use crate::runtime::clock::Clock;
use crate::runtime::secret::Secret;
use crate::serve::exchange::Incoming;

/// What a request says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Nothing.
    None,
    /// It brings this one.
    Token(Secret),
    /// It brings one that cannot be one.
    Nonsense,
}

/// The token of a request. Source: apiserver pkg/authentication/request/bearertoken/bearertoken.go.
pub(super) fn bearer(request: &Incoming<'_>) -> Bearer {
    let Some(value) = request.header("Authorization") else {
        return Bearer::None;
    };
    let mut words = value.trim_ascii().splitn(3, |byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(scheme), Some(token)) if scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty() => {
            match std::str::from_utf8(token) {
                Ok(token) => Bearer::Token(Secret::new(token)),
                Err(_) => Bearer::Nonsense,
            }
        }
        _ => Bearer::None,
    }
}

/// Tells whose tokens are, by the API server's word. Both answers are kept for the time of the flag, failures are not.
///
/// A real API server gives an error with each token that it does not know, which upstream therefore asks about again and again;
/// here it is a no like any other.
pub(super) struct Tokens {
    reviews: Arc<dyn Reviews>,
    answers: Answers<Option<User>>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    pub(super) fn new(
        reviews: Arc<dyn Reviews>,
        ttl: Duration,
        counters: Arc<Counters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let lifetimes = Lifetimes { yes: ttl, no: ttl };
        Self {
            reviews,
            answers: Answers::new(lifetimes, Option::is_some, clock.now()),
            counters,
            clock,
        }
    }

    /// Whose token that is; `None` when it is nobody's.
    pub(super) fn user(&self, token: &Secret, now: Instant) -> Result<Option<User>, Unanswered> {
        let started = self.clock.now();
        let since = |start| self.clock.now().saturating_duration_since(start);
        let given = self.answers.get(token.expose().as_bytes(), now, LIMIT, |within| {
            let result = self.reviews.token(token, within);
            self.counters.reviewed(Kind::Token, &result, since(started));
            result
        });
        let kept = matches!(&given, Ok(Given { kept: true, .. }));
        self.counters.looked_up(kept, since(started));
        given.map(|given| given.answer)
    }
}

/// For one review with its retries. A request has 5 s in all, and may need a review of access, too; upstream allows 10 s for each try.
pub(super) const LIMIT: Duration = Duration::from_millis(2_200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::who::testing::incoming;

    #[test]
    fn a_token_follows_its_scheme() {
        let token = |text: &str| Bearer::Token(Secret::new(text));
        for (value, want) in [
            (&b"Bearer abc"[..], token("abc")),
            (b"bearer abc", token("abc")),
            (b"  BEARER abc  ", token("abc")),
            (b"Bearer abc def", token("abc")),
            (b"Bearer", Bearer::None),
            (b"Bearer ", Bearer::None),
            (b"Bearer  abc", Bearer::None),
            (b"Basic YTpi", Bearer::None),
            (b"abc", Bearer::None),
            (b"", Bearer::None),
            (b"Bearer \xff", Bearer::Nonsense),
            (b"Basic \xff", Bearer::None),
        ] {
            let headers = [("AUTHORIZATION", value)];
            let found = bearer(&incoming("GET", "/", &headers, &[]));
            assert!(found == want, "{:?}", String::from_utf8_lossy(value));
        }
        assert!(bearer(&incoming("GET", "/", &[], &[])) == Bearer::None);
    }
}
