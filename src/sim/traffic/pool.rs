//! A listener's members: which are healthy, whose turn it is. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use super::Usable;
use crate::sim::cloud::{Health, Listener};

/// The members of one listener.
#[derive(Debug)]
pub(super) struct Pool {
    health: Health,
    rule: Rule,
    backends: Vec<Backend>,
    revision: u64,
    stopped: bool,
}

/// How traffic is shared. Source: `forwardRule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    RoundRobin,
    Weighted,
}

#[derive(Debug, Clone)]
struct Backend {
    target: SocketAddr,
    weight: i64,
    /// Its claim on the next turn: grows by its weight a turn, falls by all weights when it gets one.
    credit: i64,
    verdict: Verdict,
}

/// What checks say of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not checked yet. The first check decides. Assumed.
    Unknown,
    /// Good, after so many failures in a row.
    Healthy { failures: u32 },
    /// Bad, until one check succeeds. Assumed: one is enough.
    Unhealthy,
}

/// What to check next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) health: Health,
    /// Members and the addresses that tell of them.
    pub(super) checks: Vec<(SocketAddr, SocketAddr)>,
    revision: u64,
}

impl Pool {
    pub(super) fn new(listener: &Listener) -> Self {
        let mut pool = Self {
            health: Health::default(),
            rule: Rule::RoundRobin,
            backends: Vec::new(),
            revision: 0,
            stopped: false,
        };
        pool.configure(listener);
        pool
    }

    /// Follows a change of the listener. Members that stay keep what is known of them.
    pub(super) fn configure(&mut self, listener: &Listener) {
        let rule = match listener.forward_rule.as_str() {
            "WRR" => Rule::Weighted,
            _ => Rule::RoundRobin,
        };
        let backends: Vec<Backend> = listener
            .members
            .iter()
            .map(|member| {
                let target = SocketAddr::new(member.server_ip, member.port);
                let known = self.backends.iter().find(|backend| backend.target == target);
                Backend {
                    target,
                    weight: match rule {
                        Rule::RoundRobin => 1,
                        Rule::Weighted => member.weight.into(),
                    },
                    credit: known.map_or(0, |known| known.credit),
                    verdict: known.map_or(Verdict::Unknown, |known| known.verdict),
                }
            })
            .collect();
        let targets = |backends: &[Backend]| backends.iter().map(|b| b.target).collect::<Vec<_>>();
        if self.health != listener.health || targets(&self.backends) != targets(&backends) {
            self.revision += 1;
        }
        self.health = listener.health.clone();
        self.rule = rule;
        self.backends = backends;
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.backends.len()
    }

    /// The member whose turn it is: smooth weighted round robin over those that are usable.
    pub(super) fn pick(&mut self) -> Option<SocketAddr> {
        let on = self.health.on;
        let usable = || |backend: &&mut Backend| backend.is_usable(on) && backend.weight > 0;
        let total: i64 = self.backends.iter_mut().filter(usable()).map(|b| b.weight).sum();
        for backend in self.backends.iter_mut().filter(usable()) {
            backend.credit += backend.weight;
        }
        let mut best: Option<&mut Backend> = None;
        for backend in self.backends.iter_mut().filter(usable()) {
            if best.as_ref().is_none_or(|best| backend.credit > best.credit) {
                best = Some(backend);
            }
        }
        best.map(|backend| {
            backend.credit -= total;
            backend.target
        })
    }

    /// Whether traffic may go to `target`.
    pub(super) fn is_usable(&self, target: SocketAddr) -> bool {
        let mut backends = self.backends.iter();
        backends.any(|backend| backend.target == target && backend.is_usable(self.health.on))
    }

    /// Each member, and whether traffic goes there.
    pub(super) fn members(&self) -> Vec<(SocketAddr, Usable)> {
        let usable = |backend: &Backend| {
            if backend.is_usable(self.health.on) {
                Usable::Yes
            } else {
                Usable::No
            }
        };
        self.backends.iter().map(|b| (b.target, usable(b))).collect()
    }

    /// What to check now.
    pub(super) fn round(&self) -> Round {
        let address = |target: SocketAddr| match self.health.port {
            0 => target,
            port => SocketAddr::new(target.ip(), port),
        };
        let checked = |backend: &&Backend| self.health.on && backend.target.ip().is_loopback();
        let targets = self.backends.iter().filter(checked).map(|b| b.target);
        Round {
            health: self.health.clone(),
            checks: targets.map(|target| (target, address(target))).collect(),
            revision: self.revision,
        }
    }

    /// Whether to begin another round before the last one's period is over.
    pub(super) fn is_stale(&self, round: &Round) -> bool {
        self.stopped || self.revision != round.revision
    }

