//! The API server as its client sees it. Knows nothing about clouds.

pub mod client;
pub mod error;
pub mod patch;
pub mod types;
pub mod watch;

pub use client::{Call, Client, PatchType};
pub use error::Error;
