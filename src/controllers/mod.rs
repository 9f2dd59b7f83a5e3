//! The controllers: each turns what the stores hold into calls to the cloud and patches to the API server.

pub mod node;
pub mod service;

/// What `--controllers` calls the controller of Services. Source: ccm-behaviour.md 2.3.
pub const SERVICE: &str = "service-lb-controller";

/// What `--controllers` calls the controller of Nodes. Source: ccm-behaviour.md 2.3.
pub const NODE: &str = "cloud-node-controller";
