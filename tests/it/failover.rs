//! Two replicas, one of which leads: whatever ends the leader, the other goes on, and never do both write.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

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

/// The Services that there should be, with their ports.
#[derive(Default)]
struct Wanted(BTreeMap<String, u16>);

impl Wanted {
    /// Three changes: a Service comes, one changes its port, one goes.
    fn change(&mut self, world: &World, step: u16) {
        let name = format!("web-{step}");
        // few ports in all, so that what is taken away comes back under another name
        let port = (80..)
            .find(|port| !self.0.values().any(|taken| taken == port))
            .expect("a free port");
        world.api.create(
            SERVICES,
            &service(&name).slb("slb-1").port(port, 30_000 + port).json(),
        );
        self.0.insert(name, port);
        if step % 2 == 1 && self.0.len() > 2 {
            let (name, port) = self
                .0
                .iter()
                .nth(1)
                .map(|(name, port)| (name.clone(), *port))
                .expect("more than two");
            let moved = port + 1000;
            let ports = serde_json::json!([{"name": format!("tcp-{moved}"), "protocol": "TCP", "port": moved,
                "targetPort": moved, "nodePort": 30_000 + moved}]);
            world.api.patch(
                &service_path(&name),
                &serde_json::json!({"spec": {"ports": ports}}),
            );
            self.0.insert(name, moved);
        }
        if self.0.len() > 4 {
            let (name, _) = self.0.pop_first().expect("more than four");
            world.api.delete(&service_path(&name));
        }
    }

    fn served(&self, nodes: &[&str]) -> Vec<String> {
        let mut ports: Vec<u16> = self.0.values().copied().collect();
        ports.sort_unstable();
        let members = |port: u16| {
            nodes
                .iter()
                .map(|node| format!(" {node}:{}", 30_000 + port))
                .collect::<String>()
        };
        ports
            .iter()
            .map(|port| format!("TCP/{port} ->{}", members(*port)))
            .collect()
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
    let (mut times, mut step) = (BTreeMap::<End, Vec<Duration>>::new(), 0);
    for round in 0..rounds() {
        let leads = || replicas.iter().position(Replica::leads);
        let leader = world.until_some("one leads", &replicas[0].daemon, leads);
        let end = ENDS[round % ENDS.len()];
        step += 1;
        wanted.change(&world, step);
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
        step += 1;
        wanted.change(&world, step);
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
    let names: Vec<&str> = wanted.0.keys().map(String::as_str).collect();
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

/// A second Node comes or goes.
fn change_nodes(world: &World, nodes: &[&str]) -> Vec<&'static str> {
    if nodes.len() == 1 {
        world.nodes(&[node("n2", "127.0.20.2")]);
        return vec!["n1", "n2"];
    }
    world.api.delete(&format!("{NODES}/n2"));
    vec!["n1"]
}
