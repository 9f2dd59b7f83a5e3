//! Counters, gauges and histograms, and the text in which Prometheus reads them.
//!
//! There is one [`Metrics`] to a process, made by the manager and handed down; each module registers its own when it is built, and
//! keeps the handles. Label values come from fixed sets: no object's name is one, and no error's text.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, Registry, TextEncoder};

pub use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

/// The `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Refresh = Box<dyn Fn() + Send + Sync>;

/// Everything that is measured. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    registry: Registry,
    refresh: Mutex<Vec<Refresh>>,
}

impl Metrics {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A count of events. Its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    /// Counts of events by label. Its name ends in `_total`.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    /// Whole numbers by label.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A number that goes up and down, such as seconds.
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    /// Numbers by label.
    pub fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// How measured values are spread over `buckets`, given by their upper ends.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// The same by label.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    /// Runs `refresh` before each scrape, for what is read rather than counted. It must be quick and must not wait.
    pub fn on_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let mut all = self.0.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(refresh));
    }

    /// What a scrape is answered with.
    pub fn text(&self) -> String {
        for refresh in &*self.0.refresh.lock().unwrap_or_else(PoisonError::into_inner) {
            refresh();
        }
        let mut text = String::new();
        let families = self.0.registry.gather();
        TextEncoder::new()
            .encode_utf8(&families, &mut text)
            .expect("a registry gathers only families that can be written");
        text
    }

    fn register<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("names, labels and buckets of metrics are constants that are valid");
        self.0
            .registry
            .register(Box::new(metric.clone()))
            .expect("each metric is registered once");
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_what_was_counted_and_what_is_read() {
        let metrics = Metrics::new();
        let calls = metrics.counters("calls_total", "Calls.", &["code"]);
        calls.with_label_values(&["200"]).inc_by(3);
        let age = metrics.float_gauge("age_seconds", "Age.");
        metrics.on_scrape(move || age.set(1.5));
        let text = metrics.text();
        for want in [
            "# HELP calls_total Calls.",
            "# TYPE calls_total counter",
            "calls_total{code=\"200\"} 3",
            "age_seconds 1.5",
        ] {
            assert!(text.lines().any(|line| line == want), "{want}: {text}");
        }
    }
}
