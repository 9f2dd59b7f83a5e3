//! Rotation on a running daemon: files change, SIGHUP says so, and everything else goes on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, bearer};
use crate::support::fixtures::{SERVICES, service};
use crate::support::{CLOUD_CONFIG, World};

/// What every daemon here has in its cloud config beside the way to the cloud.
const MORE: &str = "cluster-id=test\n";

/// By itself the daemon looks at its files every half minute: whatever took less was seen because of the signal.
const BY_ITSELF: Duration = Duration::from_secs(29);

/// Has the daemon look at its files, and waits until `seen`.
fn rotate(world: &World, endpoint: &Endpoint, what: &str, seen: impl Fn() -> bool) {
    let asked = Instant::now();
    endpoint.daemon.signal("HUP");
    world.until(what, &endpoint.daemon, seen);
    assert!(asked.elapsed() < BY_ITSELF, "{what}: not because of the signal");
}

/// Whether `/metrics` has that line.
fn shows(world: &World, endpoint: &Endpoint, line: &str) -> bool {
    let admin = bearer(world.api.admin_token());
    let page = endpoint.get("/metrics", &["-H", &admin]).body;
    page.lines().any(|found| found == line)
}

/// Whether what is on disk is in use, as `/metrics` says it.
fn successful(world: &World, endpoint: &Endpoint, what: &str, successful: bool) -> bool {
    let value = u8::from(successful);
    shows(
        world,
        endpoint,
        &format!("config_last_reload_successful{{what=\"{what}\"}} {value}"),
    )
}

/// Makes a Service, and waits until it is served.
fn serve(world: &World, endpoint: &Endpoint, name: &str, port: u16) {
    let object = service(name).slb("slb-1").port(port, 30_000 + port);
    world.api.create(SERVICES, &object.json());
    world.until(&format!("{name} is served"), &endpoint.daemon, || {
        world.ingress(name) == ["203.0.113.1"]
    });
}

/// How often the daemon logged that.
fn count(endpoint: &Endpoint, line: &str) -> usize {
    endpoint.daemon.output().matches(line).count()
}

/// Whether a line of the log has all of these words.
fn tells(endpoint: &Endpoint, words: &[&str]) -> bool {
    let output = endpoint.daemon.output();
    output
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)))
}

/// A way to break a file, and what it is called.
type Harm = (&'static str, fn(&Path));

/// What can be in the place of a file.
const HARMS: [Harm; 4] = [
    ("garbage", |path| {
        fs::write(path, "}{ \u{0}\u{fffd}").expect("writable")
    }),
    ("nothing", |path| fs::write(path, "").expect("writable")),
    ("no file", |path| fs::remove_file(path).expect("it is there")),
    ("a directory", |path| fs::create_dir(path).expect("there is none")),
];

/// Ends what the last harm did.
fn heal(path: &Path, text: &str) {
    if path.is_dir() {
        fs::remove_dir(path).expect("it is empty");
    }
    fs::write(path, text).expect("writable");
}

#[test]
fn a_new_client_secret_takes_the_place_of_one_that_is_refused() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    serve(&world, &endpoint, "web", 80);
    let secret = "another+s3cret/&=";
    world.change_client_secret(secret);
    world
        .api
        .create(SERVICES, &service("late").slb("slb-1").port(81, 30081).json());
    world.until("the old secret is refused", &endpoint.daemon, || {
        tells(&endpoint, &["cannot sync", "default/late", "invalid_client"])
    });
    let path = world.cloud_config_file(MORE);
    let text = fs::read_to_string(&path).expect("just written");
    let (_, old) = &world.secrets()[0];
    fs::write(path, text.replace(old, secret)).expect("writable");
    rotate(&world, &endpoint, "the new one is in use", || {
        tells(&endpoint, &["use the new cloud config", "credentials=true"])
    });
    world.until("it is served", &endpoint.daemon, || {
        world.ingress("late") == ["203.0.113.1"]
    });
    assert!(successful(&world, &endpoint, "cloud_config", true));
    let line = "config_reloads_total{result=\"success\",what=\"cloud_config\"} 1";
    assert!(shows(&world, &endpoint, line), "{line}");
    assert!(!endpoint.daemon.output().contains(secret), "it is in the log");
}

