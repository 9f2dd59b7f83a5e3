//! From a kubeconfig to a server on loopback and back.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;

use super::*;
use crate::http::testing::{Ca, Leaf, answer, hang, listen_tls, read_request, server_config, spawn};
use crate::k8s::Error;
use crate::k8s::types::Node;
use crate::runtime::clock::ManualClock;
use crate::runtime::reload::Reloaded;

const NODE: &str = r#"{"kind":"Node","metadata":{"name":"n-1"}}"#;

fn options(kubeconfig: &Path) -> ConnectOptions<'_> {
    ConnectOptions {
        gate: crate::runtime::gate::Gate::open(),
        kubeconfig: Some(kubeconfig),
        master: None,
        qps: 20.0,
        burst: 30,
        stop: StopToken::never(),
        clock: Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH)),
        metrics: ClientMetrics::default(),
    }
}

fn write_kubeconfig(folder: &Path, server: &str, user: &str) -> PathBuf {
    let path = folder.join("config");
    let text = format!(
        "current-context: here\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}]\n\
         users:\n- name: u\n  user: {user}\n"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_kubeconfig_leads_to_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    fs::write(folder.path().join("ca.crt"), &ca.certificate).unwrap();
    fs::write(folder.path().join("token"), "s3cret\n").unwrap();
    let (seen, requests) = mpsc::channel();
    let seen = Mutex::new(seen);
    let config = Arc::new(Mutex::new(Arc::new(server_config(
        &ca.issue(&["127.0.0.1"]),
        None,
    ))));
    let address = listen_tls(&config, move |stream, _| {
        loop {
            seen.lock().unwrap().send(read_request(stream)?).unwrap();
            stream.write_all(answer(200, NODE).as_bytes())?;
        }
    });
    let path = write_kubeconfig(
        folder.path(),
        &format!("https://{address}/prefix/"),
        "{tokenFile: token}",
    );
    let connector = connect(options(&path)).unwrap();
    let (one, two) = (
        connector.client("node-controller", ClientKind::Controllers, StopToken::never()),
        connector.client("leader-election", ClientKind::Lease, StopToken::never()),
    );
    assert_eq!(&*one.object::<Node>("", "n-1").unwrap().meta.name, "n-1");
    let request = requests.recv().unwrap();
    assert!(
        request.starts_with("GET /prefix/api/v1/nodes/n-1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request
            .to_ascii_lowercase()
            .contains("authorization: bearer s3cret\r\n"),
        "{request}"
    );
    one.shutdown();
    assert!(matches!(
        one.object::<Node>("", "n-1"),
        Err(Error::Stopped { .. })
    ));
    two.object::<Node>("", "n-1").unwrap();
}

#[test]
fn a_plug_ins_certificate_is_shown_and_replaced_after_a_401() {
    let folder = tempfile::tempdir().unwrap();
    let (servers, old, new) = (Ca::new("servers"), Ca::new("old"), Ca::new("new"));
    fs::write(folder.path().join("ca.crt"), &servers.certificate).unwrap();
    let print = |ca: &Ca| {
        let leaf = ca.issue(&["client"]);
        let printed = serde_json::json!({
            "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "status": {"clientCertificateData": leaf.certificate, "clientKeyData": leaf.key},
        });
        fs::write(folder.path().join("printed"), printed.to_string()).unwrap();
    };
    print(&old);
    let leaf = servers.issue(&["127.0.0.1"]);
    let config = Arc::new(Mutex::new(Arc::new(server_config(&leaf, Some(&old)))));
    let address = listen_tls(&config, move |stream, number| {
        // the first connection's certificate is good for one request
        for request in 0.. {
            read_request(stream)?;
            let status = if number == 0 && request > 0 { 401 } else { 200 };
            stream.write_all(answer(status, NODE).as_bytes())?;
        }
        Ok(())
    });
    let exec = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: cat, args: ['{}']}}}}",
        folder.path().join("printed").display()
    );
    let path = write_kubeconfig(folder.path(), &format!("https://{address}"), &exec);
    let connector = connect(options(&path)).unwrap();
    let client = connector.client("x", ClientKind::Controllers, StopToken::never());
    client.object::<Node>("", "n-1").unwrap();
    print(&new);
    *config.lock().unwrap() = Arc::new(server_config(&leaf, Some(&new)));
    client
        .object::<Node>("", "n-1")
        .expect("a 401, then the new certificate on another connection");
}

