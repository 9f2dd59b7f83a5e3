//! The controller against a cloud in memory and the simulated API in-process, one step at a time.

mod world;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::world::{World, addresses, conflict, instance, pairs, rejected, unavailable};
use crate::cloud::{self, Authority, Instance};
use crate::k8s::types::UNINITIALIZED;
use crate::runtime::stop::Stop;
use crate::sim::api_server::Resource;
use crate::sim::faults::{Effect, Rule};

#[test]
fn a_node_gets_its_addresses_and_then_everything_else_with_the_taint_gone_in_one_write() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world.clock.advance(Duration::from_secs(7));
    world.settle();
    assert_eq!(world.writes(), ["n1/status 200", "n1 200"]);
    let node = world.node("n1");
    assert_eq!(
        node["spec"],
        json!({"providerID": "incloud://i-1", "taints": [
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-01-02T03:04:05Z"},
        ]})
    );
    let dual = [
        ("InternalIP", "10.0.0.1"),
        ("InternalIP", "fd00::1"),
        ("ExternalIP", "1.2.3.4"),
        ("Hostname", "n1"),
    ];
    assert_eq!(world.addresses("n1"), pairs(&dual));
    assert_eq!(
        node["metadata"]["labels"],
        json!({
            "kubernetes.io/os": "linux",
            "beta.kubernetes.io/instance-type": "c2.large", "node.kubernetes.io/instance-type": "c2.large",
            "failure-domain.beta.kubernetes.io/zone": "cn-north-3a", "topology.kubernetes.io/zone": "cn-north-3a",
            "failure-domain.beta.kubernetes.io/region": "cn-north-3", "topology.kubernetes.io/region": "cn-north-3",
        })
    );
    assert_eq!(
        world.events(),
        [("Synced".into(), "Node synced successfully".into(), 1)]
    );
    let counters = world.controller.counters();
    assert_eq!(world.initialized(), 1);
    assert_eq!(counters.taint_removal_delay.get_sample_sum(), 7.0);
}

#[test]
fn in_steady_state_nothing_is_written_and_nobody_is_asked() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world.see();
    assert!(world.controller.step());
    assert_eq!(world.writes().len(), 2);
    world.cloud.take_calls();
    // kubelet writes while the store is still behind our own writes, then all is seen
    (world.handler)(&crate::informer::Change {
        key: "n1".into(),
        old: None,
        new: world.nodes.store().get("n1"),
    });
    while world.controller.step() {}
    world.controller.step_refresh();
    world.settle();
    world.patch(
        "n1",
        &json!({"metadata": {"annotations": {"node.inspur.com/x": "1"}}}),
    );
    world.settle();
    assert_eq!(
        (world.writes(), world.look_ups()),
        (vec![], vec![vec!["n1".to_string()]]),
        "the refresh asked"
    );
}

#[test]
fn a_node_that_fails_holds_up_no_other_and_comes_back_later() {
    for (case, fail, message) in [
        (
            "no answer",
            Some(unavailable as fn() -> cloud::Error),
            "the cloud is away",
        ),
        (
            "no instance yet",
            None,
            "the cloud shows no instance for this Node",
        ),
    ] {
        let mut world = World::new();
        for name in ["n1", "n2", "n3"] {
            world.join(name);
            world.cloud.set_instance(name, instance(name));
        }
        match fail {
            Some(error) => world.cloud.fail_look_ups("n2", error),
            None => world.cloud.set_missing("n2", 2),
        }
        world.settle();
        let tainted = ["n1", "n2", "n3"].map(|name| world.is_tainted(name));
        assert_eq!(tainted, [false, true, false], "{case}");
        assert_eq!(
            world.look_ups(),
            [["n1", "n2", "n3"]],
            "{case}: one question for all"
        );
        world.pass(Duration::from_secs(1));
        let asked = world.look_ups().len();
        assert!(
            (5..=9).contains(&asked),
            "{case}: {asked} questions of a back-off from 5 ms on"
        );
        let events = world.events();
        let failures: Vec<_> = events.iter().filter(|(reason, ..)| reason != "Synced").collect();
        assert_eq!(failures.len(), 1, "{case}: {events:?}");
        let (reason, text, count) = failures[0];
        assert!(
            reason == "NodeInitializationFailed" && text.contains(message) && *count == 1,
            "{case}: {events:?}"
        );
        world.cloud.set_instance("n2", instance("n2"));
        world.pass(Duration::from_secs(3));
        assert!(!world.is_tainted("n2"), "{case}");
        assert!(
            world
                .events()
                .contains(&("Synced".into(), "Node synced successfully".into(), 1)),
            "{case}"
        );
    }
}

