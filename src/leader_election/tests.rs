//! The thread that stands for election, against the simulated API server: what it tells others, and how it ends.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::events::{self, EventSink, Step as Sent};
use crate::k8s::ClientOptions;
use crate::k8s::auth::Auth;
use crate::runtime::clock::ManualClock;
use crate::runtime::gate::Gate;
use crate::runtime::secret::Secret;
use crate::runtime::stop::Stop;
use crate::sim::api_server::{ApiServer, Resource, Rule};
use crate::sim::faults::{self, Effect};
use crate::sim::server::InProcess;

const SECOND: Duration = Duration::from_secs(1);
const NAMESPACE: &str = "kube-system";
const NAME: &str = "ccm";

fn options() -> Options {
    Options {
        namespace: NAMESPACE.into(),
        name: NAME.into(),
        lease_duration: 15 * SECOND,
        renew_deadline: 10 * SECOND,
        retry_period: 2 * SECOND,
    }
}

/// A server, and the one clock that everybody goes by.
struct World {
    api: ApiServer,
    clock: ManualClock,
}

/// One replica.
struct Replica {
    election: Election,
    leadership: Leadership,
    gate: Gate,
    way: Arc<InProcess>,
    sink: EventSink,
    metrics: Metrics,
    clock: ManualClock,
    stop: Stop,
    told: Vec<Turn>,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new(UNIX_EPOCH + 2_000_000_000 * SECOND);
        let api = ApiServer::with_clock(1, Arc::new(clock.clone()));
        api.open(true);
        Self { api, clock }
    }

    fn replica(&self, identity: &str) -> Replica {
        self.replica_with(identity, Auth::nobody())
    }

    fn replica_with(&self, identity: &str, auth: Auth) -> Replica {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let (random, auth) = (Arc::new(Random::from_seed(1)), Arc::new(auth));
        let (gate, keeper) = Gate::shut(Arc::clone(&clock));
        let way = || {
            Arc::new(InProcess::with_clock(
                Arc::new(self.api.clone()),
                Arc::clone(&clock),
            ))
        };
        let client = |way: &Arc<InProcess>, gate: &Gate| {
            Client::with_options(ClientOptions {
                metrics: crate::k8s::ClientMetrics::default(),
                base: "http://api".into(),
                transport: Arc::clone(way) as _,
                auth: Arc::clone(&auth),
                gate: gate.clone(),
                bucket: None,
                component: "leader-election".into(),
                stop: StopToken::never(),
                clock: Arc::clone(&clock),
                random: Arc::clone(&random),
            })
        };
        let asks = way();
        let (recorder, sink) = events::recorder(
            "test",
            client(&way(), &Gate::open()),
            Arc::clone(&clock),
            Arc::clone(&random),
        );
        let metrics = Metrics::new();
        let election = Election::new(ElectionOptions {
            lease: options(),
            identity: identity.into(),
            // the gate is shut: what is asked about the lease needs none
            client: client(&asks, &gate),
            watches: client(&way(), &gate),
            recorder,
            keeper,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            metrics: &metrics,
        })
        .unwrap();
        Replica {
            leadership: election.leadership(),
            election,
            gate,
            way: asks,
            sink,
            metrics,
            clock: self.clock.clone(),
            stop: Stop::new(),
            told: Vec::new(),
        }
    }

    fn lease(&self) -> Value {
        self.api.object(Resource::Leases, NAMESPACE, NAME).unwrap()
    }

    /// One that leads.
    fn leader(&self, identity: &str) -> Replica {
        let mut replica = self.replica(identity);
        replica.go(20 * SECOND);
        assert!(replica.gate.is_open() && replica.leadership.is_leading());
        replica
    }
}

impl Replica {
    /// Does what it does in that time, alone in the world. How it ended, if it did.
    fn go(&mut self, time: Duration) -> Option<Ended> {
        let end = self.clock.now() + time;
        let stop = self.stop.token();
        loop {
            let told = &mut self.told;
            match self.election.step(&stop, &mut |turn| told.push(turn)) {
                Done::Asked => {}
                Done::End(ended) => return Some(ended),
                Done::Wait(until) => {
                    let now = self.clock.now();
                    if now >= end {
                        return None;
                    }
                    let left = until.saturating_duration_since(now);
                    let heard = self.election.hears(left);
                    // a read that hears nothing takes a tick on a real connection
                    let spent = if heard { SECOND } else { left };
                    self.clock.advance(spent.min(end - now));
                }
            }
        }
    }

