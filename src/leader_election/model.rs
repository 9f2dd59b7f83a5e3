//! Several replicas, one API server, one thread: whatever goes wrong, no two gates are open at once, and in the end one is.
//!
//! Time is a number, and everything that happens is an event at a time: a candidate's turn, a request that reaches the server, an answer that
//! reaches the candidate, a fault. The same seed gives the same run.

mod world;

use std::time::Duration;

use serde_json::{Value, json};

use self::world::{Fault, MILLI, SECOND, World, options};
use crate::runtime::random::Random;

/// A world in which nothing is wrong and replica 0 has led for a while, with the usual times.
fn settled(replicas: usize) -> World {
    let mut world = World::new(1, 0, vec![options(15, 10, 2); replicas]).with_log();
    world.run(60 * SECOND);
    assert_eq!(world.open(), [0]);
    world
}

/// A schedule of faults for `seed`: which, of whom, when.
fn schedule(seed: u64) -> World {
    let random = Random::from_seed(seed ^ 0x5eed);
    let pick = |n: u64| random.next_u64() % n;
    let count = 2 + pick(3) as usize;
    let times = [options(15, 10, 2), options(30, 20, 3), options(6, 4, 1)];
    // where the lease itself is broken, all go by the same times
    let mixed = pick(4) == 0;
    let same = pick(3) as usize;
    let replicas = (0..count)
        .map(|at| times[if mixed { at % 3 } else { same }].clone())
        .collect();
    let trouble = [0, 4, 8, 30][pick(4) as usize];
    let mut world = World::new(seed, trouble, replicas).with_wrong_clocks();
    let jumps = pick(2) == 0;
    for _ in 0..3 + pick(10) {
        let at = random.between(Duration::ZERO, 120 * SECOND);
        let who = pick(count as u64) as usize;
        let time = random.between(SECOND, 35 * SECOND);
        let fault = match pick(if mixed { 8 } else { 13 }) {
            0 => Fault::Kill(who),
            1 => Fault::Leave(who),
            2 => Fault::Pause(who, time),
            // a date that is set back hides that a machine slept
            3 if jumps => Fault::Jump(who, [3600.0, -3600.0, 2.0, -2.0][pick(4) as usize]),
            3 => Fault::Sleep(who, time + 3 * SECOND),
            4 => Fault::Cut(who, time),
            5 => Fault::Down(time),
            6 => Fault::Leave(who),
            7 => Fault::Deafen(who, time),
            8 => Fault::Delete,
            9 => Fault::Patch(json!({"spec": {"holderIdentity": (["", "x"][pick(2) as usize])}})),
            10 => Fault::Patch(
                json!({"spec": {"leaseDurationSeconds": ([Some(1), Some(60), None][pick(3) as usize])}}),
            ),
            11 => Fault::Put(
                [
                    json!({"leaseDurationSeconds": 0}),
                    json!({"renewTime": "garbage", "acquireTime": {}}),
                    json!({"holderIdentity": 7, "leaseDurationSeconds": -5}),
                    json!({"leaseTransitions": "x"}),
                ][pick(4) as usize]
                    .clone(),
            ),
            _ => Fault::Restore(random.next_u64()),
        };
        world.fault(at, fault);
    }
    world
}

/// F57 to F63 together, and more, as they come.
#[test]
fn whatever_goes_wrong_no_two_lead_at_once_and_in_the_end_one_does() {
    let seeds = std::env::var("ELECTION_SCHEDULES")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(SCHEDULES) {
        let play = |mut world: World| {
            world.run(160 * SECOND);
            world.must_settle(200 * SECOND);
        };
        let outcome = std::panic::catch_unwind(|| play(schedule(seed)));
        if outcome.is_err() {
            // once more, to tell how it came
            play(schedule(seed).with_log());
        }
    }
}