#[test]
fn what_is_wrong_is_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("yaml"), "a: [").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("ca.crt"), "garbage").unwrap();
    let no_ca = write_kubeconfig(folder.path(), "https://127.0.0.1", "{token: t}");
    for (case, path, want) in [
        ("no file", at("none"), "none"),
        ("no YAML", at("yaml"), "line"),
        ("nothing in it", at("empty"), "current-context"),
        ("a bad CA", no_ca, "ca.crt"),
    ] {
        let error = connect(options(&path))
            .err()
            .unwrap_or_else(|| panic!("{case} is accepted"));
        assert!(chain(&error).contains(want), "{case}: {}", chain(&error));
    }
}

/// An API server that tells each request's token and connection.
struct Cluster {
    folder: tempfile::TempDir,
    address: SocketAddr,
    requests: mpsc::Receiver<(String, usize)>,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Cluster {
    fn new(leaf: &Leaf, clients: Option<&Ca>) -> Self {
        let (seen, requests) = mpsc::channel();
        let seen = Mutex::new(seen);
        let shown = Arc::new(Mutex::new(Arc::new(server_config(leaf, clients))));
        let address = listen_tls(&shown, move |stream, number| {
            loop {
                let request = read_request(stream)?;
                let token = request.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("authorization: bearer ")
                        .map(str::to_owned)
                });
                seen.lock()
                    .unwrap()
                    .send((token.unwrap_or_default(), number))
                    .unwrap();
                stream.write_all(answer(200, NODE).as_bytes())?;
            }
        });
        Self {
            folder: tempfile::tempdir().unwrap(),
            address,
            requests,
            shown,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Cluster and user as flow mappings; the server's own line is added.
    fn write(&self, cluster: &str, user: &str) {
        self.write_for(&format!("https://{}", self.address), cluster, user);
    }

    fn write_for(&self, server: &str, cluster: &str, user: &str) {
        let text = format!(
            "current-context: here\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{server}', {cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n"
        );
        fs::write(self.path(), text).unwrap();
    }

    /// Token and connection of one request.
    fn ask(&self, client: &Client) -> (String, usize) {
        client.object::<Node>("", "n-1").unwrap();
        self.requests.recv().unwrap()
    }
}

fn data(field: &str, pem: &str) -> String {
    format!("{field}-data: {}", STANDARD.encode(pem))
}

fn client_of(connector: &Connector) -> Client {
    connector.client("x", ClientKind::Controllers, StopToken::never())
}

#[test]
fn a_renewed_kubeconfig_is_taken_over_by_clients_in_use() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let cluster = Cluster::new(&old.issue(&["127.0.0.1"]), Some(&old));
    let user = |ca: &Ca, token: &str| {
        let leaf = ca.issue(&["client"]);
        let (certificate, key) = (
            data("client-certificate", &leaf.certificate),
            data("client-key", &leaf.key),
        );
        format!("{certificate}, {key}, token: {token}")
    };
    cluster.write(
        &data("certificate-authority", &old.certificate),
        &user(&old, "one"),
    );
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    let client = client_of(&connector);
    assert_eq!(cluster.ask(&client), ("one".into(), 0));
    assert_eq!(connector.reload(), Reloads::default());
    assert_eq!(cluster.ask(&client), ("one".into(), 0), "nothing changed");

    *cluster.shown.lock().unwrap() = Arc::new(server_config(&new.issue(&["127.0.0.1"]), Some(&new)));
    cluster.write(
        &data("certificate-authority", &new.certificate),
        &user(&new, "two"),
    );
    let reloads = connector.reload();
    assert_eq!(reloads.kubeconfig, Reloaded::Changed);
    assert_eq!(cluster.ask(&client), ("two".into(), 1));
    assert_eq!(connector.reload(), Reloads::default(), "it is told once");
}

