use serde_json::json;

use super::*;
use crate::runtime::yaml;

fn file() -> &'static Path {
    Path::new("/etc/k8s/config")
}

fn config(cluster: Value, user: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "contexts": [{"name": "other", "context": {}}, {"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    })
}

fn of_cluster(cluster: Value) -> Result<ClusterAccess, Problems> {
    resolve(&config(cluster, json!({})), file(), None)
}

fn of_user(user: Value) -> Result<ClusterAccess, Problems> {
    resolve(&config(json!({"server": "https://api:6443"}), user), file(), None)
}

#[test]
fn yaml_with_paths_is_read() {
    let text = r#"
apiVersion: v1
kind: Config
current-context: here
contexts:
- name: here
  context: {cluster: c, user: u, namespace: kube-system}
clusters:
- name: c
  cluster:
    server: https://10.0.0.1:6443/prefix/?x#y
    certificate-authority: pki/ca.crt
    tls-server-name: kubernetes
    insecure-skip-tls-verify: false
    proxy-url: http://proxy:3128
users:
- name: u
  user:
    client-certificate: /abs/client.crt
    client-key: ../client.key
    token: 0123
    tokenFile: token
preferences: {}
"#;
    let access = resolve(&yaml::parse(text).unwrap(), file(), None).unwrap();
    let at = |path: &str| Pem::File(PathBuf::from(path));
    assert_eq!(
        access,
        ClusterAccess {
            server: "https://10.0.0.1:6443/prefix".into(),
            roots: Roots::Pem(at("/etc/k8s/pki/ca.crt")),
            server_name: Some("kubernetes".into()),
            proxy: Some(ProxyUrl::parse("", "proxy:3128").unwrap()),
            identity: Some(Identity {
                certificate: at("/abs/client.crt"),
                key: at("/etc/k8s/../client.key"),
            }),
            credentials: Credentials::TokenFile {
                path: "/etc/k8s/token".into(),
                fallback: Some(Secret::new("0123")),
            },
        }
    );
}

#[test]
fn data_wins_over_files_and_keeps_its_place() {
    let access = of_cluster(json!({
        "server": "https://api", "certificate-authority": "ca.crt", "certificate-authority-data": "UEVN\nIQ==",
    }));
    let Roots::Pem(Pem::Text { from, text }) = access.unwrap().roots else {
        panic!("no text");
    };
    assert_eq!(
        from,
        r#"/etc/k8s/config: cluster "c": certificate-authority-data"#
    );
    assert_eq!(text.expose(), "PEM!");
}

#[test]
fn without_a_ca_the_system_is_trusted_and_loopback_needs_nobody() {
    assert_eq!(
        of_cluster(json!({"server": "https://api"})).unwrap().roots,
        Roots::System
    );
    assert_eq!(
        of_cluster(json!({"server": "http://127.0.0.1:8001"}))
            .unwrap()
            .roots,
        Roots::Nobody
    );
}

#[test]
fn servers_are_urls_with_tls() {
    for (case, url, want) in [
        ("a name", "https://api", Some("https://api")),
        ("IPv6", "https://[fd00::1]:6443/", Some("https://[fd00::1]:6443")),
        (
            "a path",
            "https://front/clusters/1/",
            Some("https://front/clusters/1"),
        ),
        ("loopback", "http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
        ("IPv6 loopback", "http://[::1]:8080", Some("http://[::1]:8080")),
        ("plain http", "http://10.0.0.1", None),
        (
            "a name that looks like loopback",
            "http://127.0.0.1.example.com",
            None,
        ),
        ("no scheme", "api:6443", None),
        ("another scheme", "tcp://api", None),
        ("no host", "https:///x", None),
        ("a bad port", "https://api:x", None),
        ("a user", "https://u:s3cret@api", None),
    ] {
        let found = of_cluster(json!({ "server": url }));
        let server = found.as_ref().ok().map(|access| access.server.as_str());
        assert_eq!(server, want, "{case}: {found:?}");
        assert!(!format!("{found:?}").contains("s3cret"), "{case}");
        let master = resolve(
            &config(json!({"server": "https://x"}), json!({})),
            file(),
            Some(url),
        );
        assert_eq!(
            master.ok().map(|access| access.server).as_deref(),
            want,
            "--master: {case}"
        );
    }
}

#[test]
fn a_master_needs_no_context() {
    let access = only_master("https://api:6443").unwrap();
    assert_eq!(
        (access.server.as_str(), access.credentials),
        ("https://api:6443", Credentials::Nobody)
    );
    assert!(only_master("api").unwrap_err().to_string().contains("--master"));
    assert!(
        resolve(&json!({}), file(), None)
            .unwrap_err()
            .to_string()
            .contains("current-context")
    );
}

#[test]
fn problems_are_reported_all_at_once_with_their_places() {
    let found = resolve(
        &config(
            json!({"server": "http://api", "insecure-skip-tls-verify": "true", "proxy-url": "socks5://p",
                   "certificate-authority-data": "%%%"}),
            json!({"username": "a", "password": "s3cret", "client-certificate": "c",
                   "auth-provider": {"name": "gcp"}}),
        ),
        file(),
        None,
    );
    let Problems(problems) = found.unwrap_err();
    let begins = [
        r#"/etc/k8s/config: cluster "c": server: "#,
        r#"/etc/k8s/config: cluster "c": insecure-skip-tls-verify: "#,
        r#"/etc/k8s/config: cluster "c": certificate-authority-data: "#,
        r#"/etc/k8s/config: cluster "c": proxy-url: "#,
        r#"/etc/k8s/config: user "u": auth-provider: "#,
        r#"/etc/k8s/config: user "u": username: "#,
        r#"/etc/k8s/config: user "u": password: "#,
        r#"/etc/k8s/config: user "u": client-key: "#,
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:#?}");
    for (problem, begin) in problems.iter().zip(begins) {
        assert!(problem.starts_with(begin), "{problem} should begin with {begin}");
        assert!(!problem.contains("s3cret"), "{problem}");
    }
}

#[test]
fn what_is_named_must_be_there() {
    for (case, change, want) in [
        (
            "the context",
            json!({"current-context": "x"}),
            r#"there is no context "x""#,
        ),
        (
            "the cluster",
            json!({"clusters": []}),
            r#"there is no cluster "c""#,
        ),
        ("the user", json!({"users": null}), r#"there is no user "u""#),
        (
            "a body",
            json!({"clusters": [{"name": "c"}]}),
            "it has no cluster",
        ),
    ] {
        let mut config = config(json!({"server": "https://api"}), json!({}));
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let error = resolve(&config, file(), None).unwrap_err().to_string();
        assert!(error.contains(want), "{case}: {error}");
    }
    assert!(resolve(&json!("text"), file(), None).is_err());
}

#[test]
fn tokens_files_and_certificates_have_their_order() {
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "plugin"});
    for (case, user, want) in [
        ("nothing", json!({}), "Nobody"),
        ("a token", json!({"token": "t", "exec": exec}), "Token {"),
        ("a file", json!({"token": "t", "tokenFile": "f"}), "TokenFile {"),
        ("a program", json!({"exec": exec}), "Exec("),
        (
            "a certificate",
            json!({"client-certificate": "c", "client-key": "k", "exec": exec}),
            "Nobody",
        ),
    ] {
        let found = format!("{:?}", of_user(user).unwrap().credentials);
        assert!(found.starts_with(want), "{case}: {found}");
    }
}

#[test]
fn plug_ins_are_read_with_what_they_may_know() {
    let cluster = json!({
        "server": "https://api", "tls-server-name": "k",
        "extensions": [{"name": "x", "extension": 1},
                       {"name": "client.authentication.k8s.io/exec", "extension": {"a": "b"}}],
    });
    let user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "bin/plugin", "args": ["get", "token"],
        "env": [{"name": "A", "value": "s3cret"}], "interactiveMode": "IfAvailable", "provideClusterInfo": "true",
        "installHint": "install it",
    }});
    let access = resolve(&config(cluster, user), file(), None).unwrap();
    let Credentials::Exec(exec) = access.credentials else {
        panic!("no exec");
    };
    assert_eq!(exec.command, Path::new("/etc/k8s/bin/plugin"));
    assert_eq!(
        (exec.args.clone(), exec.env[0].0.as_str()),
        (vec!["get".into(), "token".into()], "A")
    );
    let shown = exec.cluster.clone().unwrap();
    assert_eq!(
        (shown.server.as_str(), shown.config),
        ("https://api", Some(json!({"a": "b"})))
    );
    assert!(!format!("{exec:?}").contains("s3cret"));
}

