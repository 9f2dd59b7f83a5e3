use proptest::prelude::*;

use super::*;
use crate::controllers::SERVICE;

const NEEDED: [&str; 2] = ["--cloud-provider=incloud", "--cloud-config=/etc/cloud-config"];

fn run(args: &[&str]) -> (Result<Flags, Vec<String>>, Vec<String>) {
    match parse(args.iter().map(OsString::from)) {
        Parsed::Run { flags, warnings, .. } => (
            flags
                .map(|flags| *flags)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect()),
            warnings.iter().map(ToString::to_string).collect(),
        ),
        other => panic!("{other:?}"),
    }
}

/// With the flags that are needed.
fn accepted(args: &[&str]) -> Flags {
    let args = [&NEEDED, args].concat();
    let (flags, _) = run(&args);
    flags.unwrap_or_else(|errors| panic!("{args:?}: {errors:?}"))
}

/// Likewise.
fn errors(args: &[&str]) -> Vec<String> {
    run(&[&NEEDED, args].concat()).0.err().unwrap_or_default()
}

fn warnings(args: &[&str]) -> Vec<String> {
    run(&[&NEEDED, args].concat()).1
}

#[test]
fn defaults_are_upstreams() {
    assert_eq!(
        accepted(&[]),
        Flags {
            kubeconfig: None,
            master: None,
            cloud_config: "/etc/cloud-config".into(),
            cluster_name: "kubernetes".into(),
            controllers: Selection::new(["*".to_owned()]).unwrap(),
            concurrent_service_syncs: 1,
            concurrent_node_syncs: 1,
            concurrent_node_status_updates: 1,
            node_status_update_frequency: Duration::from_secs(300),
            node_monitor_period: Duration::from_secs(5),
            node_startup_grace_period: Duration::from_secs(300),
            node_deletion_confirmations: 2,
            node_deletion_brake_percent: 10,
            node_deletion_brake_window: Duration::from_secs(600),
            min_resync_period: Duration::from_secs(12 * 3600),
            kube_api_qps: Some(20.0),
            kube_api_burst: 30,
            verbosity: 0,
            logging_format: Format::Text,
        }
    );
}

#[test]
fn every_flag_is_read() {
    assert_eq!(
        accepted(&[
            "--kubeconfig=/k",
            "--master",
            "https://m",
            "--cluster-name=c",
            "--controllers=service",
            "--concurrent-service-syncs=5",
            "--concurrent-node-syncs=3",
            "--node-status-update-frequency=1m",
            "--node-monitor-period=7s",
            "--node-startup-grace-period=2m",
            "--node-deletion-confirmations=4",
            "--node-deletion-brake-percent=0",
            "--node-deletion-brake-window=20m",
            "--min-resync-period=1m30s",
            "--kube-api-qps=2.5",
            "--kube-api-burst",
            "7",
            "--leader-elect=false",
            "--secure-port=0",
            "--v=4",
            "--logging-format=json",
        ]),
        Flags {
            kubeconfig: Some("/k".into()),
            master: Some("https://m".into()),
            cloud_config: "/etc/cloud-config".into(),
            cluster_name: "c".into(),
            controllers: Selection::new(["service".to_owned()]).unwrap(),
            concurrent_service_syncs: 5,
            concurrent_node_syncs: 3,
            concurrent_node_status_updates: 3,
            node_status_update_frequency: Duration::from_secs(60),
            node_monitor_period: Duration::from_secs(7),
            node_startup_grace_period: Duration::from_secs(120),
            node_deletion_confirmations: 4,
            node_deletion_brake_percent: 0,
            node_deletion_brake_window: Duration::from_secs(1200),
            min_resync_period: Duration::from_secs(90),
            kube_api_qps: Some(2.5),
            kube_api_burst: 7,
            verbosity: 4,
            logging_format: Format::Json,
        }
    );
}