#[test]
fn a_bad_kubeconfig_is_told_once_and_the_old_one_goes_on() {
    let ca = Ca::new("ca");
    let cluster = Cluster::new(&ca.issue(&["127.0.0.1"]), None);
    let authority = data("certificate-authority", &ca.certificate);
    cluster.write(&authority, "token: one");
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    let client = client_of(&connector);
    cluster.ask(&client);
    let (one, two) = (ca.issue(&["client"]), ca.issue(&["client"]));
    let mismatch = format!(
        "{}, {}",
        data("client-certificate", &one.certificate),
        data("client-key", &two.key)
    );
    let write = |text: &str| fs::write(&path, text).unwrap();
    let cases: [(&str, &dyn Fn()); 8] = [
        ("garbage", &|| write("\u{1}garbage: [")),
        ("nothing", &|| write("")),
        ("a directory", &|| {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }),
        ("nothing there", &|| fs::remove_dir(&path).unwrap()),
        ("a key of another certificate", &|| {
            cluster.write(&authority, &format!("{mismatch}, token: two"))
        }),
        ("a CA that is none", &|| {
            cluster.write(&data("certificate-authority", "x"), "token: two")
        }),
        ("a token that no header can carry", &|| {
            cluster.write(&authority, "token: 't w o'")
        }),
        ("a token file that is not there", &|| {
            cluster.write(&authority, "tokenFile: none")
        }),
    ];
    for (case, change) in cases {
        change();
        assert_eq!(connector.reload().kubeconfig, Reloaded::Refused, "{case}");
        assert_eq!(
            connector.reload().kubeconfig,
            Reloaded::Unchanged,
            "{case}: again"
        );
        assert_eq!(cluster.ask(&client).0, "one", "{case}");
    }
    fs::write(cluster.folder.path().join("none"), "three").unwrap();
    assert_eq!(
        connector.reload().kubeconfig,
        Reloaded::Changed,
        "the token file came later"
    );
    assert_eq!(cluster.ask(&client).0, "three");
}

#[test]
fn a_kubeconfig_that_comes_back_is_good_again() {
    let ca = Ca::new("ca");
    let cluster = Cluster::new(&ca.issue(&["127.0.0.1"]), None);
    let authority = data("certificate-authority", &ca.certificate);
    cluster.write(&authority, "token: one");
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    assert_eq!(connector.reload().kubeconfig, Reloaded::Unchanged);
    fs::write(&path, "").unwrap();
    assert_eq!(connector.reload().kubeconfig, Reloaded::Refused);
    cluster.write(&authority, "token: one");
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed);
    assert_eq!(cluster.ask(&client_of(&connector)).0, "one");
}

#[test]
fn another_way_to_the_api_server_needs_a_restart() {
    let ca = Ca::new("ca");
    let cluster = Cluster::new(&ca.issue(&["127.0.0.1"]), None);
    let authority = data("certificate-authority", &ca.certificate);
    let (here, elsewhere) = (format!("https://{}", cluster.address), "https://127.0.0.1:1");
    cluster.write(&authority, "token: one");
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    let client = client_of(&connector);
    assert_eq!(connector.reload().kubeconfig, Reloaded::Unchanged);
    for (case, server, more) in [
        ("the server", elsewhere, ""),
        ("the name", &here, ", tls-server-name: other"),
        ("the proxy", &here, ", proxy-url: 'http://127.0.0.1:1'"),
    ] {
        cluster.write_for(server, &format!("{authority}{more}"), "token: two");
        assert_eq!(connector.reload().kubeconfig, Reloaded::NeedsRestart, "{case}");
        assert_eq!(
            connector.reload().kubeconfig,
            Reloaded::Unchanged,
            "{case}: again"
        );
        assert_eq!(cluster.ask(&client).0, "one", "{case}");
    }
    cluster.write(&authority, "token: one");
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed, "as it was");
    cluster.write(&authority, "token: two");
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed);
    assert_eq!(cluster.ask(&client).0, "two");
}

