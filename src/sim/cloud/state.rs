//! What the cloud holds, and changes made to it behind the API's back.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use super::instances::{InstanceSeed, Instances};
use super::render::Problem;
use super::{ECS_PATH, IAM_PATH, KEYCLOAK_PATH, Options, SLB_PATH, Seed};
use crate::runtime::secret::Secret;
use crate::sim::server::{Incoming, Now, Reply};

/// The whole cloud. Not `Debug`: it holds tokens.
pub struct State {
    pub(super) options: Options,
    pub(super) tokens: HashMap<String, Token>,
    pub(super) issued: u64,
    pub(super) calls: Vec<Call>,
    pub(super) instances: Instances,
    slbs: BTreeMap<String, Slb>,
    ids: u64,
    generation: u64,
}

/// What is known of a token that was issued.
pub(super) struct Token {
    pub(super) user_id: String,
    pub(super) expires: Instant,
}

/// A server load balancer.
#[derive(Debug, Clone)]
pub struct Slb {
    /// Its id.
    pub id: String,
    /// The user it belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// The address inside the VPC.
    pub business_ip: String,
    /// The public address, or empty.
    pub eip: String,
    /// Whether it is there to be used.
    pub phase: Phase,
    /// By id.
    pub listeners: BTreeMap<String, Listener>,
    /// So many writes will still find it busy.
    pub(super) busy: u32,
}