    /// What the events say that were sent by now, and about what.
    fn events(&mut self, world: &World) -> Vec<(Value, Value)> {
        while self.sink.step() == Sent::Worked {}
        let events = world.api.objects(Resource::Events);
        let told = events.values().map(|event| {
            let what = [&event["type"], &event["reason"], &event["source"]["component"]];
            assert_eq!(what, ["Normal", "LeaderElection", "cloud-controller-manager"]);
            (event["message"].clone(), event["involvedObject"]["kind"].clone())
        });
        told.collect()
    }

    fn master(&self) -> bool {
        let text = self.metrics.text();
        let is = |value| {
            text.contains(&format!(
                "leader_election_master_status{{name=\"{NAME}\"}} {value}\n"
            ))
        };
        assert!(is(0) != is(1), "{text}");
        is(1)
    }
}

#[test]
fn a_first_leader_tells_what_it_is() {
    let world = World::new();
    let mut replica = world.replica("a");
    assert_eq!(replica.go(Duration::ZERO), None);
    assert_eq!(replica.told, [Turn::Standby { holder: None }]);
    assert!(!replica.master() && !replica.gate.is_open());
    replica.go(20 * SECOND);
    assert_eq!(replica.told, [Turn::Standby { holder: None }, Turn::Leading]);
    assert!(replica.master() && replica.gate.is_open());
    assert_eq!(
        replica.events(&world),
        [(json!("a became leader"), json!("Lease"))]
    );
    let holder = replica.leadership.holder().unwrap();
    assert_eq!((holder.identity.as_str(), holder.transitions), ("a", 0));
    assert_eq!(holder.since, UNIX_EPOCH + 2_000_000_000 * SECOND);
    let spec = &world.lease()["spec"];
    assert_eq!(
        (&spec["holderIdentity"], &spec["leaseDurationSeconds"]),
        (&json!("a"), &json!(15))
    );
}

#[test]
fn a_standby_hears_of_a_release_at_once() {
    let world = World::new();
    let mut leader = world.leader("a");
    let mut standby = world.replica("b");
    standby.go(SECOND);
    let holder = Some("a".to_owned());
    assert_eq!(standby.told, [Turn::Standby { holder }]);
    assert_eq!(standby.leadership.holder().unwrap().identity, "a");
    leader.leadership.release(SECOND).unwrap();
    assert!(!leader.gate.is_open() && !leader.master() && !leader.leadership.is_leading());
    let spec = world.lease()["spec"].clone();
    let left = (&spec["holderIdentity"], &spec["leaseDurationSeconds"]);
    assert_eq!(left, (&json!(""), &json!(1)));
    assert_eq!(
        (&spec["acquireTime"], &spec["leaseTransitions"]),
        (&spec["renewTime"], &json!(0))
    );
    // the second that a silent read takes on this clock is none where there is something to hear
    standby.go(SECOND + 100 * Duration::from_millis(1));
    assert!(standby.gate.is_open() && standby.told.contains(&Turn::Leading));
    let events = leader.events(&world);
    assert!(
        events.contains(&(json!("a stopped leading"), json!("Lease"))),
        "{events:?}"
    );
    assert_eq!(
        leader.go(60 * SECOND),
        Some(Ended::Stopped),
        "it asks nothing more"
    );
    assert_eq!(world.lease()["spec"]["holderIdentity"], "b");
}

#[test]
fn a_leader_whose_lease_is_taken_ends_with_its_gate_shut() {
    let world = World::new();
    let mut leader = world.leader("a");
    let patch = json!({"spec": {"holderIdentity": "b", "leaseTransitions": 1}});
    world
        .api
        .patch(Resource::Leases, NAMESPACE, NAME, &patch)
        .unwrap();
    let ended = leader.go(10 * SECOND);
    assert_eq!(ended, Some(Ended::Lost(Loss::Taken("b".into()))));
    assert!(!leader.gate.is_open() && !leader.master() && !leader.leadership.is_leading());
    assert_eq!(leader.leadership.overdue_at(), None);
    assert!(
        leader
            .metrics
            .text()
            .contains("leader_election_slowpath_total{name=\"ccm\"} 1")
    );
    assert_eq!(
        leader.events(&world).last().unwrap().0,
        json!("a stopped leading")
    );
}