#[test]
fn plug_ins_that_cannot_work_are_refused() {
    let exec = |change: Value| {
        let mut exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin",
                              "interactiveMode": "Never"});
        for (key, value) in change.as_object().unwrap() {
            exec[key] = value.clone();
        }
        of_user(json!({ "exec": exec }))
    };
    assert!(exec(json!({})).is_ok());
    for (case, change, want) in [
        (
            "an old version",
            json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"}),
            "apiVersion",
        ),
        ("a terminal", json!({"interactiveMode": "Always"}), "terminal"),
        ("no mode", json!({"interactiveMode": null}), "interactiveMode"),
        ("no command", json!({"command": ""}), "command"),
        ("bad arguments", json!({"args": "x"}), "args"),
        (
            "a bad variable",
            json!({"env": [{"name": "A=B", "value": ""}]}),
            "env",
        ),
        (
            "a bad flag",
            json!({"provideClusterInfo": "perhaps"}),
            "provideClusterInfo",
        ),
    ] {
        let error = exec(change).unwrap_err().to_string();
        assert!(error.contains(want), "{case}: {error}");
    }
}

#[test]
fn a_pod_has_its_own_account() {
    let pod = |host: &str, port: &str| {
        in_cluster(
            |name| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                "KUBERNETES_SERVICE_PORT" => Some(port.to_owned()),
                _ => None,
            },
            Path::new(POD_ACCOUNT),
        )
    };
    for (case, host, want) in [
        ("IPv4", "10.96.0.1", "https://10.96.0.1:443"),
        ("IPv6", "fd00::1", "https://[fd00::1]:443"),
        ("IPv6 with a zone", "fe80::1%eth0", "https://[fe80::1]:443"),
    ] {
        assert_eq!(pod(host, "443").unwrap().server, want, "{case}");
    }
    let access = pod("10.96.0.1", "443").unwrap();
    assert_eq!(
        access.roots,
        Roots::Pem(Pem::File(Path::new(POD_ACCOUNT).join("ca.crt")))
    );
    assert!(pod("", "443").is_err() && pod("10.96.0.1", "").is_err());
}
