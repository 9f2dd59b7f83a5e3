//! Callers of every kind, from the request to the answer.

use std::collections::BTreeMap;

use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use rustls_pki_types::CertificateDer;

use super::testing::{FakeReviews, authentication, client, incoming, now};
use super::*;
use crate::http::testing::Ca;
use crate::runtime::clock::ManualClock;
use crate::runtime::reload::Reloaded;
use crate::serve::options::{PathPattern, RequestHeader};

const METRICS: &str = "/metrics";

/// The API server knows nobody, allows nothing, and vouches for clients and front proxies by two authorities.
struct World {
    clients: Ca,
    front: Ca,
    reviews: Arc<FakeReviews>,
    clock: ManualClock,
    metrics: Metrics,
    authentication: Authentication,
    authorization: Authorization,
    /// Whether there is an API server to ask for each.
    asks: (bool, bool),
}

impl World {
    fn new() -> Self {
        let (clients, front) = (Ca::new("clients"), Ca::new("front"));
        let reviews = Arc::new(FakeReviews::default());
        reviews.set_authorities(Ok(Some(vec![
            ("client-ca-file", clients.certificate.clone()),
            ("requestheader-client-ca-file", front.certificate.clone()),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#.into()),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#.into()),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#.into(),
            ),
            ("requestheader-allowed-names", r#"["front-proxy-client"]"#.into()),
        ])));
        let exact = |path: &str| PathPattern::Exact(path.to_owned());
        Self {
            clients,
            front,
            reviews,
            clock: ManualClock::new(now()),
            metrics: Metrics::new(),
            authentication: authentication(),
            authorization: Authorization {
                kubeconfig: None,
                always_allow: vec![exact("/healthz"), exact("/readyz"), exact("/livez")],
                authorized_ttl: 10 * SECOND,
                unauthorized_ttl: 5 * SECOND,
            },
            asks: (true, true),
        }
    }

    fn who(&self) -> Who {
        let reviews = |wanted: bool| wanted.then(|| Arc::clone(&self.reviews) as Arc<dyn Reviews>);
        let who = Who::new(
            &self.authentication,
            &self.authorization,
            reviews(self.asks.0),
            reviews(self.asks.1),
            &self.metrics,
            Arc::new(self.clock.clone()),
            Arc::new(Random::from_seed(1)),
        );
        self.reviews.take_asked();
        who.unwrap()
    }

    fn proxy(&self) -> CertificateDer<'static> {
        client(&self.front, "front-proxy-client", &[], |_| {})
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        groups: groups.iter().map(ToString::to_string).collect(),
        ..User::default()
    }
}

/// 200 when it is let in, with what the answer says otherwise.
fn call(who: &Who, world: &World, request: &Incoming<'_>) -> (u16, String) {
    match who.admit(request, world.clock.now()) {
        Ok(()) => (200, String::new()),
        Err(answer) => (answer.status, String::from_utf8(answer.body).unwrap()),
    }
}