/// F57: nothing is answered any more.
#[test]
fn a_leader_that_cannot_renew_is_overdue_and_ends() {
    let world = World::new();
    let mut leader = world.leader("a");
    let renewed = leader.leadership.overdue_at().unwrap();
    leader.go(4 * SECOND);
    let before = leader.leadership.overdue_at().unwrap();
    assert!(before > renewed, "it moves on with each renewal");
    leader
        .way
        .faults()
        .add(faults::Rule::new(Effect::HangUp).forever());
    let now = leader.clock.now();
    let ended = leader.go(60 * SECOND);
    assert_eq!(ended, Some(Ended::Lost(Loss::Late(10 * SECOND))));
    let spent = leader.clock.now() - now;
    assert!(spent > 7 * SECOND && spent <= 10 * SECOND, "{spent:?}");
    assert!(before > leader.clock.now() && before < leader.clock.now() + SECOND);
    assert!(!leader.gate.is_open());
}

#[test]
fn health_minds_only_a_leader_that_does_not_renew() {
    let world = World::new();
    let standby = world.replica("b");
    let leader = world.leader("a");
    let now = world.clock.now();
    for (age, fine) in [(0, true), (34, true), (36, false)] {
        let at = now + age * SECOND;
        assert_eq!(leader.leadership.check(at).is_ok(), fine, "{age}");
        assert!(standby.leadership.check(at).is_ok());
    }
    let why = leader.leadership.check(now + 40 * SECOND).unwrap_err();
    assert!(why.starts_with("the lease was last renewed "), "{why}");
}

/// F63: what is given back was just read, and is ours.
#[test]
fn only_our_lease_is_given_back() {
    let world = World::new();
    let leader = world.leader("a");
    let mut other = world.lease();
    other["spec"]["holderIdentity"] = json!("b");
    let before = world.api.put_unchecked(Resource::Leases, other);
    let refused = leader.leadership.release(SECOND);
    assert!(matches!(refused, Err(NotReleased::Taken(holder)) if holder == "b"));
    assert_eq!(world.lease(), before);
    assert!(!leader.gate.is_open(), "it is shut all the same");
}

#[test]
fn a_lease_that_is_not_proven_ours_is_left_to_end() {
    let world = World::new();
    let mut replica = world.replica("a");
    replica.go(5 * SECOND);
    let before = world.lease();
    assert_eq!(before["spec"]["holderIdentity"], "a");
    let refused = replica.leadership.release(SECOND);
    assert!(matches!(refused, Err(NotReleased::NotOurs)));
    assert_eq!(world.lease(), before);
}

#[test]
fn a_release_is_tried_again_when_somebody_was_faster() {
    let world = World::new();
    let leader = world.leader("a");
    let faults = leader.way.faults();
    faults.add(faults::Rule::on("PUT", "leases", Effect::status(409)));
    leader.leadership.release(SECOND).unwrap();
    assert_eq!(world.lease()["spec"]["holderIdentity"], "");

    let leader = world.replica("c");
    leader
        .way
        .faults()
        .add(faults::Rule::new(Effect::HangUp).forever());
    assert!(matches!(
        leader.leadership.release(SECOND),
        Err(NotReleased::NotOurs)
    ));
}

/// These are the rules to grant. Without `watch` a release is seen a little later, and that is all.
#[test]
fn it_needs_few_rights() {
    for watch in [true, false] {
        let world = World::new();
        let rule = |verbs| Rule::new(verbs, "coordination.k8s.io", "leases").in_namespace(NAMESPACE);
        let mut rules = vec![rule("create"), rule("get update").named(NAME)];
        if watch {
            rules.push(rule("watch").named(NAME));
        }
        world.api.user_token("t", "ccm");
        world.api.allow("ccm", rules);
        let auth = || Auth::token("test", &Secret::new("t")).unwrap();
        let mut leader = world.replica_with("a", auth());
        leader.go(20 * SECOND);
        assert!(leader.gate.is_open() && leader.election.complaints.is_empty());
        let mut standby = world.replica_with("b", auth());
        standby.go(3 * SECOND);
        assert_eq!(standby.election.complaints.is_empty(), watch);
        leader.leadership.release(SECOND).unwrap();
        standby.go(5 * SECOND);
        assert!(standby.gate.is_open());
    }
}

/// F62: a lease of somebody else's making.
#[test]
fn nonsense_is_told_once_and_taken_over_in_the_end() {
    for (spec, found) in [
        (
            json!({"holderIdentity": 7, "leaseDurationSeconds": 15}),
            "spec.holderIdentity is 7",
        ),
        (
            json!({"holderIdentity": "x", "leaseDurationSeconds": -5}),
            "spec.leaseDurationSeconds is -5",
        ),
        (
            json!({"holderIdentity": "x", "leaseDurationSeconds": 15, "renewTime": "soon"}),
            "spec.renewTime is \"soon\"",
        ),
        (json!("odd"), "spec is \"odd\""),
    ] {
        let world = World::new();
        let metadata = json!({"name": NAME, "namespace": NAMESPACE, "uid": "u", "labels": {"keep": "me"}});
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec});
        world.api.put_unchecked(Resource::Leases, lease);
        let mut replica = world.replica("a");
        replica.go(14 * SECOND);
        assert_eq!(replica.election.nonsense, [found]);
        assert_eq!(world.lease()["spec"], spec, "it counts as held");
        replica.go(6 * SECOND);
        assert!(replica.gate.is_open(), "{found}");
        let lease = world.lease();
        assert_eq!(lease["spec"]["holderIdentity"], "a");
        assert_eq!(lease["metadata"]["labels"], json!({"keep": "me"}));
    }
}

