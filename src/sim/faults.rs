//! The script of faults that every simulator obeys: which call, what goes wrong, how often.
//!
//! [`Script`] is pure: it counts calls and names the effect. What an effect does to a connection is
//! [`super::server`]'s business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::watched::Watched;

/// One kind of trouble.
///
/// In JSON a name in kebab case, or an object with that name as its only key: `"hang-up"`, `{"delay": "200ms"}`,
/// `{"answer": {"status": 429, "headers": {"Retry-After": "1"}}}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Drops the call, every connection and the listening socket for that long: new connections are refused.
    Refuse(#[serde(deserialize_with = "duration")] Duration),
    /// Acts as usual, but that much later.
    Delay(#[serde(deserialize_with = "duration")] Duration),
    /// Answers this instead of acting.
    Answer(Canned),
    /// Answers 200 with a web page instead of acting, as a proxy's login form would.
    Html,
    /// Closes the connection without acting.
    HangUp,
    /// Acts, then closes the connection without an answer.
    ActAndHangUp,
    /// Neither acts nor answers.
    Hang,
    /// Acts and never answers.
    ActAndHang,
    /// Acts, answers with half of the body and closes the connection.
    Truncate,
    /// Acts, answers with the right status and no body.
    Empty,
    /// Acts, answers with the right status and a body that is no JSON.
    Malformed,
    /// Waits at the gate, then acts.
    PauseBefore(#[serde(skip)] Gate),
    /// Acts, then waits at the gate before it answers.
    PauseAfter(#[serde(skip)] Gate),
}

impl Effect {
    /// Answers `status` with the error body that INSPUR's API and Kubernetes clients both can show.
    pub fn status(status: u16) -> Self {
        Self::Answer(Canned {
            status,
            ..Canned::default()
        })
    }

    /// Answers 429 and asks to come back after `seconds`.
    pub fn throttle(seconds: u32) -> Self {
        Self::Answer(Canned {
            status: 429,
            headers: BTreeMap::from([("Retry-After".to_owned(), seconds.to_string())]),
            body: None,
        })
    }

    /// For the log of requests: its name as JSON spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Delay(_) => "delay",
            Self::Answer(_) => "answer",
            Self::Html => "html",
            Self::HangUp => "hang-up",
            Self::ActAndHangUp => "act-and-hang-up",
            Self::Hang => "hang",
            Self::ActAndHang => "act-and-hang",
            Self::Truncate => "truncate",
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::PauseBefore(_) => "pause-before",
            Self::PauseAfter(_) => "pause-after",
        }
    }
}

/// An answer written in advance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canned {
    /// The status code.
    pub status: u16,
    /// Beside the length.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `None` for `{"code": "<status>", "message": "scripted fault"}` as JSON.
    #[serde(default)]
    pub body: Option<String>,
}

/// Which calls an effect is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `None` for any.
    #[serde(default)]
    pub method: Option<String>,
    /// Found anywhere in the path and query as they came; with a `*` (any text, slashes too) it must fit all of it.
    #[serde(default)]
    pub path: String,
    /// The first of the calls that fit which is hit, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls in a row are hit; `None` (`null`) for all from there on.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// What happens to them.
    pub effect: Effect,
}

fn one() -> u64 {
    1
}

fn once() -> Option<u64> {
    Some(1)
}

impl Rule {
    /// Hits the first call of any kind, once.
    pub fn new(effect: Effect) -> Self {
        Self {
            method: None,
            path: String::new(),
            nth: 1,
            times: Some(1),
            effect,
        }
    }

    /// Hits the first call with `method` whose path and query fit `path`, once.
    pub fn on(method: &str, path: &str, effect: Effect) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            ..Self::new(effect)
        }
    }

    /// Starts with the n-th call that fits, from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Hits so many calls in a row.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Hits every call from there on.
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    fn fits(&self, method: &str, target: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && if self.path.contains('*') {
                fits_pattern(&self.path, target)
            } else {
                target.contains(&self.path)
            }
    }

    fn hits(&self, count: u64) -> bool {
        count >= self.nth && self.times.is_none_or(|times| count - self.nth < times)
    }
}

/// Whether the whole of `text` fits `pattern`, in which `*` stands for any text.
fn fits_pattern(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| fits_pattern(rest, &tail[at..]))
        }),
    }
}

/// The rules in force, and how many calls each has seen.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<(Rule, u64)>,
    latency: Duration,
}

impl Script {
    /// Counts the call at every rule it fits, and names the effect of the first one that hits it.
    pub fn decide(&mut self, method: &str, target: &str) -> Option<Effect> {
        let mut effect = None;
        for (rule, seen) in self
            .rules
            .iter_mut()
            .filter(|(rule, _)| rule.fits(method, target))
        {
            *seen += 1;
            if effect.is_none() && rule.hits(*seen) {
                effect = Some(rule.effect.clone());
            }
        }
        effect
    }
}

