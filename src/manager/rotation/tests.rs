use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::cloud::CloudProvider;
use crate::config::cloud_config;
use crate::http::Transport;
use crate::http::testing::{Ca, Leaf, spawn};
use crate::inspur::api::{Credentials, Limit, Retrying};
use crate::inspur::name::ClusterId;
use crate::inspur::{self, InspurCloud};
use crate::k8s::connect::{ConnectOptions, connect};
use crate::k8s::types::Service;
use crate::runtime::backoff::Backoff;
use crate::runtime::clock::{ManualClock, SystemClock};
use crate::runtime::gate::Gate;
use crate::runtime::stop::Stop;
use crate::sim::cloud::{Account, Cloud, Seed};
use crate::sim::server::InProcess;

fn clock() -> ManualClock {
    ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1000))
}

fn lines(metrics: &Metrics) -> Vec<String> {
    let text = metrics.text();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Each of `want` is a line of a scrape.
fn assert_shown(metrics: &Metrics, want: &[&str], case: &str) {
    let lines = lines(metrics);
    for line in want {
        assert!(
            lines.iter().any(|found| found == line),
            "{case}: {line}: {lines:#?}"
        );
    }
}

#[test]
fn what_came_of_a_look_is_counted() {
    let (metrics, clock) = (Metrics::new(), clock());
    let mut rotation = Rotation::new(&metrics, Arc::new(clock.clone()));
    let outcomes = [
        Reloaded::Unchanged,
        Reloaded::Refused,
        Reloaded::Unchanged,
        Reloaded::Changed,
        Reloaded::NeedsRestart,
    ];
    let next = AtomicUsize::new(0);
    rotation.watch("x", move || outcomes[next.fetch_add(1, Ordering::SeqCst)]);
    for (successful, at, success, failure, restart) in [
        (1, 1000, 0, 0, 0),
        (1, 1000, 0, 0, 0),
        (0, 1000, 0, 1, 0),
        (0, 1000, 0, 1, 0),
        (1, 1040, 1, 1, 0),
        (0, 1040, 1, 1, 1),
    ] {
        let want = [
            format!("config_last_reload_successful{{what=\"x\"}} {successful}"),
            format!("config_last_reload_success_timestamp_seconds{{what=\"x\"}} {at}"),
            format!("config_reloads_total{{result=\"success\",what=\"x\"}} {success}"),
            format!("config_reloads_total{{result=\"failure\",what=\"x\"}} {failure}"),
            format!("config_reloads_total{{result=\"restart_needed\",what=\"x\"}} {restart}"),
        ];
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        assert_shown(
            &metrics,
            &want,
            &format!("{successful} {at} {success} {failure} {restart}"),
        );
        clock.advance(Duration::from_secs(10));
        if restart == 0 {
            rotation.look();
        }
    }
}

#[test]
fn it_looks_when_it_is_woken_and_ends_when_it_is_stopped() {
    let mut rotation = Rotation::new(&Metrics::new(), Arc::new(SystemClock));
    let ((looked, looks), (done, ended)) = (mpsc::channel(), mpsc::channel());
    let looked = Mutex::new(looked);
    rotation.watch("x", move || {
        looked.lock().unwrap().send(()).unwrap();
        Reloaded::Unchanged
    });
    let (waker, stop) = (rotation.waker(), Stop::new());
    let token = stop.token();
    spawn(move || {
        rotation.run(&token);
        done.send(()).unwrap();
    });
    let soon = Duration::from_secs(20);
    for _ in 0..2 {
        waker.wake();
        looks.recv_timeout(soon).expect("it looks");
    }
    stop.stop();
    ended.recv_timeout(soon).expect("it ends");
}

struct Cluster {
    folder: tempfile::TempDir,
    ca: Ca,
}

impl Cluster {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ca: Ca::new("ca"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// As kubeadm writes controller-manager.conf.
    fn write(&self, leaf: &Leaf) {
        let data = |pem: &str| STANDARD.encode(pem);
        let text = format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', certificate-authority-data: {}}}}}]\n\
             users: [{{name: u, user: {{client-certificate-data: {}, client-key-data: {}, tokenFile: token}}}}]\n",
            data(&self.ca.certificate),
            data(&leaf.certificate),
            data(&leaf.key)
        );
        fs::write(self.path(), text).unwrap();
    }

    fn write_token(&self, token: &str) {
        fs::write(self.folder.path().join("token"), token).unwrap();
    }

    fn leaf(&self, last_year: i32) -> Leaf {
        self.ca.issue_with(&["client"], |params| {
            params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        })
    }

    fn connect(&self, clock: &ManualClock) -> Arc<Connector> {
        let path = self.path();
        let connector = connect(ConnectOptions {
            metrics: crate::k8s::ClientMetrics::default(),
            kubeconfig: Some(&path),
            master: None,
            qps: 0.0,
            burst: 1,
            stop: StopToken::never(),
            gate: Gate::open(),
            clock: Arc::new(clock.clone()),
        });
        Arc::new(connector.unwrap())
    }
}

#[test]
fn the_ways_to_the_cluster_are_watched() {
    let (metrics, clock, cluster) = (Metrics::new(), clock(), Cluster::new());
    cluster.write(&cluster.leaf(2030));
    cluster.write_token("one");
    let mut rotation = Rotation::new(&metrics, Arc::new(clock.clone()));
    rotation.watch_cluster(cluster.connect(&clock));
    let begun = [
        "client_cert_expiry_seconds 1893456000",
        "config_last_reload_successful{what=\"kubeconfig\"} 1",
        "config_last_reload_successful{what=\"cluster_certificates\"} 1",
        "token_reload_total{result=\"success\"} 0",
        "token_reload_total{result=\"failure\"} 0",
    ];
    assert_shown(&metrics, &begun, "at the start");
    rotation.look();
    assert_shown(&metrics, &begun, "nothing changed");

    cluster.write(&cluster.leaf(2031));
    cluster.write_token("two");
    rotation.look();
    let renewed = [
        "client_cert_expiry_seconds 1924992000",
        "config_reloads_total{result=\"success\",what=\"kubeconfig\"} 1",
        "token_reload_total{result=\"success\"} 1",
    ];
    assert_shown(&metrics, &renewed, "renewed");

    fs::write(cluster.path(), "").unwrap();
    cluster.write_token("");
    rotation.look();
    rotation.look();
    let refused = [
        "client_cert_expiry_seconds 1924992000",
        "config_reloads_total{result=\"failure\",what=\"kubeconfig\"} 1",
        "config_last_reload_successful{what=\"kubeconfig\"} 0",
        "token_reload_total{result=\"failure\"} 1",
    ];
    assert_shown(&metrics, &refused, "emptied");
}

/// A cloud config that changes, and the cloud that it leads to.
struct Provider {
    folder: tempfile::TempDir,
    cloud: Cloud,
    inspur: InspurCloud,
    live: LiveCloudConfig,
    resyncs: Arc<AtomicUsize>,
}

const HOST: &str = "https://sim.example";

impl Provider {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::default();
        cloud.add_slb(Seed::new("slb-1", "192.0.2.1", "203.0.113.1"));
        let path = folder.path().join("cloud-config");
        fs::write(&path, Account::named("demo").cloud_config(HOST)).unwrap();
        let config = cloud_config::load(&path).config.unwrap();
        let clock = Arc::new(clock());
        let transport: Arc<dyn Transport> =
            Arc::new(InProcess::with_clock(Arc::new(cloud.clone()), clock.clone()));
        let options = inspur::Options {
            cluster_id: ClusterId::parse("c1").unwrap(),
            slb_url: config.slb_url.clone(),
            ecs_url: None,
            region: None,
            zone: None,
            // as if it had been made with an older version
            credentials: Credentials::Keycloak {
                url: "https://nowhere.example".into(),
                client_id: "x".into(),
                client_secret: crate::runtime::secret_source::SecretSource::Value(
                    crate::runtime::secret::Secret::new("x"),
                ),
                requested_subject: "x".into(),
            },
            defaults: config.defaults.clone(),
            limit: Limit::default(),
            retrying: Retrying {
                attempts: 1,
                backoff: Backoff {
                    initial: Duration::ZERO,
                    cap: Duration::ZERO,
                    jitter: 0.0,
                },
            },
        };
        let inspur = InspurCloud::new(
            options,
            transport,
            Gate::open(),
            clock,
            StopToken::never(),
            &crate::metrics::Metrics::new(),
        );
        let (live, resyncs) = (LiveCloudConfig::new(config), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&resyncs);
        live.attach(Effects {
            controls: inspur.controls(),
            defaults_changed: Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        });
        resyncs.store(0, Ordering::SeqCst);
        Self {
            folder,
            cloud,
            inspur,
            live,
            resyncs,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cloud-config")
    }

    fn good(&self) -> String {
        Account::named("demo").cloud_config(HOST)
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// Whether a call to the cloud with a token asked for just now is answered.
    fn works(&self) -> bool {
        self.cloud.expire_tokens();
        let mut service = Service {
            type_: "LoadBalancer".into(),
            ..Service::default()
        };
        let slb = (inspur::annotations::SLB_ID.to_owned(), "slb-1".to_owned());
        service.meta.annotations = [slb].into_iter().collect();
        self.inspur.load_balancers().unwrap().locate(&service).is_ok()
    }
}

fn secret_of(cloud: &str) -> String {
    let line = cloud.lines().find(|line| line.starts_with("client-secret="));
    line.unwrap().to_owned()
}

#[test]
fn what_the_program_started_with_is_in_force_and_is_no_news() {
    let provider = Provider::new();
    assert!(
        provider.works(),
        "a cloud that was made with older credentials has these"
    );
    assert_eq!(provider.live.reload(), Reloaded::Unchanged);
    assert_eq!(provider.live.reload(), Reloaded::Unchanged);
}

#[test]
fn other_credentials_are_used_for_the_next_token() {
    let provider = Provider::new();
    let good = provider.good();
    provider.write(&good.replace(&secret_of(&good), "client-secret=wrong"));
    assert_eq!(provider.live.reload(), Reloaded::Changed);
    assert!(!provider.works());
    fs::write(
        provider.folder.path().join("secret"),
        Account::named("demo").client_secret.expose(),
    )
    .unwrap();
    provider.write(&good.replace(&secret_of(&good), "client-secret-file=secret"));
    assert_eq!(provider.live.reload(), Reloaded::Changed);
    assert!(provider.works());
    assert_eq!(
        provider.resyncs.load(Ordering::SeqCst),
        0,
        "no Service is concerned"
    );
}

#[test]
fn other_defaults_have_every_service_synced_again() {
    let provider = Provider::new();
    provider.write(&format!(
        "{}\nhealth-check=off\nregion=elsewhere\n",
        provider.good()
    ));
    assert_eq!(provider.live.reload(), Reloaded::NeedsRestart, "for the region");
    assert_eq!(provider.resyncs.load(Ordering::SeqCst), 1);
    let in_force = provider.live.config();
    assert_eq!(
        (in_force.defaults.check, in_force.region),
        (Some(inspur::annotations::Switch::Off), None)
    );
    provider.write(&format!("{}\nhealth-check=off\n", provider.good()));
    assert_eq!(
        provider.live.reload(),
        Reloaded::Changed,
        "what is in force is what is there"
    );
    assert_eq!(provider.resyncs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_bad_cloud_config_is_told_once_and_the_old_one_goes_on() {
    let provider = Provider::new();
    let (good, path) = (provider.good(), provider.path());
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Change<'_>); 6] = [
        ("garbage", &|path| fs::write(path, "\u{1}\u{2}{[").unwrap()),
        ("nothing", &|path| fs::write(path, "").unwrap()),
        ("a directory", &|path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("nothing there", &|path| fs::remove_dir(path).unwrap()),
        ("a bad value", &|path| {
            fs::write(path, format!("{good}\napi-qps=fast")).unwrap()
        }),
        ("a secret's file that is not there", &|path| {
            let text = good.replace(&secret_of(&good), "client-secret-file=later");
            fs::write(path, text).unwrap();
        }),
    ];
    for (case, change) in cases {
        change(&path);
        assert_eq!(provider.live.reload(), Reloaded::Refused, "{case}");
        assert_eq!(provider.live.reload(), Reloaded::Unchanged, "{case}: again");
        assert!(provider.works(), "{case}");
    }
    fs::write(
        provider.folder.path().join("later"),
        Account::named("demo").client_secret.expose(),
    )
    .unwrap();
    assert_eq!(
        provider.live.reload(),
        Reloaded::Changed,
        "the secret's file came later"
    );
    assert!(provider.works());
}

#[test]
fn a_config_in_a_mounted_secret_is_followed() {
    let provider = Provider::new();
    let at = |name: &str| provider.folder.path().join(name);
    let good = provider.good();
    for (version, text) in [
        ("v1", good.replace(&secret_of(&good), "client-secret=wrong")),
        ("v2", good.clone()),
    ] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("cloud-config"), text).unwrap();
    }
    let point_to = |version: &str| {
        std::os::unix::fs::symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    point_to("v1");
    fs::remove_file(provider.path()).unwrap();
    std::os::unix::fs::symlink("..data/cloud-config", provider.path()).unwrap();
    assert_eq!(provider.live.reload(), Reloaded::Changed);
    assert!(!provider.works());
    point_to("v2");
    assert_eq!(provider.live.reload(), Reloaded::Changed);
    assert!(provider.works());
}
