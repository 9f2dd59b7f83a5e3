//! Reviews by the simulated API server, and by one that fails in every way.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::http::testing::{Ca, Scripted};
use crate::http::{Method, Response, Transport};
use crate::metrics::Metrics;
use crate::runtime::clock::{ManualClock, SystemClock};
use crate::serve::who::Who;
use crate::serve::{Guard, Incoming};
use crate::sim::api_server::{ApiServer, Resource, Rule};
use crate::sim::server::InProcess;

const WITHIN: Duration = Duration::from_secs(2);

fn reviews(transport: Arc<dyn Transport>, token: &str) -> ApiReviews {
    let (gate, _) = Gate::shut(Arc::new(SystemClock));
    let auth = match token {
        "" => crate::k8s::auth::Auth::nobody(),
        token => crate::k8s::auth::Auth::token("the test", &Secret::new(token)).unwrap(),
    };
    let (clock, random) = (Arc::new(SystemClock), Arc::new(Random::from_seed(1)));
    let client = Client::with_options(crate::k8s::ClientOptions {
        base: "https://x:1".to_owned(),
        transport,
        auth: Arc::new(auth),
        gate,
        bucket: None,
        component: COMPONENT.to_owned(),
        stop: StopToken::never(),
        clock: clock.clone(),
        random: Arc::clone(&random),
        metrics: crate::k8s::ClientMetrics::default(),
    });
    ApiReviews::new(client, clock, random)
}

/// A cluster in which the daemon may ask everything, and a scraper may read metrics.
fn cluster() -> ApiServer {
    let api = ApiServer::new(1);
    api.user_token("0wn", "ccm");
    api.allow(
        "ccm",
        vec![
            Rule::new("create", "authentication.k8s.io", "tokenreviews"),
            Rule::new("create", "authorization.k8s.io", "subjectaccessreviews"),
            Rule::new("get list watch", "", "configmaps")
                .in_namespace("kube-system")
                .named("extension-apiserver-authentication"),
        ],
    );
    api.user_token("s0me", "scraper");
    api.allow("scraper", vec![Rule::of_paths("get", "/metrics")]);
    api
}

fn within(api: &ApiServer, token: &str) -> ApiReviews {
    reviews(Arc::new(InProcess::new(Arc::new(api.clone()))), token)
}

#[test]
fn tokens_and_access_are_reviewed_though_the_gate_is_shut() {
    let api = cluster();
    api.admin_token("r00t");
    let ours = within(&api, "0wn");
    let mut known = Vec::new();
    for (token, want) in [
        ("s0me", Some(("scraper", vec!["system:authenticated"]))),
        (
            "r00t",
            Some(("admin", vec!["system:masters", "system:authenticated"])),
        ),
        ("other", None),
    ] {
        let user = ours.token(&Secret::new(token), WITHIN).unwrap();
        let found = user
            .as_ref()
            .map(|user| (&*user.name, user.groups.iter().map(|g| &**g).collect()));
        assert_eq!(found, want, "{token}");
        known.extend(user);
    }
    let masters = User {
        name: "x".into(),
        uid: "u".into(),
        groups: vec!["system:masters".into()],
        extra: BTreeMap::from([("k".into(), vec!["v".into()])]),
    };
    for (user, verb, path, want) in [
        (&known[0], "get", "/metrics", true),
        (&known[0], "post", "/metrics", false),
        (&known[0], "get", "/configz", false),
        (&masters, "get", "/configz", true),
    ] {
        let verdict = ours.access(&AccessAsk { user, verb, path }, WITHIN).unwrap();
        assert_eq!(
            verdict == Verdict::Allowed,
            want,
            "{user:?} {verb} {path}: {verdict:?}"
        );
    }
}