#[test]
fn a_master_on_the_command_line_outlives_a_new_kubeconfig() {
    let ca = Ca::new("ca");
    let cluster = Cluster::new(&ca.issue(&["127.0.0.1"]), None);
    let authority = data("certificate-authority", &ca.certificate);
    cluster.write_for("https://127.0.0.1:1", &authority, "token: one");
    let (path, master) = (cluster.path(), format!("https://{}", cluster.address));
    let connector = connect(ConnectOptions {
        master: Some(&master),
        ..options(&path)
    })
    .unwrap();
    cluster.write_for("https://127.0.0.1:2", &authority, "token: two");
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed);
    assert_eq!(cluster.ask(&client_of(&connector)).0, "two");
}

#[test]
fn files_that_a_kubeconfig_names_are_read_again_through_links() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let cluster = Cluster::new(&old.issue(&["127.0.0.1"]), Some(&old));
    let at = |name: &str| cluster.folder.path().join(name);
    for (version, ca, token) in [("v1", &old, "one"), ("v2", &new, "two")] {
        fs::create_dir(at(version)).unwrap();
        let client = ca.issue(&["client"]);
        for (name, text) in [
            ("ca.crt", &ca.certificate),
            ("tls.crt", &client.certificate),
            ("tls.key", &client.key),
            ("token", &token.to_owned()),
        ] {
            fs::write(at(version).join(name), text).unwrap();
        }
    }
    // as kubelet does
    let point_to = |version: &str| {
        std::os::unix::fs::symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    point_to("v1");
    for name in ["ca.crt", "tls.crt", "tls.key", "token"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), at(name)).unwrap();
    }
    cluster.write(
        "certificate-authority: ca.crt",
        "client-certificate: tls.crt, client-key: tls.key, tokenFile: token",
    );
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    let client = client_of(&connector);
    assert_eq!(cluster.ask(&client), ("one".into(), 0));
    *cluster.shown.lock().unwrap() = Arc::new(server_config(&new.issue(&["127.0.0.1"]), Some(&new)));
    point_to("v2");
    let want = Reloads {
        kubeconfig: Reloaded::Unchanged,
        certificates: Reloaded::Changed,
        token: Reloaded::Changed,
    };
    assert_eq!(connector.reload(), want);
    assert_eq!(cluster.ask(&client), ("two".into(), 1));
}

#[test]
fn a_plug_ins_certificate_outlives_another_authority_and_dies_with_its_plug_in() {
    let ca = Ca::new("ca");
    let cluster = Cluster::new(&ca.issue(&["127.0.0.1"]), Some(&ca));
    let leaf = ca.issue(&["client"]);
    let printed = serde_json::json!({
        "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
        "status": {"clientCertificateData": leaf.certificate, "clientKeyData": leaf.key},
    });
    let file = cluster.folder.path().join("printed");
    fs::write(&file, printed.to_string()).unwrap();
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: cat, args: ['{}']}}",
        file.display()
    );
    cluster.write(&data("certificate-authority", &ca.certificate), &exec);
    let path = cluster.path();
    let connector = connect(options(&path)).unwrap();
    let client = client_of(&connector);
    cluster.ask(&client);
    let both = format!("{}{}", ca.certificate, Ca::new("other").certificate);
    cluster.write(&data("certificate-authority", &both), &exec);
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed);
    assert_eq!(
        cluster.ask(&client).1,
        1,
        "another connection, with the same certificate"
    );
    cluster.write(&data("certificate-authority", &both), "token: t");
    assert_eq!(connector.reload().kubeconfig, Reloaded::Changed);
    client
        .object::<Node>("", "n-1")
        .expect_err("no certificate is shown any more");
}

