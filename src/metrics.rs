//! Counters, gauges and histograms, and the text in which Prometheus reads them.
//!
//! There is one [`Metrics`] to a process, made by the manager and handed down; each module registers its own when it is built, and
//! keeps the handles. Label values come from fixed sets: no object's name is one, and no error's text.

pub mod build;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use prometheus::{HistogramOpts, Opts, TextEncoder};

pub use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec,
};

/// The `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label value where a status code would be, of a request that got no answer. Source: client-go, rest/request.go.
pub const NO_CODE: &str = "<error>";

type Refresh = Box<dyn Fn() + Send + Sync>;
type Names = &'static [&'static str];

/// Everything that is measured. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    families: Mutex<BTreeMap<&'static str, Registered>>,
    refresh: Mutex<Vec<Refresh>>,
}

struct Registered {
    family: Family,
    handle: Box<dyn Handle>,
}

/// What was registered, whatever its type.
trait Handle: Send {
    fn as_any(&self) -> &dyn Any;
    fn collect(&self) -> Vec<MetricFamily>;
}

impl<C: Collector + 'static> Handle for C {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Collector::collect(self)
    }
}

/// What each line would carry its family's help as: every combination of labels keeps a copy.
const NO_HELP: &str = "-";

/// What is said of a family of metrics before anything is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it tells, for people.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: Names,
}

/// What a family of metrics is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Tells how values are spread.
    Histogram,
}

impl Kind {
    /// As Prometheus spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Each of these registers what it returns. Asked again for the same family, it returns the same: several queues share one.
///
/// # Panics
/// All of them, when the name is taken by another family, or when name, labels or buckets are none: they are constants.
impl Metrics {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A count of events. Its name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> IntCounter {
        let family = Family::new(name, help, Kind::Counter, &[]);
        self.register(family, || IntCounter::new(name, NO_HELP))
    }

    /// Counts of events by label. Its name ends in `_total`.
    pub fn counters(&self, name: &'static str, help: &'static str, labels: Names) -> IntCounterVec {
        let family = Family::new(name, help, Kind::Counter, labels);
        self.register(family, || IntCounterVec::new(Opts::new(name, NO_HELP), labels))
    }

    /// A sum that only grows, such as seconds. Its name ends in `_total`.
    pub fn float_counter(&self, name: &'static str, help: &'static str) -> Counter {
        let family = Family::new(name, help, Kind::Counter, &[]);
        self.register(family, || Counter::new(name, NO_HELP))
    }

    /// Sums by label. Its name ends in `_total`.
    pub fn float_counters(&self, name: &'static str, help: &'static str, labels: Names) -> CounterVec {
        let family = Family::new(name, help, Kind::Counter, labels);
        self.register(family, || CounterVec::new(Opts::new(name, NO_HELP), labels))
    }

    /// A whole number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> IntGauge {
        let family = Family::new(name, help, Kind::Gauge, &[]);
        self.register(family, || IntGauge::new(name, NO_HELP))
    }

    /// Whole numbers by label.
    pub fn gauges(&self, name: &'static str, help: &'static str, labels: Names) -> IntGaugeVec {
        let family = Family::new(name, help, Kind::Gauge, labels);
        self.register(family, || IntGaugeVec::new(Opts::new(name, NO_HELP), labels))
    }

