//! `--use-service-account-credentials`: each controller writes as an account of its own.

use crate::support::fixtures::{NODES, SERVICES, node, service};
use crate::support::{World, kubectl};

/// What it needs beside `deploy/rbac.yaml`.
pub const RIGHTS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/deploy/examples/service-account-credentials.yaml"
);

#[test]
fn each_controller_writes_as_its_account() {
    let world = World::small();
    let Some(kubectl) = kubectl().filter(|_| !world.is_simulated()) else {
        eprintln!("skipped: the simulated API issues no tokens of service accounts");
        return;
    };
    let run = |verb: &str| {
        let arguments = [verb, "--filename", RIGHTS, "--namespace", "kube-system"];
        kubectl.run(&world.api.admin_kubeconfig, &arguments);
    };
    run("apply");
    let daemon = world.start_with(&["--use-service-account-credentials=true"], "cluster-id=test\n");
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    world.until("it is served", &daemon, || {
        world.ingress("web") == ["203.0.113.1"]
    });
    let mut fresh = node("n2", "127.0.20.2");
    fresh["spec"]["taints"] = serde_json::json!([{
        "key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule",
    }]);
    world.nodes(&[fresh]);
    world.until("the Node is initialised", &daemon, || {
        let node = world.api.get(&format!("{NODES}/n2")).unwrap_or_default();
        node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
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
    ] {
        world.until(want, &daemon, || writes("").iter().any(|line| line == want));
    }
    let ours = writes("inspur-cloud-controller-manager");
    assert!(
        ours.iter().all(|line| line.contains(" events ")),
        "the daemon itself writes events alone: {ours:?}"
    );
    drop(daemon);
    run("delete");
}