/// An SLB's life. Creating and deleting take time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not usable before that time.
    Creating(Instant),
    /// Usable.
    Active,
    /// Gone at that time.
    Deleting(Instant),
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `TCP`, `UDP`, `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Where clients connect.
    pub port: u16,
    /// `RR` or `WRR`.
    pub forward_rule: String,
    /// How members are checked.
    pub health: Health,
    /// The fields that are sent only when a Service asks for them, as they came.
    pub options: BTreeMap<String, serde_json::Value>,
    /// In the order they were added. The same server and port may be there twice. Assumed.
    pub members: Vec<Member>,
}

/// A listener's health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether there is one.
    pub on: bool,
    /// `tcp` or `http`.
    pub kind: String,
    /// 0 for the member's own port.
    pub port: u16,
    /// Between checks.
    pub period_seconds: u32,
    /// For one check.
    pub timeout_seconds: u32,
    /// So many failures in a row take a member out.
    pub max_tries: u32,
    /// `Host` of an HTTP check; may be empty.
    pub domain: String,
    /// Of an HTTP check.
    pub path: String,
}

impl Default for Health {
    /// Off. Source: the old client's defaults.
    fn default() -> Self {
        Self {
            on: false,
            kind: "tcp".into(),
            port: 0,
            period_seconds: 30,
            timeout_seconds: 1,
            max_tries: 1,
            domain: String::new(),
            path: "/".into(),
        }
    }
}

/// A back end of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub backend_id: String,
    /// The instance's id.
    pub server_id: String,
    /// The instance's name.
    pub server_name: String,
    /// Where traffic goes.
    pub server_ip: IpAddr,
    /// Where traffic goes.
    pub port: u16,
    /// Share of traffic under `WRR`.
    pub weight: u32,
}

/// A call that reached the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which endpoint.
    pub kind: Kind,
    /// The SLB it names.
    pub slb: Option<String>,
    /// How many ids of instances it names, where they can be read.
    pub ids: usize,
    /// What was answered.
    pub status: u16,
}

/// The endpoints.
#[expect(missing_docs, reason = "the names are the documentation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Token,
    Login,
    DescribeSlb,
    ListSlbs,
    CreateSlb,
    RenameSlb,
    DeleteSlb,
    ListListeners,
    GetListener,
    CreateListener,
    UpdateListener,
    DeleteListener,
    ListMembers,
    AddMembers,
    UpdateMembers,
    RemoveMembers,
    /// By ids.
    DescribeInstances,
    /// By name or address.
    FindInstances,
    ListInstances,
    /// None of them.
    Unknown,
}

impl Kind {
    /// Whether it reads SLBs.
    pub fn is_read(self) -> bool {
        matches!(
            self,
            Self::DescribeSlb | Self::ListSlbs | Self::ListListeners | Self::GetListener | Self::ListMembers
        )
    }

    /// Whether it changes SLBs.
    pub fn is_write(self) -> bool {
        let is_other = matches!(self, Self::Token | Self::Login | Self::Unknown) || self.is_about_instances();
        !self.is_read() && !is_other
    }

    /// Whether it asks about instances.
    pub fn is_about_instances(self) -> bool {
        matches!(
            self,
            Self::DescribeInstances | Self::FindInstances | Self::ListInstances
        )
    }
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            tokens: HashMap::new(),
            issued: 0,
            calls: Vec::new(),
            instances: Instances::default(),
            slbs: BTreeMap::new(),
            ids: 0,
            generation: 0,
        }
    }

    /// Acts on a request.
    pub fn respond(&mut self, request: &Incoming, now: Now) -> Reply {
        self.settle(now.monotonic);
        let path = request.path();
        let (kind, slb, ids, result) = if path == KEYCLOAK_PATH {
            (Kind::Token, None, 0, Ok(self.exchange_token(request, now)))
        } else if path == IAM_PATH {
            (Kind::Login, None, 0, self.log_in(request, now))
        } else if let Some(below) = below(path, SLB_PATH) {
            let (kind, slb, result) = self.respond_slb(request, below, now);
            (kind, slb, 0, result)
        } else if let Some(below) = below(path, ECS_PATH) {
            let (kind, ids, result) = self.respond_ecs(request, below, now);
            (kind, None, ids, result)
        } else {
            (Kind::Unknown, None, 0, Err(Problem::new(404, "no such API")))
        };
        let reply = result.unwrap_or_else(|problem| problem.reply(self.options.quirks));
        let status = reply.status;
        self.calls.push(Call {
            kind,
            slb,
            ids,
            status,
        });
        reply
    }

    /// All SLBs, by id.
    pub fn slbs(&self) -> impl Iterator<Item = &Slb> {
        self.slbs.values()
    }

    /// One SLB.
    pub fn slb(&self, id: &str) -> Option<&Slb> {
        self.slbs.get(id)
    }

    /// All instances, by id.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceSeed> {
        self.instances.all()
    }

    /// One instance.
    pub fn instance(&self, id: &str) -> Option<&InstanceSeed> {
        self.instances.get(id)
    }

    /// The listeners of an SLB, by port and protocol.
    pub fn listeners(&self, slb: &str) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = self
            .slbs
            .get(slb)
            .map(|slb| slb.listeners.values().cloned().collect())
            .unwrap_or_default();
        listeners.sort_by(|a, b| (a.port, &a.protocol, &a.id).cmp(&(b.port, &b.protocol, &b.id)));
        listeners
    }

    /// Grows whenever an SLB, a listener or a member changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn issued_tokens(&self) -> Vec<Secret> {
        (1..=self.issued).map(|n| Secret::new(token_text(n))).collect()
    }

    pub(super) fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    pub(super) fn add_slb(&mut self, seed: Seed) {
        let slb = Slb {
            name: format!("name-of-{}", seed.id),
            id: seed.id,
            owner: seed.owner,
            scheme: seed.scheme,
            business_ip: seed.business_ip,
            eip: seed.eip,
            phase: Phase::Active,
            listeners: BTreeMap::new(),
            busy: 0,
        };
        self.insert_slb(slb);
    }

    pub(super) fn insert_slb(&mut self, slb: Slb) {
        self.generation += 1;
        self.slbs.insert(slb.id.clone(), slb);
    }

    pub(super) fn take_slb(&mut self, id: &str) -> bool {
        self.generation += 1;
        self.slbs.remove(id).is_some()
    }

    pub(super) fn put_listener(&mut self, slb: &str, name: &str, protocol: &str, port: u16) -> String {
        let id = self.next_id("listener");
        let listener = Listener {
            id: id.clone(),
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            port,
            forward_rule: "RR".into(),
            health: Health::default(),
            options: BTreeMap::new(),
            members: Vec::new(),
        };
        self.change_slb(slb).listeners.insert(id.clone(), listener);
        id
    }

    pub(super) fn change_listener<R>(
        &mut self,
        slb: &str,
        id: &str,
        change: impl FnOnce(&mut Listener) -> R,
    ) -> R {
        let listener = self.change_slb(slb).listeners.get_mut(id);
        change(listener.expect("the listener exists"))
    }

    pub(super) fn take_listener(&mut self, slb: &str, id: &str) -> bool {
        self.change_slb(slb).listeners.remove(id).is_some()
    }

    pub(super) fn set_busy(&mut self, slb: &str, writes: u32) {
        self.change_slb(slb).busy = writes;
    }

    /// An SLB that is known to exist, to be changed.
    pub(super) fn change_slb(&mut self, id: &str) -> &mut Slb {
        self.generation += 1;
        self.slbs.get_mut(id).expect("the SLB exists")
    }

    /// Ids as long as the real ones, unique in this cloud, the same in every run.
    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}-{:010}", self.ids)
    }

    /// Lets time pass for what is being created or deleted.
    fn settle(&mut self, now: Instant) {
        let before = self.slbs.len();
        self.slbs
            .retain(|_, slb| !matches!(slb.phase, Phase::Deleting(gone) if gone <= now));
        for slb in self.slbs.values_mut() {
            if matches!(slb.phase, Phase::Creating(ready) if ready <= now) {
                slb.phase = Phase::Active;
            }
        }
        if self.slbs.len() != before {
            self.generation += 1;
        }
    }
}

/// What is left of `path` below an API's base; empty, or beginning with a slash.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let below = path.strip_prefix(base);
    below.filter(|below| below.is_empty() || below.starts_with('/'))
}

/// The n-th token.
pub(super) fn token_text(n: u64) -> String {
    format!("issued-s3cret-{n:06}")
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slb in self.slbs.values() {
            writeln!(
                f,
                "{} ({}, {}, eip {:?})",
                slb.id, slb.owner, slb.business_ip, slb.eip
            )?;
            for listener in self.listeners(&slb.id) {
                writeln!(f, "  {listener}")?;
                for member in &listener.members {
                    writeln!(f, "    {member}")?;
                }
            }
        }
        write!(f, "{}", self.instances)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            name,
            protocol,
            port,
            forward_rule,
            health,
            ..
        } = self;
        write!(f, "{protocol} {port} {forward_rule} {name} ({id}), ")?;
        if !health.on {
            return f.write_str("not checked");
        }
        let Health {
            kind,
            port,
            path,
            period_seconds,
            timeout_seconds,
            max_tries,
            ..
        } = health;
        write!(
            f,
            "checked by {kind} {port} {path} every {period_seconds}s/{timeout_seconds}s/{max_tries}"
        )
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            backend_id,
            server_name,
            server_ip,
            port,
            weight,
            ..
        } = self;
        write!(
            f,
            "{server_ip} {port} {server_name} weight {weight} ({backend_id})"
        )
    }
}
