//! The daemon as it is by default: election, endpoint and watches on.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cloud_provider_inspur::http::agent::{Agent, Pem, Roots, Settings};
use cloud_provider_inspur::http::{Request, Transport};
use cloud_provider_inspur::sim::api_server::Resource;
use serde_json::json;

use crate::memory::{large_node, tell_memory};
use crate::process::Daemon;
use crate::report::{Mib, Millis, PerSecond, Report, Times, median};
use crate::world::{PATIENCE, TOKEN, World, complete, pause};

const STARTS: usize = 15;
const SCRAPES: usize = 25;
const FAILOVERS: usize = 5;
/// How long activity is watched.
const MINUTE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(3);

/// A certificate, and who trusts it.
struct Door {
    certificate: PathBuf,
    key: PathBuf,
    agent: Agent,
}

/// A daemon that serves its endpoint.
struct Whole {
    daemon: Daemon,
    port: u16,
}

impl Door {
    fn new(world: &World) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
        let certificate = world.file("endpoint.crt", &made.cert.pem());
        let key = world.file("endpoint.key", &made.signing_key.serialize_pem());
        let roots = Roots::Pem(Pem::File(certificate.clone()));
        let agent = Agent::new(Settings::new("bench", roots)).expect("the certificate is good");
        Self {
            certificate,
            key,
            agent,
        }
    }

    fn start(&self, world: &World, flags: &[&str]) -> Whole {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let kubeconfig = world.path("kubeconfig").display().to_string();
        let own = [
            "--leader-elect=true".to_owned(),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--tls-cert-file={}", self.certificate.display()),
            format!("--tls-private-key-file={}", self.key.display()),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
        ];
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        Whole {
            daemon: world.start(&all),
            port,
        }
    }

    /// Status and length of the answer; `None` without one.
    fn get(&self, whole: &Whole, path: &str) -> Option<(u16, usize)> {
        let request = Request::get(format!("https://127.0.0.1:{}{path}", whole.port))
            .header("Authorization", format!("Bearer {TOKEN}"));
        let answer = self.agent.exchange(&request).ok()?;
        let status = answer.status;
        Some((status, answer.into_bytes(64 << 20).ok()?.len()))
    }

    fn until_healthy(&self, whole: &Whole) {
        let deadline = Instant::now() + PATIENCE;
        while self.get(whole, "/healthz").map(|(status, _)| status) != Some(200) {
            assert!(
                Instant::now() < deadline,
                "never healthy\n{}",
                whole.daemon.output()
            );
            pause(Duration::from_millis(1));
        }
    }
}

/// From the start of the process to its first good answer.
pub(crate) fn health(report: &Report) {
    report.section("Spawn → /healthz 200 (asked every millisecond)");
    let world = World::new();
    let door = Door::new(&world);
    let once = || {
        let begun = Instant::now();
        let whole = door.start(&world, &[]);
        door.until_healthy(&whole);
        Millis(begun.elapsed())
    };
    let times: Vec<Millis> = (0..STARTS).map(|_| once()).collect();
    report.at_most(
        &format!("median of {STARTS}"),
        median(times),
        Millis(Duration::from_millis(50)),
    );
}

/// 100 Nodes and 100 Services on 10 SLBs.
pub(crate) fn small(report: &Report) {
    report.section("Election, endpoint and watches on: 100 Nodes, 100 Services on 10 SLBs");
    let world = World::new();
    world.fill(10, 10, 100);
    let door = Door::new(&world);
    let whole = door.start(&world, &[]);
    world.until("all are served", &whole.daemon, |state| complete(state, 10, 100));
    world.until_served(&whole.daemon);
    door.until_healthy(&whole);
    // Events are sent slowly, and what is known of SLBs is forgotten after some seconds
    pause(Duration::from_secs(60));
    let memory = whole.daemon.memory();
    report.at_most("RSS at rest", memory.resident, Mib(5.0));
    tell_memory(report, memory);
    let activity = whole.daemon.activity_in(MINUTE);
    let wake_ups = PerSecond(activity.sleeps as f64 / MINUTE.as_secs_f64());
    report.at_most("wake-ups at rest, all threads", wake_ups, PerSecond(2.0));
    report.tell("CPU in a minute of rest", Millis(activity.cpu));
}