/// F57: the API server is not reachable for anybody, for a while.
#[test]
fn an_outage_shorter_than_the_deadline_changes_nothing_and_a_longer_one_ends_the_leader() {
    for (case, outage, keeps) in [("9 s", 9, true), ("11 s", 11, false), ("30 s", 30, false)] {
        let mut world = settled(2);
        world.run_to_renewal();
        let before = world.record();
        world.fault(world.now(), Fault::Down(outage * SECOND));
        let (gap, leader) = if keeps {
            (Duration::ZERO, 0)
        } else {
            world.takeover(0)
        };
        world.run(world.now() + 60 * SECOND);
        assert_eq!(world.open(), [leader], "{case}");
        let same = world.record()["acquireTime"] == before["acquireTime"];
        assert_eq!((same, world.ends(0) == 0), (keeps, keeps), "{case}");
        // the lease is the standby's when it is over, or when the server is back
        let longest = 15u32.max(outage) * SECOND + 5 * SECOND;
        assert!(gap < longest, "{case}: {gap:?}");
    }
}

/// F57: only the leader does not reach the API server.
#[test]
fn a_leader_that_is_cut_off_ends_before_another_begins() {
    let mut world = settled(2);
    world.fault(world.now(), Fault::Cut(0, 60 * SECOND));
    world.run(world.now() + 11 * SECOND);
    assert_eq!((world.open(), world.ends(0)), (vec![], 1));
    assert_eq!(world.takeover(0).1, 1);
}