#[test]
fn authorities_are_those_of_the_config_map() {
    let api = cluster();
    let ours = within(&api, "0wn");
    assert_eq!(ours.authorities(WITHIN), Ok(None));
    let trust = json!({"metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": "PEM"}});
    api.create(Resource::ConfigMaps, &trust).unwrap();
    let want = BTreeMap::from([("client-ca-file".to_owned(), "PEM".to_owned())]);
    assert_eq!(ours.authorities(WITHIN), Ok(Some(want)));
    let error = within(&api, "s0me").authorities(WITHIN).unwrap_err();
    assert!(
        matches!(&error, ReviewError::Refused { status: 403, .. }),
        "{error:?}"
    );
    let want = "configmaps \"extension-apiserver-authentication\" is forbidden: User \"scraper\" cannot get resource";
    assert!(error.to_string().contains(want), "{error}");
}

#[test]
fn whoever_may_not_ask_learns_why() {
    let api = cluster();
    for (case, token, want) in [("no rights", "s0me", 403), ("unknown", "wr0ng", 401)] {
        let theirs = within(&api, token);
        let user = User::default();
        let ask = AccessAsk {
            user: &user,
            verb: "get",
            path: "/",
        };
        for error in [
            theirs.token(&Secret::new("t"), WITHIN).map(drop).unwrap_err(),
            theirs.access(&ask, WITHIN).map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(&error, ReviewError::Refused { status, .. } if *status == want),
                "{case}: {error:?}"
            );
        }
    }
}

#[test]
fn the_endpoint_lets_in_whom_the_cluster_knows_and_allows() {
    let api = cluster();
    api.allow("alice", vec![Rule::of_paths("get", "/configz")]);
    let front = Ca::new("front");
    let trust = json!({"metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"requestheader-client-ca-file": front.certificate, "requestheader-username-headers": "[\"X-Remote-User\"]"}});
    api.create(Resource::ConfigMaps, &trust).unwrap();
    let ours: Arc<dyn Reviews> = Arc::new(within(&api, "0wn"));
    let (authentication, authorization) = flags(None, None);
    let who = Who::new(
        &authentication,
        &authorization,
        Some(Arc::clone(&ours)),
        Some(ours),
        &Metrics::new(),
        Arc::new(SystemClock),
        Arc::new(Random::from_seed(1)),
    )
    .unwrap();
    let proxy = front.issue_with(&[], |_| {}).certificate;
    let proxy = [CertificateDer::from_pem_slice(proxy.as_bytes()).unwrap()];
    let (scraper, wrong) = (
        ("Authorization", &b"Bearer s0me"[..]),
        ("Authorization", &b"Bearer wr0ng"[..]),
    );
    let alice = ("X-Remote-User", &b"alice"[..]);
    for (case, headers, chain, path, want) in [
        ("a scraper", &[scraper][..], &[][..], "/metrics", None),
        ("a scraper elsewhere", &[scraper], &[], "/configz", Some(403)),
        ("a wrong token", &[wrong], &[], "/metrics", Some(401)),
        ("nobody", &[], &[], "/metrics", Some(403)),
        ("by a proxy", &[alice], &proxy, "/configz", None),
        ("by a proxy elsewhere", &[alice], &proxy, "/metrics", Some(403)),
        ("by no proxy", &[alice], &[], "/configz", Some(403)),
    ] {
        let request = Incoming {
            method: "GET",
            path,
            query: "",
            headers,
            client_certificates: chain,
            peer: "127.0.0.1:40000".parse().unwrap(),
        };
        let refused = who.admit(&request, Instant::now()).err();
        assert_eq!(refused.map(|answer| answer.status), want, "{case}");
    }
}

type Exchange = Result<Response, http::Error>;

fn said(status: u16, body: &str) -> Exchange {
    let headers = vec![("Content-Type".into(), "application/json".into())];
    Ok(Response::from_bytes(status, headers, body.into()))
}

fn broken() -> Exchange {
    Err(http::Error::NoAnswer {
        peer: "x:1".into(),
        source: std::io::ErrorKind::ConnectionReset.into(),
    })
}

