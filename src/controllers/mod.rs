//! The controllers: each turns what the stores hold into calls to the cloud and patches to the API server.

mod few;
pub mod node;
pub mod node_lifecycle;
mod running;
pub mod service;

pub use running::Running;

/// What `--controllers` calls the controller that makes load balancers match Services. Source, of all names: ccm-behaviour.md 2.3.
pub const SERVICE: &str = "service-lb-controller";
/// The controller that initialises Nodes and keeps them true.
pub const NODE: &str = "cloud-node-controller";
/// The controller that taints Nodes that were shut down and deletes those that are gone.
pub const NODE_LIFECYCLE: &str = "cloud-node-lifecycle-controller";

/// All that exist.
pub const CONTROLLERS: [&str; 3] = [SERVICE, NODE, NODE_LIFECYCLE];