#[test]
fn what_only_a_change_can_mend_is_told_once_and_waits_for_a_change() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.fail_look_ups("n1", rejected);
    world.settle();
    world.pass(Duration::from_secs(290));
    assert_eq!(world.look_ups().len(), 1);
    // reports of kubelet are no change
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    world.api.patch_status(Resource::Nodes, "", "n1", &ready).unwrap();
    world.settle();
    assert_eq!(world.look_ups().len(), 0);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.look_ups().len(), 1, "the slow retry");
    let events = world.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        events[0].1.contains("aws:///i-1 is no provider ID of this cloud"),
        "{events:?}"
    );
    assert_eq!(events[0].2, 1);
    world.cloud.set_instance("n1", instance("i-1"));
    world.patch(
        "n1",
        &json!({"metadata": {"annotations": {"node.beta.kubernetes.io/instance-id": "i-1"}}}),
    );
    world.settle();
    assert!(!world.is_tainted("n1"));
}

#[test]
fn bad_input_leaves_that_node_alone_and_others_go_on() {
    let address = |address: &str| Instance {
        addresses: addresses(&[("InternalIP", address)]),
        ..instance("bad")
    };
    let label = Instance {
        labels: vec![("node.inspur.com/tag".into(), "no label value!".into())],
        ..instance("bad")
    };
    for (case, annotations, bad, told, wrote) in [
        (
            "an address that is none",
            json!({}),
            address("eth0"),
            "no IP address",
            false,
        ),
        (
            "a node IP that is none",
            json!({"alpha.kubernetes.io/provided-node-ip": "x"}),
            address("10.0.0.1"),
            "provided-node-ip",
            false,
        ),
        (
            "a node IP that the instance does not have",
            json!({"alpha.kubernetes.io/provided-node-ip": "10.0.0.2"}),
            address("10.0.0.1"),
            "10.0.0.2",
            false,
        ),
        (
            "a label that the server refuses",
            json!({}),
            label,
            "metadata.labels",
            true,
        ),
        (
            "no provider ID",
            json!({}),
            Instance::default(),
            "no provider ID",
            false,
        ),
    ] {
        let mut world = World::new();
        world.join_with("bad", annotations);
        world.join("good");
        world.cloud.set_instance("bad", bad);
        world.cloud.set_instance("good", instance("good"));
        world.settle();
        assert!(world.is_tainted("bad") && !world.is_tainted("good"), "{case}");
        assert!(world.node("bad")["spec"]["providerID"].is_null(), "{case}");
        let writes = world.writes();
        assert_eq!(
            writes.iter().any(|write| write == "bad/status 200"),
            wrote,
            "{case}: {writes:?}"
        );
        let events = world.events();
        let failed = events
            .iter()
            .find(|(reason, ..)| reason == "NodeInitializationFailed");
        assert!(
            failed.is_some_and(|(_, text, _)| text.contains(told)),
            "{case}: {events:?}"
        );
    }
}

#[test]
fn a_conflict_is_met_with_what_the_server_has_now() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world.see();
    let taints = json!([
        {"key": UNINITIALIZED, "effect": "NoSchedule"},
        {"key": "late", "effect": "NoSchedule", "value": "x"},
    ]);
    world.patch("n1", &json!({"spec": {"taints": taints}}));
    world.controller.step();
    assert_eq!(world.writes(), ["n1/status 409", "n1/status 200", "n1 200"]);
    assert_eq!(
        world.node("n1")["spec"]["taints"],
        json!([{"key": "late", "effect": "NoSchedule", "value": "x"}])
    );
    assert_eq!(world.controller.counters().conflicts.get(), 1);
}

