//! The API server as its client sees it. Knows nothing about clouds.

pub mod auth;
pub mod client;
pub mod error;
pub mod patch;
pub mod path;
pub mod retry;
mod status;
pub mod types;
pub mod watch;

pub use client::{Call, Client, ClientOptions, PatchType};
pub use error::Error;
