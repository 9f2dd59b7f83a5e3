//! The cloud's rules and oddities, on requests written by hand.

use std::time::{Instant, SystemTime};

use serde_json::{Value, json};

use super::*;
use crate::http::percent_encode;

mod ecs;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A cloud with an SLB of the demo's user and one of somebody else, and a clock.
struct Fixture {
    cloud: Cloud,
    start: Instant,
    elapsed: Duration,
}

fn fixture() -> Fixture {
    let cloud = Cloud::new(Options {
        accounts: vec![Account::named("demo"), Account::named("other")],
        ..Options::default()
    });
    cloud.add_slb(Seed::new("slb-1", "10.0.0.1", "127.0.10.1"));
    cloud.add_slb(Seed::new("slb-2", "10.0.0.2", "").owned_by("user-other"));
    Fixture {
        cloud,
        start: Instant::now(),
        elapsed: Duration::ZERO,
    }
}

impl Fixture {
    fn send(&self, request: Incoming) -> (u16, Value) {
        let now = Now {
            monotonic: self.start + self.elapsed,
            wall: SystemTime::UNIX_EPOCH,
        };
        let Answer::Full(Reply { status, body, .. }) = self.cloud.respond(&request, now) else {
            panic!("the cloud streams nothing");
        };
        let value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        (status, value)
    }

    /// A call with all the right headers.
    fn call(&self, method: &str, below: &str, body: Option<Value>) -> (u16, Value) {
        self.send(call(method, below, body))
    }

    fn create(&self, spec: Value) -> String {
        let (status, listener) = self.call("POST", "/slb-1/listeners/", Some(spec));
        assert_eq!(status, 200, "{listener}");
        listener["listenerId"].as_str().unwrap().to_owned()
    }
}

fn call(method: &str, below: &str, body: Option<Value>) -> Incoming {
    let request = Incoming::new(method, &format!("{SLB_PATH}{below}"))
        .with_header("Authorization", "Bearer static-s3cret-demo")
        .with_header("Date", DATE);
    match body {
        Some(body) => request.with_body("application/json", body.to_string()),
        None => request,
    }
}

fn spec(port: u16) -> Value {
    json!({
        "slbId": "slb-1", "listenerName": "web", "protocol": "TCP", "port": port, "forwardRule": "RR",
        "isHealthCheck": "1", "typeHealthCheck": "tcp", "portHealthCheck": 0, "periodHealthCheck": 10,
        "timeoutHealthCheck": 5, "maxHealthCheck": 3, "domainHealthCheck": "", "pathHealthCheck": "/",
    })
}

fn member(ip: &str) -> Value {
    json!({"serverId": "i-1", "serverName": "node-1", "serverIp": ip, "port": 30080, "type": "ECS", "weight": 10})
}

/// `value` with one field changed, or removed.
fn with(mut value: Value, field: &str, new: Option<Value>) -> Value {
    match new {
        Some(new) => value[field] = new,
        None => {
            value.as_object_mut().unwrap().remove(field);
        }
    }
    value
}

const FORM: [(&str, &str); 6] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("client_id", "client-demo"),
    ("client_secret", "client+s3cret/demo&="),
    (
        "request_token_type",
        "urn:ietf:params:oauth:token-type:refresh_token",
    ),
    ("requested_subject", "demo"),
    ("audience", "console"),
];

fn exchange(fields: &[(&str, &str)]) -> Incoming {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name}={}", percent_encode(value)))
        .collect();
    Incoming::new("POST", KEYCLOAK_PATH).with_body("application/x-www-form-urlencoded", pairs.join("&"))
}