#[test]
fn endless_conflicts_end_in_back_off_and_hold_up_no_other() {
    let mut world = World::new();
    for name in ["n1", "n2"] {
        world.join(name);
        world.cloud.set_instance(name, instance(name));
    }
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/nodes/n1?", conflict()).forever());
    world.see();
    world.controller.step();
    let writes = world.writes();
    assert_eq!(
        writes.iter().filter(|write| *write == "n1 409").count(),
        10,
        "{writes:?}"
    );
    assert_eq!(
        writes
            .iter()
            .filter(|write| write.starts_with("n1/status"))
            .count(),
        1,
        "{writes:?}"
    );
    assert!(
        writes.iter().position(|write| write == "n2 200") < Some(5),
        "{writes:?}"
    );
    world.transport.faults().clear();
    world.pass(Duration::from_secs(1));
    assert!(!world.is_tainted("n1"));
}

#[test]
fn a_node_initialised_by_somebody_else_meanwhile_is_left_alone() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world.see();
    world.patch(
        "n1",
        &json!({"spec": {"taints": null, "providerID": "incloud://i-1"}}),
    );
    world.controller.step();
    assert_eq!(world.writes(), ["n1/status 409"]);
    assert_eq!(world.events(), []);
}

#[test]
fn a_write_without_an_answer_is_not_done_twice() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/nodes/n1?", Effect::ActAndHangUp));
    world.settle();
    assert!(!world.is_tainted("n1"));
    assert_eq!(world.writes(), ["n1/status 200", "n1 0", "n1 409"]);
    assert_eq!(world.events().len(), 1, "it is told all the same");
}

#[test]
fn a_successor_of_the_same_name_is_not_touched_in_its_predecessors_place() {
    for (case, successor) in [("gone", false), ("replaced", true)] {
        let mut world = World::new();
        world.join("n1");
        world.cloud.set_instance("n1", instance("i-1"));
        world.see();
        world.api.remove(Resource::Nodes, "", "n1");
        if successor {
            world.join("n1");
        }
        world.controller.step();
        assert!(
            world.writes().iter().all(|write| !write.ends_with("200")),
            "{case}"
        );
        assert_eq!(world.events(), [], "{case}");
        if successor {
            world.settle();
            assert!(!world.is_tainted("n1"), "{case}: its own turn has come");
        }
    }
}

#[test]
fn without_an_api_of_instances_the_taint_goes_and_addresses_stay() {
    let mut world = World::new();
    world.cloud.set_authority(Authority::Hearsay);
    world.join_with("n1", json!({"alpha.kubernetes.io/provided-node-ip": "10.0.0.9"}));
    let hearsay = Instance {
        addresses: vec![],
        instance_type: "".into(),
        ..instance("i-1")
    };
    world.cloud.set_instance("n1", hearsay);
    world.settle();
    let node = world.node("n1");
    assert!(!world.is_tainted("n1"));
    assert_eq!(node["spec"]["providerID"], "incloud://i-1");
    assert_eq!(
        node["metadata"]["labels"]["topology.kubernetes.io/zone"],
        "cn-north-3a"
    );
    assert_eq!(
        world.addresses("n1"),
        pairs(&[("InternalIP", "10.0.0.9"), ("Hostname", "n1")])
    );
    assert_eq!(world.writes(), ["n1 200"]);
    world.cloud.take_calls();
    world.controller.step_refresh();
    let stop = Stop::new();
    stop.stop();
    let share = super::Share {
        thread: 0,
        threads: 1,
    };
    world.controller.run_refresh(share, Duration::ZERO, &stop.token());
    assert_eq!(world.cloud.take_calls(), [], "there is nothing to ask");
}