fn get(
    who: &Who,
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
    chain: &[CertificateDer<'static>],
) -> (u16, String) {
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    call(who, world, &incoming("GET", path, &headers, chain))
}

#[test]
fn each_caller_is_who_they_can_prove_to_be() {
    let world = World::new();
    world
        .reviews
        .set_token("g00d", Ok(user("prometheus", &["monitoring"])));
    let who = world.who();
    let of = |ca: &Ca, name: &str, groups: &[&str]| vec![client(ca, name, groups, |_| {})];
    let stranger = Ca::new("stranger");
    let expired = |ca: &Ca| {
        vec![client(ca, "bob", &[], |p| {
            p.not_after = rcgen::date_time_ymd(2025, 1, 1)
        })]
    };
    let for_servers = |ca: &Ca| {
        vec![client(ca, "bob", &[], |p| {
            p.extended_key_usages = vec![ServerAuth]
        })]
    };
    let bob = &[
        ("X-Remote-User", "bob"),
        ("X-Remote-Group", "a"),
        ("x-remote-group", "b"),
    ];
    let (good, bad) = (("Authorization", "Bearer g00d"), ("Authorization", "Bearer b4d"));
    let anonymous = Some("system:anonymous (system:unauthenticated)");
    let prometheus = Some("prometheus (monitoring system:authenticated)");
    for (case, headers, chain, want) in [
        ("nothing", &[][..], vec![], anonymous),
        // tokens
        ("a good token", &[good], vec![], prometheus),
        ("a bad token", &[bad], vec![], None),
        (
            "another scheme",
            &[("Authorization", "Basic YTpi")],
            vec![],
            anonymous,
        ),
        (
            "an empty token",
            &[("Authorization", "Bearer ")],
            vec![],
            anonymous,
        ),
        // certificates
        (
            "a certificate",
            &[],
            of(&world.clients, "bob", &["a", "b"]),
            Some("bob (a b system:authenticated)"),
        ),
        (
            "a master",
            &[],
            of(&world.clients, "root", &["system:masters"]),
            Some(""),
        ),
        (
            "a stranger's",
            &[],
            of(&stranger, "bob", &["system:masters"]),
            None,
        ),
        ("an expired one", &[], expired(&world.clients), None),
        ("a server's", &[], for_servers(&world.clients), None),
        (
            "one that names nobody",
            &[],
            of(&world.clients, "", &["system:masters"]),
            None,
        ),
        ("garbage", &[], vec![CertificateDer::from(vec![1, 2, 3])], None),
        (
            "a bad one with a good token",
            &[good],
            of(&stranger, "bob", &[]),
            prometheus,
        ),
        (
            "a good one with a bad token",
            &[bad],
            of(&world.clients, "bob", &[]),
            Some("bob (system:authenticated)"),
        ),
        // front proxies
        (
            "a front proxy",
            bob,
            vec![world.proxy()],
            Some("bob (a b system:authenticated)"),
        ),
        (
            "a front proxy that tells more",
            &[("X-Remote-User", "bob"), ("X-Remote-Extra-Scopes", "s")],
            vec![world.proxy()],
            Some("bob (system:authenticated) scopes=s"),
        ),
        ("one that calls for nobody", &[], vec![world.proxy()], None),
        (
            "one that calls for nobody but has a token",
            &[good],
            vec![world.proxy()],
            prometheus,
        ),
        (
            "one with another name",
            bob,
            of(&world.front, "somebody", &[]),
            None,
        ),
        (
            "an expired one",
            bob,
            vec![client(&world.front, "front-proxy-client", &[], |p| {
                p.not_after = rcgen::date_time_ymd(2025, 1, 1)
            })],
            None,
        ),
        (
            "a stranger with its name",
            bob,
            of(&stranger, "front-proxy-client", &[]),
            None,
        ),
        ("headers without a certificate", bob, vec![], anonymous),
        ("headers with a token", &[bob[0], good], vec![], prometheus),
        (
            "headers with a client's certificate",
            &[("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")],
            of(&world.clients, "front-proxy-client", &[]),
            Some("front-proxy-client (system:authenticated)"),
        ),
        (
            "a front proxy, not its token",
            &[bob[0], bad],
            vec![world.proxy()],
            Some("bob (system:authenticated)"),
        ),
    ] {
        let (status, body) = get(&who, &world, METRICS, headers, &chain);
        let asked = world.reviews.take_asked();
        let seen = asked
            .iter()
            .find_map(|asked| asked.strip_prefix("access ")?.strip_suffix(" get /metrics"));
        match want {
            None => {
                assert_eq!((status, seen), (401, None), "{case}: {body}");
                let status: serde_json::Value = serde_json::from_str(&body).unwrap();
                assert_eq!(
                    (&status["message"], &status["reason"]),
                    (&"Unauthorized".into(), &"Unauthorized".into())
                );
            }
            Some("") => assert_eq!((status, seen), (200, None), "{case}: nobody is asked"),
            Some(want) => assert_eq!((status, seen), (403, Some(want)), "{case}"),
        }
        // what was answered for this caller is not kept for the next
        world.clock.advance(20 * SECOND);
    }
}

#[test]
fn what_does_not_hold_is_refused_on_every_path() {
    let world = World::new();
    let who = world.who();
    let bad = [("Authorization", "Bearer b4d")];
    let stranger = [client(&Ca::new("stranger"), "bob", &[], |_| {})];
    for path in ["/healthz", "/livez", METRICS, "/nothing"] {
        assert_eq!(get(&who, &world, path, &bad, &[]).0, 401, "{path}");
        assert_eq!(get(&who, &world, path, &[], &stranger).0, 401, "{path}");
    }
    let asked = world.reviews.take_asked();
    assert_eq!(asked, ["token b4d"], "once, and nothing else");
}

#[test]
fn without_anybody_to_ask_tokens_say_nothing() {
    let mut world = World::new();
    world.asks = (false, false);
    let who = world.who();
    let token = [("Authorization", "Bearer any")];
    assert_eq!(get(&who, &world, "/healthz", &token, &[]).0, 200);
    let (status, body) = get(&who, &world, METRICS, &token, &[]);
    assert_eq!(status, 403);
    assert!(
        body.contains("User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\""),
        "{body}"
    );
    let shown = [client(&world.clients, "bob", &[], |_| {})];
    let (status, body) = get(&who, &world, METRICS, &[], &shown);
    assert_eq!(status, 403, "the certificate says nothing: {body}");
    assert!(body.contains("system:anonymous"), "{body}");
    assert!(world.reviews.take_asked().is_empty());
}

#[test]
fn certificates_count_by_files_although_nobody_can_be_asked() {
    let mut world = World::new();
    world.asks = (false, false);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, &world.clients.certificate).unwrap();
    world.authentication.client_ca_file = Some(path);
    let who = world.who();
    let shown = |groups: &[&str]| [client(&world.clients, "bob", groups, |_| {})];
    assert_eq!(
        get(&who, &world, METRICS, &[], &shown(&["system:masters"])).0,
        200
    );
    let (status, body) = get(&who, &world, METRICS, &[], &shown(&[]));
    assert!(status == 403 && body.contains("\\\"bob\\\""), "{status} {body}");
}

