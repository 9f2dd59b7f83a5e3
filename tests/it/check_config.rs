//! `check-config`: what it finds, and that it changes nothing.

use crate::support::World;
use crate::support::daemon::run;
use crate::support::fixtures::{SERVICES, service};

/// Exit code and table.
pub fn check(world: &World, cloud_config: &str, flags: &[&str]) -> (Option<i32>, String) {
    let paths = [
        format!("--kubeconfig={}", world.api.daemon_kubeconfig.display()),
        format!(
            "--cloud-config={}",
            world.cloud_config_file(cloud_config).display()
        ),
    ];
    let args = ["check-config"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .chain(flags.iter().copied());
    let (code, table, errors) = run(&args.collect::<Vec<_>>());
    assert_eq!(errors, "", "all is in the table");
    (code, table)
}

#[test]
fn an_account_with_the_manifests_permissions_passes_and_nothing_is_written() {
    let world = World::small();
    world
        .api
        .create(SERVICES, &service("web").slb("slb-1").port(80, 30080).json());
    let before = (world.cloud_text(), world.cluster_text());
    let (code, table) = check(&world, "", &[]);
    assert!(code == Some(0) && !table.contains("FAILED"), "{table}");
    for line in [
        "may nodes/status",
        "may leases kube-system/cloud-controller-manager",
        "1 of 1 SLBs that Services name are there",
    ] {
        assert!(table.contains(line), "{line} is missing:\n{table}");
    }
    assert_eq!((world.cloud_text(), world.cluster_text()), before);
    assert_eq!(world.cloud_calls().writes, 0);
    for (what, secret) in world.secrets() {
        assert!(!table.contains(&secret), "{what} is in the table");
    }
}

#[test]
fn whatever_is_wrong_is_told_at_once_and_by_the_exit_code() {
    let world = World::small();
    let (code, table) = check(&world, "zoen=a\nregion=?!\n", &["--v=x"]);
    assert_eq!(code, Some(1));
    for words in [
        "--v is \"x\"",
        "region is \"?!\"",
        "unknown key zoen: did you mean zone?",
        "2 failed, 1 to look at",
    ] {
        assert!(table.contains(words), "{words} is missing:\n{table}");
    }
}
