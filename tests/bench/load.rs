//! Calls to the cloud and the time they take, at 20 ms a call and with ten workers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cloud_provider_inspur::sim::cloud::{Kind, State};

use crate::memory::{tell_memory, tell_rest};
use crate::process::Daemon;
use crate::report::{Millis, Report, median};
use crate::world::{World, complete, pause};

const LATENCY: Duration = Duration::from_millis(20);
const WORKERS: u32 = 10;
const NODES: usize = 10;
const RUNS: usize = 3;

/// Longer than anything known of an SLB is used: what follows has to be read.
const FORGOTTEN: Duration = Duration::from_secs(6);

/// Services of one port each, spread over SLBs.
#[derive(Clone, Copy)]
struct Case {
    slbs: usize,
    services: usize,
}

impl Case {
    fn listeners_each(self) -> usize {
        self.services / self.slbs
    }
}

/// The case whose figures are known of a good controller on upstream's framework.
pub(crate) fn reference(report: &Report) {
    let case = Case {
        slbs: 10,
        services: 100,
    };
    report.section("100 Services on 10 SLBs, 20 ms a call, 10 workers (reference: 401 calls, 2.0 s)");
    let (_, _, runs) = converge_often(case);
    let calls = median(runs.iter().map(|run| run.calls).collect());
    let time = median(runs.iter().map(|run| run.served).collect());
    report.at_most("SLB calls to converge", calls, 401);
    let what = format!("spawn → every Service has its address, median of {RUNS}");
    report.at_most(&what, time, Millis(Duration::from_secs(2)));
}

/// 500 Services on 50 SLBs, then one Node joins, then one leaves.
pub(crate) fn full(report: &Report) {
    let case = Case {
        slbs: 50,
        services: 500,
    };
    report.section("500 Services on 50 SLBs, 20 ms a call, 10 workers");
    let (world, daemon, runs) = converge_often(case);
    let calls = median(runs.iter().map(|run| run.calls).collect());
    let floor = 2 * case.slbs + 2 * case.services;
    report.at_most("SLB calls to converge", calls, floor * 11 / 10);
    report.tell(
        "  of them reads",
        median(runs.iter().map(|run| run.reads).collect()),
    );
    let needed = needed(calls);
    report.tell("time that those calls need, ten at a time", Millis(needed));
    let what = format!("spawn → every member is right, median of {RUNS}");
    let limit = Millis(needed.mul_f64(1.2));
    report.at_most(&what, median(runs.iter().map(|run| run.right).collect()), limit);
    let what = format!("spawn → every Service has its address, median of {RUNS}");
    report.at_most(&what, median(runs.iter().map(|run| run.served).collect()), limit);

    report.tell(
        "CPU of the daemon until then",
        median(runs.iter().map(|run| run.cpu).collect()),
    );
    drop(daemon);

    // no Events are left to send: this one is at rest as soon as it has looked
    world.cloud.clear_calls();
    let daemon = start(&world);
    let read_all = 2 * case.slbs + case.services;
    world.until("all is read", &daemon, |state| state.calls().len() > read_all);
    world.until_quiet(Duration::from_secs(1));
    report.section("A restart, 500 Services on 50 SLBs");
    let calls = Calls::of(&world);
    report.at_most("reads (2 an SLB, 1 a listener)", calls.reads, read_all);
    report.at_most("writes", calls.writes, 0);
    pause(FORGOTTEN);
    let memory = daemon.memory();
    report.tell("RSS at rest", memory.resident);
    tell_memory(report, memory);
    tell_rest(report, &daemon);

    change(report, case, &world, &daemon, "One Node joins", NODES + 1, || {
        world.add_node(NODES)
    });
    change(report, case, &world, &daemon, "One Node leaves", NODES, || {
        world.remove_node(0)
    });
}

/// One worker and an API so slow that what is known of the first SLB is forgotten before all have been visited once: only
/// whoever finishes one SLB before the next still reads each once.
pub(crate) fn slow(report: &Report) {
    let case = Case {
        slbs: 40,
        services: 80,
    };
    report.section("80 Services on 40 SLBs, 80 ms a call, flags by default");
    let world = World::new();
    world.fill(case.slbs, case.listeners_each(), NODES);
    world.cloud_server.faults().set_latency(Duration::from_millis(80));
    let daemon = world.start(&[]);
    world.until("every member is there", &daemon, |state| {
        complete(state, case.listeners_each(), NODES)
    });
    world.until_quiet(Duration::from_millis(500));
    let calls = Calls::of(&world);
    let floor = 2 * case.slbs + 2 * case.services;
    report.at_most(
        "SLB calls to converge",
        calls.reads + calls.writes,
        floor * 11 / 10,
    );
}

