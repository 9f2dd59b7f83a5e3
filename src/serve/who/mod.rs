//! Who calls the endpoint, and whether they may: delegated to the cluster, as Kubernetes' own components do it.
//!
//! Who calls is learnt, in this order, from a front proxy that shows a certificate of the request-header authority and says in headers for whom it
//! calls; from the caller's own certificate; from a bearer token, by the API server's word. A caller that brings none of these is anonymous; one
//! that brings something that does not hold is refused, whatever it wants to read. Whether a caller may is decided in `access`.
//!
//! Source: ccm-behaviour.md 2.9; apiserver pkg/authentication/authenticatorfactory/delegating.go.

mod access;
mod answers;
mod certificate;
mod counters;
mod request_header;
mod reviews;
mod token;
mod trouble;
mod trust;
mod user;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::Access;
use answers::Unanswered;
use certificate::Refused;
use counters::Counters;
use token::{Bearer, Tokens};
use trouble::Trouble;
use trust::{Proxies, Trust};

use super::exchange::{Answer, Guard, Incoming};
use super::options::{Authentication, Authorization};
use crate::metrics::Metrics;
use crate::runtime::clock::Clock;
use crate::runtime::random::Random;
use crate::runtime::reload::Reloaded;
use crate::runtime::stop::StopToken;
use crate::runtime::{chain, x509};

pub use certificate::BundleError;
pub use reviews::{AccessAsk, ReviewError, Reviews, Verdict};
pub use trust::{FileError, LookupError};
pub use user::User;

/// Why nobody could be told apart. Each ends the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's authorities are not known, and that is not tolerated.
    #[error("unable to load configmap based request-header-client-ca-file")]
    Lookup(#[source] LookupError),
    /// A file does not hold authorities.
    #[error("--{flag}: {} cannot be used", path.display())]
    Authorities {
        /// Which flag names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FileError,
    },
}

/// Tells callers apart, and who of them may read what.
pub struct Who {
    trust: Trust,
    /// `None` where tokens say nothing.
    tokens: Option<Tokens>,
    access: Access,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    token_trouble: Trouble,
    access_trouble: Trouble,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outsider {
    /// What they brought does not hold, or could not be looked into.
    Unauthenticated,
    /// It was not looked into: too many ask.
    TooMany,
}

impl Who {
    /// Reads the authorities from their files, and asks `authn` for those of the cluster that no file replaces: this may take 10 s
    /// while the API server does not answer. Without `authn`, tokens say nothing; without `authz`, only what is for everybody can be read.
    ///
    /// # Errors
    /// A file that cannot be used; the cluster's authorities cannot be read, and may not be missing.
    pub fn new(
        authentication: &Authentication,
        authorization: &Authorization,
        authn: Option<Arc<dyn Reviews>>,
        authz: Option<Arc<dyn Reviews>>,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
        random: Arc<Random>,
    ) -> Result<Self, Error> {
        let counters = Arc::new(Counters::new(metrics));
        let trust = Trust::new(
            authentication,
            authn.as_ref(),
            counters.reloads.clone(),
            clock.now(),
        )?;
        let tokens = authn.map(|reviews| {
            let (counters, clock) = (Arc::clone(&counters), Arc::clone(&clock));
            Tokens::new(reviews, authentication.token_ttl, counters, clock)
        });
        let access = Access::new(authorization, authz, Arc::clone(&counters), Arc::clone(&clock));
        Ok(Self {
            trust,
            tokens,
            access,
            counters,
            clock,
            random,
            token_trouble: Trouble::default(),
            access_trouble: Trouble::default(),
        })
    }

    /// A thread's whole life: reads the cluster's authorities again about once a minute, until it is time to stop. Where they do not count it
    /// only waits; see [`Who::looks_up`].
    pub fn refresh(&self, stop: &StopToken) {
        loop {
            let pause = match self.looks_up() {
                true => self.random.between(REFRESH / 4 * 3, REFRESH),
                false => Duration::MAX,
            };
            if stop.wait(pause) {
                return;
            }
            self.trust.look_up_again(self.clock.now());
        }
    }

