//! The client over a transport that gives prepared answers.

use std::io::Read;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::http::testing::Scripted;
use crate::k8s::types::{Node, Service};
use crate::k8s::{PatchType, Review};
use crate::metrics::{Metrics, lines};
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::{Gate, Moment};
use crate::runtime::secret::Secret;
use crate::runtime::stop::Stop;

type Answer = Result<Response, http::Error>;

fn json_answer(status: u16, body: &str) -> Answer {
    let headers = vec![("Content-Type".into(), "application/json".into())];
    Ok(Response::from_bytes(status, headers, body.into()))
}

fn later(status: u16) -> Answer {
    let headers = vec![("Retry-After".into(), "0".into())];
    Ok(Response::from_bytes(status, headers, b"later".to_vec()))
}

fn broken() -> Answer {
    Err(http::Error::NoAnswer {
        peer: "x:1".into(),
        source: std::io::ErrorKind::ConnectionReset.into(),
    })
}

fn client(answers: Vec<Answer>) -> (Client, Arc<Scripted>) {
    let transport = Scripted::new(answers);
    (
        Client::new("https://x:1/prefix/", transport.clone(), StopToken::never()),
        transport,
    )
}

const NODE: &str = r#"{"kind":"Node","metadata":{"name":"n-1"}}"#;

#[test]
fn requests_say_who_asks_for_what() {
    let transport = Scripted::new((0..4).map(|_| json_answer(200, NODE)).collect());
    let client = Client::with_options(ClientOptions {
        gate: Gate::open(),
        base: "https://x:1/prefix/".into(),
        transport: transport.clone(),
        auth: Arc::new(Auth::token("x", &Secret::new("t")).unwrap()),
        bucket: None,
        component: "node-controller".into(),
        stop: StopToken::never(),
        clock: Arc::new(SystemClock),
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::default(),
    });
    for call in [
        Call::get("/api/v1/nodes/n-1"),
        Call::patch("/api/v1/nodes/n-1", PatchType::Merge, &json!({})),
        Call::replace("/api/v1/nodes/n-1?x=1", &json!({})),
        Call::delete("/api/v1/nodes/n-1", "u-1"),
    ] {
        client.send::<Value>(&call).unwrap();
    }
    let requests = transport.requests();
    let urls: Vec<&str> = requests
        .iter()
        .map(|r| r.url.strip_prefix("https://x:1/prefix").unwrap())
        .collect();
    let want = [
        "/api/v1/nodes/n-1",
        "/api/v1/nodes/n-1?fieldManager=inspur-cloud-controller-manager",
        "/api/v1/nodes/n-1?x=1&fieldManager=inspur-cloud-controller-manager",
        "/api/v1/nodes/n-1",
    ];
    assert_eq!(urls, want);
    let header = |request: &Request, name: &str| {
        request
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap()
    };
    assert_eq!(header(&requests[0], "Authorization"), "Bearer t");
    assert_eq!(header(&requests[0], "Accept"), "application/json");
    let agent = header(&requests[0], "User-Agent");
    assert!(
        agent.starts_with("inspur-cloud-controller-manager/") && agent.ends_with("/node-controller"),
        "{agent}"
    );
    assert_eq!(
        header(&requests[1], "Content-Type"),
        "application/merge-patch+json"
    );
    let options: Value = serde_json::from_slice(requests[3].body.as_ref().unwrap()).unwrap();
    assert_eq!(options["preconditions"]["uid"], "u-1");
}