/// What it took from nothing to all.
struct Run {
    calls: usize,
    reads: usize,
    right: Millis,
    served: Millis,
    cpu: Millis,
}

/// How often the cloud was called, tokens aside.
struct Calls {
    reads: usize,
    member_reads: usize,
    writes: usize,
}

impl Calls {
    fn of(world: &World) -> Self {
        let count = |filter: fn(Kind) -> bool| world.cloud.count(|call| filter(call.kind));
        Self {
            reads: count(Kind::is_read),
            member_reads: count(|kind| kind == Kind::ListMembers),
            writes: count(Kind::is_write),
        }
    }
}

/// The last run's world and daemon go on.
fn converge_often(case: Case) -> (World, Daemon, Vec<Run>) {
    let mut runs = Vec::new();
    loop {
        let (world, daemon, run) = converge(case);
        runs.push(run);
        if runs.len() == RUNS {
            return (world, daemon, runs);
        }
    }
}

fn converge(case: Case) -> (World, Daemon, Run) {
    let world = World::new();
    world.fill(case.slbs, case.listeners_each(), NODES);
    world.cloud_server.faults().set_latency(LATENCY);
    let begun = Instant::now();
    let daemon = start(&world);
    world.until("every member is there", &daemon, |state| {
        complete(state, case.listeners_each(), NODES)
    });
    let right = Millis(begun.elapsed());
    world.until_served(&daemon);
    let served = Millis(begun.elapsed());
    let cpu = Millis(daemon.activity().cpu);
    world.until_quiet(Duration::from_millis(500));
    check(&world);
    let calls = Calls::of(&world);
    let run = Run {
        calls: calls.reads + calls.writes,
        reads: calls.reads,
        right,
        served,
        cpu,
    };
    (world, daemon, run)
}

fn start(world: &World) -> Daemon {
    world.start(&[
        &format!("--concurrent-service-syncs={WORKERS}"),
        "--kube-api-qps=10000",
        "--kube-api-burst=10000",
    ])
}

/// Makes a change of the Nodes and tells what it cost until each listener has `members` members.
fn change(
    report: &Report,
    case: Case,
    world: &World,
    daemon: &Daemon,
    title: &str,
    members: usize,
    make: impl FnOnce(),
) {
    world.until_quiet(Duration::from_secs(1));
    pause(FORGOTTEN);
    world.cloud.clear_calls();
    let begun = Instant::now();
    make();
    world.until(title, daemon, |state| {
        complete(state, case.listeners_each(), members)
    });
    let taken = begun.elapsed();
    world.until_quiet(Duration::from_secs(1));
    check(world);
    let Calls {
        reads,
        member_reads,
        writes,
    } = Calls::of(world);
    report.section(&format!("{title}, 500 Services on 50 SLBs"));
    report.at_most("reads of members (1 a listener)", member_reads, case.services);
    report.at_most("other reads (2 an SLB)", reads - member_reads, 2 * case.slbs);
    report.at_most("batched writes (1 a listener)", writes, case.services);
    let needed = needed(reads + writes);
    report.tell("time that those calls need, ten at a time", Millis(needed));
    report.tell("change → every member is right", Millis(taken));
}

/// Each SLB takes its calls in turn, ten SLBs side by side.
fn needed(calls: usize) -> Duration {
    LATENCY * calls as u32 / WORKERS
}

/// Every listener's members are the same Nodes, once each, all on one node port that no other listener has.
fn check(world: &World) {
    world.cloud.read(|state: &State| {
        let mut ports = BTreeSet::new();
        for listener in state.slbs().flat_map(|slb| slb.listeners.values()) {
            let servers: BTreeSet<&str> = listener.members.iter().map(|member| &*member.server_id).collect();
            assert_eq!(servers.len(), listener.members.len(), "{listener:?}");
            let port = listener.members[0].port;
            assert!(
                listener.members.iter().all(|member| member.port == port),
                "{listener:?}"
            );
            assert!(ports.insert(port), "{listener:?}");
        }
    });
}
