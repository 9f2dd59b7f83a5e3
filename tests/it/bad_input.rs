//! Wrong flags, files, annotations, SLBs and answers: a clear error, nothing written, everything else goes on.

use cloud_provider_inspur::sim::faults::{Effect, Rule};
use serde_json::{Value, json};

use crate::support::daemon::run;
use crate::support::fixtures::{SERVICES, SLB_ID, node, service, service_path};
use crate::support::{World, kubeconfig};

/// Creates `bad` beside a good Service, and waits until the good one is served and an Event on the bad one says `wanted`. Nothing
/// may have been written for the bad one.
fn is_told_and_nothing_is_written(case: &str, bad: Value, wanted: &[&str]) {
    let world = World::new();
    world.slb("slb-1", "203.0.113.1");
    world.foreign_slb("slb-foreign");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    world.api.create(SERVICES, &bad);
    world
        .api
        .create(SERVICES, &service("good").slb("slb-1").port(80, 30080).json());
    world.until(&format!("{case}: the other Service is served"), &daemon, || {
        world.ingress("good") == ["203.0.113.1"]
    });
    world.until(&format!("{case}: an Event says {wanted:?}"), &daemon, || {
        world
            .messages("bad")
            .iter()
            .any(|message| wanted.iter().all(|part| message.contains(part)))
    });
    assert_eq!(world.served("slb-1"), ["TCP/80 -> n1:30080"], "{case}");
    assert_eq!(world.ingress("bad"), [] as [&str; 0], "{case}");
    world.api.delete(&service_path("bad"));
    world.until(&format!("{case}: it can be deleted"), &daemon, || {
        world.api.get(&service_path("bad")).is_none()
    });
}

#[test]
fn a_service_with_a_bad_annotation_is_told_which_and_what_is_allowed() {
    let bad = |key: &str, value: &str| {
        service("bad")
            .slb("slb-1")
            .port(90, 30090)
            .annotation(key, value)
            .json()
    };
    for (key, value, allowed) in [
        ("loadbalancer.inspur.com/forward-rule", "fastest", "WRR"),
        ("loadbalancer.inspur.com/is-healthcheck", "maybe", "true"),
        ("loadbalancer.inspur.com/healthcheck-type", "ping", "http"),
        ("loadbalancer.inspur.com/healthcheck-port", "70000", "65535"),
        ("loadbalancer.inspur.com/healthcheck-period", "ten", "second"),
        ("loadbalancer.inspur.com/healthcheck-max", "-1", "1"),
    ] {
        is_told_and_nothing_is_written(key, bad(key, value), &[key, value, allowed]);
    }
}

#[test]
fn a_service_without_an_slb_is_told_what_to_add() {
    is_told_and_nothing_is_written("no id", service("bad").port(90, 30090).json(), &[SLB_ID]);
}

#[test]
fn an_slb_of_nobody_and_one_of_somebody_else_are_named() {
    let on = |id: &str| service("bad").slb(id).port(90, 30090).json();
    is_told_and_nothing_is_written("nobody's", on("slb-lost"), &["slb-lost"]);
    is_told_and_nothing_is_written("somebody else's", on("slb-foreign"), &["slb-foreign"]);
}

