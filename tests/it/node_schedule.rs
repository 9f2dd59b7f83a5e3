//! Random schedules, in one thread and over the real client of the ECS API: Nodes join, crash and are replaced, instances are shut down
//! and end, calls fail, answers are stale or lack something, the store lags, the API server refuses, the daemon restarts.
//!
//! After each pass: a Node that is gone had lost its instance. In the end, when the faults are over: a Node whose instance
//! is gone is gone too, but for those that the brake holds, and those go once somebody wants it; every Node whose instance exists is
//! initialised. A seed replays a schedule: `SEED=7 cargo test --test it node_schedule`.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloud_provider_inspur::controllers::node::{NodeController, NodeSyncer};
use cloud_provider_inspur::controllers::node_lifecycle::{
    COMPONENT, DELETION_WANTED, Lifecycle, Limit, Rules, Settings,
};
use cloud_provider_inspur::events::recorder;
use cloud_provider_inspur::informer::{Reflector, Step, store};
use cloud_provider_inspur::k8s;
use cloud_provider_inspur::k8s::types::Node;
use cloud_provider_inspur::metrics::Metrics;
use cloud_provider_inspur::runtime::clock::{Clock, ManualClock};
use cloud_provider_inspur::runtime::random::Random;
use cloud_provider_inspur::runtime::stop::StopToken;
use cloud_provider_inspur::sim::api_server::{ApiServer, Resource};
use cloud_provider_inspur::sim::cloud::{Cloud, Distortion, ECS_PATH, InstanceSeed, Status};
use cloud_provider_inspur::sim::faults::{Effect, Rule};
use cloud_provider_inspur::sim::server::InProcess;
use serde_json::{Value, json};

use crate::step_by_step::inspur;

const RUNS: u64 = 100;
const STEPS: usize = 60;

/// As the flags are by default.
const SETTINGS: Settings = Settings {
    period: Duration::from_secs(5),
    proof: Rules {
        distance: Duration::from_secs(5),
        confirmations: NonZeroU32::new(2).expect("it is not 0"),
        startup_grace: Duration::from_secs(300),
    },
    brake: Limit {
        share_percent: 10,
        window: Duration::from_secs(600),
    },
};

/// How far behind a stale answer is at most: less than the grace period, which is there for it.
const STALE: Duration = Duration::from_secs(240);

const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// The part of the daemon that is about Nodes, from its start to its end.
struct Daemon {
    nodes: Reflector<Node>,
    controller: NodeController,
    lifecycle: Lifecycle,
}

impl Daemon {
    fn start(
        api: &Arc<InProcess>,
        cloud: &Arc<InProcess>,
        clock: &Arc<dyn Clock>,
        random: &Arc<Random>,
    ) -> Self {
        let client = k8s::Client::new("http://api", api.clone(), StopToken::never());
        let inspur = inspur(cloud.clone(), clock, Some(format!("http://cloud{ECS_PATH}")));
        // Events are dropped: what they say is shown elsewhere
        let recorder = |component| {
            let (recorder, _) = recorder(component, client.clone(), Arc::clone(clock), Arc::clone(random));
            recorder
        };
        let ((writer, nodes), metrics) = (store(), &Metrics::new());
        let syncer = NodeSyncer::new(
            Arc::clone(&inspur),
            client.clone(),
            nodes.clone(),
            recorder("cloud-node-controller"),
            Arc::clone(clock),
            Arc::clone(random),
            metrics,
        );
        let controller = NodeController::new(syncer, Arc::clone(clock), Arc::clone(random), metrics);
        let handlers = vec![controller.node_handler()];
        let (recorder, clock, random) = (recorder(COMPONENT), Arc::clone(clock), Arc::clone(random));
        Self {
            lifecycle: Lifecycle::new(
                inspur,
                client.clone(),
                nodes,
                recorder,
                SETTINGS,
                Arc::clone(&clock),
                metrics,
            ),
            nodes: Reflector::new(client, writer, handlers, clock, random),
            controller,
        }
    }

    /// Hears what is new, and initialises whom it can.
    fn hear(&mut self) {
        while self.nodes.step(&StopToken::never()) == Step::Worked {}
        while self.controller.step() {}
    }
}

