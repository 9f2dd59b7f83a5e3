//! The controllers: each turns what the stores hold into calls to the cloud and patches to the API server.

pub mod node_lifecycle;
pub mod service;

/// What `--controllers` calls the controller of Services. Source: ccm-behaviour.md 2.3.
pub const SERVICE: &str = "service-lb-controller";

/// What it calls the one that taints and deletes Nodes. Source: ccm-behaviour.md 2.3.
pub const NODE_LIFECYCLE: &str = "cloud-node-lifecycle-controller";
