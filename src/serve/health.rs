//! What is wrong with the process, if anything: named checks, and the pages that tell of them.
//!
//! A check says whether something makes progress that would not make it again by itself. It reads what is there and waits for nothing. The cloud
//! being away, or a Service that fails, is no reason to restart the process and is not checked.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use log::{info, warn};

use super::exchange::Answer;
use super::query::Query;
use crate::metrics::{IntCounterVec, IntGaugeVec, Metrics};

/// Finds something wrong, and says what.
type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks, in the order in which they were added. More may come while they are asked.
pub struct Checks {
    all: RwLock<Vec<Arc<Check>>>,
    /// What `/metrics/slis` shows.
    slis: Metrics,
    last: IntGaugeVec,
    counts: IntCounterVec,
}

/// What a failed check says of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It should be restarted: shown by `/healthz`, `/livez` and `/readyz`, and heeded by [`Checks::stuck`].
    Live,
    /// It hears nothing: shown by the same pages. Whoever does not answer may be away, so this is not being stuck.
    Answered,
    /// It does nothing, whoever answers: for [`Checks::stuck`] alone.
    Moving,
    /// It is not ready for work yet: shown by `/readyz` alone.
    Ready,
}

/// A page that sums checks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summary {
    Healthz,
    Livez,
    Readyz,
}

struct Check {
    name: Cow<'static, str>,
    kind: Kind,
    probe: Probe,
    /// What was wrong when it was last asked, without digits: "for 12 s" and "for 13 s" is the same failure.
    wrong: Mutex<Option<String>>,
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

impl Checks {
    /// None yet. As long as there are none, `ping` stands for them, which never fails.
    pub fn new() -> Self {
        let slis = Metrics::new();
        Self {
            all: RwLock::default(),
            last: slis.gauges(
                "kubernetes_healthcheck",
                "[STABLE] This metric records the result of a single healthcheck.",
                &["name", "type"],
            ),
            counts: slis.counters(
                "kubernetes_healthchecks_total",
                "[STABLE] This metric records the results of all healthcheck.",
                &["name", "type", "status"],
            ),
            slis,
        }
    }

    /// Adds a check; one of the same name gives way to it. `probe` must be quick, take no lock that is held for long, and say what
    /// is wrong in words that may be logged.
    pub fn add(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: Kind,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let check = Arc::new(Check {
            name: name.into(),
            kind,
            probe: Box::new(probe),
            wrong: Mutex::default(),
        });
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|other| other.name == check.name) {
            Some(other) => *other = check,
            None => all.push(check),
        }
    }

    /// What `/metrics/slis` shows: results of the summaries, as of when they were last asked for. The start time of the process belongs there, too.
    pub fn slis(&self) -> &Metrics {
        &self.slis
    }

    /// Why the process makes no progress, whatever goes on around it: for the service manager's watchdog.
    pub fn stuck(&self) -> Option<String> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut of_itself = all
            .iter()
            .filter(|check| matches!(check.kind, Kind::Live | Kind::Moving));
        of_itself.find_map(|check| Some(format!("{}: {}", check.name, check.ask().err()?)))
    }

    /// `/healthz`, for tests of what the checks look at.
    #[cfg(test)]
    pub(crate) fn healthz(&self) -> Answer {
        self.summary(Summary::Healthz, "")
    }

    /// The page with all checks. Source: ccm-behaviour.md 2.10; kubernetes/apiserver, pkg/server/healthz/healthz.go.
    pub(super) fn summary(&self, summary: Summary, query: &str) -> Answer {
        let query = Query::parse(query);
        let name = summary.name();
        let (mut lines, mut failed) = (String::new(), false);
        let mut excluded = query.all("exclude");
        for check in self.of(summary) {
            let found = excluded.len();
            excluded.retain(|excluded| *excluded != check.name);
            let line = if excluded.len() < found {
                format!("[+]{} excluded: ok", check.name)
            } else if self.ask(&check, name).is_ok() {
                format!("[+]{} ok", check.name)
            } else {
                failed = true;
                // who may ask is decided by path, and this one is for everybody
                format!("[-]{} failed: reason withheld", check.name)
            };
            lines.push_str(&line);
            lines.push('\n');
        }
        excluded.sort_unstable();
        excluded.dedup();
        if !excluded.is_empty() {
            let quoted = Vec::from_iter(excluded.iter().map(|name| format!("{name:?}"))).join(",");
            let _ = writeln!(
                lines,
                "warn: some health checks cannot be excluded: no matches for {quoted}"
            );
        }
        match (failed, query.has("verbose")) {
            (true, _) => Answer::text(500, format!("{lines}{name} check failed\n")),
            (false, true) => Answer::text(200, format!("{lines}{name} check passed\n")),
            (false, false) => Answer::text(200, "ok"),
        }
    }

    /// The page of one check, which gives the reason; `None` where there is no such check.
    pub(super) fn single(&self, summary: Summary, name: &str) -> Option<Answer> {
        let check = self.of(summary).into_iter().find(|check| check.name == name)?;
        Some(match check.ask() {
            Ok(()) => Answer::text(200, "ok"),
            Err(reason) => Answer::text(500, format!("internal server error: {reason}\n")),
        })
    }

    fn of(&self, summary: Summary) -> Vec<Arc<Check>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let shown = |check: &&Arc<Check>| match check.kind {
            Kind::Live | Kind::Answered => true,
            Kind::Ready => summary == Summary::Readyz,
            Kind::Moving => false,
        };
        let checks: Vec<_> = all.iter().filter(shown).cloned().collect();
        if checks.is_empty() { vec![ping()] } else { checks }
    }

    fn ask(&self, check: &Check, summary: &str) -> Result<(), String> {
        let result = check.ask();
        let status = if result.is_ok() { "success" } else { "error" };
        self.last
            .with_label_values(&[&*check.name, summary])
            .set(result.is_ok().into());
        self.counts
            .with_label_values(&[&*check.name, summary, status])
            .inc();
        result
    }
}

