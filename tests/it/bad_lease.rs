//! A Lease of somebody else's making, or with nonsense in it: nothing panics, nobody writes who is not sure, and in the end one leads.

use serde_json::{Value, json};

use crate::support::World;
use crate::support::api::{LEASE, text};
use crate::support::daemon::Daemon;
use crate::support::fixtures::{SERVICES, service};

/// Leases of seconds, so that the end of one is not long to wait for.
const FLAGS: [&str; 5] = [
    "--leader-elect=true",
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
    "--v=4",
];

/// Where Leases are made.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

/// What is said of nonsense, of a lease that is ours, of doubt, of an end, and of a coordinator.
const NONSENSE: &str = "the lease makes no sense";
const OURS: &str = "the lease names this replica";
const DOUBT: &str = "the lease is ours, but somebody else may have held it and not know that";
const LOST: &str = "the lease is lost";
const COORDINATED: &str = "the lease is to be given by a coordinator";

fn start(world: &World) -> Daemon {
    world.start_with(&FLAGS, "cluster-id=test\n")
}

/// The Lease of the election with this in it.
pub fn lease(spec: Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "cloud-controller-manager", "namespace": "kube-system"},
        "spec": spec,
    })
}

fn get(world: &World) -> Value {
    world.api.get(LEASE).unwrap_or_default()
}

/// Waits until the daemon holds the Lease and serves, and returns the Lease.
fn until_it_works(world: &World, daemon: &Daemon, name: &str, port: u16) -> Value {
    let object = service(name).slb("slb-1").port(port, 30_000 + port);
    world.api.create(SERVICES, &object.json());
    world.until("it leads and serves", daemon, || {
        world.ingress(name) == ["203.0.113.1"]
    });
    get(world)
}

fn count(daemon: &Daemon, line: &str) -> usize {
    daemon.output().matches(line).count()
}

/// Waits until the Lease is renewed so many times more.
fn renewals(world: &World, daemon: &Daemon, times: usize) {
    for _ in 0..times {
        let before = get(world)["spec"]["renewTime"].clone();
        world.until("it is renewed", daemon, || {
            get(world)["spec"]["renewTime"] != before
        });
    }
}

/// The record that a candidate of these flags writes.
fn is_well_formed(lease: &Value) -> bool {
    let spec = &lease["spec"];
    !text(&spec["holderIdentity"]).is_empty()
        && spec["holderIdentity"] != "somebody"
        && spec["leaseDurationSeconds"] == 3
        && ["acquireTime", "renewTime"]
            .iter()
            .all(|date| humantime::parse_rfc3339(text(&spec[date])).is_ok())
}

/// What only a simulated API server has in its store. What is told of it, and where.
#[test]
fn a_lease_with_nonsense_in_it_is_told_of_once_and_taken() {
    let good = "2026-01-02T03:04:05.000006Z";
    for (case, spec, told) in [
        (
            "garbage dates",
            json!({"holderIdentity": "somebody", "leaseDurationSeconds": 1, "renewTime": "soon", "acquireTime": {}}),
            "spec.renewTime is \\\"soon\\\"",
        ),
        (
            "a duration below 0",
            json!({"holderIdentity": "somebody", "leaseDurationSeconds": -5, "renewTime": good}),
            "spec.leaseDurationSeconds is -5",
        ),
        (
            "a holder that is a number",
            json!({"holderIdentity": 7, "leaseDurationSeconds": 1, "renewTime": good}),
            "spec.holderIdentity is 7",
        ),
        (
            "transitions that are text",
            json!({"holderIdentity": "somebody", "leaseDurationSeconds": 1, "renewTime": good, "leaseTransitions": "x"}),
            "spec.leaseTransitions is",
        ),
        ("no record", json!("none"), "spec is"),
    ] {
        let world = World::small_simulated();
        let mut object = lease(spec);
        object["metadata"]["uid"] = "odd-uid".into();
        world.put_lease_unchecked(object);
        let daemon = start(&world);
        let lease = until_it_works(&world, &daemon, "web", 80);
        assert!(is_well_formed(&lease), "{case}: {lease}");
        renewals(&world, &daemon, 2);
        let output = daemon.output();
        assert!(output.contains(told), "{case}: {output}");
        assert_eq!(count(&daemon, NONSENSE), 1, "{case}: {output}");
        assert!(!output.contains("panicked"), "{case}: {output}");
    }
}

/// 0 seconds are nobody's lease, and not one that was given back: it is taken at once, and then there is a while of doubt.
#[test]
fn a_lease_of_no_duration_is_taken_and_doubted() {
    for (case, spec) in [
        (
            "0 seconds",
            json!({"holderIdentity": "somebody", "leaseDurationSeconds": 0}),
        ),
        ("no record", Value::Null),
        ("an empty one", json!({})),
    ] {
        let world = World::small_simulated();
        let mut object = lease(spec);
        object["metadata"]["uid"] = "odd-uid".into();
        world.put_lease_unchecked(object);
        let daemon = start(&world);
        world.until(case, &daemon, || count(&daemon, DOUBT) == 1);
        assert!(is_well_formed(&get(&world)), "{case}: {}", get(&world));
        assert_eq!(count(&daemon, OURS), 1, "{case}: {}", daemon.output());
        until_it_works(&world, &daemon, "web", 80);
        assert_eq!(count(&daemon, NONSENSE), 0, "{case}: {}", daemon.output());
    }
}

