//! Whether to try a call again, and when. Pure; the only place in the client that retries.

use std::time::Duration;

use crate::http::Method;
use crate::runtime::backoff::Backoff;
use crate::runtime::random::Random;

/// How an attempt ended, if not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer other than 2xx.
    Status {
        /// HTTP's.
        code: u16,
        /// What the server asks for.
        retry_after: Option<Duration>,
    },
    /// No connection: not a byte was sent.
    NotSent,
    /// No whole answer, after bytes were sent: a write may have happened.
    Broken,
    /// Something that another attempt would not change.
    Final,
}

impl Outcome {
    /// The answer's status, if there was one.
    pub(super) fn code(self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(code),
            Self::NotSent | Self::Broken | Self::Final => None,
        }
    }
}

/// What happened before this outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History {
    /// Attempts made, with the one that just ended.
    pub attempts: u32,
    /// Those that failed without the server asking to come back later, without the one that just ended.
    pub failures: u32,
    /// Since the first attempt.
    pub elapsed: Duration,
    /// How long all attempts and waits may take.
    pub budget: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Hand the outcome to the caller.
    Return,
    /// The server says when: wait so long, then try again.
    Later(Duration),
    /// It failed: wait so long, then try again.
    Again(Duration),
}

/// Decides after an attempt at `method`. PATCH and DELETE must be ones that may happen twice; POST and PUT are not
/// repeated when they may have happened.
///
/// Source: kube-client.md 5.4.
pub fn decide(method: Method, outcome: Outcome, history: &History, random: &Random) -> Next {
    let next = match (outcome, retries(method, outcome)) {
        (_, Retries::None) => return Next::Return,
        (Outcome::Status { retry_after, .. }, Retries::AsAsked) => Next::Later(
            retry_after
                .unwrap_or(DEFAULT_RETRY_AFTER)
                .clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER),
        ),
        (_, Retries::UpTo(most)) if history.failures >= most => return Next::Return,
        // a kept connection that the server has closed meanwhile is nobody's fault
        (Outcome::Broken, _) if method == Method::Get && history.failures == 0 => Next::Again(Duration::ZERO),
        (outcome, _) => {
            let delay = BACKOFF.delay(history.failures, random);
            Next::Again(match outcome {
                Outcome::Status {
                    retry_after: Some(asked),
                    ..
                } => delay.max(asked.min(MAX_RETRY_AFTER)),
                _ => delay,
            })
        }
    };
    let (Next::Later(delay) | Next::Again(delay)) = next else {
        return Next::Return;
    };
    if history.attempts >= MAX_ATTEMPTS || history.elapsed + delay >= history.budget {
        return Next::Return;
    }
    next
}

enum Retries {
    None,
    UpTo(u32),
    AsAsked,
}

fn retries(method: Method, outcome: Outcome) -> Retries {
    use Method::{Delete, Get, Patch, Post, Put};
    match (outcome, method) {
        (Outcome::Final, _) => Retries::None,
        (Outcome::Status { code: 429, .. }, _) => Retries::AsAsked,
        (
            Outcome::Status {
                code: 500 | 502 | 503,
                retry_after: Some(_),
            },
            _,
        ) => Retries::AsAsked,
        (
            Outcome::Status {
                code: 500 | 502 | 503,
                ..
            }
            | Outcome::Broken
            | Outcome::NotSent,
            Get,
        ) => Retries::UpTo(3),
        (
            Outcome::Status {
                code: 500 | 502 | 503,
                ..
            }
            | Outcome::Broken,
            Patch | Delete,
        ) => Retries::UpTo(2),
        (Outcome::Status { code: 504, .. }, Get | Patch | Delete) => Retries::UpTo(2),
        (Outcome::NotSent, Post | Put | Patch | Delete) => Retries::UpTo(MAX_ATTEMPTS),
        (Outcome::Status { .. } | Outcome::Broken, _) => Retries::None,
    }
}