fn refused() -> Exchange {
    Err(http::Error::Connect {
        peer: "x:1".into(),
        source: std::io::ErrorKind::ConnectionRefused.into(),
    })
}

const NO: &str = r#"{"kind":"TokenReview","status":{"user":{},"error":"invalid bearer token"}}"#;

#[test]
fn a_broken_connection_is_replaced_at_once() {
    let transport = Scripted::new(vec![broken(), said(201, NO)]);
    let ours = reviews(transport.clone(), "");
    assert_eq!(ours.token(&Secret::new("t"), WITHIN), Ok(None));
    let requests = transport.requests();
    assert_eq!(requests.len(), 2);
    let request = &requests[0];
    assert_eq!(request.method(), Method::Post);
    assert!(
        request
            .url
            .starts_with("https://x:1/apis/authentication.k8s.io/v1/tokenreviews?"),
        "{}",
        request.url
    );
    let body: Value = serde_json::from_slice(request.body.as_deref().unwrap()).unwrap();
    let want =
        json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "t"}});
    assert_eq!(body, want);
}

#[test]
fn what_another_attempt_would_not_change_is_not_repeated() {
    let tls = || {
        Err(http::Error::Tls {
            peer: "x:1".into(),
            reason: "who are you?".into(),
        })
    };
    let refusal = r#"{"kind":"Status","status":"Failure","message":"no t0ken here","code":403}"#;
    for (case, answer, want) in [
        ("forbidden", said(403, refusal), "Refused"),
        ("untrusted", tls(), "NoAnswer"),
        ("no JSON", said(201, "<html>"), "Unintelligible"),
        (
            "another kind",
            said(
                201,
                r#"{"kind":"Pod","status":{"authenticated":true,"user":{"username":"root"}}}"#,
            ),
            "Unintelligible",
        ),
        (
            "no status",
            said(201, r#"{"kind":"TokenReview"}"#),
            "Unintelligible",
        ),
        (
            "nobody",
            said(
                201,
                r#"{"kind":"TokenReview","status":{"authenticated":true,"user":{}}}"#,
            ),
            "Unintelligible",
        ),
        (
            "a wrong type",
            said(
                201,
                r#"{"kind":"TokenReview","status":{"authenticated":"t0ken"}}"#,
            ),
            "Unintelligible",
        ),
        ("empty", said(201, ""), "Unintelligible"),
    ] {
        let transport = Scripted::new(vec![answer]);
        let error = reviews(transport.clone(), "")
            .token(&Secret::new("t0ken"), WITHIN)
            .unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.starts_with(want), "{case}: {shown}");
        assert!(!shown.contains("t0ken"), "{case}: {shown}");
        assert_eq!(transport.requests().len(), 1, "{case}");
    }
}

#[test]
fn it_ends_within_its_time() {
    let short = Duration::from_millis(400);
    for (case, answers, want) in [
        ("nobody listens", vec![refused()], 1),
        ("broken twice", vec![broken(), broken()], 2),
        ("overloaded", vec![said(503, "{}")], 1),
    ] {
        let transport = Scripted::new(answers);
        let found = reviews(transport.clone(), "").token(&Secret::new("t"), short);
        assert!(found.is_err(), "{case}");
        assert_eq!(
            transport.requests().len(),
            want,
            "{case}: a wait would not end in time"
        );
        for request in transport.requests() {
            let Limits {
                connect, head, body, ..
            } = request.limits;
            assert!(
                connect + head + body.unwrap() <= short,
                "{case}: {:?}",
                request.limits
            );
        }
    }
}