    /// Whether [`Who::refresh`] has anything to do.
    pub fn looks_up(&self) -> bool {
        self.trust.looks_up()
    }

    /// Reads the files of authorities again now, and asks nobody: the cluster's are for [`Who::refresh`]. A bad new version is told and refused.
    /// Returns what became of new versions since the last call, also of the cluster's.
    pub fn reload(&self) -> Reloaded {
        self.trust.reread(self.clock.now(), Duration::ZERO);
        self.trust.happened()
    }

    fn authenticate(&self, request: &Incoming<'_>, now: Instant) -> Result<User, Outsider> {
        let mut failed = false;
        match self.by_certificate(request, now) {
            Ok(Some(user)) => return Ok(user.authenticated()),
            Ok(None) => {}
            Err(Shown) => failed = true,
        }
        match self.by_token(request, now) {
            Ok(Some(user)) => Ok(user.authenticated()),
            Ok(None) if failed => Err(Outsider::Unauthenticated),
            Ok(None) => Ok(User::anonymous()),
            Err(outsider) => Err(outsider),
        }
    }

    /// `None` when no certificate was shown, or those who were count for nothing here.
    fn by_certificate(&self, request: &Incoming<'_>, now: Instant) -> Result<Option<User>, Shown> {
        if request.client_certificates.is_empty() {
            return Ok(None);
        }
        let trusted = self.trust.at(now);
        let mut failed = false;
        let ways = [
            trusted.proxies.map(|proxies| self.by_proxy(request, &proxies)),
            trusted.clients.map(|clients| {
                self.verified(request, &clients)?;
                Ok(certificate::user(&request.client_certificates[0])?)
            }),
        ];
        for way in ways.into_iter().flatten() {
            match way {
                Ok(Some(user)) => return Ok(Some(user)),
                Ok(None) => {}
                Err(refused) => {
                    log::debug!(peer:% = request.peer, why = chain(&refused).as_str(); "a certificate that a caller of the endpoint shows does not hold");
                    failed = true;
                }
            }
        }
        if failed { Err(Shown) } else { Ok(None) }
    }

    fn by_proxy(&self, request: &Incoming<'_>, proxies: &Proxies) -> Result<Option<User>, Refused> {
        self.verified(request, &proxies.bundle)?;
        certificate::check_proxy(&request.client_certificates[0], &proxies.rules.allowed_names)?;
        Ok(request_header::user(request, &proxies.rules)?)
    }

    fn verified(&self, request: &Incoming<'_>, bundle: &certificate::Bundle) -> Result<(), Refused> {
        let wall = self.clock.wall();
        bundle.verify(request.client_certificates, wall)?;
        if let Some(left) = x509::left(&request.client_certificates[0], wall) {
            self.counters.certificate_expiration.observe(left.as_secs_f64());
        }
        Ok(())
    }

    /// `None` when there is no token, or tokens say nothing here.
    fn by_token(&self, request: &Incoming<'_>, now: Instant) -> Result<Option<User>, Outsider> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let token = match token::bearer(request) {
            Bearer::None => return Ok(None),
            Bearer::Nonsense => return Err(Outsider::Unauthenticated),
            Bearer::Token(token) => token,
        };
        let answer = tokens.user(&token, now);
        if answer.is_ok() && self.token_trouble.is_over() {
            log::info!("tokens can be reviewed again");
        }
        match answer {
            Ok(Some(user)) => Ok(Some(user)),
            Ok(None) => Err(Outsider::Unauthenticated),
            Err(Unanswered::TooMany) => Err(Outsider::TooMany),
            Err(Unanswered::Failed(error)) => {
                let error = chain(&error);
                if let Some(repeated) = self.token_trouble.failed(&error, now) {
                    log::warn!(error = error.as_str(), repeated; "cannot review a token; whoever brings one to the endpoint is refused");
                }
                Err(Outsider::Unauthenticated)
            }
        }
    }