#[test]
fn a_cloud_config_that_cannot_be_used_is_refused_and_the_old_one_goes_on() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    let path = world.cloud_config_file(MORE);
    let good = fs::read_to_string(&path).expect("just written");
    for (before, (case, harm)) in HARMS.into_iter().enumerate() {
        harm(&path);
        let refusal = "keep the old cloud config: the new one cannot be used";
        rotate(&world, &endpoint, case, || {
            count(&endpoint, refusal) == before + 1 && successful(&world, &endpoint, "cloud_config", false)
        });
        assert!(
            tells(&endpoint, &["ERROR", refusal, CLOUD_CONFIG]),
            "{}",
            endpoint.daemon.output()
        );
        let number = u16::try_from(before).expect("few");
        serve(&world, &endpoint, &format!("web-{number}"), 80 + number);
    }
    heal(&path, &good);
    rotate(&world, &endpoint, "the good one is back", || {
        successful(&world, &endpoint, "cloud_config", true)
    });
    serve(&world, &endpoint, "late", 90);
    let line = format!(
        "config_reloads_total{{result=\"failure\",what=\"cloud_config\"}} {}",
        HARMS.len()
    );
    assert!(shows(&world, &endpoint, &line), "{line}");
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_others_count() {
    let world = World::small();
    let endpoint = Endpoint::start(&world, &[]);
    serve(&world, &endpoint, "web", 80);
    world.cloud_config_file("cluster-id=other\nregion=r2\nhealth-check=off\n");
    rotate(&world, &endpoint, "the keys are named", || {
        tells(
            &endpoint,
            &[
                "WARN",
                "some changes of the cloud config need a restart",
                "cluster-id,region",
            ],
        )
    });
    world.until("the other key counts", &endpoint.daemon, || {
        world.health_checks("slb-1") == ["TCP/80 off"]
    });
    assert!(successful(&world, &endpoint, "cloud_config", false));
    assert!(
        world
            .listener_names("slb-1")
            .iter()
            .all(|name| !name.contains("other")),
        "who we are does not change"
    );
    world.cloud_config_file("cluster-id=test\nhealth-check=off\n");
    rotate(&world, &endpoint, "all is in use", || {
        successful(&world, &endpoint, "cloud_config", true)
    });
}

/// As kubelet changes it: the link that all files go through is replaced by another one.
#[test]
fn a_mounted_secret_that_is_swapped_changes_listeners_that_are_there() {
    let world = World::small();
    let config = world.file(CLOUD_CONFIG, "");
    let folder = config.parent().expect("it is in a folder").to_path_buf();
    let at = |name: &str| folder.join(name);
    let point_to = |version: &str| {
        symlink(version, at("..data_tmp")).expect("a new link");
        fs::rename(at("..data_tmp"), at("..data")).expect("a link that takes the place of another");
    };
    for version in ["..v1", "..v2"] {
        fs::create_dir(at(version)).expect("a new folder");
    }
    fs::remove_file(&config).expect("it is there");
    symlink(format!("..data/{CLOUD_CONFIG}"), &config).expect("a new link");
    point_to("..v1");
    let endpoint = Endpoint::start(&world, &[]);
    serve(&world, &endpoint, "web", 80);
    let before = world.health_checks("slb-1");
    assert!(before[0].contains("TCP/80 tcp"), "{before:?}");
    let text = fs::read_to_string(&config).expect("the daemon started with it");
    fs::write(at("..v2").join(CLOUD_CONFIG), format!("{text}health-check=off\n")).expect("writable");
    assert_eq!(world.health_checks("slb-1"), before);
    point_to("..v2");
    fs::remove_dir_all(at("..v1")).expect("nobody needs it");
    rotate(&world, &endpoint, "the listener changes", || {
        world.health_checks("slb-1") == ["TCP/80 off"]
    });
    world.until("it is told", &endpoint.daemon, || {
        let words = ["use the new cloud config", "defaults=true", "credentials=false"];
        tells(&endpoint, &words)
    });
    assert_eq!(count(&endpoint, "need a restart"), 0);
}

