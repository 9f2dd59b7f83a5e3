//! What may go wrong, and who may do wrong.

use std::time::Duration;

use serde_json::Value;

use super::{Event, NAME, NAMESPACE, World};
use crate::sim::api_server::Resource;

#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Kill(usize),
    Leave(usize),
    /// SIGSTOP, for so long.
    Pause(usize, Duration),
    /// The machine is suspended.
    Sleep(usize, Duration),
    /// Nothing it sends arrives.
    Cut(usize, Duration),
    /// What it sends arrives, and no answer comes back.
    Deafen(usize, Duration),
    /// Nobody reaches the API server.
    Down(Duration),
    Jump(usize, f64),
    Delete,
    Patch(Value),
    /// Puts into the store what the API server would refuse.
    Put(Value),
    /// Puts an earlier record there, as a backup would.
    Restore(u64),
}

impl World {
    pub(super) fn break_it(&mut self, fault: Fault) {
        self.note(|| format!("{fault:?}"));
        match fault {
            Fault::Kill(at) => {
                if self.replicas[at].process.is_some() {
                    self.end(at, "killed");
                }
            }
            Fault::Leave(at) => self.at(self.now, Event::Leave(at)),
            Fault::Pause(at, time) => {
                let replica = &mut self.replicas[at];
                replica.paused_until = replica.paused_until.max(self.now + time);
            }
            Fault::Sleep(at, time) => {
                let replica = &mut self.replicas[at];
                if !replica.asleep {
                    replica.asleep = true;
                    replica.paused_until = replica.paused_until.max(self.now + time);
                    self.at(self.now + time, Event::Wake(at, time));
                }
            }
            Fault::Cut(at, time) => self.replicas[at].cut_until = self.now + time,
            Fault::Deafen(at, time) => self.replicas[at].deaf_until = self.now + time,
            Fault::Down(time) => self.down_until = self.now + time,
            Fault::Jump(at, seconds) => self.replicas[at].clock.0.lock().unwrap().offset += seconds,
            Fault::Delete => {
                self.api.delete(Resource::Leases, NAMESPACE, NAME);
                self.spread();
            }
            Fault::Patch(patch) => {
                let patched = self.api.patch(Resource::Leases, NAMESPACE, NAME, &patch);
                if patched.is_ok() {
                    self.spread();
                }
            }
            Fault::Put(spec) => {
                if let Some(mut lease) = self.api.object(Resource::Leases, NAMESPACE, NAME) {
                    for (field, value) in spec.as_object().unwrap() {
                        lease["spec"][field] = value.clone();
                    }
                    self.api.put_unchecked(Resource::Leases, lease);
                    self.spread();
                }
            }
            Fault::Restore(which) => {
                let current = self.api.object(Resource::Leases, NAMESPACE, NAME);
                let held: Vec<&Value> = self
                    .history
                    .iter()
                    .filter(|lease| lease["spec"]["holderIdentity"] != "")
                    .collect();
                if let (Some(mut lease), false) = (current, held.is_empty()) {
                    lease["spec"] = held[which as usize % held.len()]["spec"].clone();
                    self.api.put_unchecked(Resource::Leases, lease);
                    self.spread();
                }
            }
        }
    }
}
