//! `--use-service-account-credentials`: each controller writes as an account of its own.

use serde_json::{Value, json};

use crate::bad_lease::{LEASES, lease};
use crate::check_config::check;
use crate::node_life::{QUICK, instance, is_initialised, registered, set_ready};
use crate::support::fixtures::{NODES, SERVICES, service};
use crate::support::{World, kubectl};

/// What it needs beside `deploy/rbac.yaml`.
pub const RIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/deploy/examples/service-account-credentials.yaml"
);

const FLAGS: [&str; 2] = ["--leader-elect=true", "--use-service-account-credentials=true"];

fn held_lease() -> Value {
    let now = humantime::format_rfc3339_micros(std::time::SystemTime::now()).to_string();
    lease(json!({
        "holderIdentity": "somebody", "leaseDurationSeconds": 2, "acquireTime": now, "renewTime": now,
    }))
}

/// The last of the rights that are granted: an authorizer learns of them a moment later.
fn node_controller_may_delete(world: &World) -> bool {
    let review = world.api.create(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        &json!({
            "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
            "spec": {
                "user": "system:serviceaccount:kube-system:node-controller",
                "resourceAttributes": {"verb": "delete", "group": "", "resource": "nodes"},
            },
        }),
    );
    review["status"]["allowed"] == true
}

#[test]
fn each_controller_writes_as_its_account() {
    let world = World::new();
    let Some(kubectl) = kubectl().filter(|_| !world.is_simulated()) else {
        eprintln!("skipped: the simulated API issues no tokens of service accounts");
        return;
    };
    let run = |verb: &str| {
        let arguments = [verb, "--filename", RIGHTS, "--namespace", "kube-system"];
        kubectl.run(&world.api.admin_kubeconfig, &arguments);
    };
    run("apply");
    world.slb("slb-1", "203.0.113.1");
    // held by nobody who lives: until its time is over, the daemon stands by and fills its caches, as a second replica does
    world.api.create(LEASES, &held_lease());
    let daemon = world.start_with_ecs(&[&QUICK[..], &FLAGS[..]].concat());
    world.until("it stands by", &daemon, || {
        daemon.output().contains("standing by")
    });
    world.until("its rights have spread", &daemon, || {
        node_controller_may_delete(&world)
    });
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    for (name, ip) in [("n1", "10.1.0.1"), ("n2", "10.1.0.2")] {
        world.instance(instance(&format!("i-{name}"), name, ip));
        world.api.create(NODES, &registered(name, &format!("i-{name}")));
    }
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    world.until("the Nodes are initialised", &daemon, || {
        is_initialised(&world, "n1") && is_initialised(&world, "n2")
    });
    world.remove_instance("i-n2");
    set_ready(&world, "n2", "Unknown");
    world.until("the one whose instance is gone is deleted", &daemon, || {
        world.api.get(&format!("{NODES}/n2")).is_none()
    });
    let writes = |user: &str| {
        let audit = world.audit_of(user);
        let done = |event: &&serde_json::Value| {
            matches!(event["verb"].as_str(), Some("patch" | "update" | "delete"))
                && event["responseStatus"]["code"].as_u64() < Some(300)
        };
        let what = |event: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let (user, object) = (text(&event["user"]["username"]), &event["objectRef"]);
            format!(
                "{user} {} {} {}",
                text(&event["verb"]),
                text(&object["resource"]),
                text(&object["name"])
            )
        };
        audit.iter().filter(done).map(what).collect::<Vec<_>>()
    };
    for want in [
        "system:serviceaccount:kube-system:service-controller patch services web",
        "system:serviceaccount:kube-system:node-controller patch nodes n2",
        "system:serviceaccount:kube-system:node-controller delete nodes n2",
    ] {
        world.until(want, &daemon, || writes("").iter().any(|line| line == want));
    }
    let ours = writes("inspur-cloud-controller-manager");
    assert!(
        ours.iter()
            .all(|line| line.contains(" events ") || line.contains(" leases ")),
        "the daemon itself writes events and the lease alone: {ours:?}"
    );
    drop(daemon);
    let (code, table) = check(&world, "", &FLAGS);
    assert!(code == Some(0) && !table.contains("FAILED"), "{table}");
    for line in [
        "may serviceaccounts kube-system/service-controller",
        "may serviceaccounts/token kube-system/node-controller",
    ] {
        assert!(table.contains(line), "{line} is missing:\n{table}");
    }
    run("delete");
}