#[test]
fn a_token_is_issued_for_the_exact_form_only() {
    let fixture = fixture();
    let (status, answer) = fixture.send(exchange(&FORM));
    assert_eq!(
        (status, answer["expires_in"].as_u64()),
        (200, Some(300)),
        "{answer}"
    );
    let both = [&FORM[..], &[("requested_token_type", FORM[3].1)]].concat();
    assert_eq!(
        fixture.send(exchange(&both)).0,
        200,
        "the field as RFC 8693 spells it may stand beside"
    );
    for (name, _) in FORM {
        let without: Vec<_> = FORM.into_iter().filter(|(n, _)| *n != name).collect();
        assert_eq!(fixture.send(exchange(&without)).0, 400, "without {name}");
        let twice = [&FORM[..], &[(name, "again")]].concat();
        assert_eq!(fixture.send(exchange(&twice)).0, 400, "{name} twice");
        let wrong: Vec<_> = FORM
            .into_iter()
            .map(|(n, value)| (n, if n == name { "wrong" } else { value }))
            .collect();
        let (status, answer) = fixture.send(exchange(&wrong));
        assert!(
            matches!(status, 400 | 401 | 403),
            "wrong {name}: {status} {answer}"
        );
    }
    let plain = Incoming::new("POST", KEYCLOAK_PATH).with_body(
        "application/x-www-form-urlencoded",
        FORM.map(|(name, value)| format!("{name}={value}")).join("&"),
    );
    assert_eq!(
        fixture.send(plain).0,
        401,
        "a secret that is not encoded is another secret"
    );
    let mut json = exchange(&FORM);
    json.headers.clear();
    assert_eq!(fixture.send(json).0, 400, "without Content-Type");
}

#[test]
fn a_login_needs_name_and_password_as_json() {
    let fixture = fixture();
    let login = |body: Value| {
        fixture.send(Incoming::new("POST", IAM_PATH).with_body("application/json", body.to_string()))
    };
    let (status, answer) = login(json!({"username": "demo", "password": "password+s3cret/demo\""}));
    assert_eq!(
        (status, answer["expires_in"].as_u64()),
        (200, Some(5400)),
        "{answer}"
    );
    assert_eq!(login(json!({"username": "demo", "password": "wrong"})).0, 401);
    assert_eq!(login(json!({"username": "demo"})).0, 400);
    assert_eq!(
        login(json!({"username": "demo", "password": "x", "domain": "y"})).0,
        400
    );
}

#[test]
fn a_token_is_good_until_it_expires() {
    let mut fixture = fixture();
    let (_, answer) = fixture.send(exchange(&FORM));
    let header = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let request = Incoming::new("GET", &format!("{SLB_PATH}?slbId=slb-1"))
        .with_header("Authorization", &header)
        .with_header("Date", DATE);
    fixture.elapsed = Duration::from_secs(299);
    assert_eq!(fixture.send(request.clone()).0, 200);
    fixture.elapsed = Duration::from_secs(300);
    assert_eq!(fixture.send(request.clone()).0, 401);
    fixture.elapsed = Duration::ZERO;
    fixture.cloud.expire_tokens();
    assert_eq!(fixture.send(request).0, 401);
    assert_eq!(
        fixture.call("GET", "?slbId=slb-1", None).0,
        200,
        "a static token stays good"
    );
}

#[test]
fn every_call_needs_its_headers() {
    let fixture = fixture();
    for (case, header, value, want) in [
        ("all", "X", "y", 200),
        ("no token", "Authorization", "", 401),
        ("no scheme", "Authorization", "static-s3cret-demo", 401),
        (
            "two schemes",
            "Authorization",
            "Bearer Bearer static-s3cret-demo",
            401,
        ),
        ("unknown token", "Authorization", "Bearer nobody", 401),
        ("no date", "Date", "", 400),
        ("ISO date", "Date", "1994-11-06T08:49:37Z", 400),
        ("no type", "Content-Type", "", 400),
        ("plain text", "Content-Type", "text/plain", 400),
        (
            "with charset",
            "Content-Type",
            "application/json; charset=utf-8",
            200,
        ),
    ] {
        let mut request = call("PUT", "/slb-1", Some(json!({"slbName": "new"})));
        request.headers.retain(|(name, _)| name != header);
        if !value.is_empty() {
            request = request.with_header(header, value);
        }
        let (status, answer) = fixture.send(request);
        assert_eq!(status, want, "{case}: {answer}");
    }
}

