//! The HTTPS endpoint as its users see it: by curl, with every way to say who asks.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::daemon::Daemon;
use crate::support::{World, free_port};

/// What curl got.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A daemon with an endpoint.
pub struct Endpoint {
    /// Whose it is.
    pub daemon: Daemon,
    /// Where it listens.
    pub url: String,
}

impl Endpoint {
    /// Starts a daemon, and waits until its endpoint answers and says that it is ready.
    pub fn start(world: &World, flags: &[&str]) -> Self {
        let port = free_port();
        let kubeconfig = world.api.daemon_kubeconfig.display().to_string();
        let own = [
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
        ];
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(flags.iter().copied())
            .collect();
        let daemon = world.start_with(&all, "cluster-id=test\n");
        let endpoint = Self {
            daemon,
            url: format!("https://127.0.0.1:{port}"),
        };
        world.until("it is ready", &endpoint.daemon, || {
            endpoint.get("/readyz", &[]).status == 200
        });
        endpoint
    }

    /// Asks for a page.
    pub fn get(&self, path: &str, arguments: &[&str]) -> Answer {
        curl(&format!("{}{path}", self.url), arguments)
    }
}

/// Status 0 is no answer.
fn curl(url: &str, arguments: &[&str]) -> Answer {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    Answer {
        status: status.trim().parse().unwrap_or_default(),
        body: body.to_owned(),
    }
}

/// The header that shows a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn who_may_read_what() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    let (admin, ours) = (bearer(world.api.admin_token()), bearer(&world.api.daemon_token));
    let anonymous = r#"forbidden: User \"system:anonymous\" cannot get path \"/metrics\""#;
    let account = r#"forbidden: User \"system:serviceaccount:kube-system:inspur-cloud-controller-manager\" cannot get path \"/metrics\""#;
    let spoofed = [
        "-H",
        "X-Remote-User: alice",
        "-H",
        "X-Remote-Group: system:masters",
    ];
    let cases: [(&str, &str, &[&str], u16, &str); 9] = [
        ("anybody may ask for health", "/healthz", &[], 200, "ok"),
        ("and for this", "/livez", &[], 200, "ok"),
        ("and this", "/readyz", &[], 200, "ok"),
        ("nobody in particular", "/metrics", &[], 403, anonymous),
        (
            "a bad token",
            "/metrics",
            &["-H", "Authorization: Bearer wrong"],
            401,
            "Unauthorized",
        ),
        (
            "a bad token, even here",
            "/healthz",
            &["-H", "Authorization: Bearer wrong"],
            401,
            "Unauthorized",
        ),
        (
            "somebody without the right",
            "/metrics",
            &["-H", &ours],
            403,
            account,
        ),
        (
            "an administrator",
            "/metrics",
            &["-H", &admin],
            200,
            "process_start_time_seconds",
        ),
        (
            "headers that no front proxy vouches for",
            "/metrics",
            &spoofed,
            403,
            anonymous,
        ),
    ];
    for (case, path, arguments, status, text) in cases {
        let answer = endpoint.get(path, arguments);
        assert!(
            answer.status == status && answer.body.contains(text),
            "{case}: {answer:?}\n{}",
            endpoint.daemon.output()
        );
    }
    let certificates = world.api.client_certificates.clone();
    let Some(folder) = certificates else { return };
    let shown = |name: &str| -> Vec<String> {
        let file = |end: &str| -> PathBuf { folder.join(format!("{name}.{end}")) };
        let text = |path: PathBuf| path.display().to_string();
        vec![
            "--cert".into(),
            text(file("crt")),
            "--key".into(),
            text(file("key")),
        ]
    };
    let alice = r#"forbidden: User \"alice\" cannot get path \"/configz\""#;
    let masters = ["-H", "X-Remote-User: bob", "-H", "X-Remote-Group: system:masters"];
    let cases: [(&str, &str, &[&str], u16, &str); 6] = [
        (
            "a certificate of system:masters",
            "master",
            &[],
            200,
            "cloudcontrollermanager.config.k8s.io",
        ),
        ("one without the right", "alice", &[], 403, alice),
        (
            "a front proxy for alice",
            "front-proxy",
            &["-H", "X-Remote-User: alice"],
            403,
            alice,
        ),
        (
            "a front proxy for a master",
            "front-proxy",
            &masters,
            200,
            "cloudcontrollermanager.config.k8s.io",
        ),
        (
            "a front proxy that may not be one",
            "stranger",
            &masters,
            401,
            "Unauthorized",
        ),
        (
            "a user's certificate with a proxy's headers",
            "alice",
            &masters,
            403,
            alice,
        ),
    ];
    for (case, certificate, arguments, status, text) in cases {
        let certificate = shown(certificate);
        let arguments: Vec<&str> = certificate
            .iter()
            .map(String::as_str)
            .chain(arguments.iter().copied())
            .collect();
        let answer = endpoint.get("/configz", &arguments);
        assert!(
            answer.status == status && answer.body.contains(text),
            "{case}: {answer:?}\n{}",
            endpoint.daemon.output()
        );
    }
}

