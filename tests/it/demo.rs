//! `inspur-sim demo` tells its whole story, and ends where a step does not go as told.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::support::daemon::program;

/// Both programs are in one folder.
fn demo(flags: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_inspur-sim"))
        .arg("demo")
        .args(flags)
        .output()
        .expect("the simulators were built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_story_is_told_to_its_end() {
    // a controller of this machine's own cluster keeps it from nothing; if something else has the port, so much the better
    let _taken = TcpListener::bind(("0.0.0.0", 10258));
    let (code, told, errors) = demo(&["--daemon", program()]);
    assert_eq!(code, Some(0), "{told}\n{errors}");
    let mut rest = told.as_str();
    for line in [
        "3. A Node arrives",
        "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule",
        "ProviderID:   <none>",
        "$ kubectl describe node node-2",
        "topology.kubernetes.io/zone=cn-north-3a",
        "Taints:       <none>",
        "ProviderID:   incloud://i-2",
        "4. A Service is applied",
        "$ kubectl apply -f deploy/examples/service.yaml",
        "web    LoadBalancer",
        "_default_web_tcp80: TCP port 80, health check tcp every 10 s",
        "member node-2 at ",
        "hello from node-",
        "/_sim/instances/i-2",
        "NotReady",
        "Deleting node node-2",
        "hello from node-1",
        "_default_web_tcp8080: TCP port 8080",
        "hello from node-1",
        "curl: Connection refused",
        "UpdatedLoadBalancer",
        "service \"web\" deleted",
        ": no listener",
        "curl: Connection refused",
        "It stopped, with exit code 0.",
        "All went as told",
    ] {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("{line:?} is missing after what came before:\n{told}"));
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn a_controller_that_ends_by_itself_ends_the_story() {
    // the simulators' own program takes none of the controller's flags
    let (code, told, errors) = demo(&["--daemon", env!("CARGO_BIN_EXE_inspur-sim")]);
    assert_eq!(code, Some(1), "{told}\n{errors}");
    assert!(
        errors.contains("step 2 (") && errors.contains("the controller ended by itself: exit status: 2"),
        "{errors}"
    );
    assert!(
        told.contains("--kubeconfig is not a flag"),
        "its log is shown:\n{told}"
    );
}
