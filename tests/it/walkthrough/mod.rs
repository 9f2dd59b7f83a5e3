//! The walk-throughs: their commands are read from the pages and typed, one block after the other, on a real kube-apiserver.
//!
//! `deploy/` is the real one, and so is kubectl. What there is no machine for is played: systemd, kubelet and
//! kube-controller-manager, each as far as the pages need it (`systemd.rs`, `pods.rs`, `controller_manager.rs`). What is not run at all says so in its first
//! line. The simulated API knows no accounts, rights and Deployments: without `CONTROL_PLANE` only the pages themselves are checked.

mod blocks;
mod controller_manager;
mod pods;
mod reader;
mod release;
mod systemd;
mod town;

use std::path::Path;

use blocks::Run;
use pods::Pods;
use release::Release;
use systemd::Systemd;
use town::{ADDRESS, SLB, Town, tool};

use crate::support::daemon::program;
use crate::support::fixtures::{SERVICES, service, service_path};

const KUBEADM: &str = "docs/guides/kubeadm.md";
const BARE_METAL: &str = "docs/guides/bare-metal.md";
const FROM_2020: &str = "docs/guides/from-the-2020-controller.md";
const README: &str = "README.md";

/// Each page and its twin.
const PAGES: [(&str, &str); 4] = [
    (KUBEADM, "docs/zh/guides/kubeadm.md"),
    (BARE_METAL, "docs/zh/guides/bare-metal.md"),
    (FROM_2020, "docs/zh/guides/from-the-2020-controller.md"),
    (README, "docs/zh/README.md"),
];

/// What the pages have as an example.
const API_SERVER: &str = "https://10.0.0.10:6443";
const PORT: &str = "10258";

#[test]
fn both_languages_have_the_same_commands() {
    for (english, chinese) in PAGES {
        let (ours, theirs) = (blocks::of(english), blocks::of(chinese));
        assert!(!ours.is_empty(), "{english} has commands");
        assert_eq!(ours.len(), theirs.len(), "{english} and {chinese}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let place = format!("{english}:{} and {chinese}:{}", ours.line, theirs.line);
            assert_eq!(ours.commands(), theirs.commands(), "{place}");
            let same = match (&ours.run, &theirs.run) {
                // the reason is in words
                (Run::ByNobody(ours), Run::ByNobody(theirs)) => !ours.is_empty() && !theirs.is_empty(),
                (ours, theirs) => ours == theirs,
            };
            assert!(same, "{place}: {:?}, {:?}", ours.run, theirs.run);
        }
    }
}

#[test]
fn both_languages_have_the_same_headings() {
    let levels = |page: &str| -> Vec<usize> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let prose = text.split("```").step_by(2).flat_map(str::lines);
        let headings = prose.filter(|line| line.starts_with('#'));
        headings
            .map(|line| line.bytes().take_while(|byte| *byte == b'#').count())
            .collect()
    };
    for (english, chinese) in PAGES {
        assert_eq!(levels(english), levels(chinese), "{english} and {chinese}");
    }
}

#[test]
fn what_others_run_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let mut run_here = 0;
    let pages = PAGES.into_iter().map(|(page, _)| page);
    for page in pages.chain(["CONTRIBUTING.md"]) {
        for block in blocks::of(page) {
            match block.run {
                Run::By(file) => assert!(root.join(&file).is_file(), "{page}:{}: {file}", block.line),
                Run::ByMake(targets) => {
                    for target in targets {
                        assert!(
                            makefile.contains(&format!("\n{target}:")),
                            "{page}:{}: make {target}",
                            block.line
                        );
                    }
                }
                Run::ByTests { .. } => run_here += 1,
                Run::ByNobody(_) => {}
            }
        }
    }
    assert!(run_here > 20, "the pages have commands that are run: {run_here}");
}

