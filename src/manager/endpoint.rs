//! The HTTPS endpoint: what its pages show, what its checks look at, and whom it asks about callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::configz;
use super::reviews::{Means, Reviewers, Unusable};
use super::rotation::Rotation;
use super::status::{self, Braked, Leader, Rank, Status};
use crate::config::Config;
use crate::controllers::node_lifecycle::Lifecycle;
use crate::controllers::service::ServiceController;
use crate::informer::Pulse;
use crate::leader_election::{HeldBy, Leadership};
use crate::logging;
use crate::metrics::Metrics;
use crate::runtime::clock::Clock;
use crate::runtime::gate::Gate;
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::runtime::supervise::Supervisor;
use crate::serve::who::{self, Reviews, Who};
use crate::serve::{self, Checks, Kind, Pages, Server};

/// A worker that is at one object for longer is stuck: every call that it can make ends sooner.
pub(super) const STUCK: Duration = Duration::from_secs(600);
/// A watch is opened anew every five minutes at the latest: one that was not heard for longer is dead.
pub(super) const DEAD: Duration = Duration::from_secs(600);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port, a certificate.
    #[error(transparent)]
    Serve(#[from] serve::Error),
    /// Authorities of callers.
    #[error(transparent)]
    Who(#[from] who::Error),
    /// A kubeconfig that is for callers.
    #[error(transparent)]
    Reviews(#[from] Unusable),
}

/// What the pages show, as it comes about.
#[derive(Default)]
pub(super) struct View(Mutex<Shown>);

#[derive(Default)]
struct Shown {
    leadership: Option<Leadership>,
    informers: Vec<(&'static str, Pulse)>,
    services: Option<Arc<ServiceController>>,
    lifecycle: Option<Arc<Lifecycle>>,
}

impl View {
    pub(super) fn show_leadership(&self, leadership: Leadership) {
        self.shown().leadership = Some(leadership);
    }

    pub(super) fn show_informer(&self, resource: &'static str, pulse: Pulse) {
        self.shown().informers.push((resource, pulse));
    }

    pub(super) fn show_services(&self, controller: Arc<ServiceController>) {
        self.shown().services = Some(controller);
    }

    pub(super) fn show_lifecycle(&self, lifecycle: Arc<Lifecycle>) {
        self.shown().lifecycle = Some(lifecycle);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, started: SystemTime, clock: &dyn Clock) -> Status {
        let shown = self.shown();
        let (now, instant) = (clock.wall(), clock.now());
        let informers = shown.informers.iter().map(|(resource, pulse)| status::Informer {
            resource,
            synced: pulse.synced_since(),
            objects: pulse.objects(),
            heard: now.checked_sub(instant.saturating_duration_since(pulse.last_contact())),
        });
        let leader = shown.leadership.as_ref().map(|leadership| {
            let holder = leadership.holder();
            let ours = |holder: &HeldBy| holder.identity == leadership.identity();
            let rank = match leadership.is_leading() {
                true => Rank::Leads,
                false if holder.as_ref().is_some_and(ours) => Rank::Waits,
                false => Rank::StandsBy,
            };
            Leader {
                rank,
                since: holder.as_ref().map_or(started, |holder| holder.since),
                holder: holder.map(|holder| holder.identity).unwrap_or_default(),
            }
        });
        let held = shown
            .lifecycle
            .as_ref()
            .map_or(0, |lifecycle| lifecycle.counts().held);
        let nodes = shown.informers.iter().find(|(resource, _)| *resource == "nodes");
        let braked = usize::try_from(held)
            .ok()
            .filter(|held| *held > 0)
            .map(|gone| Braked {
                gone,
                nodes: nodes.map_or(0, |(_, pulse)| pulse.objects()),
            });
        let (informers, services) = (informers.collect(), shown.services.clone());
        drop(shown);
        Status {
            now,
            version: env!("CARGO_PKG_VERSION"),
            started,
            leader,
            informers,
            services: services.map(|controller| controller.report()),
            braked,
        }
    }
}

/// The endpoint, listening.
pub(super) struct Endpoint {
    server: Server,
    who: Arc<Who>,
    reviewers: Reviewers,
}

/// What it is made of.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) checks: &'a Arc<Checks>,
    pub(super) view: &'a Arc<View>,
    pub(super) metrics: &'a Metrics,
    pub(super) gate: &'a Gate,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) random: &'a Arc<Random>,
    pub(super) stop: StopToken,
}

impl Endpoint {
    /// Takes the port, and learns whom to trust.
    ///
    /// # Errors
    /// All that keeps it from that.
    pub(super) fn open(options: &serve::Options, parts: &Parts<'_>) -> Result<Self, Vec<Error>> {
        let means = Means {
            stop: parts.stop.clone(),
            gate: parts.gate,
            clock: parts.clock,
            random: parts.random,
        };
        let reviewers = Reviewers::new(&options.authentication, &options.authorization, &means)
            .map_err(|unusable| unusable.into_iter().map(Error::from).collect::<Vec<_>>())?;
        let (authn, authz) = (reviewers.authentication.clone(), reviewers.authorization.clone());
        let asked = [authn.clone(), authz.clone()];
        let _hook = parts
            .stop
            .on_stop(move || asked.iter().flatten().for_each(|reviews| reviews.shutdown()));
        let who = Who::new(
            &options.authentication,
            &options.authorization,
            authn.map(|reviews| reviews as Arc<dyn Reviews>),
            authz.map(|reviews| reviews as Arc<dyn Reviews>),
            parts.metrics,
            Arc::clone(parts.clock),
            Arc::clone(parts.random),
        );
        let who = Arc::new(who.map_err(|error| vec![Error::from(error)])?);
        let guard = Arc::clone(&who);
        let clock = Arc::clone(parts.clock);
        let server = Server::bind(options, pages(parts), guard, parts.metrics, clock);
        Ok(Self {
            server: server.map_err(|error| vec![Error::from(error)])?,
            who,
            reviewers,
        })
    }

    /// Has its files looked at: its certificates, its authorities of callers, and how it asks the API server about callers.
    pub(super) fn watch(&self, rotation: &mut Rotation) {
        let (certificates, who) = (self.server.reloader(), Arc::clone(&self.who));
        rotation.watch("endpoint_certificates", move || certificates.reload());
        rotation.watch("endpoint_authorities", move || who.reload());
        let Reviewers {
            authentication,
            authorization,
        } = &self.reviewers;
        let both = authentication.as_ref().zip(authorization.as_ref());
        let same = both.is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        if let Some(reviews) = authentication.clone() {
            let whats = ["authentication_kubeconfig", "authentication_certificates"];
            rotation.watch_reviews(whats, move || reviews.reload());
        }
        if let Some(reviews) = authorization.clone().filter(|_| !same) {
            let whats = ["authorization_kubeconfig", "authorization_certificates"];
            rotation.watch_reviews(whats, move || reviews.reload());
        }
    }

    /// Answers until `stop` is set.
    pub(super) fn start(self, threads: &mut Supervisor, stop: StopToken) {
        let Self {
            server,
            who,
            reviewers,
        } = self;
        let token = stop.clone();
        threads.spawn("http", move || {
            let _hook = token.on_stop(move || {
                let all = [&reviewers.authentication, &reviewers.authorization];
                all.into_iter().flatten().for_each(|reviews| reviews.shutdown());
            });
            server.run(&token);
        });
        if who.looks_up() {
            threads.spawn("authorities", move || who.refresh(&stop));
        }
    }
}

fn pages(parts: &Parts<'_>) -> Pages {
    let (view, clock, started) = (
        Arc::clone(parts.view),
        Arc::clone(parts.clock),
        parts.clock.wall(),
    );
    let configz = configz::document(parts.config).to_string();
    Pages {
        checks: Arc::clone(parts.checks),
        metrics: parts.metrics.clone(),
        configz: Box::new(move || configz.clone()),
        status: Box::new(move || status::render(&view.status(started, &*clock))),
        set_verbosity: parts.config.flags.profiling.then(|| Box::new(set_verbosity) as _),
    }
}

fn set_verbosity(text: &str) -> Result<(), String> {
    let verbosity = text
        .trim()
        .parse()
        .map_err(|_| "it must be a whole number from 0".to_owned())?;
    logging::set_verbosity(verbosity);
    Ok(())
}

/// Red when a worker has been at one object for too long.
pub(super) fn check_worker(
    checks: &Checks,
    name: &'static str,
    longest: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) {
    checks.add(name, Kind::Live, move || match longest() {
        Some(age) if age > STUCK => Err(format!("a worker has been at one object for {} s", age.as_secs())),
        Some(_) | None => Ok(()),
    });
}

/// Red when a watch was not heard for too long; not ready before everything was listed once; stuck when its thread does nothing for too
/// long, not even fail.
pub(super) fn check_informer(checks: &Checks, resource: &'static str, pulse: Pulse, clock: Arc<dyn Clock>) {
    let (synced, heard, now) = (pulse.clone(), pulse.clone(), Arc::clone(&clock));
    checks.add(format!("informer-{resource}"), Kind::Answered, move || {
        is_alive(heard.last_contact(), now.now())
    });
    checks.add(format!("reflector-{resource}"), Kind::Moving, move || {
        let age = clock.now().saturating_duration_since(pulse.last_step());
        match age <= STUCK {
            true => Ok(()),
            false => Err(format!("it has done nothing for {} s", age.as_secs())),
        }
    });
    checks.add(format!("informer-{resource}-synced"), Kind::Ready, move || {
        synced
            .synced_since()
            .map(|_| ())
            .ok_or_else(|| "not everything is listed yet".to_owned())
    });
}

fn is_alive(last: Instant, now: Instant) -> Result<(), String> {
    let age = now.saturating_duration_since(last);
    if age <= DEAD {
        return Ok(());
    }
    Err(format!("the API server was last heard {} s ago", age.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{self, Request, Response, Transport};
    use crate::informer::{Reflector, Step, store};
    use crate::k8s::Client;
    use crate::k8s::types::Node;
    use crate::runtime::clock::ManualClock;
    use crate::serve::Answer;

    /// An API server that is away.
    struct Away;

    impl Transport for Away {
        fn exchange(&self, _: &Request) -> Result<Response, http::Error> {
            Err(http::Error::Connect {
                peer: "api".into(),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            })
        }

        fn shutdown(&self) {}
    }

    #[test]
    fn an_api_server_that_is_away_makes_nobody_stuck() {
        let (checks, stop) = (Arc::new(Checks::new()), StopToken::never());
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let (writer, _store) = store::<Node>();
        let client = Client::new("http://api", Arc::new(Away), stop.clone());
        let random = Arc::new(Random::from_seed(1));
        let mut reflector = Reflector::new(client, writer, Vec::new(), Arc::new(clock.clone()), random);
        check_informer(&checks, "nodes", reflector.pulse(), Arc::new(clock.clone()));
        let begun = clock.now();
        while clock.now() <= begun + DEAD {
            if let Step::Wait(delay) = reflector.step(&stop) {
                clock.advance(delay);
                assert_eq!(checks.stuck(), None);
            }
        }
        assert_eq!(checks.healthz().status, 500, "but it is said");
        clock.advance(STUCK + Duration::from_secs(1));
        let stuck = checks.stuck().expect("its thread has stopped");
        assert!(stuck.starts_with("reflector-nodes: "), "{stuck}");
    }

    #[test]
    fn a_watch_is_dead_after_ten_minutes_without_an_answer() {
        let heard = Instant::now();
        for (minutes, alive) in [(0, true), (6, true), (10, true), (11, false)] {
            let now = heard + Duration::from_secs(60 * minutes);
            assert_eq!(is_alive(heard, now).is_ok(), alive, "{minutes} min");
        }
    }

    #[test]
    fn a_worker_is_stuck_after_ten_minutes_at_one_object() {
        for (longest, well) in [(None, true), (Some(600), true), (Some(601), false)] {
            let checks = Arc::new(Checks::new());
            check_worker(&checks, "service-lb-controller", move || {
                longest.map(Duration::from_secs)
            });
            let Answer { status, body, .. } = checks.healthz();
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(status == 200, well, "{longest:?}: {body}");
            assert!(
                well || body.contains("[-]service-lb-controller failed: reason withheld"),
                "{body}"
            );
        }
    }

    #[test]
    fn verbosity_is_a_whole_number() {
        for text in ["", "x", "-1", "1.5", "99999999999"] {
            assert!(set_verbosity(text).is_err(), "{text}");
        }
        assert_eq!(set_verbosity(" 0\n"), Ok(()));
    }
}