#[test]
fn values_are_given_as_go_takes_them() {
    let verbosity = |args: &[&str]| accepted(args).verbosity;
    for (case, args, want) in [
        ("long and joined", &["--v=3"][..], 3),
        ("long and apart", &["--v", "3"], 3),
        ("short and joined", &["-v=3"], 3),
        ("short and at once", &["-v3"], 3),
        ("short and apart", &["-v", "3"], 3),
        ("the last counts", &["-v1", "--v=2"], 2),
    ] {
        assert_eq!(verbosity(args), want, "{case}");
    }
    assert_eq!(
        accepted(&["--cluster_name=c"]).cluster_name,
        "c",
        "an underscore is a hyphen"
    );
    assert_eq!(
        accepted(&["--cluster-name="]).cluster_name,
        "",
        "an empty value is a value"
    );
    assert_eq!(
        accepted(&["--kube-api-qps=-1"]).kube_api_qps,
        None,
        "below 0 is no limit"
    );
    assert_eq!(
        accepted(&["--cloud-provider=inspur"]),
        accepted(&[]),
        "an alias of the provider"
    );
    accepted(&[""]);
    assert!(
        !accepted(&["--controllers", "-service"])
            .controllers
            .enables(SERVICE),
        "a value may begin with a dash"
    );
    let twice = accepted(&["--controllers=*", "--controllers=-service,route"]).controllers;
    assert!(
        !twice.enables(SERVICE) && twice.enables("cloud-node-controller"),
        "lists grow"
    );
    assert!(
        !accepted(&["--controllers="]).controllers.enables(SERVICE),
        "an empty list is empty"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_is_meant() {
    for (args, want) in [
        (
            &["--kubconfig=x"][..],
            "unknown flag --kubconfig: did you mean --kubeconfig?",
        ),
        (
            &["--kubconfig", "x"],
            "unknown flag --kubconfig: did you mean --kubeconfig?",
        ),
        (&["--frobnicate"], "unknown flag --frobnicate"),
        (&["--=x"], "unknown flag --"),
        (
            &["-kubeconfig=x"],
            "unknown flag -kubeconfig: did you mean --kubeconfig?",
        ),
        (
            &["-kubeconfig", "x"],
            "unknown flag -kubeconfig: did you mean --kubeconfig?",
        ),
        (&["-version"], "unknown flag -version: did you mean --version?"),
        (&["-x"], "unknown flag -x"),
        (&["--kubeconfig"], "--kubeconfig needs a value"),
        (&["-v"], "--v needs a value"),
        (
            &["-vx"],
            r#"--v is "x": it must be a whole number from 0 to 4294967295"#,
        ),
        (&["serve"], r#"unexpected argument "serve""#),
        (&["--", "serve"], r#"unexpected argument "serve""#),
        (
            &["--profiling", "false"],
            r#"unexpected argument "false": to set --profiling, write --profiling=false"#,
        ),
        (
            &["--leader-elect=yes"],
            r#"--leader-elect is "yes": it must be true or false"#,
        ),
        (
            &["--leader-elect"],
            r#"--leader-elect is "true": it must be false: there is no leader election yet, so run one replica only"#,
        ),
        (
            &["--secure-port=10258"],
            r#"--secure-port is "10258": it must be 0: there is no HTTPS endpoint yet"#,
        ),
        (
            &["--secure-port=65536"],
            r#"--secure-port is "65536": it must be a whole number from 0 to 65535"#,
        ),
        (
            &["--concurrent-service-syncs=0"],
            r#"--concurrent-service-syncs is "0": it must be a whole number from 1 to 1000"#,
        ),
        (
            &["--min-resync-period=12"],
            r#"--min-resync-period is "12": it must be a duration such as 1m30s or 12h"#,
        ),
        (
            &["--kube-api-qps=0"],
            r#"--kube-api-qps is "0": it must not be 0: a number below 0 switches the limit off"#,
        ),
        (
            &["--logging-format=xml"],
            r#"--logging-format is "xml": it must be text or json"#,
        ),
        (
            &["--cloud-provider=aws"],
            r#"--cloud-provider is "aws": it must be incloud or its alias inspur"#,
        ),
        (
            &["--cloud-provider="],
            "--cloud-provider cannot be empty: it must be incloud",
        ),
        (
            &["--cloud-config="],
            "--cloud-config cannot be empty: it must name the file with the cloud's addresses and credentials",
        ),
        (
            &["--controllers=service-controler"],
            r#""service-controler" is not in the list of known controllers: did you mean service-lb-controller?"#,
        ),
        (
            &["--bind-address=localhost"],
            r#"--bind-address is "localhost": it must be an IP address"#,
        ),
    ] {
        assert_eq!(errors(args), [want], "{args:?}");
    }
}

#[test]
fn all_errors_come_at_once() {
    let (flags, _) = run(&[
        "--kubconfig=x",
        "--v=x",
        "serve",
        "--controllers=a,b",
        "--cloud-provider=",
        "--leader-elect",
    ]);
    let errors = flags.unwrap_err();
    assert_eq!(errors.len(), 8, "{errors:?}");
}

#[test]
fn a_flag_without_meaning_here_is_a_warning() {
    assert_eq!(
        warnings(&[
            "--profiling",
            "--bind-address=::",
            "--profiling=false",
            "--configure-cloud-routes=false"
        ]),
        [
            "--configure-cloud-routes has no effect: there is no route controller",
            "--bind-address has no effect: there is no HTTPS endpoint yet",
            "--profiling has no effect: it is about Go's runtime",
        ]
    );
    assert_eq!(warnings(&[]), [""; 0]);
}

#[test]
fn controllers_that_do_not_exist_yet_are_warned_of_when_named() {
    for (list, want) in [
        ("*", &[][..]),
        ("*,-cloud-node", &[]),
        (
            "service,route",
            &["node-route-controller does not exist yet and starts nothing"],
        ),
        (
            "-service",
            &["--controllers selects nothing that exists: this program will do nothing"],
        ),
    ] {
        assert_eq!(warnings(&[&format!("--controllers={list}")]), want, "{list}");
    }
}

#[test]
fn help_and_version_win_over_errors() {
    for (args, help) in [
        (&["--help"][..], true),
        (&["-h"], true),
        (&["--nonsense", "-h", "x"], true),
        (&["--version"], false),
        (&["--version=true", "x"], false),
        (&["--version", "--help"], true),
    ] {
        let parsed = parse(args.iter().map(OsString::from));
        assert!(
            matches!((&parsed, help), (Parsed::Help, true) | (Parsed::Version, false)),
            "{args:?}: {parsed:?}"
        );
    }
    assert_eq!(errors(&["--help=false", "--version=false"]), [""; 0]);
}

proptest! {
    #[test]
    fn no_arguments_make_it_panic(args in proptest::collection::vec("-{0,3}[vhxk=]{0,3}(version|controllers|profiling|_)?=?[^\u{0}]{0,3}", 0..5)) {
        let _ = parse(args.iter().map(OsString::from));
    }
}