const MAX_ATTEMPTS: u32 = 10;
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
const MIN_RETRY_AFTER: Duration = Duration::from_millis(100);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(700),
    cap: Duration::from_millis(4100),
    jitter: 0.2,
};

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [Method; 5] = [
        Method::Get,
        Method::Put,
        Method::Patch,
        Method::Post,
        Method::Delete,
    ];

    fn status(code: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Status {
            code,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// How often `method` is tried again when it always ends with `outcome`, and how long each wait is.
    fn waits(method: Method, outcome: Outcome, budget: Duration) -> Vec<Duration> {
        let (random, mut waits) = (Random::from_seed(1), Vec::new());
        let mut history = History {
            budget,
            ..History::default()
        };
        loop {
            history.attempts += 1;
            let delay = match decide(method, outcome, &history, &random) {
                Next::Return => return waits,
                Next::Later(delay) => delay,
                Next::Again(delay) => {
                    history.failures += 1;
                    delay
                }
            };
            history.elapsed += delay;
            waits.push(delay);
        }
    }

    #[test]
    fn the_table() {
        const ALL: usize = 9;
        //                                         GET PUT PATCH POST DELETE
        for (case, outcome, want) in [
            ("429", status(429, Some(1)), [ALL; 5]),
            ("429 without a delay", status(429, None), [ALL; 5]),
            ("503, later", status(503, Some(1)), [ALL; 5]),
            ("500, later", status(500, Some(1)), [ALL; 5]),
            ("502, later", status(502, Some(1)), [ALL; 5]),
            ("500", status(500, None), [3, 0, 2, 0, 2]),
            ("502", status(502, None), [3, 0, 2, 0, 2]),
            ("503", status(503, None), [3, 0, 2, 0, 2]),
            ("504", status(504, None), [2, 0, 2, 0, 2]),
            ("504, later", status(504, Some(1)), [2, 0, 2, 0, 2]),
            ("no connection", Outcome::NotSent, [3, ALL, ALL, ALL, ALL]),
            ("no answer", Outcome::Broken, [3, 0, 2, 0, 2]),
            ("final", Outcome::Final, [0; 5]),
            ("400", status(400, None), [0; 5]),
            ("401", status(401, None), [0; 5]),
            ("403", status(403, Some(1)), [0; 5]),
            ("404", status(404, None), [0; 5]),
            ("409", status(409, None), [0; 5]),
            ("410", status(410, None), [0; 5]),
            ("413", status(413, None), [0; 5]),
            ("422", status(422, None), [0; 5]),
            ("501", status(501, None), [0; 5]),
        ] {
            let found = METHODS.map(|method| waits(method, outcome, Duration::from_secs(600)).len());
            assert_eq!(found, want, "{case}");
        }
    }

    #[test]
    fn the_servers_delay_is_kept_within_reason() {
        for (case, asked, want) in [
            ("as asked", Some(7), 7_000),
            ("none", None, 1_000),
            ("zero", Some(0), 100),
            ("huge", Some(99_999), 60_000),
        ] {
            let waits = waits(Method::Post, status(429, asked), Duration::from_secs(3600));
            assert_eq!(waits[0], Duration::from_millis(want), "{case}");
        }
    }

    #[test]
    fn own_delays_lie_between_half_a_second_and_five() {
        for delay in waits(Method::Post, Outcome::NotSent, Duration::from_secs(600)) {
            assert!((0.5..5.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
        let first = waits(Method::Get, Outcome::Broken, Duration::from_secs(600))[0];
        assert_eq!(first, Duration::ZERO, "a stale connection is replaced at once");
        let asked = waits(Method::Get, status(504, Some(9)), Duration::from_secs(600))[0];
        assert_eq!(asked, Duration::from_secs(9));
    }

    #[test]
    fn the_budget_bounds_the_waits() {
        let waits = waits(Method::Get, status(429, Some(20)), Duration::from_secs(60));
        assert_eq!(waits.len(), 2, "a third wait would end with the budget");
    }
}