struct Schedule {
    seed: u64,
    random: Arc<Random>,
    clock: ManualClock,
    api: ApiServer,
    cloud: Cloud,
    api_transport: Arc<InProcess>,
    cloud_transport: Arc<InProcess>,
    daemon: Daemon,
    joined: usize,
    /// Instance of each Node, by name.
    machines: BTreeMap<String, String>,
    /// What there was, and when.
    past: VecDeque<(Duration, Vec<InstanceSeed>)>,
    /// Instances that an answer may have lacked although they exist, and since when: nothing could save one of which that is said
    /// twice with no truth in between.
    lies: BTreeMap<String, Duration>,
    /// Something is wrong with calls to the cloud.
    is_wrong: bool,
    elapsed: Duration,
    deleted: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let random = Arc::new(Random::from_seed(seed));
        let (api, cloud) = (
            ApiServer::with_clock(seed, Arc::clone(&shared)),
            Cloud::new(Default::default()),
        );
        api.open(true);
        let api_transport = Arc::new(InProcess::with_clock(Arc::new(api.clone()), Arc::clone(&shared)));
        let cloud_transport = Arc::new(InProcess::with_clock(
            Arc::new(cloud.clone()),
            Arc::clone(&shared),
        ));
        let daemon = Daemon::start(&api_transport, &cloud_transport, &shared, &random);
        let mut schedule = Self {
            seed,
            random,
            clock,
            api,
            cloud,
            api_transport,
            cloud_transport,
            daemon,
            joined: 0,
            machines: BTreeMap::new(),
            past: VecDeque::new(),
            lies: BTreeMap::new(),
            is_wrong: false,
            elapsed: Duration::ZERO,
            deleted: 0,
        };
        for _ in 0..8 + schedule.below(12) {
            schedule.join();
        }
        schedule.daemon.hear();
        schedule.look();
        schedule.spend(SETTINGS.proof.startup_grace);
        schedule
    }

    fn below(&self, most: usize) -> usize {
        (self.random.next_u64() % most as u64) as usize
    }

    /// Once in `of` times.
    fn once_in(&self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn spend(&mut self, time: Duration) {
        self.clock.advance(time);
        self.elapsed += time;
    }

    fn exists(&self, id: &str) -> bool {
        self.cloud.read(|state| state.instance(id).is_some())
    }

    fn names(&self) -> Vec<String> {
        self.api.objects(Resource::Nodes).into_keys().collect()
    }

    /// Names of Nodes that `wanted` holds for.
    fn those(&self, wanted: impl Fn(&str, &Value) -> bool) -> Vec<String> {
        let nodes = self.api.objects(Resource::Nodes).into_iter();
        let those = nodes.filter(|(name, node)| wanted(name, node));
        those.map(|(name, _)| name).collect()
    }

    fn join(&mut self) {
        let name = format!("n{}", self.joined);
        self.arrive(name);
    }

    /// A new machine under this name, whose kubelet knows more or less about it and is Ready now or later.
    fn arrive(&mut self, name: String) {
        let (id, number) = (format!("i-{}", self.joined), self.joined);
        self.joined += 1;
        let ip = format!("10.0.{}.{}", number / 250, number % 250 + 1);
        self.cloud.add_instance(InstanceSeed::new(&id, &name, &ip));
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name},
            "spec": {"taints": [{"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}]},
            "status": {
                "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
                "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}],
            },
        });
        match self.below(4) {
            0 | 1 => {
                node["metadata"]["annotations"] = json!({"node.beta.kubernetes.io/instance-id": id});
            }
            2 => node["spec"]["providerID"] = json!(format!("incloud://{id}")),
            _ => {}
        }
        self.api
            .create(Resource::Nodes, &node)
            .expect("it is well formed");
        if self.once_in(4) {
            self.set_ready(&name, false);
        }
        self.machines.insert(name, id);
    }

    fn set_ready(&self, name: &str, ready: bool) {
        let status = if ready { "True" } else { "Unknown" };
        let conditions = json!([{"type": "Ready", "status": status, "reason": "Test"}]);
        let patch = json!({"status": {"conditions": conditions}});
        self.api
            .patch_status(Resource::Nodes, "", name, &patch)
            .expect("it is there");
    }

    /// Something happens to one Node or its instance.
    fn happen(&mut self) {
        if self.once_in(6) {
            return self.join();
        }
        let names = self.names();
        if names.is_empty() {
            return;
        }
        let name = names[self.below(names.len())].clone();
        let id = self.machines[&name].clone();
        let exists = self.exists(&id);
        match self.below(8) {
            0 | 1 => self.set_ready(&name, false),
            2 | 3 if exists => {
                self.cloud.set_status(&id, Status::Running);
                self.set_ready(&name, true);
            }
            4 | 5 => {
                self.cloud.remove_instance(&id);
                self.set_ready(&name, false);
            }
            6 if exists => {
                let statuses = [
                    Status::Stopped,
                    Status::Terminated,
                    Status::Error,
                    Status::Pending,
                ];
                self.cloud.set_status(&id, statuses[self.below(4)]);
                self.set_ready(&name, false);
            }
            7 => {
                // the same name on another machine
                self.cloud.remove_instance(&id);
                assert!(self.api.remove(Resource::Nodes, "", &name));
                self.arrive(name);
            }
            _ => {}
        }
    }

    /// Something goes wrong with the next calls to the cloud.
    fn go_wrong(&mut self) {
        self.is_wrong = true;
        let existing: Vec<String> = self.cloud.instances().into_iter().map(|seed| seed.id).collect();
        match self.below(6) {
            0 | 1 => self.fail_calls(),
            2 => self.cloud.distort(Distortion::AtMost(0), None),
            3 if !self.past.is_empty() => {
                let then = self.past[self.below(self.past.len())].1.clone();
                self.cloud.distort(Distortion::AsOf(then), None);
            }
            4 if self.lie_about(&existing) => {
                self.cloud.distort(Distortion::AtMost(1 + self.below(9)), None);
            }
            _ if !existing.is_empty() => {
                let id = self.worth_losing(&existing);
                if self.lie_about(std::slice::from_ref(&id)) {
                    self.cloud.distort(Distortion::without([id]), None);
                }
            }
            _ => {}
        }
    }

    /// One that an answer may lack: mostly of a Node that is asked about, and often one that was lacking a moment ago.
    fn worth_losing(&self, existing: &[String]) -> String {
        let fresh = |since: Duration| self.elapsed - since < SETTINGS.proof.distance;
        let again = self.lies.iter().find(|&(_, &since)| fresh(since));
        let is_asked = |name: &str, node: &Value| {
            node["status"]["conditions"][0]["status"] != "True" && self.exists(&self.machines[name])
        };
        let asked = self.those(is_asked);
        match again {
            Some((id, _)) if !self.once_in(4) => id.clone(),
            _ if !asked.is_empty() && !self.once_in(4) => {
                self.machines[&asked[self.below(asked.len())]].clone()
            }
            _ => existing[self.below(existing.len())].clone(),
        }
    }

    fn fail_calls(&self) {
        let effect = match self.below(11) {
            0 => Effect::status(401),
            1 => Effect::status(403),
            2 => Effect::status(404),
            3 => Effect::status(500),
            4 => Effect::status(503),
            5 => Effect::throttle(0),
            6 => Effect::HangUp,
            7 => Effect::Truncate,
            8 => Effect::Empty,
            9 => Effect::Malformed,
            _ => Effect::Html,
        };
        let rule = Rule::on("GET", "/instances", effect);
        let rule = if self.once_in(2) { rule.forever() } else { rule };
        self.cloud_transport.faults().add(rule);
    }

    /// Whether an answer may lack these: not if one lacked some of them in another moment, and nobody was told the truth since.
    fn lie_about(&mut self, ids: &[String]) -> bool {
        let elapsed = self.elapsed;
        let fresh = |since: &Duration| elapsed - *since < SETTINGS.proof.distance;
        let allowed = ids.iter().all(|id| self.lies.get(id).is_none_or(fresh));
        if allowed {
            for id in ids {
                self.lies.entry(id.clone()).or_insert(elapsed);
            }
        }
        allowed
    }

    /// Makes a pass, and finds out whether anything was deleted that must not be.
    fn look(&mut self) {
        let before = self.names();
        self.cloud_transport.log().clear();
        self.daemon.lifecycle.pass();
        let after = self.names();
        for name in before.iter().filter(|name| !after.contains(name)) {
            let (id, seed, elapsed) = (&self.machines[name], self.seed, self.elapsed);
            assert!(
                !self.exists(id),
                "seed {seed}, {elapsed:?}: {name} is deleted although {id} exists"
            );
            self.deleted += 1;
        }
        if !self.is_wrong {
            let asked = self.cloud_transport.log().text();
            self.lies.retain(|id, _| !asked.contains(&format!("%22{id}%22")));
        }
        let elapsed = self.elapsed;
        self.past.retain(|(at, _)| elapsed - *at < STALE);
        self.past.push_back((elapsed, self.cloud.instances()));
    }

    fn make_right(&mut self) {
        self.is_wrong = false;
        self.cloud.clear_distortions();
        self.cloud_transport.faults().clear();
        self.api_transport.faults().clear();
    }

    fn step(&mut self) {
        if self.once_in(2) {
            self.happen();
        }
        let seconds = [1, 2, 5, 5, 5, 6, 20, 60][self.below(8)];
        self.spend(Duration::from_secs(seconds));
        self.make_right();
        if self.once_in(2) {
            self.go_wrong();
        }
        if self.once_in(8) {
            // no conflict on a PATCH: the node controller would pause, by the wall's clock
            let (verb, status) =
                [("GET", 403), ("DELETE", 403), ("DELETE", 409), ("PATCH", 403)][self.below(4)];
            let rule = Rule::on(verb, "/nodes/", Effect::status(status));
            self.api_transport
                .faults()
                .add(rule.times(1 + self.below(4) as u64));
        }
        if self.once_in(30) {
            self.api.end_watches();
        }
        if self.once_in(60) {
            self.api.compact();
            self.api.expire_watches();
        }
        if self.once_in(STEPS) {
            self.restart();
        }
        // the store may show what was, for a while
        if !self.once_in(4) {
            self.daemon.hear();
            if self.once_in(6) {
                self.daemon.controller.step_refresh();
            }
        }
        self.look();
    }

    fn restart(&mut self) {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        self.daemon = Daemon::start(&self.api_transport, &self.cloud_transport, &clock, &self.random);
    }

    /// A look at the cluster as it is, so much later.
    fn look_after(&mut self, time: Duration) {
        self.spend(time);
        self.daemon.hear();
        self.look();
    }

    fn end(&mut self) {
        self.make_right();
        // what waits for a new try has had it by then; after the grace period two looks delete; then the brake forgets, and two
        // more find out
        let Settings { period, proof, brake } = SETTINGS;
        let (grace, window) = (proof.startup_grace, brake.window);
        for pause in [grace, grace, period, grace, period, window, period] {
            self.look_after(pause);
        }
        let seed = self.seed;
        // of one without a provider ID nothing can be proven
        let is_left = |name: &str, node: &Value| {
            !self.exists(&self.machines[name]) && !node["spec"]["providerID"].is_null()
        };
        let (held, nodes) = (self.those(is_left), self.names().len());
        assert!(
            held.is_empty() || (held.len() >= 3 && held.len() * 10 > nodes),
            "seed {seed}: {held:?} of {nodes} stay without a reason"
        );
        for name in &held {
            let wanted = json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}});
            self.api
                .patch(Resource::Nodes, "", name, &wanted)
                .expect("it is there");
        }
        self.look_after(period);
        let is_left = |name: &str, node: &Value| {
            !self.exists(&self.machines[name]) && !node["spec"]["providerID"].is_null()
        };
        assert_eq!(self.those(is_left), [] as [&str; 0], "seed {seed}");
        let waits = |name: &str, node: &Value| {
            let taints = node["spec"]["taints"].as_array();
            let waits = taints.is_some_and(|taints| taints.iter().any(|taint| taint["key"] == UNINITIALIZED));
            waits && self.exists(&self.machines[name])
        };
        assert_eq!(self.those(waits), [] as [&str; 0], "seed {seed}: not initialised");
    }
}

/// Names the seed, whatever went wrong.
impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} after {:?}", self.seed, self.elapsed);
        }
    }
}

#[test]
fn no_schedule_deletes_a_node_whose_instance_exists_or_leaves_one_for_ever_whose_instance_is_gone() {
    let seed = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("a number"));
    let seeds = seed.map_or(0..RUNS, |seed| seed..seed + 1);
    let (mut deleted, mut during) = (0, 0);
    for seed in seeds {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            schedule.step();
        }
        during += schedule.deleted;
        schedule.end();
        deleted += schedule.deleted;
    }
    // it would prove nothing if nothing happened
    assert!(
        seed.is_some() || during > 50 && deleted > 200,
        "{during} {deleted}"
    );
}
