//! One candidate, step by step.

use std::time::UNIX_EPOCH;

use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn options() -> Options {
    Options {
        namespace: "kube-system".into(),
        name: "ccm".into(),
        lease_duration: 15 * SECOND,
        renew_deadline: 10 * SECOND,
        retry_period: 2 * SECOND,
    }
}

/// The candidate `a`, and its clock.
struct Bench {
    elector: Elector,
    random: Random,
    at: Moment,
    version: u64,
}

impl Bench {
    fn new() -> Self {
        let at = Moment {
            now: Instant::now(),
            wall: UNIX_EPOCH + 2_000_000_000 * SECOND,
        };
        Self {
            elector: Elector::new(options(), "a", at.now),
            random: Random::from_seed(1),
            at,
            version: 0,
        }
    }

    /// One that leads, and has just renewed the lease.
    fn leader() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.ask(), What::Read);
        bench.answer(Answer::Lease(released()));
        let taken = bench.ask();
        bench.grant(taken);
        assert!(matches!(bench.standing(), Standing::Leads(..)));
        bench
    }

    fn pass(&mut self, time: Duration) {
        self.at.now += time;
        self.at.wall += time;
    }

    fn next(&mut self) -> Step {
        self.elector.next(self.at, &self.random)
    }

    fn ask(&mut self) -> What {
        match self.next() {
            Step::Ask(ask) => ask.what,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self) -> Duration {
        match self.next() {
            Step::Wait(until) => until - self.at.now,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.elector.answered(self.at, self.at, answer, &self.random);
    }

    /// Does what a write asks for, as the API server would.
    fn grant(&mut self, what: What) -> Value {
        let (What::Create(body) | What::Replace(body)) = what else {
            panic!("{what:?}");
        };
        self.version += 1;
        self.answer(Answer::Lease(stored(&body["spec"], self.version)));
        body["spec"].clone()
    }

    fn standing(&mut self) -> Standing {
        self.elector.standing(self.at.now)
    }
}

fn stored(spec: &Value, version: u64) -> Lease {
    let metadata = json!({"name": "ccm", "uid": "u", "resourceVersion": version.to_string()});
    Lease::parse(json!({"kind": "Lease", "metadata": metadata, "spec": spec})).unwrap()
}

fn held(by: &str, seconds: u32, renewed: u32) -> Value {
    let stamp = format!("2026-01-02T03:04:{renewed:02}.000000Z");
    json!({"holderIdentity": by, "leaseDurationSeconds": seconds, "acquireTime": stamp, "renewTime": stamp, "leaseTransitions": 4})
}

fn released() -> Lease {
    stored(&held("", 1, 0), 1)
}

#[test]
fn a_leader_renews_every_period_and_a_standby_looks_by_chance() {
    let mut leader = Bench::leader();
    assert_eq!(leader.wait(), 2 * SECOND);
    leader.pass(2 * SECOND);
    let renewal = leader.ask();
    leader.grant(renewal);
    assert_eq!(leader.wait(), 2 * SECOND);

    let mut standby = Bench::new();
    for renewed in 0..20 {
        assert_eq!(standby.ask(), What::Read);
        standby.answer(Answer::Lease(stored(&held("b", 15, renewed), 1)));
        let wait = standby.wait();
        assert!((2 * SECOND..4400 * MILLI).contains(&wait), "{wait:?}");
        standby.pass(wait);
    }
}

#[test]
fn a_leader_that_fails_tries_every_period_and_once_more_before_the_end() {
    let mut leader = Bench::leader();
    let (mut waits, mut gone) = (Vec::new(), Duration::ZERO);
    let end = loop {
        match leader.next() {
            Step::Wait(until) => {
                waits.push(((until - leader.at.now) + gone).as_millis());
                gone = Duration::ZERO;
                let wait = until - leader.at.now;
                leader.pass(wait);
            }
            Step::Ask(ask) => {
                assert!(ask.within <= 5 * SECOND, "{ask:?}");
                leader.pass(100 * MILLI);
                gone += 100 * MILLI;
                leader.answer(Answer::Failed);
            }
            Step::End(loss) => break loss,
        }
    };
    assert_eq!(end, Loss::Late(10 * SECOND));
    // the first fails twice, by a renewal and by a look
    assert_eq!(waits, [2000, 2000, 2000, 2000, 1500, 500]);
}

#[test]
fn no_request_outlives_the_deadline() {
    let mut leader = Bench::leader();
    leader.pass(7 * SECOND);
    let Step::Ask(ask) = leader.next() else {
        panic!("it is due");
    };
    assert_eq!(ask.within, 3 * SECOND);
    leader.pass(3 * SECOND);
    leader.answer(Answer::Failed);
    assert_eq!(leader.next(), Step::End(Loss::Late(10 * SECOND)));
}

#[test]
fn a_lease_counts_from_when_its_renewal_was_sent() {
    let mut leader = Bench::leader();
    leader.pass(2 * SECOND);
    let (sent, renewal) = (leader.at, leader.ask());
    leader.pass(4 * SECOND);
    let (at, What::Replace(body)) = (leader.at, renewal) else {
        panic!("a renewal");
    };
    let lease = stored(&body["spec"], 9);
    leader
        .elector
        .answered(sent, at, Answer::Lease(lease), &leader.random);
    assert_eq!(leader.standing(), Standing::Leads(sent, 14 * SECOND));
    assert_eq!(leader.elector.give_up_at(), Some(sent.now + 10 * SECOND));
}

/// What may be taken after how long, and when it is then certain that nobody else believes in it.
#[test]
fn what_is_taken_is_proven_free_or_doubted() {
    let blank = |seconds: u32| stored(&held("", seconds, 0), 1);
    let of = |spec: Value| stored(&spec, 1);
    let doubt = 15;
    for (case, lease, free_after, proven_after) in [
        ("given back", released(), 0, 0),
        ("blanked", blank(15), 0, doubt),
        ("nothing in it", of(json!({})), 0, doubt),
        ("no spec", of(Value::Null), 0, doubt),
        ("without a duration", of(json!({"holderIdentity": "b"})), 0, doubt),
        ("for 0 s", of(held("b", 0, 0)), 0, doubt),
        ("held", of(held("b", 15, 0)), 15, 15),
        ("held for longer than ours", of(held("b", 30, 0)), 30, 30),
        ("held for less than ours", of(held("b", 3, 0)), 3, 15),
        (
            "a duration that is none",
            of(json!({"holderIdentity": "b", "leaseDurationSeconds": -5})),
            15,
            15,
        ),
        (
            "a holder that is none",
            of(json!({"holderIdentity": 7, "leaseDurationSeconds": 15})),
            15,
            15,
        ),
        ("a spec that is none", of(json!("odd")), 15, 15),
    ] {
        let (mut bench, start) = (Bench::new(), Bench::new().at.now);
        let begin = bench.at.now;
        let asked = loop {
            match bench.next() {
                Step::Wait(until) => bench.pass(until - bench.at.now),
                Step::Ask(ask) if ask.what == What::Read => bench.answer(Answer::Lease(lease.clone())),
                Step::Ask(ask) => break ask.what,
                Step::End(loss) => panic!("{case}: {loss}"),
            }
            assert!(bench.at.now < start + 100 * SECOND, "{case}");
        };
        assert_eq!(bench.at.now - begin, free_after * SECOND, "{case}");
        let spec = bench.grant(asked);
        let transitions = if lease.transitions() == 4 { 5 } else { 1 };
        assert_eq!(
            (&spec["holderIdentity"], &spec["leaseTransitions"]),
            (&json!("a"), &json!(transitions)),
            "{case}"
        );
        let proven = begin + proven_after.max(free_after) * SECOND;
        match bench.standing() {
            Standing::Leads(..) => assert_eq!(free_after, proven_after.max(free_after), "{case}"),
            other => assert_eq!(other, Standing::Doubts(proven), "{case}"),
        }
    }
}

#[test]
fn a_lease_that_is_missing_is_made_and_doubted() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(), What::Read);
    bench.answer(Answer::Absent);
    let create = bench.ask();
    assert!(matches!(create, What::Create(_)), "{create:?}");
    let spec = bench.grant(create);
    assert_eq!(
        (&spec["leaseTransitions"], &spec["acquireTime"]),
        (&json!(0), &spec["renewTime"])
    );
    let proven = bench.at.now + 15 * SECOND;
    assert_eq!(bench.standing(), Standing::Doubts(proven));
    // it is renewed meanwhile, and the doubt does not grow
    for _ in 0..7 {
        let wait = bench.wait();
        bench.pass(wait);
        let renewal = bench.ask();
        bench.grant(renewal);
        assert_eq!(bench.standing(), Standing::Doubts(proven));
    }
    assert_eq!(bench.wait(), SECOND, "it wakes for the end of the doubt");
    bench.pass(SECOND);
    assert!(matches!(bench.standing(), Standing::Leads(..)));
}