#[test]
fn paths_and_verbs_are_exact() {
    let fixture = fixture();
    let id = fixture.create(spec(80));
    for (method, below, want) in [
        ("GET", "?slbId=slb-1".to_owned(), 200),
        ("GET", "".to_owned(), 200),
        ("GET", "?slbID=slb-1".to_owned(), 400),
        ("GET", "/".to_owned(), 404),
        ("GET", "/slb-1".to_owned(), 405),
        ("GET", "/slb-1/listeners".to_owned(), 200),
        ("GET", "/slb-1/listeners/".to_owned(), 404),
        ("GET", "/slb-1/listeners?x=y".to_owned(), 400),
        ("GET", format!("/slb-1/listeners/{id}"), 200),
        ("GET", "/slb-1/listeners/nobody".to_owned(), 404),
        ("PATCH", format!("/slb-1/listeners/{id}"), 405),
        ("GET", format!("/slb-1/listeners/{id}/members"), 200),
        ("GET", format!("/slb-1/listeners/{id}/members/"), 404),
        ("GET", "/slb-9/listeners".to_owned(), 404),
        ("GET", "/slb-2/listeners".to_owned(), 403),
        ("GET", "?slbId=slb-2".to_owned(), 403),
        ("GET", "?slbId=slb-9".to_owned(), 200),
    ] {
        let (status, answer) = fixture.call(method, &below, None);
        assert_eq!(status, want, "{method} {below}: {answer}");
    }
    let (status, _) = fixture.call("POST", "/slb-1/listeners", Some(spec(81)));
    assert_eq!(status, 405, "creating needs the trailing slash");
    let elsewhere = call("GET", "", None);
    let elsewhere = Incoming {
        target: format!("{SLB_PATH}x"),
        ..elsewhere
    };
    assert_eq!(fixture.send(elsewhere).0, 404);
}

#[test]
fn a_listener_is_taken_exactly_as_spelled() {
    let fixture = fixture();
    let http = with(spec(80), "typeHealthCheck", Some(json!("http")));
    let off = [
        "typeHealthCheck",
        "portHealthCheck",
        "periodHealthCheck",
        "pathHealthCheck",
    ]
    .iter()
    .fold(
        with(spec(80), "isHealthCheck", Some(json!("0"))),
        |value, field| with(value, field, None),
    );
    let refused = [
        ("slbId", Some(json!("slb-2"))),
        ("slbId", None),
        ("listenerName", None),
        ("listenerName", Some(json!(""))),
        ("listenerName", Some(json!("x".repeat(65)))),
        ("protocol", Some(json!("tcp"))),
        ("port", Some(json!("80"))),
        ("port", Some(json!(0))),
        ("port", Some(json!(65536))),
        ("port", Some(json!(80.5))),
        ("forwardRule", Some(json!("rr"))),
        ("isHealthCheck", Some(json!(1))),
        ("isHealthCheck", Some(json!(true))),
        ("isHealthCheck", None),
        ("typeHealthCheck", Some(json!("TCP"))),
        ("typeHealthCheck", None),
        ("portHealthCheck", Some(json!("0"))),
        ("periodHealthCheck", Some(json!(0))),
        ("timeoutHealthCheck", None),
        ("maxHealthCheck", Some(Value::Null)),
        ("domainHealthCheck", Some(json!(1))),
        ("sessionPersistence", Some(json!(1))),
        (
            "accessControl",
            Some(json!({"enabled": "1", "cidrs": "10.0.0.0/8"})),
        ),
        ("listenername", Some(json!("web"))),
    ];
    for (field, value) in refused {
        let case = format!("{field} = {value:?}");
        let (status, answer) = fixture.call("POST", "/slb-1/listeners/", Some(with(spec(80), field, value)));
        assert_eq!((status, answer["code"].as_str()), (400, Some("400")), "{case}");
        let message = answer["message"].as_str().unwrap();
        let named = field == "accessControl" || message.starts_with(&format!("{field}: "));
        assert!(named, "{case}: {message}");
    }
    let no_path = with(http.clone(), "pathHealthCheck", Some(json!("healthz")));
    assert_eq!(fixture.call("POST", "/slb-1/listeners/", Some(no_path)).0, 400);
    assert_eq!(fixture.cloud.listeners("slb-1"), []);
    for (case, spec) in [
        ("tcp", spec(80)),
        ("http", with(http, "port", Some(json!(81)))),
        ("off", with(off, "port", Some(json!(82)))),
    ] {
        let (status, answer) = fixture.call("POST", "/slb-1/listeners/", Some(spec));
        assert_eq!(status, 200, "{case}: {answer}");
    }
    let kinds: Vec<(u16, bool, String)> = fixture
        .cloud
        .listeners("slb-1")
        .into_iter()
        .map(|listener| (listener.port, listener.health.on, listener.health.kind))
        .collect();
    let want = [(80, true, "tcp"), (81, true, "http"), (82, false, "tcp")];
    assert_eq!(kinds, want.map(|(port, on, kind)| (port, on, kind.to_owned())));
}

