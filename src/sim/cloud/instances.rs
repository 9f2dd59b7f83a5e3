//! The machines that the instances API shows, and how its answers can be made to differ from what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::Cloud;

/// A machine. Texts may be empty, and addresses anything at all: what the API shows is not always right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSeed {
    /// Its id.
    pub id: String,
    /// The user it belongs to; nobody else sees it.
    pub owner: String,
    /// Its name. Two may have the same.
    pub name: String,
    /// What it calls itself.
    pub host_name: String,
    /// Whether it runs.
    pub status: Status,
    /// How large it is.
    pub instance_type: String,
    /// Where it is.
    pub region: String,
    /// Where it is.
    pub zone: String,
    /// Its network.
    pub vpc: String,
    /// The part of it that `private_ips` are from.
    pub subnet: String,
    /// IPv4 addresses inside the VPC. Instances in different VPCs may have the same.
    pub private_ips: Vec<String>,
    /// IPv6 addresses.
    pub ipv6s: Vec<String>,
    /// The public address; empty where none is bound.
    pub eip: String,
    /// Whatever its owner wrote on it.
    pub tags: BTreeMap<String, String>,
}

impl InstanceSeed {
    /// A running machine of [`super::Account::named`] `demo` with one address, of either family. It calls itself by its name.
    pub fn new(id: &str, name: &str, ip: &str) -> Self {
        let is_ipv6 = ip.parse::<std::net::Ipv6Addr>().is_ok();
        let (ipv6s, private_ips) = [ip.to_owned()].into_iter().partition(|_| is_ipv6);
        Self {
            id: id.to_owned(),
            owner: "user-demo".to_owned(),
            name: name.to_owned(),
            host_name: name.to_owned(),
            status: Status::Running,
            instance_type: "ecs.c1.large".to_owned(),
            region: "cn-north-3".to_owned(),
            zone: "cn-north-3a".to_owned(),
            vpc: "vpc-1".to_owned(),
            subnet: "subnet-1".to_owned(),
            private_ips,
            ipv6s,
            eip: String::new(),
            tags: BTreeMap::new(),
        }
    }

    /// The same for another user.
    pub fn owned_by(mut self, user_id: &str) -> Self {
        self.owner = user_id.to_owned();
        self
    }

    /// The same in another zone.
    pub fn in_zone(mut self, zone: &str) -> Self {
        self.zone = zone.to_owned();
        self
    }
}

/// Whether an instance runs. Assumed: all of them.
#[expect(missing_docs, reason = "the names are the documentation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Pending,
    Running,
    Stopping,
    Stopped,
    Suspended,
    Terminated,
    Error,
    /// One that nobody has heard of.
    Other(&'static str),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Suspended => "SUSPENDED",
            Self::Terminated => "TERMINATED",
            Self::Error => "ERROR",
            Self::Other(text) => text,
        })
    }
}

/// How answers with status 200 about instances differ from what is there. Whatever goes wrong with the call itself is a fault
/// ([`crate::sim::faults`]).
///
/// Assumed: that any of it can happen. None of it proves that an instance is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distortion {
    /// These ids are left out, as by a replica that has lost them.
    Without(BTreeSet<String>),
    /// It is an answer of an earlier moment, when these instances were there ([`Cloud::instances`] of then).
    AsOf(Vec<InstanceSeed>),
    /// A page has at most that many elements, however many were asked for; with 0 it is empty.
    AtMost(usize),
}

impl Distortion {
    /// Leaves these ids out.
    pub fn without<I: Into<String>>(ids: impl IntoIterator<Item = I>) -> Self {
        Self::Without(ids.into_iter().map(Into::into).collect())
    }
}

type ById = Arc<BTreeMap<String, InstanceSeed>>;

/// All instances, and how the next answers are distorted.
#[derive(Default)]
pub(super) struct Instances {
    by_id: ById,
    /// With the answers they are still good for; `None` for all from now on.
    distortions: Vec<(Distorting, Option<u64>)>,
}

/// A [`Distortion`], ready for use.
enum Distorting {
    Without(BTreeSet<String>),
    AsOf(ById),
    AtMost(usize),
}

/// What one answer is made of.
pub(super) struct Shown {
    by_id: ById,
    lost: BTreeSet<String>,
    /// So many elements at most.
    pub(super) at_most: usize,
}

impl Shown {
    /// One instance, if it is shown.
    pub(super) fn get(&self, id: &str) -> Option<&InstanceSeed> {
        self.by_id.get(id).filter(|_| !self.lost.contains(id))
    }

    /// All that are shown, by id.
    pub(super) fn all(&self) -> impl Iterator<Item = &InstanceSeed> {
        self.by_id.values().filter(|seed| !self.lost.contains(&seed.id))
    }
}

impl Instances {
    /// By id.
    pub(super) fn all(&self) -> impl Iterator<Item = &InstanceSeed> {
        self.by_id.values()
    }