#[test]
fn front_proxies_of_a_file_follow_the_flags() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front.crt");
    let mine = Ca::new("mine");
    std::fs::write(&path, &mine.certificate).unwrap();
    world.authentication.request_header = RequestHeader {
        client_ca_file: Some(path),
        username_headers: vec!["X-User".into()],
        ..world.authentication.request_header
    };
    let who = world.who();
    let proxy = [client(&mine, "any name", &[], |_| {})];
    get(
        &who,
        &world,
        METRICS,
        &[("x-user", "bob"), ("x-remote-group", "g")],
        &proxy,
    );
    assert_eq!(
        world.reviews.take_asked(),
        ["access bob (g system:authenticated) get /metrics"]
    );
    assert_eq!(
        get(&who, &world, METRICS, &[("x-user", "bob")], &[world.proxy()]).0,
        401,
        "the cluster's is replaced"
    );
}

#[test]
fn paths_for_everybody_are_exact_and_the_rest_is_asked_about() {
    let world = World::new();
    world.reviews.set_token("t", Ok(user("prometheus", &[])));
    world.reviews.allow("prometheus get /metrics");
    world.reviews.allow("prometheus head /metrics");
    let who = world.who();
    let token = [("Authorization", "Bearer t")];
    for (path, anonymous, known) in [
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/livez", 200, 200),
        ("/healthz/", 403, 403),
        ("/healthz/ping", 403, 403),
        ("/%68ealthz", 403, 403),
        ("/metrics", 403, 200),
        ("/metrics/slis", 403, 403),
        ("/", 403, 403),
    ] {
        assert_eq!(get(&who, &world, path, &[], &[]).0, anonymous, "{path}");
        assert_eq!(
            get(&who, &world, path, &token, &[]).0,
            known,
            "{path} with a token"
        );
    }
    let headers = [("Authorization", &b"Bearer t"[..])];
    for (method, want) in [("HEAD", 200), ("POST", 403)] {
        assert_eq!(
            call(&who, &world, &incoming(method, METRICS, &headers, &[])).0,
            want,
            "{method}"
        );
    }
}

#[test]
fn a_refusal_says_who_may_not_do_what() {
    let world = World::new();
    world.reviews.set_token("t", Ok(user("<b>&\"", &[])));
    let who = world.who();
    let token = [("Authorization", "Bearer t")];
    let plain = "forbidden: User \"&lt;b&gt;&amp;\\\"\" cannot get path \"/a\"";
    for (case, path, verdict, want) in [
        (
            "nobody says yes",
            "/a",
            Verdict::NoOpinion {
                reason: String::new(),
            },
            plain.to_owned(),
        ),
        (
            "a no with a reason",
            "/a",
            Verdict::Denied {
                reason: "not today".into(),
            },
            format!("{plain}: not today"),
        ),
        (
            "no opinion with a reason",
            "/a",
            Verdict::NoOpinion {
                reason: "who?".into(),
            },
            format!("{plain}: who?"),
        ),
    ] {
        world.reviews.set_verdict(Some(Ok(verdict)));
        world.clock.advance(20 * SECOND);
        let (status, body) = get(&who, &world, path, &token, &[]);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (status, body["message"].as_str().unwrap()),
            (403, &*want),
            "{case}"
        );
        assert_eq!(
            (&body["reason"], &body["code"], &body["kind"]),
            (&"Forbidden".into(), &403.into(), &"Status".into())
        );
    }
}

