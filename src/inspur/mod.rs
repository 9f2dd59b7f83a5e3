//! [`crate::cloud`], implemented for INSPUR Cloud.

pub mod annotations;
pub mod api;
pub mod desired;
pub mod model;
pub mod name;
pub mod plan;
pub mod reasons;
#[cfg(test)]
mod testing;