#[test]
fn a_lease_that_somebody_left_is_taken_when_its_time_is_over_and_keeps_what_others_put_on_it() {
    let world = World::small();
    let mut object = lease(json!({
        "holderIdentity": "somebody", "leaseDurationSeconds": 2, "leaseTransitions": 41,
        // a clock that is years ahead
        "acquireTime": "2099-01-01T00:00:00.000000Z", "renewTime": "2099-01-01T00:00:00.000000Z",
    }));
    object["metadata"]["labels"] = json!({"team": "network"});
    object["metadata"]["annotations"] = json!({"note": "by hand"});
    let made = world.api.create(LEASES, &object);
    let daemon = start(&world);
    world.until("it stands by", &daemon, || {
        daemon
            .output()
            .lines()
            .any(|line| line.contains("standing by") && line.contains("somebody"))
    });
    let lease = until_it_works(&world, &daemon, "web", 80);
    assert!(is_well_formed(&lease), "{lease}");
    assert_eq!(lease["spec"]["leaseTransitions"], 42);
    let (before, after) = (&made["metadata"], &lease["metadata"]);
    for field in ["uid", "labels", "annotations"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(count(&daemon, NONSENSE), 0, "{}", daemon.output());
}

/// Fields that nobody here knows, which a simulated API server lets pass.
#[test]
fn fields_that_nobody_knows_stay() {
    let world = World::small_simulated();
    let mut object = lease(json!({
        "holderIdentity": "somebody", "leaseDurationSeconds": 1, "strategy": "OldestEmulationVersion",
        "preferredHolder": "somebody", "fromTheFuture": {"deep": [1, 2]},
    }));
    object["metadata"]["uid"] = "odd-uid".into();
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y"}]);
    world.put_lease_unchecked(object.clone());
    let daemon = start(&world);
    until_it_works(&world, &daemon, "web", 80);
    renewals(&world, &daemon, 2);
    let lease = get(&world);
    for field in ["strategy", "preferredHolder"] {
        assert_eq!(lease["spec"][field], object["spec"][field], "{field}: {lease}");
    }
    assert_eq!(
        lease["metadata"]["ownerReferences"],
        object["metadata"]["ownerReferences"]
    );
    assert_eq!(count(&daemon, COORDINATED), 1, "{}", daemon.output());
}

/// The one that leads goes on, but writes nothing until an earlier holder would have given up.
#[test]
fn a_leader_whose_lease_is_blanked_or_deleted_takes_it_again_and_waits() {
    type Meddle = fn(&World);
    let cases: [(&str, Meddle); 3] = [
        ("blanked", |world| {
            world.api.patch(LEASE, &json!({"spec": {"holderIdentity": ""}}));
        }),
        ("without a holder", |world| {
            world.api.patch(LEASE, &json!({"spec": {"holderIdentity": null}}));
        }),
        ("deleted", |world| world.api.delete(LEASE)),
    ];
    for (case, meddle) in cases {
        let world = World::small();
        let daemon = start(&world);
        let before = until_it_works(&world, &daemon, "web", 80);
        let doubts = count(&daemon, DOUBT);
        meddle(&world);
        world.until(&format!("{case}: it waits"), &daemon, || {
            count(&daemon, DOUBT) == doubts + 1
        });
        let lease = until_it_works(&world, &daemon, "late", 81);
        assert!(is_well_formed(&lease), "{case}: {lease}");
        assert_eq!(
            lease["spec"]["holderIdentity"], before["spec"]["holderIdentity"],
            "{case}: it is the same process"
        );
        assert_eq!(count(&daemon, LOST), 0, "{case}: {}", daemon.output());
    }
}

#[test]
fn a_leader_whose_lease_is_given_to_another_ends_at_once() {
    let world = World::small();
    let mut daemon = start(&world);
    until_it_works(&world, &daemon, "web", 80);
    world.api.patch(
        LEASE,
        &json!({"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 1}}),
    );
    let status = daemon.wait();
    let output = daemon.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert_eq!(count(&daemon, LOST), 1, "{output}");
    assert!(
        output.contains("the lease was taken by \\\"somebody\\\""),
        "{output}"
    );
    assert_eq!(
        get(&world)["spec"]["holderIdentity"],
        "somebody",
        "it is left alone"
    );
}

/// A record in which dates make no sense, under a leader: it is ours by name, so it is mended.
#[test]
fn a_leader_whose_record_is_made_nonsense_mends_it() {
    let world = World::small_simulated();
    let daemon = start(&world);
    let held = until_it_works(&world, &daemon, "web", 80);
    let mut object = held.clone();
    object["spec"]["renewTime"] = "soon".into();
    object["spec"]["acquireTime"] = json!({});
    object["spec"]["leaseTransitions"] = json!(-1);
    world.put_lease_unchecked(object);
    world.until("it is mended", &daemon, || {
        is_well_formed(&get(&world)) && count(&daemon, DOUBT) == 2
    });
    let lease = until_it_works(&world, &daemon, "late", 81);
    assert_eq!(lease["spec"]["holderIdentity"], held["spec"]["holderIdentity"]);
    assert_eq!(count(&daemon, NONSENSE), 1, "{}", daemon.output());
}
