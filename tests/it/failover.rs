//! Two replicas, one of which leads: whatever ends the leader, the other goes on, and never do both write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::support::World;
use crate::support::fixtures::{NODES, SERVICES, node, service, service_path};
use crate::support::replica::{Act, Replica, acts, strays};

/// Leases of seconds, so that a take-over is not long to wait for.
const FLAGS: [&str; 7] = [
    "--secure-port=0",
    "--leader-elect=true",
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
    "--concurrent-service-syncs=4",
    "-v=4",
];

/// How a leader can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Killed,
    Terminated,
    Frozen,
    CutOff,
}

const ENDS: [End; 4] = [End::Terminated, End::Killed, End::Frozen, End::CutOff];

/// How often a leader ends; `FAILOVER_ROUNDS` for more.
fn rounds() -> usize {
    std::env::var("FAILOVER_ROUNDS").map_or(ENDS.len(), |rounds| rounds.parse().expect("a number"))
}

/// The Services that there should be, with their ports and node ports.
#[derive(Default)]
struct Wanted {
    services: BTreeMap<String, (u16, u16)>,
    steps: u16,
}

impl Wanted {
    /// Up to three changes: a Service comes, one changes its port, one goes.
    fn change(&mut self, world: &World) {
        self.steps += 1;
        let step = self.steps;
        let taken = |port: &u16| self.services.values().any(|(taken, _)| taken == port);
        // few ports in all, so that what is taken away comes back under another name
        let port = (80..).find(|port| !taken(port)).expect("a free port");
        let name = format!("web-{step:03}");
        let object = service(&name).slb("slb-1").port(port, self.node_port(0));
        world.api.create(SERVICES, &object.json());
        self.services.insert(name, (port, self.node_port(0)));
        if step % 2 == 1 && self.services.len() > 2 {
            let (name, (port, _)) = self.services.iter().nth(1).expect("more than two");
            let (name, moved, node_port) = (name.clone(), port % 1000 + 1000 + step, self.node_port(1));
            let ports = json!([{"name": format!("tcp-{moved}"), "protocol": "TCP", "port": moved, "targetPort": moved,
                "nodePort": node_port}]);
            world
                .api
                .patch(&service_path(&name), &json!({"spec": {"ports": ports}}));
            self.services.insert(name, (moved, node_port));
        }
        if self.services.len() > 4 {
            let (name, _) = self.services.pop_first().expect("more than four");
            world.api.delete(&service_path(&name));
        }
    }

    /// One that never was: a Service that is being deleted still has its own.
    fn node_port(&self, which: u16) -> u16 {
        30_000 + self.steps * 2 + which
    }

    fn served(&self, nodes: &[&str]) -> Vec<String> {
        let mut ports: Vec<(u16, u16)> = self.services.values().copied().collect();
        ports.sort_unstable();
        let members = |port: u16| {
            nodes
                .iter()
                .map(move |node| format!(" {node}:{port}"))
                .collect::<String>()
        };
        let line = |(port, node_port)| format!("TCP/{port} ->{}", members(node_port));
        ports.into_iter().map(line).collect()
    }
}