#[test]
fn what_is_no_lease_is_an_answer_that_says_nothing() {
    let canned = |status: u16, body: &str| {
        Effect::Answer(faults::Canned {
            status,
            body: Some(body.to_owned()),
            ..faults::Canned::default()
        })
    };
    let another = r#"{"kind":"Lease","metadata":{"name":"other","uid":"u","resourceVersion":"1"}}"#;
    for (case, effect) in [
        ("HTML", Effect::Html),
        (
            "another kind",
            canned(200, r#"{"kind":"ConfigMap","metadata":{}}"#),
        ),
        ("another lease", canned(200, another)),
        ("a list", canned(200, "[]")),
        ("nothing", Effect::Empty),
        ("cut short", Effect::Truncate),
        ("no JSON", Effect::Malformed),
        ("forbidden", Effect::status(403)),
        ("not served", canned(404, "404 page not found")),
        ("overloaded", Effect::throttle(1)),
        ("no answer", Effect::HangUp),
    ] {
        let world = World::new();
        let mut replica = world.replica("a");
        replica.way.faults().add(faults::Rule::new(effect).forever());
        assert_eq!(replica.go(30 * SECOND), None, "{case}");
        assert_eq!(replica.told, [Turn::Standby { holder: None }], "{case}");
        assert_eq!(replica.election.complaints.len(), 1, "{case}: told once");
        assert!(
            world.api.objects(Resource::Leases).is_empty(),
            "{case}: nothing was written"
        );
        replica.way.faults().clear();
        replica.go(30 * SECOND);
        assert!(
            replica.gate.is_open() && replica.election.complaints.is_empty(),
            "{case}"
        );
    }
}

#[test]
fn a_strategy_is_kept() {
    let world = World::new();
    let spec = json!({"holderIdentity": "", "strategy": "OldestEmulationVersion", "more": 1});
    let metadata = json!({"name": NAME, "namespace": NAMESPACE, "uid": "u"});
    world.api.put_unchecked(
        Resource::Leases,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}),
    );
    let replica = world.leader("a");
    assert!(replica.election.coordinated);
    assert_eq!(world.lease()["spec"]["strategy"], "OldestEmulationVersion");
}

#[test]
fn every_request_ends_before_the_deadline() {
    let mut elector = Elector::new(options(), "a", Instant::now());
    let api_options = options();
    let at = Moment {
        now: Instant::now(),
        wall: SystemTime::now(),
    };
    let Step::Ask(ask) = elector.next(at, &Random::from_seed(1)) else {
        panic!("it begins at once");
    };
    assert_eq!(ask.within, 5 * SECOND);
    let world = World::new();
    let replica = world.replica("a");
    let call = replica.leadership.api().call(&Ask {
        within: 3 * SECOND,
        ..ask
    });
    assert!(call.path.ends_with("?timeout=3000ms"), "{}", call.path);
    assert_eq!(
        (call.limits.connect, call.limits.head, call.limits.body),
        (1500 * Duration::from_millis(1), 3 * SECOND, Some(3 * SECOND))
    );
    for (renew, limit) in [(10, 5), (4, 2), (1, 1), (60, 5)] {
        let options = Options {
            renew_deadline: renew * SECOND,
            ..api_options.clone()
        };
        assert_eq!(options.request_limit(), limit * SECOND, "{renew}");
    }
}

#[test]
fn a_lease_is_valid_for_less_than_it_says() {
    let millis = Duration::from_millis;
    for (lease, renew, valid, seconds) in [
        (15_000, 10_000, 14_000, 15),
        (3_000, 2_000, 2_500, 3),
        (1_500, 1_000, 1_250, 2),
        (60_000, 59_000, 59_500, 60),
    ] {
        let options = Options {
            lease_duration: millis(lease),
            renew_deadline: millis(renew),
            ..options()
        };
        assert_eq!(
            (options.validity(), options.whole_seconds()),
            (millis(valid), seconds),
            "{lease}"
        );
    }
}