#[test]
fn what_is_no_object_is_never_taken_for_one() {
    let typed = |content_type: &str, body: &str| {
        Ok(Response::from_bytes(
            200,
            vec![("content-type".into(), content_type.into())],
            body.into(),
        ))
    };
    for (case, answer) in [
        ("HTML", typed("text/html; charset=utf-8", "<html>")),
        ("JSON that calls itself HTML", typed("text/html", NODE)),
        ("empty", json_answer(200, "")),
        (
            "blank",
            json_answer(
                200, " 
",
            ),
        ),
        ("no kind", json_answer(200, "{}")),
        ("null", json_answer(200, "null")),
        ("cut", json_answer(200, r#"{"kind":"Node","metadata":{"na"#)),
        (
            "a failure",
            json_answer(200, r#"{"kind":"Status","status":"Failure","message":"x"}"#),
        ),
        (
            "a success",
            json_answer(200, r#"{"kind":"Status","status":"Success"}"#),
        ),
        (
            "another kind",
            json_answer(200, r#"{"kind":"Table","metadata":{}}"#),
        ),
    ] {
        let error = client(vec![answer]).0.object::<Node>("", "n-1").unwrap_err();
        assert!(matches!(error, Error::Unintelligible { .. }), "{case}: {error:?}");
        assert!(!error.proves_absence(), "{case}");
    }
    assert_eq!(
        &*client(vec![json_answer(200, NODE)])
            .0
            .object::<Node>("", "n-1")
            .unwrap()
            .meta
            .name,
        "n-1"
    );
    let done = r#"{"kind":"Status","status":"Success","details":{}}"#;
    let deleted = client(vec![json_answer(200, done)]).0;
    deleted
        .send::<Value>(&Call::delete("/api/v1/nodes/n-1", "u"))
        .unwrap();
}

#[test]
fn a_read_is_repeated_and_a_creation_is_not() {
    let (reader, transport) = client(vec![broken(), later(503), json_answer(200, NODE)]);
    reader.object::<Node>("", "n-1").unwrap();
    assert_eq!(transport.requests().len(), 3);
    let (writer, transport) = client(vec![broken()]);
    let error = writer
        .send::<Value>(&Call::create("/api/v1/namespaces/a/events", &json!({})))
        .unwrap_err();
    assert!(error.may_have_happened(), "{error:?}");
    assert_eq!(transport.requests().len(), 1);
}

#[test]
fn a_body_cut_short_is_no_answer() {
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let cut = || {
        Ok(Response {
            status: 200,
            headers: vec![],
            body: Box::new(Cut),
        })
    };
    let (reader, _) = client(vec![cut(), json_answer(200, NODE)]);
    reader.object::<Node>("", "n-1").unwrap();
    let (writer, _) = client(vec![cut()]);
    let error = writer
        .send::<Value>(&Call::create("/api/v1/nodes", &json!({})))
        .unwrap_err();
    assert!(
        matches!(error, Error::NoAnswer { .. }) && error.may_have_happened(),
        "{error:?}"
    );
}

#[test]
fn attempts_end_with_the_budget_and_are_counted() {
    let (busy, transport) = client((0..20).map(|_| later(429)).collect());
    let error = busy.object::<Node>("", "n-1").unwrap_err();
    assert_eq!(transport.requests().len(), 10);
    assert!(error.to_string().contains("(10 attempts)"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::ZERO));
    assert!(!error.may_have_happened());
    let (busy, transport) = client((0..20).map(|_| later(429)).collect());
    let call = Call::get("/api/v1/nodes/n-1").budget(Duration::from_millis(50));
    busy.send::<Value>(&call).unwrap_err();
    let requests = transport.requests();
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].limits.head <= Duration::from_millis(50),
        "an attempt fits into the budget"
    );
}

fn with_auth(transport: &Arc<Scripted>, auth: Auth) -> Client {
    Client::with_options(ClientOptions {
        gate: Gate::open(),
        base: "https://x:1".into(),
        transport: transport.clone(),
        auth: Arc::new(auth),
        bucket: None,
        component: String::new(),
        stop: StopToken::never(),
        clock: Arc::new(SystemClock),
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::default(),
    })
}

#[test]
fn a_401_makes_one_more_attempt_with_another_credential() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    for (case, next, want) in [
        ("another token", "two", vec!["Bearer one", "Bearer two"]),
        ("the same token", "one", vec!["Bearer one"]),
    ] {
        for (mode, open) in [
            ("call", Client::open as fn(&_, &_) -> _),
            ("watch", Client::open_watch),
        ] {
            std::fs::write(&path, "one").unwrap();
            let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
            let auth = Auth::token_file(&path, None, clock).unwrap();
            std::fs::write(&path, next).unwrap();
            let transport = Scripted::new((0..3).map(|_| json_answer(401, "")).collect());
            let error = open(&with_auth(&transport, auth), &Call::get("/api/v1/nodes")).unwrap_err();
            assert!(
                matches!(error, Error::Unauthorized { .. }),
                "{case}, {mode}: {error:?}"
            );
            let sent: Vec<String> = transport
                .requests()
                .iter()
                .map(|r| r.headers[2].1.clone())
                .collect();
            assert_eq!(sent, want, "{case}, {mode}");
        }
    }
}

#[test]
fn a_token_sent_back_does_not_reach_the_error() {
    let echo = b"Authorization: Bearer s3cret".to_vec();
    let transport = Scripted::new(vec![Ok(Response::from_bytes(400, vec![], echo))]);
    let client = with_auth(&transport, Auth::token("x", &Secret::new("s3cret")).unwrap());
    let error = client.object::<Node>("", "n-1").unwrap_err();
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn a_watch_is_tried_once_and_takes_no_token_of_the_limit() {
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let transport = Scripted::new(vec![json_answer(200, NODE), later(503), later(503)]);
    let stop = Stop::new();
    let client = Client::with_options(ClientOptions {
        gate: Gate::open(),
        base: "https://x:1".into(),
        transport: transport.clone(),
        auth: Arc::new(Auth::nobody()),
        bucket: Some(Arc::new(TokenBucket::new(0.001, 1, clock.clone()))),
        component: String::new(),
        stop: stop.token(),
        clock,
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::default(),
    });
    client.open(&Call::get("/api/v1/nodes")).unwrap();
    for _ in 0..2 {
        let error = client
            .open_watch(&Call::get("/api/v1/nodes?watch=1"))
            .unwrap_err();
        assert!(
            matches!(error, Error::Unavailable { status: 503, .. }),
            "{error:?}"
        );
    }
    stop.stop();
    let error = client.open(&Call::get("/api/v1/nodes")).unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
    assert_eq!(transport.requests().len(), 3);
}

#[test]
fn an_empty_name_reaches_no_collection() {
    let (client, transport) = client(vec![]);
    assert!(matches!(
        client.object::<Service>("a", ""),
        Err(Error::Invalid { .. })
    ));
    assert!(transport.requests().is_empty());
}

#[test]
fn who_retries_himself_gets_the_first_failure() {
    for open in [Client::open_once, Client::open_watch] {
        for answer in [later(429), later(503), broken()] {
            let (client, transport) = client(vec![answer, json_answer(200, NODE)]);
            open(&client, &Call::get("/api/v1/nodes")).unwrap_err();
            assert_eq!(transport.requests().len(), 1);
        }
    }
}

#[test]
fn while_the_gate_is_shut_only_reads_reviews_and_the_lease_are_sent() {
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let (gate, keeper) = Gate::shut(clock.clone());
    let transport = Scripted::new((0..4).map(|_| json_answer(200, NODE)).collect());
    let client = Client::with_options(ClientOptions {
        gate,
        base: "https://x:1".into(),
        transport: transport.clone(),
        auth: Arc::new(Auth::nobody()),
        bucket: None,
        component: String::new(),
        stop: StopToken::never(),
        clock: clock.clone(),
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::default(),
    });
    let change = Call::patch("/api/v1/nodes/n-1", PatchType::Merge, &json!({}));
    for (case, call, sent) in [
        ("a read", Call::get("/api/v1/nodes/n-1"), true),
        ("a change", change.clone(), false),
        ("a deletion", Call::delete("/api/v1/nodes/n-1", "u-1"), false),
        ("a creation", Call::create("/api/v1/events", &json!({})), false),
        (
            "a replacement",
            Call::replace("/api/v1/nodes/n-1", &json!({})),
            false,
        ),
        ("a review", Call::review(Review::Token, &json!({})), true),
        ("the lease", Call::replace("/apis/x", &json!({})).of_lease(), true),
    ] {
        match client.send::<Value>(&call) {
            Ok(_) => assert!(sent, "{case}"),
            Err(error) => assert!(
                !sent && matches!(error, Error::NotLeading { .. }),
                "{case}: {error}"
            ),
        }
    }
    assert_eq!(transport.requests().len(), 3);
    keeper.open_since(Moment::of(&*clock), Duration::from_secs(1));
    client.send::<Value>(&change).unwrap();
}

/// What is shown of requests, but for buckets and durations.
fn shown(metrics: &Metrics) -> Vec<String> {
    let lines = lines(metrics, "rest_client_").into_iter();
    lines
        .filter(|line| !line.contains("_bucket") && !line.contains("_seconds_sum"))
        .map(|line| line.replace("host=\"x:1\",", "").replace(",host=\"x:1\"", ""))
        .collect()
}

#[test]
fn each_attempt_is_measured_and_what_never_left_is_not() {
    let never_left = || Err(http::Error::NotPermitted);
    let transport = Scripted::new(vec![broken(), later(503), json_answer(200, NODE), never_left()]);
    let (metrics, clock) = (Metrics::new(), ManualClock::new(SystemTime::UNIX_EPOCH));
    let client = Client::with_options(ClientOptions {
        gate: Gate::open(),
        base: "https://x:1/prefix".into(),
        transport: transport.clone(),
        auth: Arc::new(Auth::nobody()),
        bucket: Some(Arc::new(TokenBucket::new(0.0, 1, Arc::new(clock)))),
        component: String::new(),
        stop: StopToken::never(),
        clock: Arc::new(SystemClock),
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::new(&metrics),
    });
    client.object::<Node>("", "n-1").unwrap();
    let change = Call::patch("/api/v1/nodes/n-1", PatchType::Merge, &json!({}));
    client.send::<Value>(&change).unwrap_err();
    assert_eq!(
        shown(&metrics),
        [
            r#"rest_client_rate_limiter_duration_seconds_count{verb="GET"} 3"#,
            r#"rest_client_rate_limiter_duration_seconds_count{verb="PATCH"} 1"#,
            r#"rest_client_request_duration_seconds_count{verb="GET"} 3"#,
            r#"rest_client_request_duration_seconds_count{verb="PATCH"} 1"#,
            r#"rest_client_request_retries_total{code="503",verb="GET"} 1"#,
            r#"rest_client_request_retries_total{code="<error>",verb="GET"} 1"#,
            r#"rest_client_requests_total{code="200",method="GET"} 1"#,
            r#"rest_client_requests_total{code="503",method="GET"} 1"#,
            r#"rest_client_requests_total{code="<error>",method="GET"} 1"#,
            &format!(
                r#"rest_client_response_size_bytes_sum{{verb="GET"}} {}"#,
                NODE.len() + "later".len()
            ),
            r#"rest_client_response_size_bytes_count{verb="GET"} 2"#,
        ]
    );
}

#[test]
fn a_watch_is_counted_and_its_length_is_nobodys_latency() {
    let transport = Scripted::new(vec![json_answer(200, ""), json_answer(201, NODE)]);
    let metrics = Metrics::new();
    let client = Client::with_options(ClientOptions {
        gate: Gate::open(),
        base: "https://x:1".into(),
        transport,
        auth: Arc::new(Auth::nobody()),
        bucket: None,
        component: String::new(),
        stop: StopToken::never(),
        clock: Arc::new(SystemClock),
        random: Arc::new(Random::from_seed(1)),
        metrics: ClientMetrics::new(&metrics),
    });
    client.open_watch(&Call::get("/api/v1/nodes?watch=1")).unwrap();
    assert_eq!(
        shown(&metrics),
        [r#"rest_client_requests_total{code="200",method="GET"} 1"#]
    );
    client
        .send::<Value>(&Call::create("/api/v1/nodes", &json!({})))
        .unwrap();
    let sizes = lines(&metrics, "rest_client_request_size_bytes_sum");
    assert_eq!(
        sizes,
        [r#"rest_client_request_size_bytes_sum{host="x:1",verb="POST"} 2"#]
    );
}
