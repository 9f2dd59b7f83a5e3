//! From a kubeconfig to a server on loopback and back.

use std::sync::{Mutex, mpsc};
use std::time::SystemTime;

use super::*;
use crate::http::testing::{Ca, answer, listen_tls, read_request, server_config};
use crate::k8s::Error;
use crate::k8s::types::Node;
use crate::runtime::clock::ManualClock;

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