impl Check {
    /// Asks it, and logs when the answer is another than last time.
    fn ask(&self) -> Result<(), String> {
        let result = (self.probe)();
        let (check, kind) = (
            &*self.name,
            result.as_ref().err().map(|reason| without_digits(reason)),
        );
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if *wrong == kind {
            return result;
        }
        match (&result, self.kind) {
            (Err(reason), Kind::Live | Kind::Answered | Kind::Moving) => {
                warn!(check, reason = reason.as_str(); "a health check fails")
            }
            // nothing is wrong yet: this is how a process starts
            (Err(reason), Kind::Ready) => info!(check, reason = reason.as_str(); "not ready yet"),
            (Ok(()), _) => info!(check; "a health check passes again"),
        }
        *wrong = kind;
        result
    }
}

impl Summary {
    /// As in its path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

fn ping() -> Arc<Check> {
    Arc::new(Check {
        name: Cow::Borrowed("ping"),
        kind: Kind::Live,
        probe: Box::new(|| Ok(())),
        wrong: Mutex::default(),
    })
}

fn without_digits(reason: &str) -> String {
    reason.replace(|c: char| c.is_ascii_digit(), "")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn shown(answer: &Answer) -> (u16, &str) {
        (answer.status, std::str::from_utf8(&answer.body).unwrap())
    }

    fn checks(all: &[(&'static str, Kind, Result<(), &'static str>)]) -> Checks {
        let checks = Checks::new();
        for &(name, kind, result) in all {
            checks.add(name, kind, move || result.map_err(str::to_owned));
        }
        checks
    }

    #[test]
    fn a_summary_says_what_upstream_says() {
        let good = [("a", Kind::Live, Ok(())), ("b", Kind::Live, Ok(()))];
        let bad = [("a", Kind::Live, Ok(())), ("b", Kind::Live, Err("secret"))];
        let waiting = [("a", Kind::Live, Ok(())), ("s", Kind::Ready, Err("unsynced"))];
        use Summary::{Healthz, Livez, Readyz};
        for (case, all, summary, query, want) in [
            ("good", &good[..], Healthz, "", (200, "ok")),
            (
                "in full",
                &good,
                Healthz,
                "verbose",
                (200, "[+]a ok\n[+]b ok\nhealthz check passed\n"),
            ),
            (
                "of any value",
                &good,
                Livez,
                "verbose=0",
                (200, "[+]a ok\n[+]b ok\nlivez check passed\n"),
            ),
            (
                "none",
                &[],
                Readyz,
                "verbose=1",
                (200, "[+]ping ok\nreadyz check passed\n"),
            ),
            (
                "bad",
                &bad,
                Healthz,
                "",
                (
                    500,
                    "[+]a ok\n[-]b failed: reason withheld\nhealthz check failed\n",
                ),
            ),
            ("the bad one left out", &bad, Healthz, "exclude=b", (200, "ok")),
            (
                "left out in full",
                &bad,
                Livez,
                "exclude=b&verbose&exclude=a",
                (200, "[+]a excluded: ok\n[+]b excluded: ok\nlivez check passed\n"),
            ),
            (
                "nobody to leave out",
                &good,
                Healthz,
                "verbose&exclude=y%22&exclude=x+x&exclude=y%22",
                (
                    200,
                    "[+]a ok\n[+]b ok\nwarn: some health checks cannot be excluded: no matches for \"x x\",\"y\\\"\"\nhealthz check passed\n",
                ),
            ),
            ("not ready is healthy", &waiting, Healthz, "", (200, "ok")),
            (
                "not ready",
                &waiting,
                Readyz,
                "",
                (
                    500,
                    "[+]a ok\n[-]s failed: reason withheld\nreadyz check failed\n",
                ),
            ),
        ] {
            let answer = checks(all).summary(summary, query);
            assert_eq!(shown(&answer), want, "{case}");
            assert_eq!(answer.content_type, "text/plain; charset=utf-8", "{case}");
        }
    }

    #[test]
    fn a_single_check_gives_its_reason() {
        let all = [
            ("a", Kind::Live, Ok(())),
            ("b", Kind::Live, Err("no lease for 40 s")),
            ("s", Kind::Ready, Ok(())),
        ];
        let checks = checks(&all);
        for (summary, name, want) in [
            (Summary::Healthz, "a", Some((200, "ok"))),
            (
                Summary::Livez,
                "b",
                Some((500, "internal server error: no lease for 40 s\n")),
            ),
            (Summary::Healthz, "s", None),
            (Summary::Readyz, "s", Some((200, "ok"))),
            (Summary::Healthz, "ping", None),
            (Summary::Healthz, "", None),
        ] {
            let answer = checks.single(summary, name);
            assert_eq!(answer.as_ref().map(shown), want, "{summary:?} {name}");
        }
        assert!(Checks::new().single(Summary::Healthz, "ping").is_some());
    }

    #[test]
    fn a_check_of_the_same_name_takes_the_place_of_the_old() {
        let checks = checks(&[("a", Kind::Live, Err("old")), ("b", Kind::Live, Ok(()))]);
        checks.add("a".to_owned(), Kind::Live, || Ok(()));
        let answer = checks.summary(Summary::Healthz, "verbose");
        assert_eq!(shown(&answer), (200, "[+]a ok\n[+]b ok\nhealthz check passed\n"));
    }

    #[test]
    fn results_are_counted_when_they_are_asked_for() {
        let healthy = Arc::new(AtomicBool::new(true));
        let (checks, read) = (Checks::new(), Arc::clone(&healthy));
        checks.add("a", Kind::Live, move || match read.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("ill".to_owned()),
        });
        assert!(!checks.slis().text().contains("name="), "nobody asked");
        checks.summary(Summary::Healthz, "");
        healthy.store(false, Ordering::SeqCst);
        checks.summary(Summary::Healthz, "exclude=a");
        checks.summary(Summary::Healthz, "");
        checks.summary(Summary::Healthz, "");
        let text = checks.slis().text();
        for want in [
            "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
            "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.",
            r#"kubernetes_healthcheck{name="a",type="healthz"} 0"#,
            r#"kubernetes_healthchecks_total{name="a",status="error",type="healthz"} 2"#,
            r#"kubernetes_healthchecks_total{name="a",status="success",type="healthz"} 1"#,
        ] {
            assert!(text.lines().any(|line| line == want), "{want}: {text}");
        }
    }