#[test]
fn somebody_who_was_faster_is_respected() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(), What::Read);
    bench.answer(Answer::Absent);
    assert!(matches!(bench.ask(), What::Create(_)));
    bench.answer(Answer::Conflict);
    let wait = bench.wait();
    assert!(wait >= 2 * SECOND, "{wait:?}");
    assert_eq!(bench.standing(), Standing::Follows);
}

/// F58: what was written without an answer is known again, with what it proves.
#[test]
fn a_takeover_without_an_answer_is_known_again() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(), What::Read);
    bench.answer(Answer::Lease(released()));
    let What::Replace(body) = bench.ask() else {
        panic!("it is free");
    };
    bench.answer(Answer::Failed);
    let wait = bench.wait();
    bench.pass(wait);
    assert_eq!(bench.ask(), What::Read);
    bench.answer(Answer::Lease(stored(&body["spec"], 2)));
    let renewal = bench.ask();
    let spec = bench.grant(renewal);
    assert_eq!(spec["leaseTransitions"], 5, "no second takeover");
    assert!(matches!(bench.standing(), Standing::Leads(..)));
}

/// A backup puts a record back that we wrote long ago, and others have led since.
#[test]
fn an_old_write_of_ours_proves_nothing() {
    for (gone, doubts) in [(13, false), (15, true), (3600, true)] {
        let mut bench = Bench::new();
        assert_eq!(bench.ask(), What::Read);
        bench.answer(Answer::Lease(released()));
        let What::Replace(body) = bench.ask() else {
            panic!("it is free");
        };
        bench.answer(Answer::Failed);
        bench.pass(gone * SECOND);
        assert_eq!(bench.ask(), What::Read);
        bench.answer(Answer::Lease(stored(&body["spec"], 9)));
        let renewal = bench.ask();
        bench.grant(renewal);
        let standing = bench.standing();
        assert_eq!(
            matches!(standing, Standing::Doubts(_)),
            doubts,
            "{gone} s: {standing:?}"
        );
    }
}

