//! Passes against a cloud in memory and the simulated API in-process, one at a time.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::{Value, json};

use self::world::{Fault, SETTINGS, World, build, set_ready};
use super::{Counts, DELETION_WANTED, SHUTDOWN_TAINT};
use crate::cloud::InstanceState;
use crate::http::Method;
use crate::informer::store;
use crate::k8s::types::Node;
use crate::runtime::stop::Stop;
use crate::sim::api_server::{ApiServer, Resource};
use crate::sim::faults::{Effect, Rule};

mod taints;
pub(super) mod world;

fn event(node: &str, reason: &str) -> (String, String) {
    (node.to_string(), reason.to_string())
}

#[test]
fn a_node_whose_instance_is_gone_is_told_so_and_deleted_on_the_second_look() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1"], "once is not proof");
    assert_eq!(world.events(), []);
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
    assert_eq!(world.events(), [event("n0", "DeletingNode")]);
    let message = world.api.objects(Resource::Events).into_values().next().unwrap();
    let want = "Deleting node n0 because it does not exist in the cloud provider";
    assert_eq!(message["message"], want);
    world.passes(3);
    let deleted_once = Counts {
        deleted: 1,
        ..Counts::default()
    };
    assert_eq!(world.lifecycle.counts(), deleted_once);
}

#[test]
fn passes_in_quick_succession_are_one_look() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.refresh();
    for _ in 0..10 {
        world.lifecycle.pass();
        world.clock.advance(Duration::from_millis(400));
    }
    assert_eq!(world.names(), ["n0", "n1"]);
}

#[test]
fn no_answer_that_is_none_deletes_a_node() {
    type Change = fn(&mut World);
    let all: [(&str, Change); 6] = [
        ("the API is out, or does not let us ask", |world| {
            world.cloud.0.lock().unwrap().faults = [Fault::Outage].into_iter().cycle().take(50).collect();
        }),
        ("nobody else is in the answer", |world| {
            world.cloud.0.lock().unwrap().instances.clear();
        }),
        ("an empty page where all exist", |world| {
            world.cloud.run("i-0");
            world.cloud.0.lock().unwrap().faults = [Fault::Empty].into_iter().cycle().take(50).collect();
        }),
        ("an answer about other Nodes than were asked about", |world| {
            world.set_ready("n1", false);
            world.cloud.0.lock().unwrap().faults = [Fault::Short].into_iter().cycle().take(50).collect();
        }),
        ("the instance has ended but is still shown", |world| {
            world.cloud.set("i-0", InstanceState::Ended);
        }),
        ("every other answer shows it", |world| {
            world.cloud.run("i-0");
            let faults = [Fault::Loses("i-0".into()), Fault::Loses("nothing".into())];
            world.cloud.0.lock().unwrap().faults = faults.into_iter().cycle().take(50).collect();
        }),
    ];
    for (case, change) in all {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        change(&mut world);
        world.passes(20);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        assert_eq!(world.events(), [], "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
    }
}

#[test]
fn an_outage_between_two_looks_neither_confirms_nor_absolves() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    world.cloud.next(Fault::Outage);
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1"]);
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
}

#[test]
fn a_node_younger_than_the_grace_period_is_never_gone() {
    let mut world = World::new();
    world.create("n0", "incloud://i-0");
    // 59 passes of 5 s, and what was said during them does not count later
    world.passes(60);
    assert_eq!(world.names(), ["n0"]);
    world.passes(1);
    assert_eq!(world.names(), ["n0"], "the first look at a grown Node");
    world.passes(1);
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn a_controller_that_has_just_started_gives_every_node_the_grace_period() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.passes(1);
    world.restart(SETTINGS);
    world.passes(61);
    assert_eq!(
        world.names(),
        ["n0", "n1"],
        "the first look at a Node known long enough"
    );
    world.passes(1);
    assert_eq!(world.names(), ["n1"]);
}

#[test]
fn healthy_nodes_cost_no_question_and_all_others_one() {
    let mut world = World::new();
    world.grown(5);
    world.passes(3);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    world.set_ready("n1", false);
    world.set_ready("n3", false);
    world.passes(2);
    assert_eq!(world.cloud.take_asked(), [["n1", "n3"], ["n1", "n3"]]);
}

#[test]
fn nodes_that_cannot_be_told_are_left_alone_and_the_others_go_on() {
    let mut world = World::new();
    world.create("unnamed", "");
    world.create("foreign", "aws:///z/i-9");
    world.create("twin-a", "incloud://i-twin");
    world.create("twin-b", "incloud://i-twin");
    world.create("gone", "incloud://i-gone");
    world.passes(70);
    assert_eq!(world.names(), ["foreign", "twin-a", "twin-b", "unnamed"]);
    assert_eq!(world.events(), [event("gone", "DeletingNode")]);
}

