//! The world that candidates live in: clocks, machines, a network, a server.

mod clock;
mod faults;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;

use self::clock::{Local, LocalClock};
pub(super) use self::faults::Fault;
use crate::k8s::Client;
use crate::k8s::types::Lease;
use crate::leader_election::Options;
use crate::leader_election::api::Api;
use crate::leader_election::decide::{Answer, Ask, Elector, Standing, Step, What, given_back};
use crate::runtime::clock::{Clock, ManualClock};
use crate::runtime::gate::{Gate, Keeper, Moment};
use crate::runtime::random::Random;
use crate::runtime::stop::StopToken;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::server::InProcess;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLI: Duration = Duration::from_millis(1);
const NAMESPACE: &str = "kube-system";
const NAME: &str = "ccm";

pub(super) fn options(lease: u32, renew: u32, retry: u32) -> Options {
    Options {
        namespace: NAMESPACE.into(),
        name: NAME.into(),
        lease_duration: lease * SECOND,
        renew_deadline: renew * SECOND,
        retry_period: retry * SECOND,
    }
}

struct Replica {
    options: Options,
    clock: LocalClock,
    process: Option<Process>,
    /// How often it was started.
    starts: u64,
    ends: u64,
    paused_until: Duration,
    asleep: bool,
    cut_until: Duration,
    deaf_until: Duration,
}

struct Process {
    identity: String,
    elector: Elector,
    gate: Gate,
    keeper: Keeper,
    /// The request on its way, and whether it may still be answered.
    order: u64,
    /// It was told to stop, and gives the lease back.
    leaves: bool,
    led: bool,
}

enum Event {
    Start(usize),
    Turn(usize, u64),
    /// A request reaches the server; what is lost on the way back does not reach the candidate.
    Arrive {
        replica: usize,
        start: u64,
        order: u64,
        sent: Moment,
        ask: Ask,
        answered_at: Duration,
        lost: bool,
        due: Duration,
    },
    Answer {
        replica: usize,
        start: u64,
        order: u64,
        sent: Moment,
        answer: Answer,
    },
    Heard(usize, u64, Option<Lease>),
    /// SIGTERM: shuts the gate, then reads the lease.
    Leave(usize),
    /// The lease as it was read while leaving reaches the server again.
    GiveBack(usize, u64, Lease),
    Fault(Fault),
    Wake(usize, Duration),
}

pub(super) struct World {
    seed: u64,
    api: ApiServer,
    server_clock: ManualClock,
    way: Api,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    order: u64,
    random: Arc<Random>,
    replicas: Vec<Replica>,
    down_until: Duration,
    /// One in so many requests is late, or lost; 0 for none.
    trouble: u64,
    history: Vec<Value>,
    /// What happened, where somebody wants to know.
    log: Option<Vec<String>>,
    /// Who was the last that might write.
    leader: Option<usize>,
}

impl World {
    pub(super) fn new(seed: u64, trouble: u64, replicas: Vec<Options>) -> Self {
        let server_clock = ManualClock::new(UNIX_EPOCH + 2_000_000_000 * SECOND);
        let api = ApiServer::with_clock(seed, Arc::new(server_clock.clone()));
        api.open(true);
        let transport = InProcess::with_clock(Arc::new(api.clone()), Arc::new(server_clock.clone()));
        let client = Client::new("http://api", Arc::new(transport), StopToken::never());
        let way = Api::new(client, &replicas[0]).unwrap();
        let random = Arc::new(Random::from_seed(seed));
        let mut world = Self {
            seed,
            api,
            server_clock,
            way,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            order: 0,
            random,
            replicas: Vec::new(),
            down_until: Duration::ZERO,
            trouble,
            history: Vec::new(),
            log: None,
            leader: None,
        };
        let start = Instant::now() + 1000 * SECOND;
        for (at, options) in replicas.into_iter().enumerate() {
            let local = Local {
                start,
                rate: 1.0,
                truth: Duration::ZERO,
                slept: Duration::ZERO,
                offset: 0.0,
            };
            world.replicas.push(Replica {
                options,
                clock: LocalClock(Arc::new(Mutex::new(local))),
                process: None,
                starts: 0,
                ends: 0,
                paused_until: Duration::ZERO,
                asleep: false,
                cut_until: Duration::ZERO,
                deaf_until: Duration::ZERO,
            });
            world.at(at as u32 * SECOND, Event::Start(at));
        }
        world
    }