    /// Takes the outcome of a check.
    pub(super) fn report(&mut self, target: SocketAddr, outcome: Outcome) {
        let max = self.health.max_tries;
        for backend in self
            .backends
            .iter_mut()
            .filter(|backend| backend.target == target)
        {
            backend.verdict = match (outcome, backend.verdict) {
                (Outcome::Passed, _) => Verdict::Healthy { failures: 0 },
                (Outcome::Failed, Verdict::Healthy { failures }) if failures + 1 < max => Verdict::Healthy {
                    failures: failures + 1,
                },
                (Outcome::Failed, _) => Verdict::Unhealthy,
            };
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
}

impl Backend {
    fn is_usable(&self, checked: bool) -> bool {
        self.target.ip().is_loopback() && (!checked || matches!(self.verdict, Verdict::Healthy { .. }))
    }
}

impl Round {
    /// Between rounds; without checks, until something changes.
    pub(super) fn period(&self, time_scale: f64) -> Duration {
        if self.checks.is_empty() {
            return Duration::MAX;
        }
        Duration::from_secs(self.health.period_seconds.into())
            .mul_f64(time_scale)
            .max(Duration::from_millis(10))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::cloud::Member;

    fn listener(rule: &str, checked: bool, members: &[(&str, u32)]) -> Listener {
        Listener {
            id: "listener-1".into(),
            name: "web".into(),
            protocol: "TCP".into(),
            port: 80,
            forward_rule: rule.into(),
            health: Health {
                on: checked,
                max_tries: 2,
                ..Health::default()
            },
            options: BTreeMap::new(),
            members: members
                .iter()
                .map(|(ip, weight)| Member {
                    backend_id: "backend-1".into(),
                    server_id: "i-1".into(),
                    server_name: "node".into(),
                    server_ip: ip.parse().unwrap(),
                    port: 30080,
                    weight: *weight,
                })
                .collect(),
        }
    }

    fn picks(pool: &mut Pool, count: usize) -> String {
        let picked = (0..count).map(|_| pool.pick().map_or("-".into(), |t| t.ip().to_string()));
        picked
            .map(|ip| ip.rsplit('.').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn turns_follow_the_rule_and_the_weights() {
        let members = [("127.0.0.1", 30), ("127.0.0.2", 10), ("127.0.0.3", 0)];
        for (case, rule, members, want) in [
            ("in turn, whatever the weight", "RR", &members[..], "12312312"),
            ("by weight", "WRR", &members[..], "11211121"),
            ("nobody", "RR", &[], "--------"),
            (
                "not beyond loopback",
                "RR",
                &[("10.0.0.9", 1), ("127.0.0.1", 1)],
                "11111111",
            ),
        ] {
            assert_eq!(
                picks(&mut Pool::new(&listener(rule, false, members)), 8),
                want,
                "{case}"
            );
        }
    }

    #[test]
    fn a_member_is_used_once_it_passed_and_until_it_failed_often_enough() {
        let mut pool = Pool::new(&listener("RR", true, &[("127.0.0.1", 1)]));
        let target = "127.0.0.1:30080".parse().unwrap();
        let mut steps = String::new();
        use Outcome::{Failed, Passed};
        for outcome in [
            None,
            Some(Failed),
            Some(Passed),
            Some(Failed),
            Some(Failed),
            Some(Passed),
        ] {
            if let Some(outcome) = outcome {
                pool.report(target, outcome);
            }
            steps.push(if pool.is_usable(target) { 'y' } else { 'n' });
        }
        assert_eq!(steps, "nnyyny");
    }

    #[test]
    fn a_change_keeps_what_is_known_and_calls_for_a_new_round() {
        let mut pool = Pool::new(&listener("RR", true, &[("127.0.0.1", 1)]));
        let target = "127.0.0.1:30080".parse().unwrap();
        pool.report(target, Outcome::Passed);
        let round = pool.round();
        assert_eq!(round.checks, [(target, target)]);
        pool.configure(&listener("RR", true, &[("127.0.0.1", 1)]));
        assert!(!pool.is_stale(&round), "nothing changed");
        pool.configure(&listener("RR", true, &[("127.0.0.1", 1), ("127.0.0.2", 1)]));
        assert!(pool.is_stale(&round) && pool.is_usable(target));
        assert_eq!(picks(&mut pool, 2), "11", "the new one is not checked yet");
        pool.configure(&listener("RR", false, &[("127.0.0.2", 1)]));
        assert_eq!(pool.round().checks, [], "nothing is checked");
        assert_eq!(picks(&mut pool, 2), "22");
    }
}
