//! Rotation: everything on disk that may change while the program runs is looked at every half minute, and at once when somebody asks.
//!
//! One thread does all the looking, with one wake-up for everything. What is looked at knows by itself what is new and whether it can be
//! used; what came of it is counted here.

mod cloud_config;
mod expiry;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

pub use self::cloud_config::{Effects, LiveCloudConfig};
use self::expiry::Expiry;
use crate::http::agent::Agent;
use crate::k8s::Connector;
use crate::k8s::connect::Reloads;
use crate::metrics::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Metrics};
use crate::runtime::clock::Clock;
use crate::runtime::reload::Reloaded;
use crate::runtime::service_manager::{News, ServiceManager};
use crate::runtime::stop::StopToken;

/// Looks at files, and counts what came of it. Everything to look at is named before it runs.
pub struct Rotation {
    clock: Arc<dyn Clock>,
    counts: Counts,
    looks: Vec<Look>,
    service_manager: Arc<ServiceManager>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

type Look = Box<dyn Fn() + Send + Sync>;

/// Makes a [`Rotation`] look now.
#[derive(Clone)]
pub struct Waker(Sender<()>);

impl Waker {
    /// Also ends a wait that has not begun yet. Several calls may make for one look.
    pub fn wake(&self) {
        // one that waits to be heard is enough
        let _ = self.0.try_send(());
    }
}

impl Rotation {
    /// Nothing to look at yet.
    pub fn new(metrics: &Metrics, clock: Arc<dyn Clock>) -> Self {
        let (wake, woken) = bounded(1);
        Self {
            clock,
            counts: Counts::new(metrics),
            looks: Vec::new(),
            service_manager: Arc::new(ServiceManager::none()),
            wake,
            woken,
        }
    }

    /// Tells it when it looks because somebody asks.
    pub fn tell(&mut self, service_manager: Arc<ServiceManager>) {
        self.service_manager = service_manager;
    }

    /// Looks at `what` too, one of a fixed set of names, by calling `look`, which must not wait for anybody and logs what it refuses.
    pub fn watch(&mut self, what: &'static str, look: impl Fn() -> Reloaded + Send + Sync + 'static) {
        let reporter = self.reporter(what);
        self.looks.push(Box::new(move || reporter.report(look())));
    }

    /// Looks at the kubeconfig, and at the certificates and the token with which the API server is reached.
    pub fn watch_cluster(&mut self, connector: Arc<Connector>) {
        let (kubeconfig, certificates) = (self.reporter("kubeconfig"), self.reporter("cluster_certificates"));
        let token = TokenReporter::new(&self.counts.tokens);
        let expiry = Expiry::new(self.counts.expiry.clone(), Arc::clone(&self.clock));
        expiry.look(connector.certificate_expiry());
        self.looks.push(Box::new(move || {
            let reloads = connector.reload();
            kubeconfig.report(reloads.kubeconfig);
            certificates.report(reloads.certificates);
            token.report(reloads.token);
            expiry.look(connector.certificate_expiry());
        }));
    }