    /// Keeps what happens, to be shown when something fails.
    pub(super) fn with_log(mut self) -> Self {
        self.log = Some(Vec::new());
        self
    }

    /// Replicas whose clocks are wrong: 10 minutes apart, and up to 2 % too fast or too slow.
    pub(super) fn with_wrong_clocks(self) -> Self {
        for (at, replica) in self.replicas.iter().enumerate() {
            let mut local = replica.clock.0.lock().unwrap();
            local.rate = 0.98 + 0.04 * self.random.unit();
            local.offset = 600.0 * at as f64;
        }
        self
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    pub(super) fn fault(&mut self, at: Duration, fault: Fault) {
        self.at(at, Event::Fault(fault));
    }

    fn chance(&self, one_in: u64) -> bool {
        one_in > 0 && self.random.next_u64().is_multiple_of(one_in)
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", self.now.as_secs_f64(), what()));
        }
    }

    /// Lets everything happen up to `until`.
    pub(super) fn run(&mut self, until: Duration) {
        while let Some((&key, _)) = self.events.first_key_value() {
            if key.0 > until {
                break;
            }
            let event = self.events.remove(&key).unwrap();
            self.move_to(key.0);
            self.happen(event);
            self.check();
        }
        self.move_to(until);
        self.check();
    }

    fn move_to(&mut self, now: Duration) {
        let step = now.saturating_sub(self.now);
        self.server_clock.advance(step);
        self.now += step;
        for replica in &self.replicas {
            let mut local = replica.clock.0.lock().unwrap();
            if replica.asleep {
                let rate = local.rate;
                local.slept += step.mul_f64(rate);
            }
            local.truth = self.now;
        }
    }

    /// Who may write. A machine that sleeps runs nothing.
    pub(super) fn open(&self) -> Vec<usize> {
        let is_open = |replica: &Replica| {
            let process = replica.process.as_ref();
            !replica.asleep && process.is_some_and(|process| process.gate.is_open())
        };
        (0..self.replicas.len())
            .filter(|at| is_open(&self.replicas[*at]))
            .collect()
    }

    fn check(&mut self) {
        let open = self.open();
        if open.len() > 1 {
            self.fail(&format!("{open:?} may write at once"));
        }
        if let [leader] = open[..]
            && self.leader.replace(leader) != Some(leader)
        {
            self.note(|| format!("{leader} may write"));
        }
    }