/// A simulator's script, shared by those who write it and those who obey. Clones are the same script.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Watched<Script>>);

impl Faults {
    /// Adds a rule behind those in force; it starts counting now.
    pub fn add(&self, rule: Rule) {
        self.0.update(|script| script.rules.push((rule, 0)));
    }

    /// Adds a rule that pauses, and returns its gate.
    pub fn pause(&self, moment: Moment, method: &str, path: &str, nth: u64) -> Gate {
        let gate = Gate::default();
        let effect = match moment {
            Moment::BeforeActing => Effect::PauseBefore(gate.clone()),
            Moment::AfterActing => Effect::PauseAfter(gate.clone()),
        };
        self.add(Rule::on(method, path, effect).nth(nth));
        gate
    }

    /// Adds the rules of a JSON array, or of one object.
    ///
    /// # Errors
    /// What is wrong with the text; nothing was added.
    pub fn add_json(&self, text: &[u8]) -> Result<usize, String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Rules {
            Many(Vec<serde_json::Value>),
            One(serde_json::Value),
        }
        let rules = match serde_json::from_slice(text).map_err(|error| error.to_string())? {
            Rules::Many(rules) => rules,
            Rules::One(rule) => vec![rule],
        };
        let rules: Vec<Rule> = rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| {
                serde_json::from_value(rule).map_err(|error| format!("rule {index}: {error}"))
            })
            .collect::<Result<_, _>>()?;
        let count = rules.len();
        self.0
            .update(|script| script.rules.extend(rules.into_iter().map(|rule| (rule, 0))));
        Ok(count)
    }

    /// Takes all rules away and lets every paused call go on. The latency stays.
    pub fn clear(&self) {
        for (rule, _) in self.0.update(|script| std::mem::take(&mut script.rules)) {
            if let Effect::PauseBefore(gate) | Effect::PauseAfter(gate) = rule.effect {
                gate.release(Release::Proceed);
            }
        }
    }

    /// Makes every call take that long before it acts.
    pub fn set_latency(&self, latency: Duration) {
        self.0.update(|script| script.latency = latency);
    }

    /// How long every call takes before it acts.
    pub fn latency(&self) -> Duration {
        self.0.read(|script| script.latency)
    }

    /// See [`Script::decide`].
    pub fn decide(&self, method: &str, target: &str) -> Option<Effect> {
        self.0.update(|script| script.decide(method, target))
    }

    /// Lets every paused call go without an answer, for a simulator that shuts down.
    pub(super) fn hang_up_paused(&self) {
        self.0.read(|script| {
            for (rule, _) in &script.rules {
                if let Effect::PauseBefore(gate) | Effect::PauseAfter(gate) = &rule.effect {
                    gate.release(Release::HangUp);
                }
            }
        });
    }

    /// The rules in force with what they have seen, for people.
    pub fn describe(&self) -> Vec<String> {
        self.0.read(|script| {
            script
                .rules
                .iter()
                .map(|(rule, seen)| {
                    let (method, times) = (rule.method.as_deref().unwrap_or("*"), rule.times);
                    let times = times.map_or("forever".to_owned(), |times| format!("{times} times"));
                    let (path, nth, effect) = (&rule.path, rule.nth, rule.effect.name());
                    format!("{method} {path} from call {nth} on, {times}: {effect} (seen {seen})")
                })
                .collect()
        })
    }
}

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has been done yet.
    BeforeActing,
    /// All is done but the answer.
    AfterActing,
}

/// Where a call waits until a test lets it go: the place to kill a daemon between two calls. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<Watched<GateState>>);

#[derive(Default)]
struct GateState {
    reached: Option<String>,
    release: Option<Release>,
}

/// How a call leaves a [`Gate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// It goes on as if nothing had been.
    Proceed,
    /// The connection is closed: a call held before acting never acts.
    HangUp,
}

impl Gate {
    /// Waits until a call is held here; method and path of it. `None` when none came within `timeout`.
    pub fn wait_reached(&self, timeout: Duration) -> Option<String> {
        self.0.wait_until(timeout, |state| state.reached.clone())
    }

    /// Lets the held call go, and every later one at once. The first release counts.
    pub fn release(&self, how: Release) {
        self.0.update(|state| {
            state.release.get_or_insert(how);
        });
    }