/// A daemon with a kubeconfig of its own, which is beside it.
fn start_on_own_kubeconfig(world: &World) -> (Endpoint, PathBuf) {
    let text = world.api.kubeconfig_with(&world.api.daemon_token);
    let path = world.file("own.kubeconfig", &text);
    let flag = format!("--kubeconfig={}", path.display());
    (Endpoint::start(world, &[&flag]), path)
}

#[test]
fn a_kubeconfig_with_a_new_token_is_used() {
    let world = World::small();
    let (endpoint, path) = start_on_own_kubeconfig(&world);
    serve(&world, &endpoint, "web", 80);
    let text = world.api.kubeconfig_with(&world.api.second_daemon_token);
    fs::write(&path, text).expect("writable");
    rotate(&world, &endpoint, "the new one is in use", || {
        tells(
            &endpoint,
            &["use the new credentials of the kubeconfig", "own.kubeconfig"],
        )
    });
    world.revoke_daemon_token();
    serve(&world, &endpoint, "late", 81);
    let line = "config_reloads_total{result=\"success\",what=\"kubeconfig\"} 1";
    if !world.is_simulated() {
        // there the old token is still good: who wrote is in the audit log
        let wrote = |uid: &str| {
            let audit = world.audit_of("inspur-cloud-controller-manager");
            let of_late = |event: &&serde_json::Value| {
                event["user"]["uid"] == uid && event["objectRef"]["name"] == "late"
            };
            audit.iter().filter(of_late).count()
        };
        world.until("it is in the audit log", &endpoint.daemon, || wrote("ccm-b") > 0);
        assert_eq!(wrote("ccm"), 0);
        assert!(shows(&world, &endpoint, line), "{line}");
    }
    assert!(
        !endpoint.daemon.output().contains(&world.api.second_daemon_token),
        "it is in the log"
    );
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_refused_and_the_old_one_goes_on() {
    let world = World::small();
    let (endpoint, path) = start_on_own_kubeconfig(&world);
    let good = fs::read_to_string(&path).expect("just written");
    for (before, (case, harm)) in HARMS.into_iter().enumerate() {
        harm(&path);
        let refusal = "keep the old kubeconfig: the new one cannot be used";
        rotate(&world, &endpoint, case, || {
            count(&endpoint, refusal) == before + 1 && successful(&world, &endpoint, "kubeconfig", false)
        });
        assert!(
            tells(&endpoint, &["ERROR", refusal, "own.kubeconfig"]),
            "{}",
            endpoint.daemon.output()
        );
        let number = u16::try_from(before).expect("few");
        serve(&world, &endpoint, &format!("web-{number}"), 80 + number);
    }
    heal(&path, &good.replace(&world.api.base, "https://127.0.0.1:9"));
    rotate(&world, &endpoint, "another server needs a restart", || {
        tells(&endpoint, &["WARN", "needs a restart", "changed=server"])
    });
    assert!(successful(&world, &endpoint, "kubeconfig", false));
    serve(&world, &endpoint, "late", 90);
    heal(&path, &good);
    rotate(&world, &endpoint, "the good one is back", || {
        successful(&world, &endpoint, "kubeconfig", true)
    });
}

/// Who asks the API server about callers has a kubeconfig, too.
#[test]
fn a_new_token_for_reviews_is_used() {
    let world = World::small();
    let path = world.file("reviews.kubeconfig", &world.api.kubeconfig_with("refused"));
    let flag = |name: &str| format!("--{name}-kubeconfig={}", path.display());
    let endpoint = Endpoint::start(
        &world,
        &[
            &flag("authentication"),
            &flag("authorization"),
            "--authentication-tolerate-lookup-failure=true",
        ],
    );
    let admin = bearer(world.api.admin_token());
    let status = || endpoint.get("/metrics", &["-H", &admin]).status;
    assert_ne!(status(), 200, "nobody can be asked about it");
    fs::write(&path, world.api.kubeconfig_with(&world.api.daemon_token)).expect("writable");
    rotate(&world, &endpoint, "callers are known", || status() == 200);
}

/// A pair for 127.0.0.1 in PEM, and where it is.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn at(world: &World, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("it can be made");
        Self {
            certificate: world.file(&format!("{name}.crt"), &made.cert.pem()),
            key: world.file(&format!("{name}.key"), &made.signing_key.serialize_pem()),
        }
    }

    fn copy_to(&self, other: &Pair) {
        for (from, to) in [(&self.certificate, &other.certificate), (&self.key, &other.key)] {
            fs::copy(from, to).expect("both are there");
        }
    }

    /// Whether the endpoint shows this one.
    fn is_shown(&self, endpoint: &Endpoint) -> bool {
        let status = Command::new("curl")
            .args([
                "--silent",
                "--output",
                "/dev/null",
                "--max-time",
                "20",
                "--cacert",
            ])
            .arg(&self.certificate)
            .arg(format!("{}/healthz", endpoint.url))
            .status();
        status.expect("curl is installed").success()
    }
}