#[test]
fn null_is_nothing_and_unknown_fields_are_skipped() {
    let body = r#"{"kind":"TokenReview","metadata":null,"status":{"authenticated":true,"audiences":["a"],
        "user":{"username":"bob","uid":null,"groups":null,"extra":{"k":["v"]},"more":1}}}"#;
    let user = reviews(Scripted::new(vec![said(201, body)]), "").token(&Secret::new("t"), WITHIN);
    let user = user.unwrap().unwrap();
    assert_eq!(
        (&*user.name, &*user.uid, user.groups.len(), user.extra["k"].len()),
        ("bob", "", 0, 1)
    );
}

#[test]
fn a_verdict_is_allowed_denied_or_none() {
    let user = User::default();
    let ask = AccessAsk {
        user: &user,
        verb: "get",
        path: "/metrics",
    };
    let reason = || "r".to_owned();
    for (status, want) in [
        (r#"{"allowed":true,"reason":"r"}"#, Some(Verdict::Allowed)),
        (
            r#"{"denied":true,"reason":"r"}"#,
            Some(Verdict::Denied { reason: reason() }),
        ),
        (
            r#"{"allowed":false,"reason":"r"}"#,
            Some(Verdict::NoOpinion { reason: reason() }),
        ),
        (
            r#"{"allowed":null}"#,
            Some(Verdict::NoOpinion {
                reason: String::new(),
            }),
        ),
        (r#"{"allowed":true,"denied":true}"#, None),
    ] {
        let body = format!(r#"{{"kind":"SubjectAccessReview","status":{status}}}"#);
        let found = reviews(Scripted::new(vec![said(201, &body)]), "").access(&ask, WITHIN);
        assert_eq!(found.ok(), want, "{status}");
    }
}

#[test]
fn a_named_kubeconfig_must_do_and_none_is_taken_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let kubeconfig = "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
        clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
    std::fs::write(&path, kubeconfig).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let random = Arc::new(Random::from_seed(1));
    let means = Means {
        stop: StopToken::never(),
        gate: &Gate::open(),
        clock: &clock,
        random: &random,
    };
    let (good, bad) = (Some(path), Some(folder.path().join("missing")));
    for (case, authn, authz, want) in [
        ("both, one client", &good, &good, Ok((true, true))),
        ("nobody: this is no Pod", &None, &None, Ok((false, false))),
        ("one each", &good, &None, Ok((true, false))),
        ("a bad one", &good, &bad, Err(vec!["--authorization-kubeconfig"])),
        (
            "two bad ones",
            &bad,
            &bad,
            Err(vec!["--authentication-kubeconfig", "--authorization-kubeconfig"]),
        ),
    ] {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && (authn.is_none() || authz.is_none()) {
            continue;
        }
        let (authentication, authorization) = flags(authn.clone(), authz.clone());
        let found = Reviewers::new(&authentication, &authorization, &means);
        let found = match &found {
            Ok(Reviewers {
                authentication: Some(one),
                authorization: Some(two),
            }) => {
                assert!(Arc::ptr_eq(one, two), "{case}");
                Ok((true, true))
            }
            Ok(found) => Ok((found.authentication.is_some(), found.authorization.is_some())),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>()),
        };
        let want = want.map_err(|flags| flags.into_iter().map(str::to_owned).collect());
        assert_eq!(found, want, "{case}");
    }
}

fn flags(authn: Option<PathBuf>, authz: Option<PathBuf>) -> (Authentication, Authorization) {
    let request_header = crate::serve::RequestHeader {
        client_ca_file: None,
        username_headers: vec![],
        group_headers: vec![],
        uid_headers: vec![],
        extra_headers_prefixes: vec![],
        allowed_names: vec![],
    };
    let authentication = Authentication {
        kubeconfig: authn,
        skip_lookup: false,
        tolerate_lookup_failure: false,
        token_ttl: Duration::ZERO,
        client_ca_file: None,
        request_header,
    };
    let authorization = Authorization {
        kubeconfig: authz,
        always_allow: vec![],
        authorized_ttl: Duration::ZERO,
        unauthorized_ttl: Duration::ZERO,
    };
    (authentication, authorization)
}