    /// Holds `call` until it is released.
    pub(super) fn pass(&self, call: &str) -> Release {
        self.0.update(|state| state.reached = Some(call.to_owned()));
        self.0
            .wait_until(Duration::MAX, |state| state.release)
            .expect("a wait without a deadline ends with what it waits for")
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rules: Vec<Rule>, calls: &[(&str, &str)]) -> Vec<&'static str> {
        let faults = Faults::default();
        rules.into_iter().for_each(|rule| faults.add(rule));
        calls
            .iter()
            .map(|(method, target)| faults.decide(method, target).map_or("-", |effect| effect.name()))
            .collect()
    }

    #[test]
    fn a_rule_hits_its_calls_and_no_other() {
        let gets = [("GET", "/a"), ("GET", "/a"), ("GET", "/a"), ("GET", "/a")];
        for (case, rule, calls, want) in [
            (
                "the first, once",
                Rule::new(Effect::HangUp),
                &gets[..],
                vec!["hang-up", "-", "-", "-"],
            ),
            (
                "the second and third",
                Rule::new(Effect::Hang).nth(2).times(2),
                &gets[..],
                vec!["-", "hang", "hang", "-"],
            ),
            (
                "from the third on",
                Rule::new(Effect::Html).nth(3).forever(),
                &gets[..],
                vec!["-", "-", "html", "html"],
            ),
            (
                "another method is not counted",
                Rule::on("POST", "/a", Effect::Empty).nth(2),
                &[("POST", "/a"), ("GET", "/a"), ("POST", "/b"), ("POST", "/x/a?b")],
                vec!["-", "-", "-", "empty"],
            ),
            (
                "a pattern fits the whole path",
                Rule::on("GET", "/slbs/*/listeners", Effect::Empty).forever(),
                &[
                    ("GET", "/slbs/a/listeners"),
                    ("GET", "/slbs/a/b/listeners"),
                    ("GET", "/slbs/a/listeners/1"),
                    ("GET", "/x/slbs/a/listeners"),
                ],
                vec!["empty", "empty", "-", "-"],
            ),
        ] {
            assert_eq!(names(vec![rule], calls), want, "{case}");
        }
    }

    #[test]
    fn the_first_rule_that_hits_wins_and_all_count() {
        let rules = vec![Rule::new(Effect::HangUp), Rule::new(Effect::Hang).nth(2)];
        assert_eq!(
            names(rules, &[("GET", "/"), ("GET", "/"), ("GET", "/")]),
            ["hang-up", "hang", "-"]
        );
    }

    #[test]
    fn rules_are_read_from_json() {
        let faults = Faults::default();
        let added = faults.add_json(
            br#"[
                {"method": "POST", "path": "/listeners/", "nth": 2, "times": null, "effect": "act-and-hang-up"},
                {"path": "/a", "effect": {"delay": "200ms"}},
                {"path": "/b", "effect": {"answer": {"status": 429, "headers": {"Retry-After": "1"}}}},
                {"path": "/c", "effect": "pause-before"}
            ]"#,
        );
        assert_eq!(added, Ok(4));
        assert!(faults.decide("POST", "/listeners/").is_none());
        assert!(matches!(
            faults.decide("POST", "/listeners/"),
            Some(Effect::ActAndHangUp)
        ));
        assert!(matches!(faults.decide("GET", "/a"), Some(Effect::Delay(d)) if d.as_millis() == 200));
        assert!(
            matches!(faults.decide("GET", "/b"), Some(Effect::Answer(canned)) if canned.headers["Retry-After"] == "1")
        );
        assert!(matches!(faults.decide("GET", "/c"), Some(Effect::PauseBefore(_))));
        faults.clear();
        assert!(faults.decide("POST", "/listeners/").is_none());
    }

    #[test]
    fn a_wrong_rule_is_named_and_nothing_is_added() {
        let faults = Faults::default();
        for (case, text, want) in [
            ("no JSON", "{", "EOF"),
            (
                "unknown effect",
                r#"[{"effect": "html"}, {"effect": "explode"}]"#,
                "rule 1",
            ),
            ("unknown field", r#"{"effect": "html", "paht": "/"}"#, "paht"),
            ("no duration", r#"{"effect": {"delay": "soon"}}"#, "soon"),
        ] {
            let error = faults.add_json(text.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{case}: {error}");
        }
        assert_eq!(faults.describe(), Vec::<String>::new());
    }

    #[test]
    fn a_gate_holds_a_call_until_it_is_released() {
        let gate = Gate::default();
        assert_eq!(gate.wait_reached(Duration::ZERO), None);
        std::thread::scope(|scope| {
            let call = scope.spawn(|| gate.pass("GET /a"));
            assert_eq!(
                gate.wait_reached(Duration::from_secs(60)).as_deref(),
                Some("GET /a")
            );
            gate.release(Release::HangUp);
            assert_eq!(call.join().unwrap(), Release::HangUp);
        });
        assert_eq!(
            gate.pass("GET /b"),
            Release::HangUp,
            "a released gate stands open"
        );
    }
}