#[test]
fn an_answer_that_makes_no_sense_is_never_taken_for_an_empty_one() {
    for (case, effect) in [
        ("a web page", Effect::Html),
        ("half a body", Effect::Truncate),
        ("no body", Effect::Empty),
        ("no JSON", Effect::Malformed),
        ("an outage", Effect::status(503)),
        ("a refusal", Effect::status(403)),
        ("a hang-up", Effect::HangUp),
    ] {
        let (world, mut daemon) = World::serving();
        daemon.terminate();
        let before = world.cloud_text();
        for path in ["slbId=", "/listeners"] {
            // a first sync that reads nonsense, then the deletion, which must not count it as "gone"
            world
                .cloud_faults()
                .add(Rule::on("GET", path, effect.clone()).forever());
            let mut daemon = world.start();
            world.until(&format!("{case} on {path}: the sync fails"), &daemon, || {
                world
                    .reasons("web")
                    .iter()
                    .any(|reason| reason == "SyncLoadBalancerFailed")
            });
            assert_eq!(world.cloud_text(), before, "{case} on {path}");
            daemon.terminate();
            world.cloud_faults().clear();
            world.forget_events();
        }
        world
            .cloud_faults()
            .add(Rule::on("GET", "/listeners", effect).forever());
        world.api.delete(&service_path("web"));
        let mut daemon = world.start();
        world.until(&format!("{case}: the deletion fails"), &daemon, || {
            world
                .reasons("web")
                .iter()
                .any(|reason| reason == "SyncLoadBalancerFailed")
        });
        assert!(
            world.api.get(&service_path("web")).is_some(),
            "{case}: it keeps its finalizer"
        );
        assert_eq!(world.cloud_text(), before, "{case}");
        daemon.terminate();
        world.cloud_faults().clear();
        let daemon = world.start();
        world.until(&format!("{case}: it ends well"), &daemon, || {
            world.api.get(&service_path("web")).is_none() && world.served("slb-1").is_empty()
        });
    }
}

#[test]
fn a_lost_slb_blocks_no_deletion() {
    let (world, mut daemon) = World::serving();
    daemon.kill();
    world.remove_slb("slb-1");
    let daemon = world.start();
    world.until("its loss is told", &daemon, || {
        world
            .messages("web")
            .iter()
            .any(|m| m.contains("slb-1") && m.contains("not"))
    });
    world.api.delete(&service_path("web"));
    world.until("it goes all the same", &daemon, || {
        world.api.get(&service_path("web")).is_none()
    });
}

#[test]
fn a_protocol_that_an_slb_does_not_know_is_named_and_the_other_port_is_served() {
    let world = World::new();
    if world.api.minor() < 24 {
        // such an old server refuses mixed protocols itself. Source: control-plane.md 2
        return;
    }
    world.slb("slb-1", "203.0.113.1");
    world.nodes(&[node("n1", "127.0.20.1")]);
    let daemon = world.start();
    world.api.create(
        SERVICES,
        &service("web")
            .slb("slb-1")
            .port(80, 30080)
            .port_of("SCTP", 99, 30099)
            .json(),
    );
    world.until("TCP is served", &daemon, || {
        world.served("slb-1") == ["TCP/80 -> n1:30080"]
    });
    world.until("SCTP is named", &daemon, || {
        world
            .messages("web")
            .iter()
            .any(|m| m.contains("SCTP") && m.contains("99"))
    });
}

/// Starts the program with these flags and expects it to refuse, naming each of `wanted`.
fn is_refused(case: &str, args: &[&str], wanted: &[&str]) {
    let (code, _, error) = run(args);
    assert_eq!(code, Some(1), "{case}: {error}");
    for part in wanted {
        assert!(error.contains(part), "{case}: {part} is missing in\n{error}");
    }
}

#[test]
fn flags_that_make_no_sense_are_refused_all_at_once() {
    for (case, args, wanted) in [
        (
            "unknown",
            &["--kubeconfg=x"][..],
            &["--kubeconfg", "--kubeconfig"][..],
        ),
        (
            "several",
            &[
                "--cloud-provider=aws",
                "--concurrent-service-syncs=0",
                "--kube-api-qps=fast",
            ],
            &[
                "aws",
                "incloud",
                "--concurrent-service-syncs",
                "--kube-api-qps",
                "fast",
            ],
        ),
        (
            "a controller nobody knows",
            &["--controllers=service-controller"],
            &["service-controller", "service-lb-controller"],
        ),
        (
            "election",
            &["--leader-elect-lease-duration=5s"],
            &[
                "--leader-elect-lease-duration",
                "5s",
                "--leader-elect-renew-deadline",
                "10s",
            ],
        ),
        (
            "the endpoint",
            &["--tls-cert-file=/tls.crt", "--tls-min-version=SSLv3"],
            &["--tls-private-key-file", "SSLv3", "VersionTLS12"],
        ),
        ("a word", &["run"], &["run"]),
    ] {
        is_refused(case, args, wanted);
    }
}