#[test]
fn a_machine_set_up_by_the_page_of_bare_metal_serves_a_service() {
    let Some(mut town) = Town::new() else { return };
    town.reader.writes(API_SERVER, &town.world.api.base);
    town.reader.writes(
        PORT,
        town.flags[0].split_once('=').expect("a flag with a value").1,
    );
    let files = Release::lay_out();
    for file in ["SHA256SUMS", "linux-amd64.tar.gz", "kubernetes.tar.gz"] {
        files.hand_over(file, &town.reader);
    }
    let mut systemd = Systemd::of(&town.reader, &town.flags);
    let mut seen = Vec::new();
    for block in blocks::of(BARE_METAL) {
        town.types(&block, systemd.service());
        systemd.obey();
        seen.push(town.served());
    }
    assert!(seen.contains(&vec!["TCP/80 -> n1:30080".to_owned()]), "{seen:?}");
    assert!(systemd.service().is_none(), "the page ends with its removal");
    assert!(town.served().is_empty());
    town.leaves();
}

#[test]
fn a_cluster_set_up_by_the_page_of_kubeadm_serves_a_service() {
    let Some(mut town) = Town::new() else { return };
    let mut pods = Pods::new(town.reader.at("mounted"), &town.flags);
    for block in blocks::of(KUBEADM) {
        pods.obey(&town.world);
        town.types(&block, pods.pod());
    }
    assert_eq!(town.served(), ["TCP/80 -> n1:30080"]);
    town.leaves();
}

#[test]
fn a_cluster_of_the_2020_controller_moves_over_and_back() {
    let Some(mut town) = Town::new() else { return };
    // what it made, and what it was
    town.world.foreign_listener(SLB, "listener_30080_0", "TCP", 30080);
    let old = include_str!("2020.yaml");
    let old = town.world.file("2020.yaml", old);
    town.kubectl(&[
        "-n",
        "kube-system",
        "apply",
        "--validate=false",
        "-f",
        old.to_str().unwrap(),
    ]);
    let service = std::fs::read_to_string(town.reader.at("work/deploy/examples/service.yaml")).unwrap();
    let service = town
        .world
        .file("service.yaml", &service.replace("slb-example", SLB));
    town.kubectl(&["apply", "-f", service.to_str().unwrap()]);
    let two =
        serde_json::json!({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.4"}, {"ip": ADDRESS}]}}});
    town.world
        .api
        .patch(&format!("{}/status", service_path("web")), &two);
    let config = town.world.cloud_config_file("");
    std::fs::copy(config, town.reader.at("etc/kubernetes/cloud-config")).unwrap();
    town.reader
        .program_at("inspur-cloud-controller-manager", Path::new(program()), "");

    let mut pods = Pods::new(town.reader.at("mounted"), &town.flags);
    let mut seen = Vec::new();
    for block in blocks::of(FROM_2020) {
        pods.obey(&town.world);
        town.types(&block, pods.pod());
        seen.push(town.served());
    }
    pods.obey(&town.world);
    let both = vec!["TCP/80 -> n1:30080".to_owned(), "TCP/30080 ->".to_owned()];
    let moved = seen.iter().position(|served| *served == both);
    let moved = moved.unwrap_or_else(|| panic!("it never came to that: {seen:?}"));
    assert!(
        seen[moved..].iter().all(|served| *served == both),
        "both serve to the end: {seen:?}"
    );
    assert!(pods.pod().is_some(), "the page ends with the new one at work");
}

#[test]
fn the_readme_installs_it() {
    let Some(mut town) = Town::new() else { return };
    Release::lay_out().hand_over("linux-amd64.tar.gz", &town.reader);
    let config = std::fs::read_to_string(town.world.cloud_config_file("")).unwrap();
    town.reader.work_file("cloud-config", &config);
    town.reader.work_file("client-secret", "s");
    std::fs::create_dir_all(town.reader.at("etc/inspur")).unwrap();
    std::fs::write(town.reader.at("etc/inspur/cloud-config"), config).unwrap();
    std::fs::copy(
        town.reader.at("etc/kubernetes/admin.conf"),
        town.reader.at("etc/inspur/kubeconfig"),
    )
    .unwrap();
    for block in blocks::of(README) {
        town.types(&block, None);
    }
    // the last one to install was Helm, with a cloud config that leads to the tests' cloud
    if tool("helm").is_some() && town.world.api.minor() >= 21 {
        let mut pods = Pods::new(town.reader.at("mounted"), &town.flags);
        pods.obey(&town.world);
        let pod = pods.pod().expect("a Deployment is there");
        town.world
            .api
            .create(SERVICES, &service("web").slb(SLB).port(80, 30080).json());
        town.world.until("the chart's Pod serves", pod, || {
            town.world.ingress("web") == [ADDRESS]
        });
    }
}