/// 5,000 Nodes: at rest, with the heartbeats of their kubelets, and with 10,000 Services.
pub(crate) fn large(report: &Report) {
    report.section("Election, endpoint and watches on: 5,000 Nodes of 10 KB each");
    let world = World::new();
    for number in 0..5_000 {
        world.api.put_unchecked(Resource::Nodes, large_node(number, 0));
    }
    let door = Door::new(&world);
    let whole = door.start(&world, &[]);
    settle(&world, &door, &whole);
    report.at_most("RSS at rest", whole.daemon.memory().resident, Mib(14.0));
    tell_memory(report, whole.daemon.memory());
    let before = whole.daemon.activity();
    let begun = Instant::now();
    for beat in 0..17 * 60 {
        let number = beat * 7 % 5_000;
        world
            .api
            .put_unchecked(Resource::Nodes, large_node(number, 1 + beat as u32 / 5_000));
        let due = Duration::from_secs_f64(f64::from(beat as u32) / 17.0);
        pause(due.saturating_sub(begun.elapsed()));
    }
    let cpu = whole.daemon.activity().cpu.saturating_sub(before.cpu);
    let what = format!(
        "CPU in {:.0} s with 17 heartbeats a second",
        begun.elapsed().as_secs_f64()
    );
    report.at_most(&what, Millis(cpu), Millis(Duration::from_millis(200)));
    drop(whole);

    report.section("The same with 10,000 Services, of which 10 are load balancers on one SLB");
    for number in 0..10_000 {
        world.api.put_unchecked(Resource::Services, plain_service(number));
    }
    let whole = door.start(&world, &[]);
    settle(&world, &door, &whole);
    let memory = whole.daemon.memory();
    report.at_most("RSS at rest", memory.resident, Mib(34.0));
    tell_memory(report, memory);
    report.at_most(
        "peak / RSS at rest",
        Times(memory.peak.0 / memory.resident.0),
        Times(1.15),
    );
    let scrape = || {
        let begun = Instant::now();
        let answer = door.get(&whole, "/metrics");
        assert_eq!(answer.map(|(status, _)| status), Some(200));
        Millis(begun.elapsed())
    };
    let times: Vec<Millis> = (0..SCRAPES).map(|_| scrape()).collect();
    let what = format!("a scrape of /metrics, handshake included, median of {SCRAPES}");
    report.at_most(&what, median(times), Millis(Duration::from_millis(5)));
    let bytes = door.get(&whole, "/metrics").map_or(0, |(_, length)| length);
    report.tell("  its bytes", bytes);
    let begun = Instant::now();
    let bytes = door.get(&whole, "/statusz").map_or(0, |(_, length)| length);
    report.tell(&format!("/statusz ({bytes} bytes)"), Millis(begun.elapsed()));
    report.tell("RSS after that", whole.daemon.memory().resident);
}

/// How soon a standby works after the leader was asked to stop, and after it was killed.
pub(crate) fn failover(report: &Report) {
    report.section("Two replicas, flags by default (leases of 15 s, retries every 2 s)");
    let world = World::new();
    world.fill(1, 1, 3);
    let door = Door::new(&world);
    for (what, signal, target, rounds) in [
        (
            "SIGTERM of the leader → the standby leads",
            "TERM",
            Duration::from_secs(1),
            FAILOVERS,
        ),
        (
            "kill -9 of the leader → the standby leads",
            "KILL",
            Duration::from_secs(17),
            2,
        ),
    ] {
        let once = || {
            let (first, second) = (door.start(&world, &[]), door.start(&world, &[]));
            let leads = |whole: &Whole| whole.daemon.output().contains("this replica leads");
            until(&first, || leads(&first) || leads(&second));
            let (leader, heir) = if leads(&first) {
                (first, second)
            } else {
                (second, first)
            };
            door.until_healthy(&heir);
            // both have been so for a while
            pause(Duration::from_secs(5));
            let begun = Instant::now();
            leader.daemon.signal(signal);
            until(&heir, || leads(&heir));
            let taken = begun.elapsed();
            heir.daemon.signal("TERM");
            pause(Duration::from_secs(1));
            Millis(taken)
        };
        let mut times: Vec<Millis> = (0..rounds).map(|_| once()).collect();
        times.sort_by(|a, b| a.partial_cmp(b).expect("times are numbers"));
        report.at_most(
            &format!("{what}, longest of {rounds}"),
            times[times.len() - 1],
            Millis(target),
        );
        report.tell("  median", median(times));
    }
}

fn until(whole: &Whole, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never\n{}", whole.daemon.output());
        pause(Duration::from_millis(5));
    }
}

/// Until both watches are open and nothing is asked but for the lease.
fn settle(world: &World, door: &Door, whole: &Whole) {
    door.until_healthy(whole);
    let watching = world.api_server.log().wait_until(PATIENCE, |requests| {
        ["/nodes?watch=", "/services?watch="]
            .iter()
            .all(|what| requests.iter().any(|request| request.target.contains(what)))
    });
    assert!(watching, "it never watched\n{}", whole.daemon.output());
    let mut before = whole.daemon.activity().cpu;
    loop {
        pause(QUIET);
        let now = whole.daemon.activity().cpu;
        if now.saturating_sub(before) < Duration::from_millis(20) {
            return;
        }
        before = now;
    }
}

/// A Service as most are.
fn plain_service(number: usize) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("service-{number:05}"), "namespace": format!("team-{:03}", number % 200),
            "uid": format!("00000000-0000-4000-8001-{number:012}"), "creationTimestamp": "2026-11-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": format!("service-{number:05}"), "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": format!("service-{number:05}"), "meta.helm.sh/release-namespace": "default"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": format!("10.{}.{}.{}", 96 + number / 65536, number / 256 % 256, number % 256),
            "selector": {"app.kubernetes.io/name": format!("service-{number:05}")}, "sessionAffinity": "None",
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
                {"name": "metrics", "protocol": "TCP", "port": 9090, "targetPort": "metrics"},
            ],
        },
        "status": {"loadBalancer": {}},
    })
}
