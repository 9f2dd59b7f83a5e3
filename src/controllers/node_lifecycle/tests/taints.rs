//! The shutdown taint.

use serde_json::{Value, json};

use super::reborn;
use super::world::{World, set_ready};
use crate::cloud::InstanceState;
use crate::controllers::node_lifecycle::{Counts, SHUTDOWN_TAINT};
use crate::http::Method;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Effect, Rule};

#[test]
fn the_shutdown_taint_comes_with_the_shutdown_and_goes_when_the_node_is_ready() {
    let other =
        json!({"key": "example.com/other", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"});
    let shutdown = json!({"key": SHUTDOWN_TAINT, "effect": "NoSchedule"});
    let mut world = World::new();
    world.grown(2);
    world.patch("n0", json!({"spec": {"taints": [other]}}));
    world.set_ready("n0", false);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other]), "down is not shut down");
    world.cloud.set("i-0", InstanceState::ShutDown);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other, shutdown]));
    world.requests("PATCH");
    world.passes(3);
    assert_eq!(world.requests("PATCH"), 0, "once");
    world.cloud.run("i-0");
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other, shutdown]), "it starts");
    world.set_ready("n0", true);
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([other]));
    assert_eq!(world.taints("n1"), Value::Null);
    let counts = world.lifecycle.counts();
    assert_eq!((counts.tainted, counts.untainted), (1, 1));
}

#[test]
fn a_taint_is_written_to_the_node_as_it_is_not_as_it_was() {
    let shutdown = json!({"key": SHUTDOWN_TAINT, "effect": "NoSchedule"});
    let late = json!({"key": "example.com/late", "effect": "NoExecute"});
    let mut world = World::new();
    world.grown(2);
    world.set_ready("n0", false);
    world.cloud.set("i-0", InstanceState::ShutDown);
    let (api, patch) = (world.api.clone(), json!({"spec": {"taints": [late]}}));
    world.before(Method::Patch, move || {
        api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
    });
    world.passes(1);
    assert_eq!(world.taints("n0"), json!([late, shutdown]));

    // Ready meanwhile, replaced meanwhile, deleted meanwhile
    type Deed = fn(&ApiServer);
    let all: [(&str, Deed); 3] = [
        ("Ready", |api| set_ready(api, "n0", true)),
        ("replaced", |api| reborn(api, "incloud://i-0", false)),
        ("gone", |api| assert!(api.remove(Resource::Nodes, "", "n0"))),
    ];
    for (case, deed) in all {
        let mut world = World::new();
        world.grown(1);
        world.set_ready("n0", false);
        world.cloud.set("i-0", InstanceState::ShutDown);
        let api = world.api.clone();
        world.before(Method::Patch, move || deed(&api));
        world.passes(1);
        let tainted = world
            .node("n0")
            .is_some_and(|node| !node["spec"]["taints"].is_null());
        assert!(!tainted, "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
    }
}

#[test]
fn others_who_change_a_node_all_the_time_are_given_way_after_five_tries() {
    let mut world = World::new();
    world.grown(1);
    world.set_ready("n0", false);
    world.cloud.set("i-0", InstanceState::ShutDown);
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/nodes/n0", Effect::status(409)).forever());
    world.passes(1);
    assert_eq!(world.requests("PATCH"), 5);
    world.transport.faults().clear();
    world.passes(1);
    assert!(!world.taints("n0").is_null());
}