#[test]
fn a_store_that_lags_behind_deletes_nobody() {
    type Deed = fn(&ApiServer);
    let all: [(&str, Method, Deed); 8] = [
        ("Ready again, when it is read", Method::Get, |api| {
            set_ready(api, "n0", true)
        }),
        ("Ready again, when it is deleted", Method::Delete, |api| {
            set_ready(api, "n0", true)
        }),
        ("another one, when it is read", Method::Get, |api| {
            reborn(api, "incloud://i-0", true)
        }),
        ("another one, when it is deleted", Method::Delete, |api| {
            reborn(api, "incloud://i-0", true)
        }),
        ("another one, not Ready, when it is read", Method::Get, |api| {
            reborn(api, "incloud://i-0", false)
        }),
        (
            "another one, not Ready, when it is deleted",
            Method::Delete,
            |api| reborn(api, "incloud://i-0", false),
        ),
        ("held by a finalizer, when it is read", Method::Get, |api| {
            hold(api)
        }),
        ("held by a finalizer, when it is deleted", Method::Delete, |api| {
            hold(api)
        }),
    ];
    for (case, method, deed) in all {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || deed(&api));
        world.passes(1);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{case}");
        let told = usize::from(method == Method::Delete);
        assert_eq!(world.events(), vec![event("n0", "DeletingNode"); told], "{case}");
    }
}

/// Replaces `n0` by another of its name.
fn reborn(api: &ApiServer, provider_id: &str, ready: bool) {
    assert!(api.remove(Resource::Nodes, "", "n0"));
    let node = json!({"metadata": {"name": "n0"}, "spec": {"providerID": provider_id}});
    api.create(Resource::Nodes, &node).unwrap();
    set_ready(api, "n0", ready);
}

/// Somebody else deletes `n0`, which waits for a finalizer.
fn hold(api: &ApiServer) {
    let patch = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
    assert!(api.delete(Resource::Nodes, "", "n0"));
}

#[test]
fn a_node_that_is_being_deleted_is_left_alone() {
    let mut world = World::new();
    world.grown(2);
    world.lose(0);
    world.patch("n0", json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    world.passes(2);
    assert!(!world.node("n0").unwrap()["metadata"]["deletionTimestamp"].is_null());
    world.requests("GET");
    world.cloud.take_asked();
    world.passes(5);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    assert_eq!(world.requests("DELETE"), 0);
    assert_eq!(world.lifecycle.counts().deleted, 1);
}

#[test]
fn a_deletion_that_fails_is_told_and_tried_again_and_one_that_comes_too_late_is_not() {
    for (case, method, effect, told) in [
        ("not allowed", "DELETE", Effect::status(403), true),
        ("conflict", "DELETE", Effect::status(409), false),
        ("the Node cannot be read", "GET", Effect::status(403), false),
    ] {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        world
            .transport
            .faults()
            .add(Rule::on(method, "/nodes/n0", effect));
        world.passes(1);
        assert_eq!(world.names(), ["n0", "n1"], "{case}");
        let failed = event("n0", "DeletingNodeFailed");
        assert_eq!(world.events().contains(&failed), told, "{case}");
        assert_eq!(world.lifecycle.counts().failed, u64::from(told), "{case}");
        world.passes(1);
        assert_eq!(world.names(), ["n1"], "{case}");
    }
}

#[test]
fn a_node_that_somebody_else_deletes_first_is_no_failure() {
    for method in [Method::Get, Method::Delete] {
        let mut world = World::new();
        world.grown(2);
        world.lose(0);
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || assert!(api.remove(Resource::Nodes, "", "n0")));
        world.passes(3);
        assert_eq!(world.names(), ["n1"], "{method}");
        assert_eq!(world.lifecycle.counts(), Counts::default(), "{method}");
    }
}

#[test]
fn a_pass_that_hangs_is_noticed() {
    let mut world = World::new();
    world.grown(1);
    world.set_ready("n0", false);
    world.cloud.set("i-0", InstanceState::ShutDown);
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    world.before(Method::Patch, move || {
        held.wait();
        held.wait();
    });
    world.refresh();
    assert_eq!(world.lifecycle.longest_running(), None);
    std::thread::scope(|scope| {
        let pass = scope.spawn(|| world.lifecycle.pass());
        gate.wait();
        world.clock.advance(Duration::from_secs(7));
        let elapsed = world.lifecycle.longest_running();
        gate.wait();
        pass.join().unwrap();
        assert_eq!(elapsed, Some(Duration::from_secs(7)));
    });
    assert_eq!(world.lifecycle.longest_running(), None);
}

#[test]
fn the_brake_stops_all_deletions_tells_each_node_once_and_releases_by_itself() {
    let mut world = World::new();
    world.grown(20);
    (0..3).for_each(|n| world.lose(n));
    world.passes(200);
    assert_eq!(world.names().len(), 20, "time does not wear it down");
    let held = |n: &str| event(n, "NodeDeletionBraked");
    assert_eq!(world.events(), [held("n0"), held("n1"), held("n2")]);
    let told = Counts {
        braked: 3,
        held: 3,
        ..Counts::default()
    };
    assert_eq!(world.lifecycle.counts(), told);
    world.cloud.run("i-0");
    world.passes(1);
    assert_eq!(world.names().len(), 18, "two of 20 may go");
    assert_eq!(world.lifecycle.counts().held, 0);
    assert!(world.node("n0").is_some());
}

