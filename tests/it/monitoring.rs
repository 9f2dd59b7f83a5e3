//! `deploy/monitoring`: every series that the dashboard and the alert rules name is on a live scrape, with the labels that they match.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider_inspur::sim::faults::{Effect, Rule};
use serde_json::Value;

use crate::endpoint::{Endpoint, bearer};
use crate::support::World;
use crate::support::fixtures::{SERVICES, service};

const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
const RULES: &str = include_str!("../../deploy/monitoring/rules.yaml");

/// What Prometheus itself adds to each scrape.
const BY_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// Only shown with a client certificate, which this daemon has none of. That it is shown then is tested in `manager::rotation`.
const WITH_A_CERTIFICATE: &str = "client_cert_expiry_seconds";

/// Series by name, each with the names of its labels.
type Series = BTreeMap<String, BTreeSet<String>>;

#[test]
fn what_the_dashboard_and_the_rules_name_is_on_a_scrape() {
    let world = World::small_simulated();
    world.cloud_faults().add(Rule::new(Effect::throttle(0)));
    let endpoint = Endpoint::start(&world, &["--leader-elect=true"]);
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world
        .api
        .create(SERVICES, &service("lost").slb("slb-9").port(81, 30081).json());
    let admin = bearer(world.api.admin_token());
    world.until("all is counted", &endpoint.daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    let shown = scraped(&endpoint.get("/metrics", &["-H", &admin]).body);
    let mut missing = Vec::new();
    for (name, labels) in expressions().iter().flat_map(|text| named(text)) {
        let own = ["up", "ALERTS", WITH_A_CERTIFICATE].contains(&name.as_str()) || name.contains(':');
        match shown.get(&name) {
            None if !own => missing.push(name),
            Some(there) => missing.extend(
                labels
                    .into_iter()
                    .filter(|label| !there.contains(label) && !BY_PROMETHEUS.contains(&label.as_str()))
                    .map(|label| format!("{name}{{{label}}}")),
            ),
            None => {}
        }
    }
    assert!(missing.is_empty(), "{missing:?} are not on the scrape");
}

#[test]
fn each_alert_is_in_the_guides_and_names_a_page_that_exists() {
    let alerts: Vec<&str> = RULES
        .lines()
        .filter_map(|line| line.strip_prefix("  - alert: "))
        .collect();
    for guide in [
        include_str!("../../docs/guides/monitoring.md"),
        include_str!("../../docs/zh/guides/monitoring.md"),
    ] {
        let rows = guide.lines().filter_map(|line| line.strip_prefix("| `InspurCCM"));
        let rows: Vec<String> = rows
            .map(|row| format!("InspurCCM{}", row.split('`').next().unwrap_or_default()))
            .collect();
        assert_eq!(rows, alerts);
    }
    let pages: Vec<&str> = RULES
        .lines()
        .filter_map(|line| line.strip_prefix("      docs: "))
        .collect();
    assert_eq!(pages.len(), alerts.len());
    for page in pages {
        let (file, anchor) = page.split_once('#').unwrap_or((page, ""));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let mut anchors = headings.map(|heading| heading.to_lowercase().replace(' ', "-").replace(',', ""));
        assert!(
            anchor.is_empty() || anchors.any(|known| known == anchor),
            "{page}"
        );
    }
}

#[test]
fn panels_have_ids_of_their_own_and_say_what_they_show() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().expect("an id"))
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let told = [
            &panel["title"],
            &panel["description"],
            &panel["fieldConfig"]["defaults"]["unit"],
        ];
        assert!(
            told.iter()
                .all(|text| text.as_str().is_some_and(|text| !text.is_empty())),
            "{panel}"
        );
    }
}

#[test]
fn names_and_labels_are_read_from_an_expression() {
    let found =
        named("sum by (job, le) (rate(a_bucket{x=~\"y{z}\", w!=\"1\"}[5m])) / b > 2 and on (job) absent(c)");
    let want: [(&str, &[&str]); 3] = [("a_bucket", &["x", "w"]), ("b", &[]), ("c", &[])];
    let want: Vec<(String, Vec<String>)> = want
        .iter()
        .map(|(name, labels)| {
            (
                (*name).to_owned(),
                labels.iter().map(|label| (*label).to_owned()).collect(),
            )
        })
        .collect();
    assert_eq!(found, want);
}

/// The PromQL of both files.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut all: Vec<String> = targets
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect();
    let mut lines = RULES.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_prefix("    expr: ") else {
            continue;
        };
        let mut expression = text.trim_start_matches('|').to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with("      ")) {
            expression += more;
        }
        all.push(expression);
    }
    assert!(all.len() > 40, "{all:?}");
    all
}

/// The series of an expression, and the labels that it matches.
fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let (words, lists) = (["and", "or", "unless"], ["by", "without", "on", "ignoring"]);
    let (mut found, mut rest): (Vec<(String, Vec<String>)>, &str) = (Vec::new(), expression);
    while let Some(first) = rest.chars().next() {
        let end = |rest: &str| {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(rest.len())
        };
        if first == '[' {
            rest = &rest[rest.find(']').expect("a range ends") + 1..];
        } else if first == '{' {
            let (labels, after) = matchers(&rest[1..]);
            found.last_mut().expect("matchers follow a name").1 = labels;
            rest = after;
        } else if first.is_alphanumeric() || first == '_' {
            let (word, after) = rest.split_at(end(rest));
            let next = after.trim_start();
            if lists.contains(&word) {
                rest = &after[after.find(')').expect("a list of labels ends") + 1..];
                continue;
            }
            let is_function =
                next.starts_with('(') || ["by ", "without "].iter().any(|list| next.starts_with(list));
            if !first.is_numeric() && !is_function && !words.contains(&word) {
                found.push((word.to_owned(), Vec::new()));
            }
            rest = after;
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// The names before `=`, `!=`, `=~` or `!~`, and what follows the closing brace.
fn matchers(text: &str) -> (Vec<String>, &str) {
    let (mut labels, mut rest) = (Vec::new(), text);
    while !rest.starts_with('}') {
        let (label, after) = rest.split_at(rest.find(['=', '!']).expect("a matcher"));
        labels.push(label.trim_matches([',', ' ']).to_owned());
        let value = &after[after.find('"').expect("a quoted value") + 1..];
        rest = &value[value.find('"').expect("its end") + 1..];
    }
    (labels, &rest[1..])
}

/// What a scrape shows.
fn scraped(text: &str) -> Series {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let labels = line[name.len()..].strip_prefix('{').map(|text| matchers(text).0);
        series
            .entry(name.to_owned())
            .or_default()
            .extend(labels.unwrap_or_default());
    }
    series
}