#[test]
fn prometheus_understands_every_metric() {
    let (world, _) = (World::small(), ());
    let endpoint = Endpoint::start(&world, &[]);
    let admin = bearer(world.api.admin_token());
    let text = endpoint.get("/metrics", &["-H", &admin]).body;
    assert!(text.contains("workqueue_depth"), "{text}");
    let Some(promtool) = std::env::var_os("PROMTOOL") else {
        eprintln!("skipped: PROMTOOL does not name promtool");
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("PROMTOOL names a program");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped above"), text.as_bytes())
        .expect("promtool reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn status_tells_the_story_and_configz_no_secret() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    let admin = bearer(world.api.admin_token());
    world.api.create(
        crate::support::fixtures::SERVICES,
        &crate::support::fixtures::service("web")
            .slb("slb-1")
            .port(80, 30080)
            .json(),
    );
    world.api.create(
        crate::support::fixtures::SERVICES,
        &crate::support::fixtures::service("lost")
            .slb("slb-9")
            .port(81, 30081)
            .json(),
    );
    world.until("both are told of", &endpoint.daemon, || {
        let page = endpoint.get("/statusz", &["-H", &admin]).body;
        [
            "slb-1",
            "TCP/80",
            "default/web",
            "default/lost",
            "LoadBalancerNotFound",
        ]
        .iter()
        .all(|word| page.contains(word))
    });
    let health = endpoint.get("/healthz?verbose", &[]);
    assert!(
        health.status == 200 && health.body.contains("[+]service-lb-controller ok"),
        "a Service that fails is no fault of ours: {health:?}"
    );
    let pages =
        ["/statusz", "/configz", "/metrics", "/version"].map(|path| endpoint.get(path, &["-H", &admin]).body);
    for (what, secret) in world.secrets() {
        assert!(
            pages.iter().all(|page| !page.contains(&secret)),
            "{what} is on a page"
        );
    }
}

#[test]
fn plain_http_and_floods_do_no_harm() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    let plain = endpoint.url.replace("https", "http");
    let answer = curl(&plain, &[]);
    assert!(
        answer.status == 400
            && answer
                .body
                .contains("Client sent an HTTP request to an HTTPS server."),
        "{answer:?}"
    );
    let address = endpoint.url.trim_start_matches("https://");
    let idle: Vec<_> = (0..1000).map(|_| std::net::TcpStream::connect(address)).collect();
    assert_eq!(
        endpoint.get("/healthz", &[]).status,
        200,
        "while {} do nothing",
        idle.len()
    );
    let endless = format!("X-Endless: {}", "x".repeat(64 << 10));
    assert_eq!(endpoint.get("/healthz", &["-H", &endless]).status, 431);
    assert_eq!(endpoint.get("/healthz", &[]).status, 200);
}
