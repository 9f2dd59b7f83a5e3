use std::time::UNIX_EPOCH;

use super::*;
use crate::http::Transport;
use crate::inspur::api::Credentials;
use crate::inspur::testing::{Reply, Script, eager};
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::Gate;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;
use crate::runtime::stop::StopToken;

const BASE: &str = "https://ecs.example/ecs/v1/instances";

fn ecs(script: &Arc<Script>) -> Ecs {
    let clock = Arc::new(ManualClock::new(UNIX_EPOCH));
    let exchanges = || {
        let transport = Arc::clone(script) as Arc<dyn Transport>;
        Exchanges::new(transport, clock.clone(), StopToken::never(), eager())
    };
    let credentials = Credentials::Static(SecretSource::Value(Secret::new("t0")));
    Ecs::new(
        BASE,
        Arc::new(Tokens::new(credentials, exchanges())),
        exchanges(),
        Gate::open(),
    )
}

fn ids(machines: &[Machine]) -> Vec<&str> {
    machines.iter().map(|machine| &*machine.id).collect()
}

/// A page with the instances `i-<n>`.
fn page(numbers: std::ops::Range<usize>) -> Reply {
    let all: Vec<_> = numbers.map(|n| format!(r#"{{"instanceId":"i-{n}"}}"#)).collect();
    Reply::json(200, &format!("[{}]", all.join(",")))
}

fn paths(script: &Script) -> Vec<String> {
    let requests = script.requests();
    let path = |url: &str| url.strip_prefix(BASE).unwrap().to_string();
    requests.iter().map(|request| path(&request.url)).collect()
}

#[test]
fn each_question_is_asked_as_the_api_has_it() {
    type Do = fn(&Ecs) -> Result<Vec<Machine>, Error>;
    let cases: [(&str, Do, &str); 5] = [
        (
            "by id",
            |ecs| ecs.describe(&["i-1", "i 2"]),
            "?instanceIds=%5B%22i-1%22%2C%22i%202%22%5D&pageNo=1&pageSize=100",
        ),
        ("by name", |ecs| ecs.named("n 1"), "?instanceName=n%201"),
        (
            "by address",
            |ecs| ecs.at("10.0.0.1".parse().unwrap()),
            "?privateIp=10.0.0.1",
        ),
        (
            "by IPv6 address",
            |ecs| ecs.at("fd00::1".parse().unwrap()),
            "?privateIp=fd00%3A%3A1",
        ),
        ("all", |ecs| ecs.list(), "?pageNo=1&pageSize=100"),
    ];
    for (case, ask, path) in cases {
        let script = Script::new([Reply::json(200, "[]")]);
        assert_eq!(ask(&ecs(&script)).unwrap(), [], "{case}");
        assert_eq!(paths(&script), [path], "{case}");
        assert_eq!(
            script.requests()[0].header("Authorization"),
            Some("Bearer t0"),
            "{case}"
        );
    }
}

#[test]
fn only_an_authorised_answer_of_the_api_can_lack_an_instance() {
    let there = r#"[{"instanceId":"i-1"}]"#;
    for (case, status, body, want) in [
        ("one of two", 200, there, Some(1)),
        ("none", 200, "[]", Some(0)),
        ("null", 200, "null", Some(0)),
        (
            "what was not asked for",
            200,
            r#"[{"instanceId":"i-1"},{"instanceId":"i-9"}]"#,
            None,
        ),
        ("empty", 200, "", None),
        ("HTML", 200, "<html></html>", None),
        ("truncated", 200, r#"[{"instanceId":"i-1"},{"inst"#, None),
        ("an error in a 200", 200, r#"{"code":"500","message":"x"}"#, None),
        ("one without an id", 200, r#"[{"instanceId":"i-1"},{}]"#, None),
        ("401", 401, "[]", None),
        ("403", 403, "[]", None),
        ("404", 404, r#"{"code":"404"}"#, None),
        ("404 in HTML", 404, "<html></html>", None),
        ("429", 429, "[]", None),
        ("500", 500, "[]", None),
        ("503", 503, "", None),
    ] {
        let script = Script::always(|| Reply::json(status, body));
        let found = ecs(&script).describe(&["i-1", "i-2"]);
        assert_eq!(found.ok().map(|found| found.len()), want, "{case}");
    }
    let cut = Script::always(|| Reply::CutShort(there.into()));
    assert!(ecs(&cut).describe(&["i-1", "i-2"]).is_err());
    assert!(ecs(&Script::always(Reply::lost)).describe(&["i-1"]).is_err());
}

#[test]
fn a_404_about_one_id_is_an_answer_about_it() {
    for (case, body, ok) in [
        (
            "in the API's words",
            r#"{"code":"404","message":"no such instance"}"#,
            true,
        ),
        ("from something in between", "<html>nginx</html>", false),
    ] {
        let script = Script::always(|| Reply::json(404, body));
        assert_eq!(
            ecs(&script)
                .describe(&["i-1"])
                .is_ok_and(|found| found.is_empty()),
            ok,
            "{case}"
        );
    }
}

#[test]
fn a_page_with_more_than_was_asked_for_is_not_understood() {
    let script = Script::always(|| page(0..101));
    assert!(matches!(ecs(&script).list(), Err(Error::Unintelligible { .. })));
    assert!(matches!(
        ecs(&script).named("n1"),
        Err(Error::Unintelligible { .. })
    ));
    let full = Script::always(|| page(0..100));
    for found in [ecs(&full).list(), ecs(&full).named("n1")] {
        assert!(
            matches!(found, Err(Error::Unintelligible { .. })),
            "the same page again and again says that there is more: {found:?}"
        );
    }
}

#[test]
fn pages_are_read_until_nothing_new_can_come() {
    for (case, replies, want, calls) in [
        ("a short page", vec![page(0..100), page(100..137)], 137, 2),
        ("an empty page", vec![page(0..100), page(0..0)], 100, 2),
        (
            "404 after the last",
            vec![page(0..100), Reply::json(404, "{}")],
            100,
            2,
        ),
        (
            "the same page again, and no sign of more",
            vec![page(0..50), page(0..50)],
            50,
            2,
        ),
        ("pages that overlap", vec![page(0..100), page(99..150)], 150, 2),
        (
            "a limit lower than ours",
            vec![page(0..50), page(50..100), page(100..120), page(0..0)],
            120,
            4,
        ),
    ] {
        let script = Script::new(replies);
        let found = ecs(&script).list().unwrap();
        assert_eq!((found.len(), script.requests().len()), (want, calls), "{case}");
    }
    let script = Script::new([page(0..100), Reply::json(403, "{}")]);
    assert!(ecs(&script).list().is_err(), "half a list is none");
}

#[test]
fn a_search_that_finds_much_is_paged() {
    let last = r#"[{"instanceId":"i-x","instanceName":"n1"}]"#;
    let script = Script::new([page(0..100), Reply::json(200, last)]);
    assert_eq!(ids(&ecs(&script).named("n1").unwrap()), ["i-x"]);
    let want = ["?instanceName=n1", "?instanceName=n1&pageNo=2&pageSize=100"];
    assert_eq!(paths(&script), want);
}

#[test]
fn what_the_cloud_finds_too_much_by_name_or_address_is_left_out() {
    let body = r#"[{"instanceId":"i-1","instanceName":"n1","privateIps":["10.0.0.1"]},
        {"instanceId":"i-10","instanceName":"n10","privateIps":["10.0.0.10"],"ipv6s":["fd00:0::1"]}]"#;
    let script = Script::always(|| Reply::json(200, body));
    let ecs = ecs(&script);
    assert_eq!(ids(&ecs.named("n1").unwrap()), ["i-1"]);
    assert_eq!(ids(&ecs.at("10.0.0.1".parse().unwrap()).unwrap()), ["i-1"]);
    assert_eq!(ids(&ecs.at("fd00::1".parse().unwrap()).unwrap()), ["i-10"]);
}

#[test]
fn an_error_names_a_question_in_a_few_words() {
    let script = Script::always(|| Reply::json(500, "{}"));
    let error = ecs(&script).describe(&["i-1", "i-2", "i-3"]).unwrap_err();
    let want = "the cloud fails at GET ?instanceIds=[i-1 and 2 more]&pageNo=1&pageSize=100 with 500: no reason given";
    assert_eq!(error.to_string(), want);
}