    #[test]
    fn a_reason_whose_numbers_change_is_the_same_failure() {
        assert_eq!(
            without_digits("stuck for 12 s"),
            without_digits("stuck for 130 s")
        );
        assert_ne!(
            without_digits("stuck for 12 s"),
            without_digits("stuck at a/b for 12 s")
        );
    }

    #[test]
    fn it_is_stuck_when_a_new_process_would_not_be() {
        use Kind::{Answered, Live, Moving, Ready};
        for (case, all, want) in [
            (
                "all is well",
                [
                    ("a", Live, Ok(())),
                    ("b", Answered, Ok(())),
                    ("c", Moving, Ok(())),
                ],
                None,
            ),
            (
                "a worker",
                [
                    ("a", Live, Err("hangs")),
                    ("b", Answered, Ok(())),
                    ("c", Ready, Ok(())),
                ],
                Some("a: hangs"),
            ),
            (
                "a thread that does nothing",
                [
                    ("a", Live, Ok(())),
                    ("b", Answered, Err("deaf")),
                    ("c", Moving, Err("stands still")),
                ],
                Some("c: stands still"),
            ),
            (
                "one that is not answered, as when rights are missing",
                [
                    ("a", Live, Ok(())),
                    ("b", Answered, Ok(())),
                    ("c", Answered, Err("deaf")),
                ],
                None,
            ),
            (
                "it only starts",
                [
                    ("a", Live, Ok(())),
                    ("b", Answered, Ok(())),
                    ("c", Ready, Err("not listed")),
                ],
                None,
            ),
        ] {
            assert_eq!(checks(&all).stuck().as_deref(), want, "{case}");
        }
    }
}
