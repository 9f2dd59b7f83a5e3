//! The API server as its client sees it. Knows nothing about clouds.

mod answer;
pub mod auth;
mod call;
pub mod client;
pub mod connect;
pub mod error;
pub mod exec;
pub mod kubeconfig;
pub mod patch;
pub mod path;
pub mod retry;
pub mod service_account;
mod status;
pub mod types;
pub mod watch;

pub use call::{Call, PatchType, Review};
pub use client::{Client, ClientMetrics, ClientOptions};
pub use connect::{ClientKind, ConnectError, ConnectOptions, Connector, connect};
pub use error::Error;
