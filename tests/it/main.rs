//! Integration tests: the built program between a cloud and a cluster, a file per behaviour.
//!
//! The cloud is always the simulated one. The cluster is the simulated API, or a real kube-apiserver where `CONTROL_PLANE` names
//! its programs (`make e2e`); tests that script faults of the API server run on the simulated one alone, and say so.

#![expect(
    unreachable_pub,
    reason = "nobody depends on a test crate; `pub` marks what the support modules offer"
)]

mod support;

/// Faults of the API server: outages, lost history, nonsense.
mod api_faults;
/// Wrong flags, files, annotations, SLBs and answers: a clear error, nothing written, everything else goes on.
mod bad_input;
/// A Lease with nonsense in it, or of somebody else's making.
mod bad_lease;
/// `check-config`: what it finds, and that it changes nothing.
mod check_config;
/// Two clusters on one SLB.
mod clusters;
/// Killed between any two calls, a restart ends in the same state.
mod crash;
/// `make demo`.
mod demo;
/// The HTTPS endpoint, by curl.
mod endpoint;
/// `deploy/examples`, applied by kubectl.
mod examples;
/// Two replicas: take-over, and never two that write.
mod failover;
/// The roles grant what the daemon does, and nothing else.
mod least_rbac;
/// A Service's whole life.
mod lifecycle;
/// The dashboard and the alert rules name what a scrape shows.
mod monitoring;
/// A Service that changes its SLB, its type, its class.
mod moves;
/// Nodes: initialised, kept true, tainted, deleted.
mod node_life;
/// Random schedules of Nodes and faults, step by step.
mod node_schedule;
/// Nodes that come, go, and are kept out.
mod nodes;
/// Ports that somebody else holds.
mod ports;
/// Files that change while it runs.
mod rotation;
/// Nothing secret in any output.
mod secrets;
/// Each controller as a service account of its own.
mod service_accounts;
/// An unchanged world is only read.
mod steady;
/// The whole road in one thread, without a socket.
mod step_by_step;
/// Signals and exit codes.
mod stop;
/// Started by the line of the systemd unit, and what systemd hears of it.
mod systemd;
/// Packets really arrive.
mod traffic;
/// The walk-throughs of `docs/guides` and the README, typed as they stand.
mod walkthrough;