#[test]
fn the_brake_counts_what_was_deleted_before() {
    let mut world = World::new();
    world.grown(20);
    (0..2).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names().len(), 18);
    world.lose(2);
    world.passes(20);
    assert_eq!(world.names().len(), 18, "the third within ten minutes");
    world.passes(100);
    assert_eq!(world.names().len(), 17, "two are longer ago than that");
}

#[test]
fn silence_about_some_of_the_held_nodes_does_not_release_the_others() {
    let mut world = World::new();
    world.grown(20);
    (0..5).for_each(|n| world.lose(n));
    world.passes(2);
    world
        .cloud
        .next(Fault::OutageFor(vec!["n0".into(), "n1".into(), "n2".into()]));
    world.passes(1);
    assert_eq!(world.names().len(), 20);
}

#[test]
fn a_node_whose_deletion_is_wanted_passes_the_brake_and_no_other_value_does() {
    let mut world = World::new();
    world.grown(4);
    (0..4).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names().len(), 4);
    for (node, value) in [("n0", "false"), ("n1", "True"), ("n2", ""), ("n3", "true")] {
        world.patch(
            node,
            json!({"metadata": {"annotations": {DELETION_WANTED: value}}}),
        );
    }
    world.passes(1);
    assert_eq!(world.names(), ["n0", "n1", "n2"]);
}

#[test]
fn a_wish_taken_back_at_the_last_moment_holds() {
    for method in [Method::Get, Method::Delete] {
        let mut world = World::new();
        world.grown(4);
        (0..4).for_each(|n| world.lose(n));
        world.patch(
            "n0",
            json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}}),
        );
        world.passes(1);
        let api = world.api.clone();
        world.before(method, move || {
            let patch = json!({"metadata": {"annotations": {DELETION_WANTED: null}}});
            api.patch(Resource::Nodes, "", "n0", &patch).unwrap();
        });
        world.passes(1);
        assert_eq!(world.names().len(), 4, "{method}");
    }
}

#[test]
fn a_wish_proves_nothing() {
    let mut world = World::new();
    world.grown(2);
    world.set_ready("n0", false);
    world.patch(
        "n0",
        json!({"metadata": {"annotations": {DELETION_WANTED: "true"}}}),
    );
    world.passes(5);
    assert_eq!(world.names(), ["n0", "n1"]);
}

#[test]
fn a_share_of_zero_switches_the_brake_off() {
    let mut settings = SETTINGS;
    settings.brake.share_percent = 0;
    let mut world = World::with_settings(settings);
    world.grown(10);
    (0..10).for_each(|n| world.lose(n));
    world.passes(2);
    assert_eq!(world.names(), [] as [&str; 0]);
}

#[test]
fn without_an_api_of_instances_nothing_is_asked_deleted_or_tainted() {
    let mut world = World::new();
    world.grown(3);
    world.cloud.0.lock().unwrap().hearsay = true;
    world.lose(0);
    world.set_ready("n1", false);
    world.cloud.set("i-1", InstanceState::ShutDown);
    world.patch(
        "n2",
        json!({"spec": {"taints": [{"key": SHUTDOWN_TAINT, "effect": "NoSchedule"}]}}),
    );
    world.passes(10);
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
    assert_eq!(world.names(), ["n0", "n1", "n2"]);
    assert_eq!(world.taints("n1"), Value::Null);
    assert_eq!(
        world.taints("n2"),
        Value::Null,
        "one from before does not stay for ever"
    );
}

#[test]
fn an_unsynced_store_is_not_an_empty_cluster() {
    let world = World::new();
    let (unsynced, _) = store::<Node>();
    let (lifecycle, _events) = build(&world.clock, &world.meddler, &world.cloud, &unsynced, SETTINGS);
    lifecycle.pass();
    let stop = Stop::new();
    stop.stop();
    lifecycle.run(&stop.token());
    assert_eq!(world.cloud.take_asked(), [] as [Vec<String>; 0]);
}

#[test]
fn a_stop_comes_between_any_two_writes() {
    let mut world = World::new();
    world.grown(30);
    (0..3).for_each(|n| world.lose(n));
    world.passes(1);
    let (stop, at_delete) = (Stop::new(), Stop::new());
    world.clock.advance(SETTINGS.period);
    world.refresh();
    stop.stop();
    world.lifecycle.pass_until(&stop.token());
    assert_eq!(world.names().len(), 30);
    let token = at_delete.token();
    world.before(Method::Delete, move || at_delete.stop());
    world.lifecycle.pass_until(&token);
    assert_eq!(world.names().len(), 29, "the one that was under way");

    let mut world = World::new();
    world.grown(2);
    for n in 0..2 {
        world.set_ready(&format!("n{n}"), false);
        world.cloud.set(&format!("i-{n}"), InstanceState::ShutDown);
    }
    world.refresh();
    let at_patch = Stop::new();
    let token = at_patch.token();
    world.before(Method::Patch, move || at_patch.stop());
    world.lifecycle.pass_until(&token);
    assert_eq!(
        (world.taints("n0").is_null(), world.taints("n1")),
        (false, Value::Null)
    );
}