#[test]
fn answers_are_kept_for_the_times_of_the_flags() {
    let world = World::new();
    world.reviews.set_token("t", Ok(user("prometheus", &[])));
    world.reviews.allow("prometheus get /metrics");
    let who = world.who();
    let asked_at = |at: u32, token: &str, path: &str| {
        let since = world.clock.wall().duration_since(now()).unwrap();
        world.clock.advance(at * SECOND - since);
        get(
            &who,
            &world,
            path,
            &[("Authorization", &format!("Bearer {token}"))],
            &[],
        );
        world.reviews.take_asked().len()
    };
    for (case, at, token, path, want) in [
        ("token and access", 0, "t", "/metrics", 2),
        ("both kept", 9, "t", "/metrics", 0),
        ("another path", 9, "t", "/configz", 1),
        ("its no is kept for 5 s", 10, "t", "/configz", 1),
        ("indeed", 13, "t", "/configz", 0),
        ("no longer", 14, "t", "/configz", 1),
        ("a yes for 10 s", 14, "t", "/metrics", 1),
        ("a bad token", 15, "b4d", "/metrics", 1),
        ("kept, too", 24, "b4d", "/metrics", 0),
        ("for 10 s", 25, "b4d", "/metrics", 1),
    ] {
        assert_eq!(asked_at(at, token, path), want, "{case}");
    }
}