#[test]
fn a_service_accounts_client_has_a_token_of_its_own() {
    let ca = Ca::new("ca");
    let (seen, requests) = mpsc::channel();
    let seen = Mutex::new(seen);
    let shown = Arc::new(Mutex::new(Arc::new(server_config(
        &ca.issue(&["127.0.0.1"]),
        None,
    ))));
    let address = listen_tls(&shown, move |stream, number| {
        loop {
            let request = read_request(stream)?;
            let body = match request.starts_with("POST") {
                true => r#"{"spec":{"expirationSeconds":3600},"status":{"token":"minted"}}"#,
                false => NODE,
            };
            seen.lock().unwrap().send((number, request)).unwrap();
            stream.write_all(answer(200, body).as_bytes())?;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), &ca.certificate).unwrap();
    let path = write_kubeconfig(folder.path(), &format!("https://{address}"), "{token: root}");
    let connector = connect(options(&path)).unwrap();
    let client = connector.client_as("node-controller", ClientKind::Controllers, StopToken::never());
    client.object::<Node>("", "n-1").unwrap();
    let lines: Vec<(usize, String, String)> = requests
        .try_iter()
        .map(|(number, request)| {
            let header = |name: &str| {
                let found = request.lines().find_map(|line| {
                    let (found, value) = line.split_once(": ")?;
                    found.eq_ignore_ascii_case(name).then(|| value.to_owned())
                });
                found.unwrap()
            };
            let agent = header("user-agent");
            let component = agent.rsplit('/').next().unwrap().to_owned();
            (number, header("authorization"), component)
        })
        .collect();
    let (root, minted) = ("Bearer root".to_owned(), "Bearer minted".to_owned());
    let manager = "cloud-controller-manager".to_owned();
    assert_eq!(
        lines,
        [
            (0, root.clone(), manager.clone()),
            (0, root, manager),
            (1, minted, "node-controller".to_owned())
        ]
    );
    client.shutdown();
    assert!(matches!(
        client.object::<Node>("", "n-1"),
        Err(Error::Stopped { .. })
    ));
}

#[test]
fn a_service_accounts_client_shows_no_certificate() {
    let ca = Ca::new("ca");
    let shown = Arc::new(Mutex::new(Arc::new(server_config(
        &ca.issue(&["127.0.0.1"]),
        Some(&ca),
    ))));
    let address = listen_tls(&shown, move |stream, _| {
        loop {
            read_request(stream)?;
            stream.write_all(answer(200, r#"{"status":{"token":"minted"}}"#).as_bytes())?;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let leaf = ca.issue(&["client"]);
    for (name, text) in [
        ("ca.crt", &ca.certificate),
        ("crt", &leaf.certificate),
        ("key", &leaf.key),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let user = "{client-certificate: crt, client-key: key}";
    let path = write_kubeconfig(folder.path(), &format!("https://{address}"), user);
    let connector = connect(options(&path)).unwrap();
    let client = connector.client_as("node-controller", ClientKind::Controllers, StopToken::never());
    // the token was asked for with the certificate
    let error = chain(&client.object::<Node>("", "n-1").unwrap_err());
    assert!(error.contains("CertificateRequired"), "{error}");
}

#[test]
fn a_shutdown_ends_the_wait_for_a_service_accounts_token() {
    let ca = Ca::new("ca");
    let (reached, reach) = mpsc::channel();
    let reached = Mutex::new(reached);
    let shown = Arc::new(Mutex::new(Arc::new(server_config(
        &ca.issue(&["127.0.0.1"]),
        None,
    ))));
    let address = listen_tls(&shown, move |stream, _| {
        read_request(stream)?;
        reached.lock().unwrap().send(()).unwrap();
        hang(stream)
    });
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.crt"), &ca.certificate).unwrap();
    let path = write_kubeconfig(folder.path(), &format!("https://{address}"), "{token: root}");
    let connector = connect(options(&path)).unwrap();
    let client = connector.client_as("node-controller", ClientKind::Controllers, StopToken::never());
    let (worker, (done, result)) = (client.clone(), mpsc::channel());
    spawn(move || done.send(worker.object::<Node>("", "n-1").is_err()).unwrap());
    reach.recv().unwrap();
    client.shutdown();
    let failed = result.recv_timeout(std::time::Duration::from_secs(20));
    assert!(failed.expect("the call returns"));
}