#[test]
fn files_that_make_no_sense_are_named() {
    let world = World::new();
    let good = kubeconfig("http://127.0.0.1:9", "t0ken");
    let good_cloud = "slbUrl-pre=https://c.example.com/slbs\nkktoken=s3cr3t-t0ken\n";
    let empty_ca = world.file("empty.pem", "");
    let bad_ca = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', certificate-authority: empty.pem}}]\nusers: [{name: c, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: c}}]\n";
    for (case, kubeconfig_text, cloud_text, wanted) in [
        ("no YAML", "{{{{", good_cloud, vec!["case.kubeconfig"]),
        (
            "an unknown context",
            "current-context: nowhere\n",
            good_cloud,
            vec!["case.kubeconfig", "nowhere"],
        ),
        ("an empty CA", bad_ca, good_cloud, vec!["empty.pem"]),
        ("no cloud", &good, "", vec!["case.cloud", "slbUrl-pre"]),
        (
            "two ways to a token",
            &good,
            "slbUrl-pre=https://c.example.com/slbs\nkktoken=s3cr3t-a\nclient-secret=s3cr3t-b\n",
            vec!["case.cloud", "kktoken", "client-secret"],
        ),
        (
            "not a number",
            &good,
            "slbUrl-pre=https://c.example.com/slbs\nkktoken=s3cr3t-a\nhealthcheck-period=soon\n",
            vec!["case.cloud:3", "healthcheck-period", "soon"],
        ),
        (
            "no TLS",
            &good,
            "slbUrl-pre=http://c.example.com/slbs\nkktoken=s3cr3t-a\n",
            vec!["case.cloud:1", "https"],
        ),
        (
            "a CA that is none",
            &good,
            &format!("{good_cloud}ca-file={}\n", empty_ca.display()),
            vec!["empty.pem"],
        ),
        (
            "both",
            bad_ca,
            "slbUrl-pre=https://c.example.com/slbs\ns3cr3t\n",
            vec!["empty.pem", "no way to a token", "case.cloud:2"],
        ),
    ] {
        let kubeconfig = world.file("case.kubeconfig", kubeconfig_text);
        let cloud = world.file("case.cloud", cloud_text);
        let args = [
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--cloud-config",
            cloud.to_str().unwrap(),
        ];
        is_refused(case, &args, &wanted);
        let (_, _, error) = run(&args);
        assert!(!error.contains("s3cr3t"), "{case}: a secret is in\n{error}");
    }
    for (case, path) in [("missing", "/nonexistent/file"), ("a folder", "/tmp")] {
        let good_cloud = world.file("good.cloud", good_cloud);
        is_refused(
            case,
            &[
                "--kubeconfig",
                path,
                "--cloud-config",
                good_cloud.to_str().unwrap(),
            ],
            &[path],
        );
        let good = world.file("good.kubeconfig", &good);
        is_refused(
            case,
            &["--kubeconfig", good.to_str().unwrap(), "--cloud-config", path],
            &[path],
        );
    }
}

#[test]
fn help_and_version_are_printed_and_all_is_well() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for flag in [
        "--kubeconfig",
        "--cloud-config",
        "--concurrent-service-syncs",
        "--leader-elect",
        "--logging-format",
    ] {
        assert!(help.contains(flag), "{flag} is missing in\n{help}");
    }
    let (code, version, _) = run(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn a_service_that_fails_is_mended_when_its_owner_mends_it() {
    let world = World::small();
    let daemon = world.start();
    let key = "loadbalancer.inspur.com/forward-rule";
    world.api.create(
        SERVICES,
        &service("web")
            .slb("slb-1")
            .port(80, 30080)
            .annotation(key, "fastest")
            .json(),
    );
    world.until("it is told", &daemon, || {
        world.messages("web").iter().any(|m| m.contains("fastest"))
    });
    world.api.patch(
        &service_path("web"),
        &json!({"metadata": {"annotations": {key: "RR"}}}),
    );
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
}