#[test]
fn a_review_in_vain_is_no_answer() {
    let world = World::new();
    let message = || "b4d s3cret".to_owned();
    let who = world.who();
    for (case, error) in [
        (
            "forbidden",
            ReviewError::Refused {
                status: 403,
                message: message(),
            },
        ),
        (
            "overloaded",
            ReviewError::Unavailable {
                status: 503,
                message: message(),
            },
        ),
        ("slow", ReviewError::NoAnswer { message: message() }),
        ("garbage", ReviewError::Unintelligible { message: message() }),
    ] {
        world.reviews.set_token("t", Err(error.clone()));
        let token = [("Authorization", "Bearer t")];
        for _ in 0..2 {
            let (status, body) = get(&who, &world, "/healthz", &token, &[]);
            assert_eq!(status, 401, "{case}");
            assert!(!body.contains("s3cret"), "{case}: {body}");
        }
        assert_eq!(world.reviews.take_asked().len(), 2, "{case}: not kept");
        world.reviews.set_token("t", Ok(user("bob", &[])));
        world.reviews.set_verdict(Some(Err(error)));
        assert_eq!(
            get(&who, &world, "/healthz", &token, &[]).0,
            200,
            "{case}: nobody is asked for that"
        );
        let request = incoming("GET", METRICS, &[("Authorization", b"Bearer t")], &[]);
        let request = Incoming {
            query: "a=1",
            ..request
        };
        let (status, body) = call(&who, &world, &request);
        assert_eq!(status, 500, "{case}");
        assert!(
            body.starts_with("Internal Server Error: \"/metrics?a=1\": the "),
            "{case}: {body}"
        );
        assert!(!body.contains("s3cret"), "{case}: {body}");
        world.reviews.set_verdict(None);
        world.clock.advance(20 * SECOND);
        world.reviews.take_asked();
    }
    let text = world.metrics.text();
    for want in [
        "apiserver_delegated_authn_request_total{code=\"403\"} 2",
        "apiserver_delegated_authn_request_total{code=\"503\"} 2",
        "apiserver_delegated_authn_request_total{code=\"<error>\"} 2",
        "apiserver_delegated_authn_request_total{code=\"201\"} 6",
        "apiserver_delegated_authz_request_total{code=\"403\"} 1",
        "authorization_attempts_total{result=\"error\"} 4",
        "authorization_attempts_total{result=\"allowed\"} 4",
        "authentication_token_cache_fetch_total{status=\"error\"} 8",
        "authentication_duration_seconds_count{result=\"failure\"} 8",
    ] {
        assert!(text.lines().any(|line| line == want), "{want}: {text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("bob"), "{text}");
}

#[test]
fn a_flood_of_tokens_is_turned_away() {
    let world = World::new();
    world.reviews.set_token("t", Ok(user("prometheus", &[])));
    world.reviews.allow("prometheus get /metrics");
    let who = world.who();
    let good = [("Authorization", "Bearer t")];
    assert_eq!(get(&who, &world, METRICS, &good, &[]).0, 200);
    world.clock.advance(20 * SECOND);
    let mut answers = BTreeMap::<u16, usize>::new();
    for n in 0..1000 {
        let (status, _) = get(
            &who,
            &world,
            METRICS,
            &[("Authorization", &format!("Bearer {n}"))],
            &[],
        );
        *answers.entry(status).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([(401, 20), (429, 980)]));
    let headers = [("Authorization", &b"Bearer 999"[..])];
    let answer = who.admit(&incoming("GET", "/healthz", &headers, &[]), world.clock.now());
    assert!(
        answer
            .unwrap_err()
            .headers
            .contains(&("Retry-After", "1".to_owned()))
    );
    assert_eq!(
        get(&who, &world, METRICS, &good, &[]).0,
        200,
        "who was known still is"
    );
    assert_eq!(get(&who, &world, "/healthz", &[], &[]).0, 200);
}

#[test]
fn a_reload_reads_the_files_again_and_asks_nobody() {
    let mut world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, &world.clients.certificate).unwrap();
    world.authentication.client_ca_file = Some(path.clone());
    let who = world.who();
    assert_eq!(
        who.reload(),
        Reloaded::Unchanged,
        "what it starts with is no change"
    );
    let (other, front) = (Ca::new("other"), Ca::new("new front"));
    std::fs::write(&path, &other.certificate).unwrap();
    world.reviews.set_authorities(Ok(Some(vec![
        ("requestheader-client-ca-file", front.certificate.clone()),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#.into()),
    ])));
    let mine = [client(&other, "bob", &[], |_| {})];
    let proxy = [client(&front, "any", &[], |_| {})];
    let bob = [("X-Remote-User", "bob")];
    let statuses = || {
        [
            get(&who, &world, METRICS, &[], &mine).0,
            get(&who, &world, METRICS, &bob, &proxy).0,
        ]
    };
    assert_eq!(statuses(), [401, 401]);
    assert_eq!(who.reload(), Reloaded::Changed);
    assert_eq!(statuses(), [403, 401]);
    assert!(who.looks_up());
    for (case, text, happened) in [
        ("nothing", "", Reloaded::Refused),
        ("as before", "", Reloaded::Unchanged),
        ("good again", other.certificate.as_str(), Reloaded::Changed),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(who.reload(), happened, "{case}");
        assert_eq!(statuses(), [403, 401], "{case}: what was good goes on");
    }
}

#[test]
fn the_refreshing_thread_ends_when_told() {
    use crate::runtime::stop::Stop;
    for skip in [false, true] {
        let mut world = World::new();
        world.authentication.skip_lookup = skip;
        let (who, stop) = (world.who(), Stop::new());
        assert_eq!(who.looks_up(), !skip);
        stop.stop();
        who.refresh(&stop.token());
    }
}

#[test]
fn only_verified_certificates_are_measured() {
    let world = World::new();
    let who = world.who();
    let bob = |ca: &Ca| {
        [client(ca, "bob", &[], |p| {
            p.not_after = rcgen::date_time_ymd(2026, 1, 3)
        })]
    };
    get(&who, &world, METRICS, &[], &bob(&world.clients));
    get(&who, &world, METRICS, &[], &bob(&Ca::new("stranger")));
    let text = world.metrics.text();
    let name = "apiserver_client_certificate_expiration_seconds";
    for want in [
        format!("{name}_count 1"),
        format!("{name}_bucket{{le=\"43200\"}} 0"),
        format!("{name}_bucket{{le=\"86400\"}} 1"),
    ] {
        assert!(text.lines().any(|line| line == want), "{want}: {text}");
    }
}

#[test]
fn debug_shows_no_header() {
    let mut user = user("bob", &["secret-group"]);
    user.extra.insert("k".into(), vec!["secret-value".into()]);
    let shown = format!("{user:?}");
    assert!(!shown.contains("secret"), "{shown}");
}
