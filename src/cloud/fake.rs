//! A cloud in memory, for tests of controllers: it keeps what it was told to make, and the calls in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::{
    Absence, Authority, Change, Claim, CloudProvider, Denied, Ensured, Error, Freshness, Instance, Instances,
    Leave, LoadBalancers, Lookup, Note, Retry, Waiting,
};
use crate::k8s::types::{LoadBalancerIngress, Node, Service};

/// The annotation that names a load balancer of this cloud.
pub(crate) const ID: &str = "loadbalancer.inspur.com/fake-id";
/// Its record.
pub(crate) const RECORD: &str = "loadbalancer.inspur.com/fake-record";

/// A call that a controller made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// `locate` of this key.
    Locate(String),
    /// `ensure` of this key with these Nodes.
    Ensure(String, Vec<String>),
    /// `ensure_deleted` of this key.
    EnsureDeleted(String),
    /// `look_up` of these Nodes.
    LookUp(Vec<String>, Freshness),
}

/// What it answers about a Node's instance.
enum Answer {
    Found(Arc<Instance>),
    Missing(Absence),
    Fails(Box<dyn Fn() -> Error + Send>),
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    /// By the Node's name.
    instances: BTreeMap<String, Answer>,
    /// [`Authority::Full`] unless told otherwise.
    authority: Option<Authority>,
    failures: VecDeque<Error>,
    /// Who is served on what, with which Nodes.
    served: Served,
}

type Served = BTreeMap<Claim, (String, Vec<String>)>;

impl State {
    /// Serves this from now on, if that is another thing and there is leave for it.
    fn replace(&mut self, served: Served, leave: Leave<'_>) -> Result<Change, Error> {
        if served == self.served {
            return Ok(Change::None);
        }
        leave()?;
        self.served = served;
        Ok(Change::Made)
    }
}

/// The cloud. Clones are the same cloud.
#[derive(Clone, Default)]
pub(crate) struct FakeCloud(Arc<Mutex<State>>);

impl FakeCloud {
    /// What was called so far, which is then forgotten.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// The next `ensure` or `ensure_deleted` fails with `error`.
    pub(crate) fn fail_next(&self, error: Error) {
        self.0.lock().unwrap().failures.push_back(error);
    }

    /// There is `instance` behind the Node of that name.
    pub(crate) fn set_instance(&self, node: &str, instance: Instance) {
        self.answer(node, Answer::Found(Arc::new(instance)));
    }

    /// There is no instance behind the Node of that name, as so many others witness. Without witnesses, that is so for every
    /// Node of which nothing was told.
    pub(crate) fn set_missing(&self, node: &str, witnesses: usize) {
        self.answer(node, Answer::Missing(Absence { witnesses }));
    }

    /// From now on every look-up of the Node of that name fails.
    pub(crate) fn fail_look_ups(&self, node: &str, error: impl Fn() -> Error + Send + 'static) {
        self.answer(node, Answer::Fails(Box::new(error)));
    }

    /// Whether it can tell what exists.
    pub(crate) fn set_authority(&self, authority: Authority) {
        self.0.lock().unwrap().authority = Some(authority);
    }

    fn answer(&self, node: &str, answer: Answer) {
        self.0.lock().unwrap().instances.insert(node.to_string(), answer);
    }

    /// What is served: claim, key of the Service, Nodes.
    pub(crate) fn served(&self) -> Vec<(String, String, Vec<String>)> {
        let state = self.0.lock().unwrap();
        state
            .served
            .iter()
            .map(|(claim, (key, nodes))| (claim.0.to_string(), key.clone(), nodes.clone()))
            .collect()
    }

    /// Somebody else's listener on this claim.
    pub(crate) fn occupy(&self, claim: &str) {
        self.0
            .lock()
            .unwrap()
            .served
            .insert(Claim(claim.into()), ("somebody/else".into(), vec![]));
    }
}

impl CloudProvider for FakeCloud {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        Some(self)
    }

    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
}

