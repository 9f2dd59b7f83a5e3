//! [`crate::cloud`], implemented for INSPUR Cloud.

pub mod api;
pub mod model;
#[cfg(test)]
mod testing;