    /// Looks at a kubeconfig and the certificates that it names, by calling `look`, where tokens and dates are nobody's business.
    pub fn watch_reviews(
        &mut self,
        [kubeconfig, certificates]: [&'static str; 2],
        look: impl Fn() -> Reloads + Send + Sync + 'static,
    ) {
        let (kubeconfig, certificates) = (self.reporter(kubeconfig), self.reporter(certificates));
        self.looks.push(Box::new(move || {
            let reloads = look();
            kubeconfig.report(reloads.kubeconfig);
            certificates.report(reloads.certificates);
        }));
    }

    /// Looks at the cloud config, and at the file of authorities that it names.
    pub fn watch_cloud(&mut self, agent: Arc<Agent>, config: Arc<LiveCloudConfig>) {
        self.watch("cloud_config", move || config.reload());
        self.watch("cloud_certificates", move || agent.reload());
    }

    /// For whoever is told that something changed: the signal thread, at SIGHUP.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// The life of the thread `rotation`: looks every half minute, and when woken.
    pub fn run(&self, stop: &StopToken) {
        let waker = self.waker();
        let _hook = stop.on_stop(move || waker.wake());
        while !stop.is_set() {
            let asked = self.woken.recv_timeout(PERIOD).is_ok();
            if stop.is_set() {
                return;
            }
            if asked {
                self.service_manager.tell(News::Reloading);
            }
            self.look();
            if asked {
                self.service_manager.tell(News::Ready);
            }
        }
    }

    /// Looks at everything once.
    pub fn look(&self) {
        self.looks.iter().for_each(|look| look());
    }

    fn reporter(&self, what: &'static str) -> Reporter {
        Reporter::new(what, &self.counts, Arc::clone(&self.clock))
    }
}

/// What is measured.
struct Counts {
    reloads: IntCounterVec,
    successful: IntGaugeVec,
    succeeded_at: GaugeVec,
    tokens: IntCounterVec,
    expiry: GaugeVec,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        Self {
            reloads: metrics.counters(
                "config_reloads_total",
                "New versions of configuration and certificate files, by what became of them.",
                &["what", "result"],
            ),
            successful: metrics.gauges(
                "config_last_reload_successful",
                "Whether what is on disk is what is in use.",
                &["what"],
            ),
            succeeded_at: metrics.float_gauges(
                "config_last_reload_success_timestamp_seconds",
                "When what is in use was read, in seconds since 1970.",
                &["what"],
            ),
            tokens: metrics.counters(
                "token_reload_total",
                "New versions of the service account's token file, by what became of them.",
                &["result"],
            ),
            expiry: metrics.float_gauges(
                "client_cert_expiry_seconds",
                "When the client certificate for the API server ends, in seconds since 1970.",
                &[],
            ),
        }
    }
}

/// Counts what becomes of one thing.
struct Reporter {
    changed: IntCounter,
    refused: IntCounter,
    needs_restart: IntCounter,
    successful: crate::metrics::IntGauge,
    succeeded_at: crate::metrics::Gauge,
    clock: Arc<dyn Clock>,
}

impl Reporter {
    /// It was read just now, by whoever made what is looked at.
    fn new(what: &'static str, counts: &Counts, clock: Arc<dyn Clock>) -> Self {
        let count = |result| counts.reloads.with_label_values(&[what, result]);
        let reporter = Self {
            changed: count(SUCCESS),
            refused: count(FAILURE),
            needs_restart: count(RESTART_NEEDED),
            successful: counts.successful.with_label_values(&[what]),
            succeeded_at: counts.succeeded_at.with_label_values(&[what]),
            clock,
        };
        reporter.succeed();
        reporter
    }

    fn report(&self, outcome: Reloaded) {
        match outcome {
            Reloaded::Unchanged => {}
            Reloaded::Changed => {
                self.changed.inc();
                self.succeed();
            }
            Reloaded::Refused => {
                self.refused.inc();
                self.successful.set(0);
            }
            Reloaded::NeedsRestart => {
                self.needs_restart.inc();
                self.successful.set(0);
            }
        }
    }

    fn succeed(&self) {
        self.successful.set(1);
        self.succeeded_at.set(seconds(self.clock.wall()));
    }
}

/// Counts what becomes of the token file.
struct TokenReporter {
    changed: IntCounter,
    refused: IntCounter,
}

impl TokenReporter {
    fn new(tokens: &IntCounterVec) -> Self {
        Self {
            changed: tokens.with_label_values(&[SUCCESS]),
            refused: tokens.with_label_values(&[FAILURE]),
        }
    }

    fn report(&self, outcome: Reloaded) {
        match outcome {
            Reloaded::Changed => self.changed.inc(),
            Reloaded::Refused => self.refused.inc(),
            Reloaded::Unchanged | Reloaded::NeedsRestart => {}
        }
    }
}

/// Since 1970.
fn seconds(date: SystemTime) -> f64 {
    date.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// Half of the minute within which a change counts.
const PERIOD: Duration = Duration::from_secs(30);
const SUCCESS: &str = "success";
const FAILURE: &str = "failure";
const RESTART_NEEDED: &str = "restart_needed";

#[cfg(test)]
mod tests;
