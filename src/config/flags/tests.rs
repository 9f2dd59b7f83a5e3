use proptest::prelude::*;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::controllers::SERVICE;
use crate::serve::{
    Authentication, Authorization, Certificate, CipherSuite, Curve, PathPattern, RequestHeader, SniPair,
    TlsVersion,
};

const NEEDED: [&str; 2] = ["--cloud-provider=incloud", "--cloud-config=/etc/cloud-config"];

fn run(args: &[&str]) -> (Result<Flags, Vec<String>>, Vec<String>) {
    match parse(args.iter().map(OsString::from)) {
        Parsed::Do { flags, warnings, .. } => (
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

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn default_election() -> leader_election::Options {
    leader_election::Options {
        namespace: "kube-system".into(),
        name: "cloud-controller-manager".into(),
        lease_duration: seconds(15),
        renew_deadline: seconds(10),
        retry_period: seconds(2),
    }
}

fn default_serving() -> serve::Options {
    serve::Options {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port: 10258,
        share_port: false,
        certificate: Certificate::SelfSigned,
        sni: Vec::new(),
        min_version: TlsVersion::V12,
        cipher_suites: Vec::new(),
        curves: Vec::new(),
        authentication: Authentication {
            kubeconfig: None,
            skip_lookup: false,
            tolerate_lookup_failure: false,
            token_ttl: seconds(10),
            client_ca_file: None,
            request_header: RequestHeader {
                client_ca_file: None,
                username_headers: texts(&["x-remote-user"]),
                group_headers: texts(&["x-remote-group"]),
                uid_headers: Vec::new(),
                extra_headers_prefixes: texts(&["x-remote-extra-"]),
                allowed_names: Vec::new(),
            },
        },
        authorization: Authorization {
            kubeconfig: None,
            always_allow: ["/healthz", "/readyz", "/livez"]
                .map(|path| PathPattern::Exact(path.into()))
                .into(),
            authorized_ttl: seconds(10),
            unauthorized_ttl: seconds(10),
        },
    }
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
            controller_start_interval: Duration::ZERO,
            use_service_account_credentials: false,
            election: Some(default_election()),
            serving: Some(default_serving()),
            profiling: true,
            verbosity: 0,
            vmodule: Modules::default(),
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
            "--controller-start-interval=3s",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
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
            controller_start_interval: seconds(3),
            use_service_account_credentials: true,
            election: None,
            serving: None,
            profiling: false,
            verbosity: 4,
            vmodule: Modules::default(),
            logging_format: Format::Json,
        }
    );
}

#[test]
fn every_flag_of_the_election_is_read() {
    let options = accepted(&[
        "--leader-elect",
        "--leader-elect-lease-duration=1m",
        "--leader-elect-renew-deadline=2400ms",
        "--leader-elect-retry-period=1999ms",
        "--leader-elect-resource-lock=leases",
        "--leader-elect-resource-name=ccm.example.com",
        "--leader-elect-resource-namespace=cloud",
    ]);
    assert_eq!(
        options.election,
        Some(leader_election::Options {
            namespace: "cloud".into(),
            name: "ccm.example.com".into(),
            lease_duration: seconds(60),
            renew_deadline: Duration::from_millis(2400),
            retry_period: Duration::from_millis(1999),
        })
    );
}

#[test]
fn every_flag_of_the_endpoint_is_read() {
    let flags = accepted(&[
        "--bind-address=::1",
        "--secure-port=443",
        "--permit-port-sharing",
        "--cert-dir=/unused",
        "--tls-cert-file=/t.crt",
        "--tls-private-key-file=/t.key",
        "--tls-sni-cert-key=/a.crt,/a.key",
        "--tls-sni-cert-key=/b.crt,/b.key:b.example.com,*.b",
        "--tls-min-version=VersionTLS13",
        "--tls-cipher-suites=TLS_AES_128_GCM_SHA256",
        "--tls-curve-preferences=24,29",
        "--authentication-kubeconfig=/n",
        "--authentication-skip-lookup",
        "--authentication-tolerate-lookup-failure",
        "--authentication-token-webhook-cache-ttl=1s",
        "--client-ca-file=/ca",
        "--requestheader-client-ca-file=/proxy-ca",
        "--requestheader-username-headers=X-A,X-B",
        "--requestheader-group-headers=X-C",
        "--requestheader-group-headers=X-D",
        "--requestheader-uid-headers=X-E,x-remote-uid",
        "--requestheader-extra-headers-prefix=X-F-",
        "--requestheader-allowed-names=front proxy,b",
        "--authorization-kubeconfig=/z",
        "--authorization-always-allow-paths=/healthz,/metrics*",
        "--authorization-webhook-cache-authorized-ttl=2s",
        "--authorization-webhook-cache-unauthorized-ttl=0",
    ]);
    let sni = |file: &str, names: &[&str]| SniPair {
        certificate: format!("/{file}.crt").into(),
        key: format!("/{file}.key").into(),
        names: texts(names),
    };
    assert_eq!(
        flags.serving,
        Some(serve::Options {
            address: IpAddr::V6(Ipv6Addr::LOCALHOST),
            port: 443,
            share_port: true,
            certificate: Certificate::Files {
                certificate: "/t.crt".into(),
                key: "/t.key".into(),
            },
            sni: vec![sni("a", &[]), sni("b", &["b.example.com", "*.b"])],
            min_version: TlsVersion::V13,
            cipher_suites: vec![CipherSuite(0x1301)],
            curves: vec![Curve(24), Curve(29)],
            authentication: Authentication {
                kubeconfig: Some("/n".into()),
                skip_lookup: true,
                tolerate_lookup_failure: true,
                token_ttl: seconds(1),
                client_ca_file: Some("/ca".into()),
                request_header: RequestHeader {
                    client_ca_file: Some("/proxy-ca".into()),
                    username_headers: texts(&["X-A", "X-B"]),
                    group_headers: texts(&["X-C", "X-D"]),
                    uid_headers: texts(&["X-E", "x-remote-uid"]),
                    extra_headers_prefixes: texts(&["X-F-"]),
                    allowed_names: texts(&["front proxy", "b"]),
                },
            },
            authorization: Authorization {
                kubeconfig: Some("/z".into()),
                always_allow: vec![
                    PathPattern::Exact("/healthz".into()),
                    PathPattern::Prefix("/metrics".into()),
                ],
                authorized_ttl: seconds(2),
                unauthorized_ttl: Duration::ZERO,
            },
        })
    );
}

#[test]
fn the_endpoint_is_as_safe_as_the_flags_say() {
    let serving = |args: &[&str]| accepted(args).serving.unwrap();
    for (case, arg, want) in [
        ("none", "--cert-dir=", Certificate::SelfSigned),
        ("a folder", "--cert-dir=/d", Certificate::Folder("/d".into())),
    ] {
        assert_eq!(serving(&[arg]).certificate, want, "{case}");
    }
    for (version, want) in [
        ("", TlsVersion::V12),
        ("VersionTLS10", TlsVersion::V12),
        ("VersionTLS11", TlsVersion::V12),
        ("VersionTLS12", TlsVersion::V12),
        ("VersionTLS13", TlsVersion::V13),
    ] {
        let arg = format!("--tls-min-version={version}");
        assert_eq!(serving(&[&arg]).min_version, want, "{version}");
    }
    let modern = [0x1301, 0x1302, 0x1303];
    for (case, names, want) in [
        ("all", "", &[][..]),
        ("of TLS 1.3", "TLS_CHACHA20_POLY1305_SHA256", &[0x1303]),
        (
            "of TLS 1.2, and all of TLS 1.3 with it",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            &[&[0xc030, 0xc02b], &modern[..]].concat(),
        ),
        (
            "of both, twice",
            "TLS_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384",
            &[0x1302, 0xc02f],
        ),
        (
            "by their older names",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_AES_128_GCM_SHA256",
            &[0xcca8, 0xcca9, 0x1301],
        ),
    ] {
        let found = serving(&[&format!("--tls-cipher-suites={names}")]).cipher_suites;
        assert_eq!(
            found.iter().map(|suite| suite.0).collect::<Vec<u16>>(),
            want,
            "{case}"
        );
    }
    for (case, numbers, want) in [
        ("all", "", &[][..]),
        ("one", "29", &[29]),
        ("twice", "23, 29,23", &[23, 29]),
    ] {
        let found = serving(&[&format!("--tls-curve-preferences={numbers}")]).curves;
        assert_eq!(
            found.iter().map(|curve| curve.0).collect::<Vec<u16>>(),
            want,
            "{case}"
        );
    }
}

#[test]
fn an_empty_value_clears_a_list() {
    let cleared = accepted(&[
        "--requestheader-username-headers=",
        "--requestheader-group-headers=",
        "--requestheader-extra-headers-prefix=",
        "--authorization-always-allow-paths=",
    ]);
    let mut want = default_serving();
    want.authentication.request_header.username_headers.clear();
    want.authentication.request_header.group_headers.clear();
    want.authentication.request_header.extra_headers_prefixes.clear();
    want.authorization.always_allow.clear();
    assert_eq!(cleared.serving, Some(want));
}

#[test]
fn without_an_election_its_flags_are_not_compared() {
    let flags = accepted(&[
        "--leader-elect=false",
        "--leader-elect-lease-duration=1ms",
        "--leader-elect-resource-lock=endpoints",
        "--leader-elect-resource-name=",
    ]);
    assert_eq!(flags.election, None);
}

#[test]
fn the_first_word_is_the_command() {
    for (case, args, want) in [
        ("none", &[][..], Command::Run),
        (
            "before the flags",
            &["check-config", "--v=1"],
            Command::CheckConfig,
        ),
        ("after them", &["--v", "1", "check-config"], Command::CheckConfig),
        (
            "after a boolean",
            &["--profiling", "check-config"],
            Command::CheckConfig,
        ),
        ("after two dashes", &["--", "check-config"], Command::CheckConfig),
        (
            "a flag's value",
            &["--cluster-name", "check-config"],
            Command::Run,
        ),
    ] {
        let args = [&NEEDED, args].concat();
        match parse(args.iter().map(OsString::from)) {
            Parsed::Do {
                command,
                flags: Ok(_),
                ..
            } => assert_eq!(command, want, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
    }
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
    assert_eq!(
        accepted(&["--vmodule=reflector=6", "--vmodule=client=4,sync*=5"]).vmodule,
        Modules::parse("client=4,sync*=5").unwrap(),
        "of modules, too"
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
            &["check-confg"],
            r#"unexpected argument "check-confg": did you mean check-config?"#,
        ),
        (
            &["check-config", "check-config"],
            r#"unexpected argument "check-config""#,
        ),
        (&["check-config", "serve"], r#"unexpected argument "serve""#),
        (
            &["--leader-elect-lease-duration=10s"],
            r#"--leader-elect-lease-duration is "10s": it must be longer than --leader-elect-renew-deadline (10s)"#,
        ),
        (
            &["--leader-elect-renew-deadline=20s"],
            r#"--leader-elect-lease-duration is "15s": it must be longer than --leader-elect-renew-deadline (20s)"#,
        ),
        (
            &["--leader-elect-renew-deadline=2400ms"],
            r#"--leader-elect-renew-deadline is "2400ms": it must be longer than 1.2 times --leader-elect-retry-period (2s)"#,
        ),
        (
            &["--leader-elect-lease-duration=15500ms"],
            r#"--leader-elect-lease-duration is "15500ms": it must be whole seconds, from 1s to 2147483647s"#,
        ),
        (
            &["--leader-elect-lease-duration=0"],
            r#"--leader-elect-lease-duration is "0": it must be whole seconds, from 1s to 2147483647s"#,
        ),
        (
            &["--leader-elect-lease-duration=2147483648s"],
            r#"--leader-elect-lease-duration is "2147483648s": it must be whole seconds, from 1s to 2147483647s"#,
        ),
        (
            &[
                "--leader-elect-lease-duration=soon",
                "--leader-elect-renew-deadline=1m",
            ],
            r#"--leader-elect-lease-duration is "soon": it must be a duration such as 1m30s or 12h"#,
        ),
        (
            &["--leader-elect-renew-deadline=0s"],
            r#"--leader-elect-renew-deadline is "0s": it must be longer than 0"#,
        ),
        (
            &["--leader-elect-retry-period=0s"],
            r#"--leader-elect-retry-period is "0s": it must be longer than 0"#,
        ),
        (
            &["--leader-elect-retry-period=-1s"],
            r#"--leader-elect-retry-period is "-1s": it must be a duration such as 1m30s or 12h"#,
        ),
        (
            &["--leader-elect-resource-lock=endpoints"],
            r#"--leader-elect-resource-lock is "endpoints": resourceLock value must be "leases""#,
        ),
        (
            &["--leader-elect-resource-name=My_Lease"],
            r#"--leader-elect-resource-name is "My_Lease": it must be a DNS name: at most 253 lower case letters, digits, '-' and '.', with a letter or digit first and last"#,
        ),
        (
            &["--leader-elect-resource-namespace="],
            r#"--leader-elect-resource-namespace is "": it must be a DNS label: at most 63 lower case letters, digits and '-', with a letter or digit first and last"#,
        ),
        (
            &["--tls-cert-file=/c"],
            r#"--tls-cert-file is "/c": it must be given with --tls-private-key-file"#,
        ),
        (
            &["--tls-private-key-file=/k", "--cert-dir=/d"],
            r#"--tls-private-key-file is "/k": it must be given with --tls-cert-file"#,
        ),
        (
            &["--tls-sni-cert-key=/c"],
            r#"--tls-sni-cert-key is "/c": it must be certificate,key or certificate,key:name,...: two files, and DNS names such as example.com or *.example.com (TLS clients send no addresses)"#,
        ),
        (
            &["--tls-min-version=TLS1.2"],
            r#"--tls-min-version is "TLS1.2": it must be VersionTLS10, VersionTLS11, VersionTLS12 or VersionTLS13"#,
        ),
        (
            &["--tls-cipher-suites=TLS_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA"],
            r#"--tls-cipher-suites is "TLS_RSA_WITH_AES_128_CBC_SHA": it must be one of TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"#,
        ),
        (
            &["--tls-curve-preferences=29,4588"],
            r#"--tls-curve-preferences is "4588": it must be one of 29 (X25519), 23 (P-256), 24 (P-384)"#,
        ),
        (
            &["--tls-curve-preferences=X25519"],
            r#"--tls-curve-preferences is "X25519": it must be whole numbers by comma"#,
        ),
        (
            &["--requestheader-username-headers=x-a, ,x-b"],
            r#"--requestheader-username-headers is "x-a, ,x-b": it must be names of headers by comma, none of them blank"#,
        ),
        (
            &["--requestheader-group-headers=x:a"],
            r#"--requestheader-group-headers is "x:a": it must be names of headers by comma, none of them blank"#,
        ),
        (
            &["--requestheader-extra-headers-prefix= "],
            r#"--requestheader-extra-headers-prefix is " ": it must be names of headers by comma, none of them blank"#,
        ),
        (
            &["--requestheader-allowed-names=a,"],
            r#"--requestheader-allowed-names is "a,": it must be names by comma, none of them blank"#,
        ),
        (
            &["--requestheader-uid-headers=x-uid"],
            r#"--requestheader-uid-headers is "x-uid": it must have X-Remote-Uid among its headers"#,
        ),
        (
            &["--authorization-always-allow-paths=/healthz,/a*b"],
            r#"--authorization-always-allow-paths is "/a*b": it must be a path, with a * only at its end"#,
        ),
        (
            &["--authentication-token-webhook-cache-ttl=10"],
            r#"--authentication-token-webhook-cache-ttl is "10": it must be a duration such as 1m30s or 12h"#,
        ),
        (
            &["--controller-start-interval=x"],
            r#"--controller-start-interval is "x": it must be a duration such as 1m30s or 12h"#,
        ),
        (
            &["--vmodule=client"],
            r#"--vmodule is "client": it must be pattern=N by comma: a pattern is the end of a module's path, such as client or service/*, with letters, digits, _ - * ? and / between segments, and N a whole number"#,
        ),
        (
            &["--vmodule=client=4", "--logging-format=json"],
            r#"--vmodule is "client=4": it must be empty with --logging-format=json: only supported for text log format"#,
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
        "--leader-elect-lease-duration=2s",
        "--leader-elect-resource-lock=configmaps",
        "--tls-cert-file=/c",
        "--tls-cipher-suites=x,y",
        "--secure-port=0",
        "--requestheader-uid-headers=x",
    ]);
    let errors = flags.unwrap_err();
    assert_eq!(errors.len(), 13, "{errors:?}");
}

#[test]
fn a_flag_without_meaning_here_is_a_warning() {
    assert_eq!(
        warnings(&[
            "--contention-profiling",
            "--http2-max-streams-per-connection=9",
            "--contention-profiling=false",
            "--configure-cloud-routes=false",
            "--enable-leader-migration",
            "--webhooks=x",
            "--port=0",
            "--tls-min-version=VersionTLS11",
        ]),
        [
            "--configure-cloud-routes has no effect: there is no route controller",
            "--enable-leader-migration has no effect: it moves controllers over from kube-controller-manager, which never had INSPUR Cloud's",
            "--http2-max-streams-per-connection has no effect: the endpoint speaks HTTP/1.1",
            "--contention-profiling has no effect: it is about Go's runtime",
            "--webhooks has no effect: there are no webhooks",
            "--port has no effect: there is no port without TLS; see bind-address and secure-port",
            r#"--tls-min-version is "VersionTLS11": the oldest version here is VersionTLS12"#,
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
