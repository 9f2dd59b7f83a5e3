//! The simulators: INSPUR Cloud and a small Kubernetes API, to try the daemon without an account or a cluster, and to test
//! it with every fault at every call.
//!
//! A simulator is a pure core ([`server::Core`]: state, request, now → answer) with two ways in: real sockets on loopback
//! ([`server::Server`]), or a [`crate::http::Transport`] in-process ([`server::InProcess`]) for step-by-step runs in one
//! thread. Both ways obey the same script of faults ([`faults`]) and keep the same log of requests.
//!
//! Knows nothing of the daemon's own API clients and shares no type with them: it writes its JSON by itself, from the same
//! sources, or both would make the same mistake.

pub mod api_server;
pub mod cloud;
pub mod demo;
pub mod faults;
pub mod server;
pub mod signals;
pub mod traffic;
pub mod watched;