    pub(super) fn fail(&self, what: &str) -> ! {
        let log = self.log.as_deref().unwrap_or_default().join("\n");
        panic!("seed {}: at {:?} {what}\n{log}", self.seed, self.now);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(at) => self.start(at),
            Event::Turn(at, start) => self.turn(at, start),
            Event::Arrive {
                replica,
                start,
                order,
                sent,
                ask,
                answered_at,
                lost,
                due,
            } => {
                let answer = self.arrive(replica, &ask);
                let deaf = self.replicas[replica].deaf_until > self.now;
                // who waits gives up when it is due, whatever is still on its way
                let (at, answer) = match answer {
                    Some(answer) if !lost && !deaf && answered_at <= due => (answered_at, answer),
                    Some(_) => (due, Answer::Failed),
                    None => (due.min(answered_at), Answer::Failed),
                };
                self.at(
                    at.max(self.now),
                    Event::Answer {
                        replica,
                        start,
                        order,
                        sent,
                        answer,
                    },
                );
            }
            Event::Answer {
                replica,
                start,
                order,
                sent,
                answer,
            } => {
                let paused = self.replicas[replica].paused_until;
                if paused > self.now {
                    let again = Event::Answer {
                        replica,
                        start,
                        order,
                        sent,
                        answer,
                    };
                    return self.at(paused, again);
                }
                let random = Arc::clone(&self.random);
                if let Some((process, clock)) = self.process(replica, start)
                    && process.order == order
                    && !process.leaves
                {
                    process.elector.answered(sent, Moment::of(clock), answer, &random);
                    self.turn(replica, start);
                }
            }
            Event::Heard(at, start, lease) => {
                if self.replicas[at].paused_until > self.now {
                    return;
                }
                let random = Arc::clone(&self.random);
                if let Some((process, clock)) = self.process(at, start) {
                    process.elector.heard(lease, Moment::of(clock), &random);
                    self.turn(at, start);
                }
            }
            Event::Leave(at) => self.leave(at),
            Event::GiveBack(at, start, lease) => self.give_back(at, start, &lease),
            Event::Fault(fault) => self.break_it(fault),
            Event::Wake(at, slept) => {
                self.replicas[at].asleep = false;
                let start = self.replicas[at].starts;
                self.note(|| format!("{at} wakes after {slept:?}"));
                self.turn(at, start);
            }
        }
    }

    fn process(&mut self, at: usize, start: u64) -> Option<(&mut Process, &LocalClock)> {
        let replica = &mut self.replicas[at];
        let current = replica.starts == start;
        let process = replica.process.as_mut().filter(|_| current)?;
        Some((process, &replica.clock))
    }

    fn start(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if replica.process.is_some() {
            return;
        }
        replica.starts += 1;
        let start = replica.starts;
        let identity = format!("{at}_{start}");
        let clock: Arc<dyn Clock> = Arc::new(replica.clock.clone());
        let (gate, keeper) = Gate::shut(Arc::clone(&clock));
        replica.process = Some(Process {
            elector: Elector::new(replica.options.clone(), &identity, clock.now()),
            identity,
            gate,
            keeper,
            order: 0,
            leaves: false,
            led: false,
        });
        self.note(|| format!("{at} starts, the {start}. time"));
        self.turn(at, start);
    }

    fn end(&mut self, at: usize, why: &str) {
        self.note(|| format!("{at} ends: {why}"));
        self.replicas[at].process = None;
        self.replicas[at].ends += 1;
        let pause = self.random.between(500 * MILLI, 5 * SECOND);
        self.at(self.now + pause, Event::Start(at));
    }

    fn turn(&mut self, at: usize, start: u64) {
        let paused = self.replicas[at].paused_until;
        if paused > self.now {
            return self.at(paused, Event::Turn(at, start));
        }
        let (random, now) = (Arc::clone(&self.random), self.now);
        let Some((process, clock)) = self.process(at, start) else {
            return;
        };
        if process.leaves {
            return;
        }
        let moment = Moment::of(clock);
        let step = process.elector.next(moment, &random);
        if let Step::End(loss) = step {
            process.keeper.shut();
            return self.end(at, &loss.to_string());
        }
        if let Standing::Leads(sent, validity) = process.elector.standing(moment.now) {
            process.keeper.open_since(sent, validity);
            process.led = true;
        }
        let rate = clock.0.lock().unwrap().rate;
        let truly = |local: Duration| local.div_f64(rate);
        match step {
            Step::Wait(until) => {
                let wait = truly(until.saturating_duration_since(moment.now)) + MILLI / 1000;
                self.at(now + wait, Event::Turn(at, start));
            }
            Step::Ask(ask) => {
                process.order += 1;
                let (order, due) = (process.order, now + truly(ask.within));
                let (there, lost) = self.luck();
                let (back, _) = self.luck();
                self.note(|| format!("{at} asks {}", short(&ask)));
                let arrive = Event::Arrive {
                    replica: at,
                    start,
                    order,
                    sent: moment,
                    ask,
                    answered_at: now + there + back,
                    lost,
                    due,
                };
                self.at(now + there, arrive);
            }
            Step::End(_) => unreachable!("it has ended"),
        }
    }

    /// How long a message takes, and whether it is lost.
    fn luck(&self) -> (Duration, bool) {
        let delay = match self.chance(self.trouble) {
            true => self.random.between(MILLI, 6 * SECOND),
            false => self.random.between(MILLI, 50 * MILLI),
        };
        (delay, self.chance(self.trouble))
    }

    /// A request at the server. `None` when it does not get there.
    fn arrive(&mut self, at: usize, ask: &Ask) -> Option<Answer> {
        if self.down_until > self.now || self.replicas[at].cut_until > self.now {
            return None;
        }
        let before = self.api.version();
        let (answer, error) = self.way.ask(ask);
        if let Some(error) = error {
            self.note(|| format!("{at} is told: {}", crate::runtime::chain(&error)));
        }
        if self.api.version() != before {
            self.spread();
        }
        Some(answer)
    }

    /// Whoever listens hears of a change, most of the time, and some time later.
    fn spread(&mut self) {
        let stored = self.api.object(Resource::Leases, NAMESPACE, NAME);
        if let Some(lease) = &stored {
            self.history.push(lease.clone());
            let spec = lease["spec"].to_string();
            self.note(|| format!("the lease is {spec}"));
        }
        let lease = stored.and_then(|lease| Lease::parse(lease).ok());
        for at in 0..self.replicas.len() {
            let replica = &self.replicas[at];
            let deaf = replica.cut_until.max(replica.deaf_until) > self.now;
            if deaf || (self.trouble > 0 && self.chance(4)) {
                continue;
            }
            let (delay, start) = (self.luck().0, self.replicas[at].starts);
            self.at(self.now + delay, Event::Heard(at, start, lease.clone()));
        }
    }

    /// What `Leadership::release` does.
    fn leave(&mut self, at: usize) {
        let start = self.replicas[at].starts;
        let Some((process, clock)) = self.process(at, start) else {
            return;
        };
        let proven = matches!(process.elector.standing(clock.now()), Standing::Leads(..));
        process.leaves = true;
        process.keeper.shut();
        self.note(|| format!("{at} leaves"));
        let reachable = self.down_until <= self.now && self.replicas[at].cut_until <= self.now;
        match self.way.read(SECOND) {
            Ok(lease) if proven && reachable => {
                let delay = self.luck().0.min(SECOND);
                self.at(self.now + delay, Event::GiveBack(at, start, lease));
            }
            _ => self.end(at, "it has nothing to give back"),
        }
    }

    fn give_back(&mut self, at: usize, start: u64, lease: &Lease) {
        let Some((process, clock)) = self.process(at, start) else {
            return;
        };
        let (identity, wall) = (process.identity.clone(), clock.wall());
        let holder = || {
            let stored = self.api.object(Resource::Leases, NAMESPACE, NAME);
            stored.map_or(Value::Null, |lease| lease["spec"]["holderIdentity"].clone())
        };
        let before = holder();
        if let Ok(body) = given_back(lease, &identity, wall)
            && self.way.replace(body, SECOND).is_ok()
        {
            if before != identity.as_str() {
                self.fail(&format!("{at} blanks the lease of {before}"));
            }
            self.spread();
        }
        self.end(at, "it was asked to");
    }

    /// Nothing is wrong any more: somebody leads within `bound`, and goes on.
    pub(super) fn must_settle(&mut self, bound: Duration) {
        self.trouble = 0;
        // what is still on its way
        self.run(self.now + 20 * SECOND);
        let end = self.now + bound;
        while self.open().is_empty() {
            if self.now >= end {
                self.fail("nobody leads, though nothing is wrong any more");
            }
            self.run(self.now + 100 * MILLI);
        }
        let leader = self.open();
        for _ in 0..200 {
            self.run(self.now + 100 * MILLI);
            if self.open() != leader {
                self.fail(&format!("{leader:?} does not go on"));
            }
        }
    }

    /// How long nobody was allowed to write, and who was then.
    pub(super) fn takeover(&mut self, from: usize) -> (Duration, usize) {
        let start = self.now;
        while self.open().is_empty() || self.open() == [from] {
            assert!(self.now < start + 300 * SECOND, "nobody takes over");
            self.run(self.now + 10 * MILLI);
        }
        (self.now - start, self.open()[0])
    }

    /// Lets everything happen until the leader has its answer to another renewal.
    pub(super) fn run_to_renewal(&mut self) {
        let before = self.record();
        while self.record() == before {
            self.run(self.now + 10 * MILLI);
        }
        self.run(self.now + 100 * MILLI);
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// How many of its processes have ended.
    pub(super) fn ends(&self, at: usize) -> u64 {
        self.replicas[at].ends
    }

    /// How often it had to look at the lease before it renewed it.
    pub(super) fn detours(&self, at: usize) -> u64 {
        self.replicas[at]
            .process
            .as_ref()
            .map_or(0, |process| process.elector.detours())
    }

    /// The record of the election.
    pub(super) fn record(&self) -> Value {
        let lease = self.api.object(Resource::Leases, NAMESPACE, NAME);
        lease.map_or(Value::Null, |lease| lease["spec"].clone())
    }
}

fn short(ask: &Ask) -> String {
    match &ask.what {
        What::Read => "what there is".to_owned(),
        What::Create(body) => format!("for a new one: {}", body["spec"]),
        What::Replace(body) => format!("for {}", body["spec"]),
    }
}