#[test]
fn a_port_has_one_listener_a_transport() {
    let fixture = fixture();
    fixture.create(spec(80));
    let again = |protocol: &str| {
        let spec = with(spec(80), "protocol", Some(json!(protocol)));
        fixture.call("POST", "/slb-1/listeners/", Some(spec)).0
    };
    assert_eq!([again("TCP"), again("HTTP")], [400, 400]);
    fixture.cloud.set_quirks(Quirks {
        taken_port: TakenPort::Conflict,
        ..Quirks::default()
    });
    assert_eq!([again("TCP"), again("UDP"), again("UDP")], [409, 200, 409]);
}

#[test]
fn an_update_replaces_the_settings_and_keeps_the_members() {
    let fixture = fixture();
    let id = fixture.create(spec(80));
    let path = format!("/slb-1/listeners/{id}");
    fixture.call(
        "POST",
        &format!("{path}/members"),
        Some(json!([member("10.1.0.1")])),
    );
    let mut update = with(spec(80), "isHealthCheck", Some(json!("0")));
    for field in ["periodHealthCheck", "timeoutHealthCheck", "maxHealthCheck"] {
        update = with(update, field, None);
    }
    let (status, answer) = fixture.call("PUT", &path, Some(update));
    assert_eq!(status, 200);
    assert_eq!(
        answer["periodHealthCheck"], 30,
        "what is left out gets its default"
    );
    assert_eq!(fixture.cloud.members("slb-1", "TCP", 80).len(), 1);
    assert_eq!(
        fixture.call("PUT", &path, Some(spec(81))).0,
        400,
        "the port stays"
    );
    let udp = with(spec(80), "protocol", Some(json!("UDP")));
    assert_eq!(fixture.call("PUT", &path, Some(udp)).0, 400, "the protocol stays");
}

