//! A hundred random schedules: Nodes join, crash and are replaced, instances are shut down and end, the ECS API is out, answers are
//! stale or lack something, the store lags, the API server refuses, the controller restarts. A seed replays a schedule.
//!
//! After each pass: a Node that is gone had lost its instance. In the end, when the faults are over: a Node whose instance
//! is gone is gone too, but for those that the brake holds, and those go once somebody wants it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::json;

use super::tests::world::{Fault, SETTINGS, World};
use super::{DELETION_WANTED, SHUTDOWN_TAINT, Settings};
use crate::cloud::InstanceState;
use crate::runtime::random::Random;
use crate::sim::api_server::Resource;
use crate::sim::faults::{Effect, Rule};

const RUNS: u64 = 100;
const STEPS: usize = 100;
/// How far behind a stale answer is at most: less than the grace period, which is there for it.
const STALE: Duration = Duration::from_secs(240);

struct Schedule {
    seed: u64,
    random: Random,
    world: World,
    joined: usize,
    /// Instance of each Node, by name.
    nodes: BTreeMap<String, String>,
    past: VecDeque<(Duration, BTreeMap<String, InstanceState>)>,
    /// Instances that an answer did not hold although they exist, and since when: nothing could save one of which that is said twice
    /// with no truth in between.
    lies: BTreeMap<String, Duration>,
    /// What was seen last.
    version: u64,
    elapsed: Duration,
    deleted: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut schedule = Self {
            seed,
            random: Random::from_seed(seed),
            world: World::new(),
            joined: 0,
            nodes: BTreeMap::new(),
            past: VecDeque::new(),
            lies: BTreeMap::new(),
            version: 0,
            elapsed: Duration::ZERO,
            deleted: 0,
        };
        for _ in 0..8 + schedule.below(12) {
            schedule.join();
        }
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
        self.world.clock.advance(time);
        self.elapsed += time;
    }

    fn join(&mut self) {
        let name = format!("n{}", self.joined);
        self.arrive(name);
    }

    /// A new machine under this name, which is Ready now or later.
    fn arrive(&mut self, name: String) {
        let id = format!("i-{}", self.joined);
        self.joined += 1;
        self.world.cloud.run(&id);
        self.world.create(&name, &format!("incloud://{id}"));
        self.world.set_ready(&name, !self.once_in(4));
        self.nodes.insert(name, id);
    }

    /// Something happens to one Node or its instance.
    fn happen(&mut self) {
        if self.once_in(6) {
            return self.join();
        }
        let names: Vec<String> = self.world.names();
        if names.is_empty() {
            return;
        }
        let name = names[self.below(names.len())].clone();
        let id = self.nodes[&name].clone();
        let exists = self.world.cloud.exists(&id);
        match self.below(9) {
            0 | 1 => self.world.set_ready(&name, false),
            2 | 3 if exists => {
                self.world.cloud.run(&id);
                self.world.set_ready(&name, true);
            }
            4 | 5 => {
                self.world.cloud.end(&id);
                self.world.set_ready(&name, false);
            }
            6 if exists => {
                self.world.cloud.set(&id, InstanceState::ShutDown);
                self.world.set_ready(&name, false);
            }
            7 => {
                // the same name on another machine
                self.world.cloud.end(&id);
                assert!(self.world.api.remove(Resource::Nodes, "", &name));
                self.arrive(name);
            }
            8 if exists && self.once_in(3) => {
                self.world.cloud.set(&id, InstanceState::Ended);
                self.world.set_ready(&name, false);
            }
            _ => {}
        }
    }

    /// Something goes wrong with the next answer.
    fn go_wrong(&mut self) {
        let existing: Vec<String> = self
            .world
            .cloud
            .0
            .lock()
            .unwrap()
            .instances
            .keys()
            .cloned()
            .collect();
        let lately = |(_, since): &(&String, &Duration)| self.elapsed - **since < SETTINGS.period;
        let ongoing = self.lies.iter().find(lately).map(|(id, _)| id.clone());
        if let Some(id) = ongoing.filter(|_| self.once_in(2)) {
            return self.world.cloud.next(Fault::Loses(id));
        }
        let fault = match self.below(6) {
            0 | 1 => Fault::Outage,
            2 => Fault::OutageFor(self.nodes.keys().filter(|_| self.once_in(2)).cloned().collect()),
            3 => Fault::Empty,
            4 if !self.past.is_empty() => Fault::Stale(self.past[self.below(self.past.len())].1.clone()),
            _ => {
                let id = existing[self.below(existing.len())].clone();
                let since = *self.lies.entry(id.clone()).or_insert(self.elapsed);
                if self.elapsed - since >= SETTINGS.period {
                    return;
                }
                Fault::Loses(id)
            }
        };
        self.world.cloud.next(fault);
    }

    /// Makes a pass, and finds out whether anything was deleted that must not be.
    fn look(&mut self) {
        let (before, version) = (self.world.names(), self.world.api.version());
        let truthful = self.world.cloud.0.lock().unwrap().faults.is_empty();
        self.world.lifecycle.pass();
        if self.world.api.version() != version {
            self.check(&before);
        }
        let mut cloud = self.world.cloud.0.lock().unwrap();
        let asked: Vec<String> = std::mem::take(&mut cloud.asked).into_iter().flatten().collect();
        for id in asked.iter().filter_map(|name| self.nodes.get(name)) {
            if truthful {
                self.lies.remove(id);
            }
        }
        let elapsed = self.elapsed;
        self.past.retain(|(at, _)| elapsed - *at < STALE);
        self.past.push_back((elapsed, cloud.instances.clone()));
    }

    fn check(&mut self, before: &[String]) {
        let after = self.world.names();
        for name in before.iter().filter(|name| !after.contains(name)) {
            let id = &self.nodes[name];
            assert!(
                !self.world.cloud.exists(id),
                "seed {}, {:?}: {name} is deleted although {id} exists",
                self.seed,
                self.elapsed
            );
            self.deleted += 1;
        }
    }

    fn refresh(&mut self) {
        let version = self.world.api.version();
        if std::mem::replace(&mut self.version, version) != version {
            self.world.refresh();
        }
    }

    /// A look at the cluster as it is, so much later.
    fn look_after(&mut self, time: Duration) {
        self.spend(time);
        self.refresh();
        self.look();
    }

    fn step(&mut self) {
        if self.once_in(2) {
            self.happen();
        }
        let seconds = [1, 3, 5, 5, 5, 6, 20, 60][self.below(8)];
        self.spend(Duration::from_secs(seconds));
        // one fault at a time: an answer that nobody asked for is of no use
        self.world.cloud.0.lock().unwrap().faults.clear();
        if self.once_in(2) {
            self.go_wrong();
        }
        self.world.transport.faults().clear();
        if self.once_in(8) {
            let verb = ["GET", "DELETE", "PATCH"][self.below(3)];
            let status = [403, 409][self.below(2)];
            let rule = Rule::on(verb, "/nodes/", Effect::status(status));
            self.world
                .transport
                .faults()
                .add(rule.times(1 + self.below(4) as u64));
        }
        if self.once_in(150) {
            self.world.restart(SETTINGS);
        }
        // the store may show what was, for a while
        if !self.once_in(4) {
            self.refresh();
        }
        self.look();
    }

    fn end(&mut self) {
        self.world.cloud.0.lock().unwrap().faults.clear();
        self.world.transport.faults().clear();
        // after the grace period two looks delete, then the brake forgets, and two more find out
        let Settings { period, proof, brake } = SETTINGS;
        for pause in [period, proof.startup_grace, period, brake.window, period] {
            self.look_after(pause);
        }
        let left = |schedule: &Self| -> Vec<String> {
            let is_gone = |name: &String| !schedule.world.cloud.exists(&schedule.nodes[name]);
            schedule.world.names().into_iter().filter(is_gone).collect()
        };
        let held = left(self);
        let events = self.world.events();
        for name in &held {
            let told = (name.clone(), "NodeDeletionBraked".to_string());
            let seed = self.seed;
            assert!(
                events.contains(&told),
                "seed {seed}: {name} stays, and nobody was told why"
            );
            self.world.patch(
                name,
                json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}}),
            );
        }
        self.look_after(period);
        assert_eq!(left(self), [] as [&str; 0], "seed {}", self.seed);
        self.taints_are_right();
    }

    fn taints_are_right(&self) {
        for (name, node) in self.world.api.objects(Resource::Nodes) {
            let ready = node["status"]["conditions"][0]["status"] == "True";
            let state = self.world.cloud.0.lock().unwrap().instances[&self.nodes[&name]];
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            let tainted = taints.iter().any(|taint| taint["key"] == SHUTDOWN_TAINT);
            let seed = self.seed;
            assert!(!(ready && tainted), "seed {seed}: {name} is Ready");
            assert!(
                ready || tainted || state != InstanceState::ShutDown,
                "seed {seed}: {name} is shut down"
            );
        }
    }
}

#[test]
fn no_schedule_deletes_a_node_whose_instance_exists_or_leaves_one_for_ever_whose_instance_is_gone() {
    let (mut deleted, mut during) = (0, 0);
    for seed in 0..RUNS {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            schedule.step();
        }
        during += schedule.deleted;
        schedule.end();
        deleted += schedule.deleted;
    }
    // it would prove nothing if nothing happened
    assert!(during > 100 && deleted > 300, "{during} {deleted}");
}