#[test]
fn a_leader_whose_record_is_not_its_own_doubts() {
    for (case, change, doubts) in [
        ("as it was left", json!({}), false),
        ("with a strategy", json!({"strategy": "x"}), false),
        (
            "an earlier renewal",
            json!({"renewTime": "2026-01-01T00:00:00.000000Z"}),
            true,
        ),
        ("another duration", json!({"leaseDurationSeconds": 1}), true),
        ("nobody's", json!({"holderIdentity": ""}), true),
        // it still has our count of transitions, and we gave nothing back
        ("given back by somebody else", held("", 1, 0), true),
    ] {
        let mut leader = Bench::leader();
        let mut spec = leader.elector.observed().unwrap().0.spec().clone();
        for (field, value) in change.as_object().unwrap() {
            if field != "leaseTransitions" {
                spec[field] = value.clone();
            }
        }
        leader.pass(2 * SECOND);
        assert!(matches!(leader.ask(), What::Replace(_)), "{case}");
        leader.answer(Answer::Conflict);
        assert_eq!(leader.ask(), What::Read, "{case}");
        leader.answer(Answer::Lease(stored(&spec, 7)));
        let renewal = leader.ask();
        leader.grant(renewal);
        let standing = leader.standing();
        assert_eq!(
            matches!(standing, Standing::Doubts(_)),
            doubts,
            "{case}: {standing:?}"
        );
        assert_eq!(leader.elector.detours(), 1, "{case}");
    }
}

#[test]
fn a_leader_that_finds_another_ends_and_one_that_never_led_stands_again() {
    for (case, found) in [
        ("held", held("b", 15, 0)),
        ("held, and over", held("b", 0, 0).clone()),
        ("held and given back", held("", 1, 0)),
    ] {
        let mut leader = Bench::leader();
        leader.pass(2 * SECOND);
        assert!(matches!(leader.ask(), What::Replace(_)));
        leader.answer(Answer::Conflict);
        assert_eq!(leader.ask(), What::Read);
        let mut spec = found;
        spec["leaseTransitions"] = json!(6);
        leader.answer(Answer::Lease(stored(&spec, 7)));
        let end = leader.next();
        assert!(matches!(end, Step::End(Loss::Taken(_))), "{case}: {end:?}");
        assert_eq!(leader.next(), end, "{case}: for good");
    }
    let mut doubting = Bench::new();
    assert_eq!(doubting.ask(), What::Read);
    doubting.answer(Answer::Absent);
    let create = doubting.ask();
    doubting.grant(create);
    doubting.pass(2 * SECOND);
    assert!(matches!(doubting.ask(), What::Replace(_)));
    doubting.answer(Answer::Conflict);
    assert_eq!(doubting.ask(), What::Read);
    doubting.answer(Answer::Lease(stored(&held("b", 15, 0), 7)));
    assert!(doubting.wait() >= 2 * SECOND);
    assert_eq!(doubting.standing(), Standing::Follows);
}