#[test]
fn members_come_as_an_array_and_go_by_encoded_ids() {
    let fixture = fixture();
    let id = fixture.create(spec(80));
    let path = format!("/slb-1/listeners/{id}/members");
    for (case, body) in [
        ("no array", member("10.1.0.1")),
        ("empty", json!([])),
        (
            "a port as text",
            json!([with(member("10.1.0.1"), "port", Some(json!("30080")))]),
        ),
        (
            "another type",
            json!([with(member("10.1.0.1"), "type", Some(json!("ecs")))]),
        ),
        ("no weight", json!([with(member("10.1.0.1"), "weight", None)])),
        ("no address", json!([member("node-1")])),
        (
            "no id",
            json!([with(member("10.1.0.1"), "serverId", Some(json!("")))]),
        ),
        ("one wrong of two", json!([member("10.1.0.1"), member("x")])),
    ] {
        let (status, answer) = fixture.call("POST", &path, Some(body));
        assert_eq!(status, 400, "{case}: {answer}");
    }
    let three = json!([member("10.1.0.1"), member("10.1.0.2"), member("10.1.0.2")]);
    let (status, answer) = fixture.call("POST", &path, Some(three));
    assert_eq!((status, answer["data"].as_array().map(Vec::len)), (200, Some(3)));
    let (_, listed) = fixture.call("GET", &path, None);
    let ids: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["backendId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "the same member may be there twice");
    let two = json!([ids[0], ids[2]]).to_string();
    for (case, query, want) in [
        ("no list", String::new(), 400),
        ("raw", format!("?backendIdList={two}"), 400),
        ("no array", format!("?backendIdList={}", ids[0]), 400),
        ("empty", "?backendIdList=%5B%5D".to_owned(), 400),
        (
            "misspelt",
            format!("?backendIdlist={}", percent_encode(&two)),
            400,
        ),
        (
            "unknown",
            format!("?backendIdList={}", percent_encode(r#"["nobody"]"#)),
            404,
        ),
        (
            "two of them",
            format!("?backendIdList={}", percent_encode(&two)),
            200,
        ),
        ("again", format!("?backendIdList={}", percent_encode(&two)), 404),
    ] {
        let (status, answer) = fixture.call("DELETE", &format!("{path}{query}"), None);
        assert_eq!(status, want, "{case}: {answer}");
    }
    let left = fixture.cloud.members("slb-1", "TCP", 80);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].backend_id, ids[1]);
    let weight = json!([{"backendId": ids[1], "weight": 50}]);
    assert_eq!(fixture.call("PUT", &path, Some(weight.clone())).0, 200);
    assert_eq!(fixture.cloud.members("slb-1", "TCP", 80)[0].weight, 50);
    fixture.cloud.set_quirks(Quirks {
        member_update: MemberUpdate::Absent,
        unknown_backend: UnknownBackend::Ignored,
        ..Quirks::default()
    });
    assert_eq!(fixture.call("PUT", &path, Some(weight)).0, 405);
    let unknown = format!("{path}?backendIdList={}", percent_encode(r#"["nobody"]"#));
    assert_eq!(fixture.call("DELETE", &unknown, None).0, 200);
}

#[test]
fn deleting_a_listener_answers_204_and_nothing() {
    let fixture = fixture();
    let id = fixture.create(spec(80));
    let path = format!("/slb-1/listeners/{id}");
    assert_eq!(fixture.call("DELETE", &path, None), (204, Value::Null));
    assert_eq!(fixture.call("DELETE", &path, None).0, 404);
}

#[test]
fn a_busy_slb_refuses_writes_and_answers_reads() {
    let fixture = fixture();
    fixture.cloud.set_busy("slb-1", 1);
    assert_eq!(fixture.call("GET", "/slb-1/listeners", None).0, 200);
    assert_eq!(fixture.call("POST", "/slb-1/listeners/", Some(spec(80))).0, 409);
    assert_eq!(fixture.call("POST", "/slb-1/listeners/", Some(spec(80))).0, 200);
}

#[test]
fn creating_and_deleting_an_slb_takes_its_time() {
    let mut fixture = fixture();
    fixture
        .cloud
        .0
        .update(|state| state.options.provisioning = Duration::from_secs(10));
    let body = json!({"slbName": "new", "scheme": "internal", "vpcId": "", "subnetId": "subnet-1"});
    let (status, slb) = fixture.call("POST", "", Some(body));
    assert_eq!((status, slb["state"].as_str()), (202, Some("CREATING")));
    let id = slb["slbId"].as_str().unwrap();
    let state = |fixture: &Fixture| {
        let (status, answer) = fixture.call("GET", &format!("?slbId={id}"), None);
        assert_eq!(status, 200);
        answer[0]["state"].as_str().unwrap_or("gone").to_owned()
    };
    fixture.elapsed = Duration::from_secs(10);
    assert_eq!(state(&fixture), "ACTIVE");
    let (status, answer) = fixture.call("DELETE", &format!("/{id}"), None);
    assert_eq!((status, answer["code"].as_str()), (202, Some("202")));
    assert_eq!(state(&fixture), "DELETING");
    fixture.elapsed = Duration::from_secs(20);
    assert_eq!(state(&fixture), "gone");
}

#[test]
fn lists_of_slbs_have_pages_and_only_ones_own() {
    let fixture = fixture();
    for n in 3..6 {
        fixture
            .cloud
            .add_slb(Seed::new(&format!("slb-{n}"), "10.0.0.9", ""));
    }
    let ids = |query: &str| -> Vec<String> {
        let (status, answer) = fixture.call("GET", query, None);
        assert_eq!(status, 200, "{answer}");
        let slbs = answer.as_array().unwrap();
        slbs.iter()
            .map(|slb| slb["slbId"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(""), ["slb-1", "slb-3", "slb-4", "slb-5"]);
    assert_eq!(ids("?pageNo=2&pageSize=3"), ["slb-5"]);
    assert_eq!(ids("?slbName=name-of-slb-4"), ["slb-4"]);
    assert_eq!(fixture.call("GET", "?pageSize=101", None).0, 400);
}

#[test]
fn oddities_change_how_answers_look_and_nothing_else() {
    let fixture = fixture();
    let id = fixture.create(spec(80));
    let path = format!("/slb-1/listeners/{id}");
    let show = |quirks: Quirks, path: &str| {
        fixture.cloud.set_quirks(quirks);
        fixture.call("GET", path, None)
    };
    let plain = Quirks::default();
    for (case, quirks, path, pointer, want) in [
        ("numbers", plain, &path[..], "/port", json!(80)),
        ("the flag", plain, &path[..], "/isHealthCheck", json!("1")),
        (
            "numbers as text",
            Quirks {
                numbers: Numbers::AsStrings,
                ..plain
            },
            &path[..],
            "/port",
            json!("80"),
        ),
        (
            "the flag as a number",
            Quirks {
                numbers: Numbers::FlagAsNumber,
                ..plain
            },
            &path[..],
            "/isHealthCheck",
            json!(1),
        ),
        ("an empty list", plain, "?slbId=slb-9", "", json!([])),
        (
            "null for an empty list",
            Quirks {
                empty_list: EmptyList::Null,
                ..plain
            },
            "?slbId=slb-9",
            "",
            Value::Null,
        ),
        (
            "404 for an unknown SLB",
            Quirks {
                unknown_slb: UnknownSlb::NotFound,
                ..plain
            },
            "?slbId=slb-9",
            "/code",
            json!("404"),
        ),
        (
            "a code as a number",
            Quirks {
                code: Code::Number,
                ..plain
            },
            "/slb-9/listeners",
            "/code",
            json!(404),
        ),
        (
            "unknown fields",
            Quirks {
                extra_fields: ExtraFields::Yes,
                ..plain
            },
            &path[..],
            "/x-nested/1",
            json!(true),
        ),
    ] {
        let (_, answer) = show(quirks, path);
        assert_eq!(answer.pointer(pointer), Some(&want), "{case}: {answer}");
    }
}

#[test]
fn calls_are_counted_by_kind_and_slb() {
    let fixture = fixture();
    fixture.send(exchange(&FORM));
    fixture.create(spec(80));
    fixture.call("GET", "?slbId=slb-1", None);
    fixture.call("GET", "/slb-2/listeners", None);
    let calls: Vec<(Kind, Option<String>, u16)> = fixture
        .cloud
        .calls()
        .into_iter()
        .map(|call| (call.kind, call.slb, call.status))
        .collect();
    let of = |slb: &str| Some(slb.to_owned());
    assert_eq!(
        calls,
        [
            (Kind::Token, None, 200),
            (Kind::CreateListener, of("slb-1"), 200),
            (Kind::DescribeSlb, of("slb-1"), 200),
            (Kind::ListListeners, of("slb-2"), 403),
        ]
    );
    assert_eq!(fixture.cloud.count(|call| call.kind.is_write()), 1);
    assert_eq!(fixture.cloud.count(|call| call.kind.is_read()), 2);
}

#[test]
fn a_snapshot_tells_what_is_there_and_no_secret() {
    let fixture = fixture();
    fixture.create(spec(80));
    let text = fixture.cloud.snapshot();
    assert!(
        text.contains("slb-1 (user-demo, 10.0.0.1, eip \"127.0.10.1\")"),
        "{text}"
    );
    assert!(
        text.contains("TCP 80 RR web (listener-0000000001), checked by tcp 0 / every 10s/5s/3"),
        "{text}"
    );
    let debug = format!("{:?}", fixture.cloud.read(|state| state.options.clone()));
    assert!(!debug.contains("s3cret"), "{debug}");
}

#[test]
fn a_cloud_config_has_every_key_on_a_line() {
    let config = Account::named("demo").cloud_config("http://127.0.0.1:1");
    let want = "slbUrl-pre=http://127.0.0.1:1/regionsvc-cn-north/slb/v1/slbs\n\
                keycloakUrl=http://127.0.0.1:1/auth/realms/picp/protocol/openid-connect/token\n\
                token-client-id=client-demo\nclient-secret=client+s3cret/demo&=\nrequested-subject=demo\n";
    assert_eq!(config, want);
}