    /// A number that goes up and down, such as seconds.
    pub fn float_gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        let family = Family::new(name, help, Kind::Gauge, &[]);
        self.register(family, || Gauge::new(name, NO_HELP))
    }

    /// Numbers by label.
    pub fn float_gauges(&self, name: &'static str, help: &'static str, labels: Names) -> GaugeVec {
        let family = Family::new(name, help, Kind::Gauge, labels);
        self.register(family, || GaugeVec::new(Opts::new(name, NO_HELP), labels))
    }

    /// How measured values are spread over `buckets`, given by their upper ends.
    pub fn histogram(&self, name: &'static str, help: &'static str, buckets: &[f64]) -> Histogram {
        let family = Family::new(name, help, Kind::Histogram, &[]);
        let options = HistogramOpts::new(name, NO_HELP).buckets(buckets.to_vec());
        self.register(family, || Histogram::with_opts(options))
    }

    /// The same by label.
    pub fn histograms(
        &self,
        name: &'static str,
        help: &'static str,
        labels: Names,
        buckets: &[f64],
    ) -> HistogramVec {
        let family = Family::new(name, help, Kind::Histogram, labels);
        let options = HistogramOpts::new(name, NO_HELP).buckets(buckets.to_vec());
        self.register(family, || HistogramVec::new(options, labels))
    }

    /// Runs `refresh` before each scrape, for what is read rather than counted. It must be quick and must not wait.
    pub fn on_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        lock(&self.0.refresh).push(Box::new(refresh));
    }

    /// What a scrape is answered with.
    pub fn text(&self) -> String {
        for refresh in &*lock(&self.0.refresh) {
            refresh();
        }
        let mut text = String::new();
        // one at a time: all together would take as much memory for a moment as all counts do for ever
        for registered in lock(&self.0.families).values() {
            registered.write(&mut text);
        }
        text
    }

    /// All that was registered, by name; also what [`Metrics::text`] leaves out because nothing was counted yet.
    pub fn families(&self) -> Vec<Family> {
        lock(&self.0.families)
            .values()
            .map(|known| known.family)
            .collect()
    }

    fn register<C>(&self, family: Family, make: impl FnOnce() -> prometheus::Result<C>) -> C
    where
        C: Collector + Clone + 'static,
    {
        let mut families = lock(&self.0.families);
        if let Some(known) = families.get(family.name) {
            assert_eq!(known.family, family, "one name is one family");
            let handle = known.handle.as_any().downcast_ref::<C>();
            return handle.expect("one family holds one type of numbers").clone();
        }
        let metric = make().expect("names, labels and buckets of metrics are constants that are valid");
        let handle = Box::new(metric.clone());
        families.insert(family.name, Registered { family, handle });
        metric
    }
}

impl Registered {
    /// Appends its lines, in the order of their labels' values; nothing when nothing was counted yet.
    fn write(&self, text: &mut String) {
        let values = |metric: &Metric| -> Vec<String> {
            let labels = metric.get_label().iter();
            labels.map(LabelPair::value).map(str::to_owned).collect()
        };
        for mut found in self.handle.collect() {
            if found.get_metric().is_empty() {
                continue;
            }
            found.set_help(self.family.help.to_owned());
            found.mut_metric().sort_by_cached_key(values);
            TextEncoder::new()
                .encode_utf8(&[found], text)
                .expect("a family with a name and a line can be written");
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Family {
    fn new(name: &'static str, help: &'static str, kind: Kind, labels: Names) -> Self {
        Self {
            name,
            help,
            kind,
            labels,
        }
    }
}

/// Brings a counter up to what was counted elsewhere; for [`Metrics::on_scrape`], and for one counter and source each.
pub fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// What these locks guard is whole between any two calls, even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of a scrape that begin so, for tests.
#[cfg(test)]
pub(crate) fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    let text = metrics.text();
    text.lines()
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect()
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

    #[test]
    fn who_registers_a_family_again_shares_it() {
        let metrics = Metrics::new();
        for name in ["a", "b", "a"] {
            let depth = metrics.gauges("depth", "Depth.", &["name"]);
            depth.with_label_values(&[name]).inc();
        }
        let counted = lines(&metrics, "depth");
        assert_eq!(counted, ["depth{name=\"a\"} 2", "depth{name=\"b\"} 1"]);
        assert_eq!(metrics.families().len(), 1);
    }

    #[test]
    #[should_panic(expected = "one name is one family")]
    fn a_name_is_not_two_families() {
        let metrics = Metrics::new();
        metrics.counter("calls_total", "Calls.");
        metrics.counters("calls_total", "Calls.", &["code"]);
    }

    #[test]
    fn a_family_is_known_before_anything_is_counted() {
        let metrics = Metrics::new();
        metrics.histograms("wait_seconds", "Waits.", &["name"], &[1.0]);
        assert_eq!(metrics.text(), "");
        let want = Family::new("wait_seconds", "Waits.", Kind::Histogram, &["name"]);
        assert_eq!(metrics.families(), [want]);
    }

    #[test]
    fn a_counter_is_raised_and_never_lowered() {
        let counter = Metrics::new().counter("calls_total", "Calls.");
        for (to, want) in [(3, 3), (5, 5), (4, 5)] {
            raise(&counter, to);
            assert_eq!(counter.get(), want);
        }
    }
}