#[test]
fn of_two_nodes_that_claim_one_instance_the_older_gets_it_and_the_other_waits() {
    let mut world = World::new();
    world.join("old");
    world.clock.advance(Duration::from_secs(1));
    world.join("anew");
    for name in ["old", "anew"] {
        world.cloud.set_instance(name, instance("i-1"));
    }
    world.settle();
    assert!(world.is_tainted("anew") && !world.is_tainted("old"));
    assert!(
        world
            .events()
            .iter()
            .any(|(reason, text, _)| reason == "NodeInitializationFailed"
                && text.contains("the Node old is the instance incloud://i-1 already"))
    );
    world.writes();
    world.api.delete(Resource::Nodes, "", "old");
    world.settle();
    assert!(!world.is_tainted("anew"), "its turn comes at once");
}

#[test]
fn an_initialised_node_keeps_its_instance_from_an_older_claimant() {
    let mut world = World::new();
    world.join("stray");
    world.clock.advance(Duration::from_secs(1));
    world.join("mine");
    world.cloud.set_instance("mine", instance("i-1"));
    world.settle();
    world.cloud.set_instance("stray", instance("i-1"));
    world.pass(Duration::from_secs(5));
    assert!(!world.is_tainted("mine") && world.is_tainted("stray"));
    assert!(world.node("stray")["spec"]["providerID"].is_null());
}

#[test]
fn labels_that_are_not_kept_are_looked_at_before_one_is_added() {
    let mut world = World::new();
    world.join("n1");
    world.patch("n1", &json!({"metadata": {"labels": {"tier": "mine"}}}));
    let labels = [("tier", "theirs"), ("rack", "7"), ("kubernetes.io/x", "no")];
    let instance = Instance {
        labels: labels.map(|(key, value)| (key.into(), value.into())).into(),
        ..instance("i-1")
    };
    world.cloud.set_instance("n1", instance);
    world.settle();
    let labels = world.node("n1")["metadata"]["labels"].clone();
    assert_eq!(
        (&labels["tier"], &labels["rack"], &labels["kubernetes.io/x"]),
        (&json!("mine"), &json!("7"), &Value::Null)
    );
    assert_eq!(world.writes(), ["n1/status 200", "n1 200"]);
}

#[test]
fn stable_labels_are_repaired_on_every_event_and_by_what_differs_alone() {
    let mut world = World::new();
    let labels = json!({"failure-domain.beta.kubernetes.io/zone": "a", "topology.kubernetes.io/zone": "a"});
    world
        .api
        .create(
            Resource::Nodes,
            &json!({"metadata": {"name": "n1", "labels": labels}}),
        )
        .unwrap();
    world.settle();
    assert_eq!(world.writes(), [] as [&str; 0]);
    world.patch(
        "n1",
        &json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "mine", "other": "x"}}}),
    );
    world.settle();
    assert_eq!(world.writes(), ["n1 200"]);
    let labels = world.node("n1")["metadata"]["labels"].clone();
    assert_eq!(
        (&labels["topology.kubernetes.io/zone"], &labels["other"]),
        (&json!("a"), &json!("x"))
    );
    assert_eq!(world.cloud.take_calls(), [], "for labels nobody is asked");
    // one that fails comes back
    world
        .transport
        .faults()
        .add(Rule::on("PATCH", "/nodes/n1?", Effect::status(403)));
    world.patch(
        "n1",
        &json!({"metadata": {"labels": {"topology.kubernetes.io/zone": null}}}),
    );
    world.settle();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.writes(), ["n1 403", "n1 200"]);
}