#[test]
fn whatever_ends_the_leader_the_other_goes_on_and_never_do_both_write() {
    let world = World::small();
    world
        .api
        .delete("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/cloud-controller-manager");
    let begun = SystemTime::now();
    let mut replicas = [0, 1].map(|number| Replica::start(&world, number, &FLAGS));
    let mut wanted = Wanted::default();
    let mut nodes = vec!["n1"];
    let mut times = BTreeMap::<End, Vec<Duration>>::new();
    for round in 0..rounds() {
        let leads = || replicas.iter().position(Replica::leads);
        let leader = world.until_some("one leads", &replicas[0].daemon, leads);
        let end = ENDS[round % ENDS.len()];
        wanted.change(&world);
        if round % 3 == 1 {
            nodes = change_nodes(&world, &nodes);
        }
        let ended = Instant::now();
        match end {
            End::Killed => replicas[leader].daemon.kill(),
            End::Terminated => {
                let status = replicas[leader].daemon.terminate();
                assert_eq!(status.code(), Some(0), "{}", replicas[leader].daemon.output());
            }
            End::Frozen => replicas[leader].daemon.signal("STOP"),
            End::CutOff => replicas[leader].road.cut(),
        }
        wanted.change(&world);
        let heir = &replicas[1 - leader];
        world.until(&format!("the other leads after {end:?}"), &heir.daemon, || {
            heir.leads()
        });
        times.entry(end).or_default().push(ended.elapsed());
        world.until(&format!("all is served after {end:?}"), &heir.daemon, || {
            world.served("slb-1") == wanted.served(&nodes)
        });
        if end == End::Frozen {
            replicas[leader].daemon.signal("CONT");
        }
        if matches!(end, End::Frozen | End::CutOff) {
            let status = replicas[leader].daemon.wait();
            assert_eq!(
                status.code(),
                Some(1),
                "{end:?}: {}",
                replicas[leader].daemon.output()
            );
        }
        replicas[leader].replace();
    }
    let [first, second] = &replicas;
    let names: Vec<&str> = wanted.services.keys().map(String::as_str).collect();
    let leader = if first.leads() { first } else { second };
    world.until("every Service has its address", &leader.daemon, || {
        world.ingresses(&names)
    });
    world.until("all others are gone", &leader.daemon, || {
        world.api.list(SERVICES).len() <= names.len() + 1
    });
    let acts: Vec<Act> = acts(&world, &replicas, begun);
    let strays = strays(&acts);
    assert!(
        strays.is_empty(),
        "{} of {}:\n{}",
        strays.len(),
        acts.len(),
        strays.join("\n")
    );
    let writes = [0, 1].map(|number| {
        acts.iter()
            .filter(|act| !act.of_lease && act.replica == number)
            .count()
    });
    assert!(
        writes.iter().all(|count| *count > 0),
        "both wrote, each in its terms: {writes:?}"
    );
    for (end, times) in &mut times {
        times.sort();
        eprintln!(
            "{end:?}: the other leads after {:?} (median of {}, longest {:?})",
            times[times.len() / 2],
            times.len(),
            times[times.len() - 1]
        );
    }
    eprintln!(
        "{} writes besides the lease's by the first, {} by the second; none outside its term",
        writes[0], writes[1]
    );
}

#[test]
fn a_write_outside_its_replicas_term_is_noticed() {
    let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    let act = |replica, of_lease, from, to| Act {
        replica,
        what: format!("{from}"),
        of_lease,
        acted: true,
        from: at(from),
        to: at(to),
    };
    let (lease, write) = (
        |replica, from| act(replica, true, from, from),
        |replica, from, to| act(replica, false, from, to),
    );
    for (case, one, want) in [
        ("in its term", write(0, 12, 14), 0),
        ("in its second term", write(0, 32, 33), 0),
        ("before any term", write(0, 5, 6), 1),
        ("after the other's term began", write(0, 21, 22), 1),
        ("not over when the other's term began", write(0, 19, 21), 1),
        ("before its term", write(1, 19, 21), 1),
        (
            "never sent to its end",
            Act {
                acted: false,
                ..write(0, 19, 21)
            },
            0,
        ),
        (
            "never sent to its end, outside its term",
            Act {
                acted: false,
                ..write(0, 21, 22)
            },
            1,
        ),
    ] {
        let mut acts = vec![
            lease(0, 10),
            lease(0, 15),
            lease(1, 20),
            lease(1, 25),
            lease(0, 30),
            one,
        ];
        acts.sort_by_key(|act| act.from);
        assert_eq!(strays(&acts).len(), want, "{case}");
    }
}

/// A second Node comes or goes.
fn change_nodes(world: &World, nodes: &[&str]) -> Vec<&'static str> {
    if nodes.len() == 1 {
        world.nodes(&[node("n2", "127.0.20.2")]);
        return vec!["n1", "n2"];
    }
    world.api.delete(&format!("{NODES}/n2"));
    vec!["n1"]
}