/// F59, F60: the date runs ahead of the other clock, as after a suspend.
#[test]
fn after_a_sleep_the_lease_is_read_before_it_is_renewed() {
    for (ahead, reads) in [(2, false), (4, true), (3600, true)] {
        let mut leader = Bench::leader();
        leader.pass(SECOND);
        leader.wait();
        leader.at.wall += ahead * SECOND;
        if !reads {
            leader.pass(SECOND);
        }
        assert_eq!(leader.ask() == What::Read, reads, "{ahead}");
    }
}

#[test]
fn who_listens_waits_for_the_next_sign_of_life_and_hears_an_end_at_once() {
    let standby = || {
        let mut bench = Bench::new();
        assert_eq!(bench.ask(), What::Read);
        bench.answer(Answer::Lease(stored(&held("b", 15, 0), 1)));
        bench
    };
    let hear = |bench: &mut Bench, lease: Option<Lease>| bench.elector.heard(lease, bench.at, &bench.random);
    for (case, lease) in [
        ("given back", Some(released())),
        ("deleted", None),
        ("ours all of a sudden", Some(stored(&held("a", 15, 1), 2))),
    ] {
        let mut bench = standby();
        hear(&mut bench, lease);
        bench.pass(CROWD);
        assert_eq!(bench.ask(), What::Read, "{case}");
    }
    let mut bench = standby();
    bench.pass(SECOND);
    hear(&mut bench, Some(stored(&held("b", 15, 1), 2)));
    assert_eq!(bench.wait(), 6 * SECOND);
    let observed = bench.elector.observed().unwrap().1;
    assert_eq!(observed, bench.at.now, "it lives since now");
    bench.elector.deaf(bench.at.now, &bench.random);
    assert!(bench.wait() < 4400 * MILLI);
}

#[test]
fn each_renewal_has_another_date() {
    let mut leader = Bench::leader();
    let mut before = Value::Null;
    for set_back in [0, 0, 500, 0, 7_200_000] {
        leader.pass(2 * SECOND);
        // a clock that does not move, and one that is set back
        leader.at.wall -= 2 * SECOND + set_back * MILLI;
        let renewal = leader.ask();
        let spec = leader.grant(renewal);
        assert_ne!(spec["renewTime"], before);
        before = spec["renewTime"].clone();
    }
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    let mut leader = Bench::leader();
    let before = leader.standing();
    leader.answer(Answer::Lease(released()));
    leader.elector.heard(None, leader.at, &leader.random);
    assert_eq!(leader.standing(), before);
    assert_eq!(leader.wait(), 2 * SECOND);
}

#[test]
fn an_answer_that_names_another_is_no_success() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(), What::Read);
    bench.answer(Answer::Lease(released()));
    assert!(matches!(bench.ask(), What::Replace(_)));
    bench.answer(Answer::Lease(stored(&held("b", 15, 0), 2)));
    assert_eq!(bench.standing(), Standing::Follows);
}

#[test]
fn the_longest_record_seen_of_late_bounds_the_doubt() {
    for (seconds, gone, doubt) in [(30, 60, 30), (3, 60, 15), (2_000_000_000, 60, 300), (30, 400, 15)] {
        let mut bench = Bench::new();
        assert_eq!(bench.ask(), What::Read);
        bench.answer(Answer::Lease(stored(&held("b", seconds, 0), 1)));
        bench.pass(gone * SECOND);
        while let Step::Wait(until) = bench.next() {
            bench.pass(until - bench.at.now);
        }
        bench.answer(Answer::Absent);
        let create = bench.ask();
        bench.grant(create);
        let proven = bench.at.now + doubt * SECOND;
        assert_eq!(
            bench.standing(),
            Standing::Doubts(proven),
            "{seconds} s, {gone} s ago"
        );
    }
}
