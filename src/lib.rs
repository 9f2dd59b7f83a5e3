//! The cloud controller manager for Kubernetes on INSPUR Cloud.
//!
//! Data takes one road, and the modules are its stations:
//!
//! ```text
//! API server → k8s::watch → informer → workqueue → controllers → cloud (traits) → inspur → SLB
//! and back:    k8s::patch (finalizers, status) · events
//! ```
//!
//! A change in the cluster arrives as a watch event, becomes an object in an informer's store and a key in a
//! work queue. A controller's worker takes the key, reads the object and the Nodes from the stores, decides
//! ([`controllers::service`]), and asks the cloud ([`cloud`]) to match. The cloud's implementation ([`inspur`]) reads
//! what is there, plans the fewest calls that make it right, and makes them. Nothing is remembered between runs:
//! who made a listener is written in its name, where a Service may have listeners is written on the Service.
//!
//! [`manager`] is the one place that knows all of them. [`sim`] is a product of its own: INSPUR Cloud and a small
//! Kubernetes API to try the program against, without an account or a cluster.

pub mod check;
pub mod cloud;
pub mod config;
pub mod controllers;
pub mod events;
pub mod http;
pub mod informer;
pub mod inspur;
pub mod k8s;
pub mod leader_election;
pub mod logging;
pub mod manager;
pub mod metrics;
pub mod runtime;
pub mod serve;
pub mod sim;
pub mod workqueue;