    /// One of them.
    pub(super) fn get(&self, id: &str) -> Option<&InstanceSeed> {
        self.by_id.get(id)
    }

    /// What the next answer is made of. That was one answer less for each distortion.
    pub(super) fn next_answer(&mut self) -> Shown {
        let mut shown = Shown {
            by_id: Arc::clone(&self.by_id),
            lost: BTreeSet::new(),
            at_most: usize::MAX,
        };
        // backwards: of two earlier moments the one that was scripted first is shown
        for (distorting, left) in self.distortions.iter_mut().rev() {
            match distorting {
                Distorting::Without(ids) => shown.lost.extend(ids.iter().cloned()),
                Distorting::AsOf(by_id) => shown.by_id = Arc::clone(by_id),
                Distorting::AtMost(limit) => shown.at_most = shown.at_most.min(*limit),
            }
            *left = left.map(|left| left - 1);
        }
        self.distortions.retain(|(_, left)| *left != Some(0));
        shown
    }

    fn distort(&mut self, distortion: Distortion, answers: Option<u64>) {
        if answers == Some(0) {
            return;
        }
        let distorting = match distortion {
            Distortion::Without(ids) => Distorting::Without(ids),
            Distortion::AsOf(seeds) => Distorting::AsOf(Arc::new(by_id(seeds))),
            Distortion::AtMost(limit) => Distorting::AtMost(limit),
        };
        self.distortions.push((distorting, answers));
    }
}

fn by_id(seeds: Vec<InstanceSeed>) -> BTreeMap<String, InstanceSeed> {
    seeds.into_iter().map(|seed| (seed.id.clone(), seed)).collect()
}

/// What tests and the demo do to instances behind the API's back.
impl Cloud {
    /// Puts an instance there, in place of one with that id.
    pub fn add_instance(&self, seed: InstanceSeed) {
        self.update_instances(|instances| {
            Arc::make_mut(&mut instances.by_id).insert(seed.id.clone(), seed);
        });
    }

    /// Changes an instance.
    ///
    /// # Panics
    /// When there is no such instance.
    pub fn change_instance<R>(&self, id: &str, change: impl FnOnce(&mut InstanceSeed) -> R) -> R {
        self.change_if_there(id, change).expect("the instance exists")
    }

    /// `None` when there is no such instance.
    pub(super) fn change_if_there<R>(
        &self,
        id: &str,
        change: impl FnOnce(&mut InstanceSeed) -> R,
    ) -> Option<R> {
        self.update_instances(|instances| Arc::make_mut(&mut instances.by_id).get_mut(id).map(change))
    }

    /// Lets an instance start or stop.
    ///
    /// # Panics
    /// When there is no such instance.
    pub fn set_status(&self, id: &str, status: Status) {
        self.change_instance(id, |instance| instance.status = status);
    }

    /// Takes an instance away; whether it was there.
    pub fn remove_instance(&self, id: &str) -> bool {
        self.update_instances(|instances| Arc::make_mut(&mut instances.by_id).remove(id).is_some())
    }

    /// All instances of all users, by id; what is really there, however answers are distorted.
    pub fn instances(&self) -> Vec<InstanceSeed> {
        self.0.read(|state| state.instances().cloned().collect())
    }

    /// Distorts the next `answers` about instances, or all from now on (`None`). Distortions add up; one that lost ids and one that is
    /// cut short at once are both. Calls that are not answered with 200, or 404 about a single id, are not counted.
    pub fn distort(&self, distortion: Distortion, answers: Option<u64>) {
        self.update_instances(|instances| instances.distort(distortion, answers));
    }

    /// Ends every distortion.
    pub fn clear_distortions(&self) {
        self.update_instances(|instances| instances.distortions.clear());
    }

    fn update_instances<R>(&self, change: impl FnOnce(&mut Instances) -> R) -> R {
        self.0.update(|state| change(&mut state.instances))
    }
}

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().try_for_each(|instance| writeln!(f, "{instance}"))?;
        for (distorting, left) in &self.distortions {
            let left = left.map_or("all".to_owned(), |left| format!("the next {left}"));
            writeln!(f, "{left} answers about instances: {distorting}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InstanceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            owner,
            name,
            status,
            zone,
            private_ips,
            ipv6s,
            eip,
            ..
        } = self;
        let ips = [&private_ips[..], &ipv6s[..]].concat().join(" ");
        write!(f, "{id} ({owner}, {name}, {status}, {zone}, {ips}, eip {eip:?})")
    }
}

impl fmt::Display for Distorting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Without(ids) => write!(f, "without {ids:?}"),
            Self::AsOf(by_id) => write!(f, "as of earlier, with {:?}", by_id.keys()),
            Self::AtMost(limit) => write!(f, "at most {limit} elements"),
        }
    }
}