#[test]
fn the_endpoint_shows_a_new_certificate_and_refuses_a_bad_one() {
    let world = World::small();
    let (used, first) = (Pair::at(&world, "tls"), Pair::at(&world, "first"));
    first.copy_to(&used);
    let flags = [
        format!("--tls-cert-file={}", used.certificate.display()),
        format!("--tls-private-key-file={}", used.key.display()),
    ];
    let endpoint = Endpoint::start(&world, &flags.each_ref().map(String::as_str));
    let second = Pair::at(&world, "second");
    assert!(first.is_shown(&endpoint) && !second.is_shown(&endpoint));
    second.copy_to(&used);
    rotate(&world, &endpoint, "the new one is shown", || {
        second.is_shown(&endpoint)
    });
    assert!(!first.is_shown(&endpoint));
    for (before, (case, harm)) in HARMS.into_iter().enumerate() {
        harm(&used.certificate);
        let refusal = "keep the endpoint's old certificate: the new one cannot be used";
        rotate(&world, &endpoint, case, || {
            count(&endpoint, refusal) > before
                && successful(&world, &endpoint, "endpoint_certificates", false)
        });
        assert!(second.is_shown(&endpoint), "{case}");
        assert!(
            tells(&endpoint, &["ERROR", refusal, "tls.crt"]),
            "{}",
            endpoint.daemon.output()
        );
        // again and again, with nothing new: once is enough
        endpoint.daemon.signal("HUP");
        assert!(second.is_shown(&endpoint), "{case}");
    }
    let pem = fs::read_to_string(&first.certificate).expect("just written");
    heal(&used.certificate, &pem);
    rotate(&world, &endpoint, "a certificate without its key", || {
        tells(&endpoint, &["does not belong to the certificate"])
    });
    assert!(second.is_shown(&endpoint));
    first.copy_to(&used);
    rotate(&world, &endpoint, "a good pair is there again", || {
        first.is_shown(&endpoint) && successful(&world, &endpoint, "endpoint_certificates", true)
    });
    assert_eq!(
        count(&endpoint, "keep the endpoint's old certificate"),
        HARMS.len() + 1,
        "each bad version is told of once"
    );
}