    fn authorize(&self, request: &Incoming<'_>, user: &User, now: Instant) -> Result<(), Answer> {
        let (started, verb) = (self.clock.now(), request.method.to_ascii_lowercase());
        let ask = AccessAsk {
            user,
            verb: &verb,
            path: request.path,
        };
        let verdict = self.access.verdict(&ask, now);
        let result = match &verdict {
            Ok(Verdict::Allowed) => "allowed",
            Ok(Verdict::Denied { .. }) => "denied",
            Ok(Verdict::NoOpinion { .. }) => "no-opinion",
            Err(_) => "error",
        };
        let took = self.clock.now().saturating_duration_since(started);
        self.counters.authorized(result, took);
        if verdict.is_ok() && self.access_trouble.is_over() {
            log::info!("access can be reviewed again");
        }
        match verdict {
            Ok(Verdict::Allowed) => Ok(()),
            Ok(Verdict::Denied { reason } | Verdict::NoOpinion { reason }) => Err(forbidden(&ask, &reason)),
            Err(Unanswered::TooMany) => Err(too_many()),
            Err(Unanswered::Failed(error)) => {
                let text = chain(&error);
                if let Some(repeated) = self.access_trouble.failed(&text, now) {
                    log::warn!(error = text.as_str(), repeated; "cannot review what a caller of the endpoint may; it is answered 500");
                }
                Err(no_decision(request, error.in_short()))
            }
        }
    }
}

/// Registers what is measured of callers, for the page that describes it.
#[cfg(test)]
pub(crate) fn register(metrics: &Metrics) {
    Counters::new(metrics);
}

/// A certificate was shown that does not hold.
struct Shown;

impl Guard for Who {
    fn admit(&self, request: &Incoming<'_>, now: Instant) -> Result<(), Answer> {
        let started = self.clock.now();
        let found = self.authenticate(request, now);
        let result = match &found {
            Ok(_) => "success",
            Err(Outsider::Unauthenticated) => "failure",
            Err(Outsider::TooMany) => "error",
        };
        let took = self.clock.now().saturating_duration_since(started);
        self.counters.authenticated(result, took);
        match found {
            Ok(user) => self.authorize(request, &user, now),
            Err(Outsider::Unauthenticated) => Err(Answer::failure(401, "Unauthorized", "Unauthorized")),
            Err(Outsider::TooMany) => Err(too_many()),
        }
    }
}

/// Source: apiserver pkg/endpoints/handlers/responsewriters/errors.go (Forbidden).
fn forbidden(ask: &AccessAsk<'_>, reason: &str) -> Answer {
    let what = format!("User {:?} cannot {} path {:?}", ask.user.name, ask.verb, ask.path);
    let what = sanitised(&what);
    let message = match reason {
        "" => format!("forbidden: {what}"),
        reason => format!("forbidden: {what}: {reason}"),
    };
    Answer::failure(403, "Forbidden", &message).with(NO_SNIFF.0, NO_SNIFF.1)
}

/// Source: apiserver pkg/endpoints/handlers/responsewriters/errors.go (InternalError).
fn no_decision(request: &Incoming<'_>, why: &str) -> Answer {
    let target = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{query}", request.path),
    };
    let text = sanitised(&format!("Internal Server Error: {target:?}: {why}"));
    Answer::text(500, text + "\n").with(NO_SNIFF.0, NO_SNIFF.1)
}

fn too_many() -> Answer {
    let message = "too many callers have to be looked into; try again later";
    Answer::failure(429, "TooManyRequests", message).with("Retry-After", "1")
}

fn sanitised(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const NO_SNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");
/// At the latest. Upstream watches; a look a minute is cheaper to hold and quick enough.
const REFRESH: Duration = Duration::from_secs(60);