#[test]
fn the_refresh_writes_what_differs_of_initialised_nodes_alone() {
    let mut world = World::new();
    for name in ["n1", "n2", "n3", "n4", "n5"] {
        world.join(name);
        world.cloud.set_instance(name, instance(name));
    }
    world.cloud.fail_look_ups("n5", rejected);
    world.settle();
    world.writes();
    world.look_ups();
    let moved = Instance {
        addresses: addresses(&[("InternalIP", "10.0.0.2")]),
        ..instance("n2")
    };
    world.cloud.set_instance("n2", moved);
    world.cloud.fail_look_ups("n3", unavailable);
    world.cloud.set_missing("n4", 3);
    world.controller.step_refresh();
    assert_eq!(world.look_ups(), [["n1", "n2", "n3", "n4"]]);
    assert_eq!(world.writes(), ["n2/status 200"]);
    assert_eq!(
        world.addresses("n2"),
        pairs(&[("InternalIP", "10.0.0.2"), ("Hostname", "n2")])
    );
    // the store has not seen it yet
    world.controller.step_refresh();
    assert_eq!(world.writes(), [] as [&str; 0]);
    let counters = world.controller.counters();
    assert_eq!(
        (counters.addresses_updated.get(), counters.refresh_failures.get()),
        (1, 2)
    );
}

#[test]
fn a_refresh_that_conflicts_waits_for_the_next() {
    let mut world = World::new();
    world.join("n1");
    world.cloud.set_instance("n1", instance("i-1"));
    world.settle();
    world.writes();
    world.patch("n1", &json!({"metadata": {"annotations": {"somebody": "else"}}}));
    world.cloud.set_instance(
        "n1",
        Instance {
            addresses: addresses(&[("InternalIP", "10.0.0.2")]),
            ..instance("i-1")
        },
    );
    world.controller.step_refresh();
    assert_eq!(world.writes(), ["n1/status 409"]);
    world.settle();
    world.controller.step_refresh();
    assert_eq!(world.writes(), ["n1/status 200"]);
}

#[test]
fn refreshing_threads_share_the_nodes_and_ask_about_a_hundred_at_once() {
    let mut world = World::new();
    for n in 0..450 {
        world
            .api
            .create(
                Resource::Nodes,
                &json!({"metadata": {"name": format!("n{n:04}")}}),
            )
            .unwrap();
    }
    world.settle();
    let stop = Stop::new();
    for thread in 0..2 {
        let share = super::Share { thread, threads: 2 };
        world.controller.syncer.refresh(share, &stop.token());
    }
    let asked = world.look_ups();
    assert_eq!(
        asked.iter().map(Vec::len).collect::<Vec<_>>(),
        [100, 100, 50, 100, 100]
    );
    let mut all: Vec<String> = asked.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 450);
}

#[test]
fn five_thousand_new_nodes_cost_fifty_questions() {
    let mut world = World::new();
    for n in 0..5000 {
        let name = format!("n{n:04}");
        let node = json!({"metadata": {"name": name}, "spec": {"taints": [{"key": UNINITIALIZED, "effect": "NoSchedule"}]}});
        world.api.create(Resource::Nodes, &node).unwrap();
        world.cloud.set_instance(
            &name,
            Instance {
                addresses: vec![],
                ..instance(&name)
            },
        );
    }
    world.see();
    while world.controller.step() {}
    let asked = world.look_ups();
    assert_eq!((asked.len(), asked.concat().len()), (50, 5000));
    assert_eq!(world.initialized(), 5000);
    assert!(!world.is_tainted("n0000") && !world.is_tainted("n4999"));
}

#[test]
fn workers_end_with_the_queue_and_take_what_comes_together_at_once() {
    let mut world = World::new();
    for name in ["n1", "n2", "n3"] {
        world.join(name);
        world.cloud.set_instance(name, instance(name));
    }
    world.see();
    let (controller, clock) = (&world.controller, world.clock.clone());
    let initialized = || controller.counters().taint_removal_delay.get_sample_count();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(|| controller.run_worker())).collect();
        let patience = Instant::now() + Duration::from_secs(60);
        while initialized() < 3 && Instant::now() < patience {
            // gathering ends by this clock
            clock.advance(Duration::from_millis(1));
            std::thread::yield_now();
        }
        controller.shut_down();
        for worker in workers {
            worker.join().unwrap();
        }
    });
    assert_eq!(world.look_ups(), [["n1", "n2", "n3"]]);
}