impl Instances for FakeCloud {
    fn authority(&self) -> Authority {
        self.0.lock().unwrap().authority.unwrap_or(Authority::Full)
    }

    fn look_up(&self, nodes: &[Arc<Node>], freshness: Freshness) -> Vec<Result<Lookup, Error>> {
        let mut state = self.0.lock().unwrap();
        let names: Vec<String> = nodes.iter().map(|node| node.meta.name.to_string()).collect();
        let answer = |name: &String| match state.instances.get(name) {
            Some(Answer::Found(instance)) => Ok(Lookup::Found(Arc::clone(instance))),
            Some(Answer::Missing(absence)) => Ok(Lookup::Missing(*absence)),
            Some(Answer::Fails(error)) => Err(error()),
            None => Ok(Lookup::Missing(Absence { witnesses: 0 })),
        };
        let answers = names.iter().map(answer).collect();
        state.calls.push(Call::LookUp(names, freshness));
        answers
    }
}

impl LoadBalancers for FakeCloud {
    fn record_key(&self) -> &'static str {
        RECORD
    }

    fn claims(&self, service: &Service) -> Vec<Claim> {
        let Some(id) = service.meta.annotations.get(ID) else {
            return vec![];
        };
        service
            .ports
            .iter()
            .map(|p| Claim(format!("{id}/{}/{}", p.protocol.as_str(), p.port).into()))
            .collect()
    }

    fn group(&self, service: &Service) -> Option<Arc<str>> {
        service.meta.annotations.get(ID).map(Arc::from)
    }

    fn locate(&self, service: &Service) -> Result<String, Error> {
        self.0
            .lock()
            .unwrap()
            .calls
            .push(Call::Locate(service.meta.key()));
        let id = service.meta.annotations.get(ID);
        id.map(str::to_string).ok_or(Error::Rejected {
            reason: "NoId",
            message: format!("add the annotation {ID}"),
        })
    }

    fn ensure(
        &self,
        service: &Service,
        nodes: &[Arc<Node>],
        denied: &[Denied],
        leave: Leave<'_>,
    ) -> Result<Ensured, Error> {
        let (key, nodes) = (
            service.meta.key(),
            nodes.iter().map(|n| n.meta.name.to_string()).collect::<Vec<_>>(),
        );
        let mut state = self.0.lock().unwrap();
        state.calls.push(Call::Ensure(key.clone(), nodes.clone()));
        assert_eq!(
            service.meta.annotations.get(RECORD),
            service.meta.annotations.get(ID),
            "the record comes before the write"
        );
        if let Some(error) = state.failures.pop_front() {
            return Err(error);
        }
        let mut served = state.served.clone();
        served.retain(|_, (owner, _)| *owner != key);
        let mut waiting = Vec::new();
        for claim in self.claims(service) {
            let holder = denied
                .iter()
                .find(|d| d.claim == claim)
                .map(|d| d.holder.to_string());
            if served.contains_key(&claim) || holder.is_some() {
                let note = Note {
                    reason: "PortTaken",
                    message: format!("{} is taken by {holder:?}", claim.0),
                };
                waiting.push(Waiting {
                    note,
                    retry: Retry::Backoff,
                });
            } else {
                served.insert(claim, (key.clone(), nodes.clone()));
            }
        }
        let change = state.replace(served, leave)?;
        let ingress = vec![LoadBalancerIngress::ip([192, 0, 2, 1].into())];
        let record = service.meta.annotations.get(ID).unwrap_or_default().to_string();
        Ok(Ensured {
            ingress,
            change,
            record,
            waiting,
            notes: vec![],
        })
    }

    fn ensure_deleted(&self, service: &Service, leave: Leave<'_>) -> Result<Change, Error> {
        let key = service.meta.key();
        let mut state = self.0.lock().unwrap();
        state.calls.push(Call::EnsureDeleted(key.clone()));
        if let Some(error) = state.failures.pop_front() {
            return Err(error);
        }
        let mut served = state.served.clone();
        served.retain(|_, (owner, _)| *owner != key);
        state.replace(served, leave)
    }
}