/// F58: a renewal is committed, and its answer is lost.
#[test]
fn a_renewal_without_an_answer_is_found_again() {
    let mut world = settled(2);
    let before = world.record();
    world.fault(world.now(), Fault::Deafen(0, 3 * SECOND));
    world.run(world.now() + 30 * SECOND);
    let after = world.record();
    assert_eq!((world.open(), world.ends(0)), (vec![0], 0));
    for field in ["acquireTime", "leaseTransitions", "holderIdentity"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert!(world.detours(0) > 0, "it had to look");
}

/// F59: the date jumps, and the lease does not care.
#[test]
fn a_date_that_jumps_costs_no_more_than_the_time_to_the_next_renewal() {
    for seconds in [3600.0, -3600.0, 1.0, -1.0] {
        let mut world = settled(2);
        let before = world.record();
        world.fault(world.now(), Fault::Jump(0, seconds));
        world.fault(world.now(), Fault::Jump(1, -seconds));
        world.run(world.now() + 3 * SECOND);
        assert_eq!(world.open(), [0], "{seconds}");
        world.run(world.now() + 30 * SECOND);
        assert_eq!((world.open(), world.ends(0)), (vec![0], 0), "{seconds}");
        assert_eq!(world.record()["acquireTime"], before["acquireTime"], "{seconds}");
    }
}

/// F60: the leader is stopped for 20 s by SIGSTOP. So it is when the whole machine is suspended, and its monotonic clock with it.
#[test]
fn a_leader_that_was_paused_writes_nothing_and_ends() {
    for (case, fault) in [
        ("SIGSTOP", Fault::Pause(0, 20 * SECOND)),
        ("suspended", Fault::Sleep(0, 20 * SECOND)),
    ] {
        let mut world = settled(2);
        world.fault(world.now(), fault);
        world.run(world.now() + 20 * SECOND - MILLI);
        assert_eq!(world.open(), [1], "{case}: another has taken over");
        world.run(world.now() + MILLI);
        assert_eq!(world.open(), [1], "{case}: the first look after it denies");
        world.run(world.now() + 300 * MILLI);
        assert_eq!(world.ends(0), 1, "{case}");
    }
}

/// F60, with nobody else there: after a sleep the lease is looked at, and is still ours.
#[test]
fn a_lonely_leader_that_slept_goes_on() {
    let mut world = settled(1);
    world.fault(world.now(), Fault::Sleep(0, 3600 * SECOND));
    world.run(world.now() + 3601 * SECOND);
    assert_eq!((world.open(), world.ends(0)), (vec![0], 0));
    assert!(world.detours(0) > 0, "it had to look");
}

/// F61: clocks 10 minutes apart, and a failover in each direction.
#[test]
fn a_lease_passes_on_between_clocks_that_disagree() {
    let world = World::new(1, 0, vec![options(15, 10, 2); 2]);
    let mut world = world.with_wrong_clocks().with_log();
    world.run(60 * SECOND);
    for leader in [0, 1] {
        assert_eq!(world.open(), [leader]);
        world.fault(world.now(), Fault::Kill(leader));
        let (gap, next) = world.takeover(leader);
        assert_eq!(next, 1 - leader);
        // the lease, and a retry period; and 2 % for the clocks
        assert!(gap < Duration::from_millis(17_400), "{gap:?}");
        world.run(world.now() + 30 * SECOND);
    }
}

/// F62: somebody meddles with the lease. Never do two lead, and in the end one does; the leader that goes on writes nothing for a while where it
/// cannot know who was there in between.
#[test]
fn meddling_with_the_lease_lets_nobody_lead_who_is_not_sure() {
    let patch = |spec: Value| Fault::Patch(json!({ "spec": spec }));
    for (case, fault) in [
        ("deleted", Fault::Delete),
        ("blanked", patch(json!({"holderIdentity": ""}))),
        ("without a holder", patch(json!({"holderIdentity": null}))),
        ("taken away", patch(json!({"holderIdentity": "x"}))),
        ("one second", patch(json!({"leaseDurationSeconds": 1}))),
        ("without a duration", patch(json!({"leaseDurationSeconds": null}))),
        ("a duration of 0", Fault::Put(json!({"leaseDurationSeconds": 0}))),
        (
            "a duration below 0",
            Fault::Put(json!({"leaseDurationSeconds": -5})),
        ),
        (
            "garbage times",
            Fault::Put(json!({"renewTime": "soon", "acquireTime": {}})),
        ),
        ("an earlier record", Fault::Restore(3)),
        (
            "a holder that is a number",
            Fault::Put(json!({"holderIdentity": 7})),
        ),
    ] {
        for at in 0..8 {
            let mut world = settled(3);
            world.fault(world.now() + at * 250 * MILLI, fault.clone());
            world.run(world.now() + 10 * SECOND);
            world.must_settle(40 * SECOND);
            assert!(world.record()["leaseDurationSeconds"] == 15, "{case}");
        }
    }
}

/// F63: a leader that was paused, and replaced, is told to stop.
#[test]
fn a_lease_that_another_has_taken_is_not_given_back() {
    let mut world = settled(2);
    world.fault(world.now(), Fault::Pause(0, 20 * SECOND));
    world.fault(world.now() + 19 * SECOND, Fault::Leave(0));
    world.run(world.now() + 25 * SECOND);
    assert_eq!((world.open(), world.ends(0)), (vec![1], 1));
    assert_eq!(world.record()["holderIdentity"], "1_1");
}

/// A leader that is cut off does not notice that its lease was deleted and made anew; nor may anybody think so who takes it from whom made it.
#[test]
fn a_lease_that_is_in_doubt_is_not_given_back() {
    let mut world = settled(3);
    world.run_to_renewal();
    world.fault(world.now(), Fault::Cut(0, 60 * SECOND));
    world.fault(world.now(), Fault::Delete);
    world.run(world.now() + SECOND);
    let record = world.record();
    let heir = if record["holderIdentity"] == "1_1" { 1 } else { 2 };
    assert_eq!(world.open(), [0], "{heir} has it, and waits");
    world.fault(world.now(), Fault::Leave(heir));
    world.run(world.now() + 5 * SECOND);
    assert_eq!((world.ends(heir), world.open()), (1, vec![0]));
    assert_eq!(world.record(), record);
}

#[test]
fn a_lease_that_is_given_back_is_taken_within_a_second() {
    let mut world = settled(3);
    let transitions = world.record()["leaseTransitions"].as_u64();
    for _ in 0..3 {
        let leader = world.open()[0];
        world.fault(world.now(), Fault::Leave(leader));
        world.run(world.now() + MILLI);
        let (gap, _) = world.takeover(leader);
        assert!(gap < SECOND, "{gap:?}");
        world.run(world.now() + 20 * SECOND);
    }
    assert_eq!(
        world.record()["leaseTransitions"].as_u64(),
        transitions.map(|n| n + 3)
    );
}

/// So many by default; ELECTION_SCHEDULES says otherwise.
const SCHEDULES: u64 = 200;
