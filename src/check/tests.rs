//! Against the simulators on loopback sockets.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::config::Start;
use crate::sim::api_server::{ApiServer, KubeVersion, Resource, Rule};
use crate::sim::cloud::{Account, Cloud, InstanceSeed, SLB_PATH, Seed};
use crate::sim::faults::{self, Effect};
use crate::sim::server::{Answer, Core, Incoming, Logged, Now, Reply, Server};

const TOKEN: &str = "canary-api-token";

/// A simulator whose answers carry a date, and an API server that says who asks.
struct Dated {
    core: Arc<dyn Core>,
    seconds_ahead: i64,
}

impl Core for Dated {
    fn respond(&self, request: &Incoming, now: Now) -> Answer {
        if request.path().ends_with("/selfsubjectreviews") {
            let who = json!({"userInfo": {"username": "system:serviceaccount:kube-system:ccm"}});
            let answer = json!({"kind": "SelfSubjectReview", "metadata": {}, "status": who});
            return Reply::json(201, &answer).into();
        }
        match self.core.respond(request, now) {
            Answer::Full(reply) => Answer::Full(reply.with_header("Date", &date(now, self.seconds_ahead))),
            stream @ Answer::Stream { .. } => stream,
        }
    }
}

/// As HTTP spells it, on a day of no name.
fn date(now: Now, seconds_ahead: i64) -> String {
    let time = match u64::try_from(seconds_ahead) {
        Ok(ahead) => now.wall + Duration::from_secs(ahead),
        Err(_) => now.wall - Duration::from_secs(seconds_ahead.unsigned_abs()),
    };
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = 3 * (text[5..7].parse::<usize>().unwrap() - 1);
    let (day, month, year, time) = (&text[8..10], &months[month..month + 3], &text[..4], &text[11..19]);
    format!("Day, {day} {month} {year} {time} GMT")
}

/// A cluster and a cloud, and files that lead to them.
struct World {
    api: Server,
    cluster: ApiServer,
    cloud_api: Server,
    cloud: Cloud,
    dir: tempfile::TempDir,
    /// Of the cloud config.
    lines: String,
}

impl World {
    fn new() -> Self {
        Self::with_clocks(0, 0)
    }

    fn with_clocks(cluster_ahead: i64, cloud_ahead: i64) -> Self {
        let (cluster, cloud) = (ApiServer::new(1), Cloud::new(Default::default()));
        cluster.user_token(TOKEN, "ccm");
        let start = |core: Arc<dyn Core>, seconds_ahead| {
            let core = Arc::new(Dated { core, seconds_ahead });
            Server::start("127.0.0.1:0".parse().unwrap(), core).unwrap()
        };
        let api = start(Arc::new(cluster.clone()), cluster_ahead);
        let cloud_api = start(Arc::new(cloud.clone()), cloud_ahead);
        let tenant = Account::named("demo");
        cloud.add_slb(Seed::new("slb-1", "10.0.0.4", "203.0.113.1").owned_by(&tenant.user_id));
        let lines = tenant.cloud_config_with_ecs(&cloud_api.url());
        let world = Self {
            api,
            cluster,
            cloud_api,
            cloud,
            dir: tempfile::tempdir().unwrap(),
            lines,
        };
        world.grant(&[]);
        world.write("kubeconfig", &world.kubeconfig(&format!("token: {TOKEN}")));
        world.service("web", "slb-1");
        world
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn kubeconfig(&self, user: &str) -> String {
        format!(
            "clusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
            self.api.url()
        )
    }

    /// All that is needed but these: `patch nodes`.
    fn grant(&self, but: &[&str]) {
        let rule = |verbs: &str, group, resource: &str| {
            let left = verbs
                .split(' ')
                .filter(|verb| !but.contains(&&*format!("{verb} {resource}")));
            Rule::new(&left.collect::<Vec<_>>().join(" "), group, resource)
        };
        let rules = vec![
            rule("get list watch patch delete", "", "nodes"),
            rule("patch", "", "nodes/status"),
            rule("get list watch", "", "services"),
            rule("patch", "", "services/status"),
            rule("create patch", "", "events"),
            rule("get", "", "namespaces"),
            rule("get", "", "configmaps"),
            rule("get create update watch", "coordination.k8s.io", "leases"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        ];
        self.cluster.allow("ccm", rules);
    }

    fn service(&self, name: &str, slb: &str) {
        let service = json!({
            "metadata": {"name": name, "annotations": {
                "service.beta.kubernetes.io/inspur-load-balancer-slbid": slb,
            }},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        });
        self.cluster.create(Resource::Services, &service).unwrap();
    }

    fn node(&self, name: &str, instance: &str) {
        let node =
            json!({"metadata": {"name": name}, "spec": {"providerID": format!("incloud://{instance}")}});
        self.cluster.create(Resource::Nodes, &node).unwrap();
    }

    fn check(&self, flags: &[&str]) -> Vec<Row> {
        let paths = [
            format!("--kubeconfig={}", self.dir.path().join("kubeconfig").display()),
            format!(
                "--cloud-config={}",
                self.write("cloud-config", &self.lines).display()
            ),
            format!(
                "--authentication-kubeconfig={}",
                self.dir.path().join("kubeconfig").display()
            ),
            format!(
                "--authorization-kubeconfig={}",
                self.dir.path().join("kubeconfig").display()
            ),
        ];
        let args = ["check-config"]
            .into_iter()
            .chain(paths.iter().map(String::as_str));
        match config::load(args.chain(flags.iter().copied()).map(OsString::from)) {
            Ok(Start::Check { config, warnings }) => rows(config.as_deref(), &warnings),
            other => panic!("{other:?}"),
        }
    }
}

/// The rows that are not ok: check, verdict, what was found.
fn odd(rows: &[Row]) -> Vec<(&str, Verdict, &str)> {
    rows.iter()
        .filter(|row| row.verdict != Verdict::Ok)
        .map(|row| (&*row.check, row.verdict, &*row.found))
        .collect()
}

fn found<'a>(rows: &'a [Row], check: &str) -> &'a str {
    let row = rows.iter().find(|row| row.check == check);
    &row.unwrap_or_else(|| panic!("no row for {check}: {rows:?}"))
        .found
}

#[test]
fn where_all_is_well_every_row_is_ok_and_only_questions_were_asked() {
    let world = World::new();
    world.node("n1", "i-1");
    world
        .cloud
        .add_instance(InstanceSeed::new("i-1", "n1", "10.0.0.1"));
    let rows = world.check(&[]);
    assert_eq!(odd(&rows), []);
    assert_eq!(
        found(&rows, "who we are"),
        "system:serviceaccount:kube-system:ccm"
    );
    assert_eq!(
        found(&rows, "SLB API"),
        "1 of 1 SLBs that Services name are there"
    );
    assert_eq!(found(&rows, "ECS API"), "it knows the instances of 1 Nodes");
    let is_question = |call: &Logged| {
        call.method == "GET" || call.target.contains("reviews") || call.target.contains("/token")
    };
    let calls = [world.api.log().entries(), world.cloud_api.log().entries()].concat();
    assert!(calls.len() > 20);
    let others: Vec<_> = calls
        .iter()
        .filter(|call| !is_question(call))
        .map(|call| &call.target)
        .collect();
    assert_eq!(others, [""; 0]);
    let (table, secret) = (Table(rows).to_string(), Account::named("demo").client_secret);
    let tokens = world.cloud.issued_tokens();
    assert!(!tokens.is_empty());
    for secret in [TOKEN, secret.expose()]
        .into_iter()
        .chain(tokens.iter().map(|token| token.expose()))
    {
        assert!(!table.contains(secret), "{table}");
    }
}

#[test]
fn each_permission_that_is_missing_is_a_row_of_its_own() {
    let world = World::new();
    world.grant(&[
        "patch nodes",
        "delete nodes",
        "watch leases",
        "create tokenreviews",
    ]);
    let rows = world.check(&[]);
    assert_eq!(
        odd(&rows),
        [
            (
                "may nodes",
                Verdict::Failed,
                "we may not patch, delete, to initialise, label and taint Nodes, and delete those that are gone"
            ),
            (
                "may leases kube-system/cloud-controller-manager",
                Verdict::Warning,
                "we may not watch, to see at once when another replica gives the lease up"
            ),
            (
                "may tokenreviews",
                Verdict::Failed,
                "we may not create, to tell who calls the endpoint with a token"
            ),
        ]
    );
    let accounts = world.check(&["--use-service-account-credentials"]);
    let about = |row: &&Row| row.found.starts_with("kube-system/node-controller may not ");
    assert_eq!(accounts.iter().filter(about).count(), 2, "{accounts:?}");
}

#[test]
fn an_old_api_server_is_not_asked_who_we_are() {
    let world = World::new();
    let asked = || {
        world
            .api
            .log()
            .count(|call| call.target.contains("/selfsubjectreviews"))
    };
    world.check(&[]);
    assert_eq!(asked(), 1);
    world
        .cluster
        .configure(|settings| settings.version = KubeVersion::V1_14);
    let rows = world.check(&[]);
    assert_eq!(
        found(&rows, "who we are"),
        "the API server does not tell (it does from Kubernetes 1.28 on)"
    );
    assert_eq!(asked(), 1);
}

#[test]
fn an_api_server_that_is_away_or_refuses_us_costs_nothing_but_its_own_rows() {
    type Break = fn(&World);
    let cases: [(&str, Break, &str); 4] = [
        (
            "hangs up",
            |world| {
                let rule = faults::Rule::new(Effect::HangUp).forever();
                world.api.faults().add(rule);
            },
            "no answer to GET /version",
        ),
        (
            "refuses us",
            |world| {
                world.cluster.revoke_token(TOKEN);
                let rule = faults::Rule::new(Effect::status(401)).forever();
                world.api.faults().add(rule);
            },
            "does not accept our credentials",
        ),
        (
            "is something else",
            |world| {
                let text = world
                    .kubeconfig("token: x")
                    .replace(&world.api.url(), &world.cloud_api.url());
                world.write("kubeconfig", &text);
            },
            "",
        ),
        (
            "cannot be found",
            |world| {
                world.write("kubeconfig", "clusters: []\n");
            },
            "",
        ),
    ];
    for (case, damage, words) in cases {
        let world = World::new();
        damage(&world);
        let rows = world.check(&[]);
        let odd = odd(&rows);
        let failed = odd.iter().find(|row| row.1 == Verdict::Failed);
        assert!(failed.is_some_and(|row| row.2.contains(words)), "{case}: {odd:?}");
        assert!(odd.iter().all(|row| row.1 != Verdict::Warning), "{case}: {odd:?}");
        assert_eq!(
            found(&rows, "SLB API"),
            "it answers; no Service names an SLB yet",
            "{case}"
        );
    }
}

#[test]
fn a_cloud_that_refuses_us_costs_nothing_but_its_own_rows() {
    let mut world = World::new();
    world.lines = world.lines.replace(
        Account::named("demo").client_secret.expose(),
        "canary-wrong-secret",
    );
    let rows = world.check(&[]);
    let checks: Vec<_> = odd(&rows).iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(
        checks,
        [
            ("cloud token", Verdict::Failed),
            ("SLB API", Verdict::Skipped),
            ("ECS API", Verdict::Failed)
        ]
    );
    assert!(!Table(rows).to_string().contains("canary"));

    let world = World::new();
    let broken = faults::Rule::on("GET", SLB_PATH, Effect::status(403));
    world.cloud_api.faults().add(broken.forever());
    world.service("lost", "slb-9");
    let rows = world.check(&[]);
    assert!(
        odd(&rows)
            .iter()
            .any(|row| row.0 == "SLB slb-9" && row.1 == Verdict::Warning),
        "{rows:?}"
    );
}

#[test]
fn slbs_and_instances_that_the_cloud_does_not_know_are_told() {
    let mut world = World::new();
    world.service("lost", "slb-9");
    world.node("n1", "i-1");
    let rows = world.check(&[]);
    let odd_rows = odd(&rows);
    assert_eq!((odd_rows[0].0, odd_rows[0].1), ("SLB slb-9", Verdict::Warning));
    assert!(
        odd_rows[0].2.starts_with("Service default/lost names it: "),
        "{odd_rows:?}"
    );
    assert_eq!(
        found(&rows, "SLB API"),
        "1 of 2 SLBs that Services name are there"
    );
    assert_eq!(
        odd_rows[1..],
        [(
            "ECS API",
            Verdict::Failed,
            "it knows none of the 1 Nodes' instances (n1)"
        )]
    );
    world.lines = Account::named("demo").cloud_config(&world.cloud_api.url());
    let rows = world.check(&[]);
    assert_eq!(odd(&rows)[1].1, Verdict::Skipped, "{rows:?}");
}

#[test]
fn clocks_that_differ_are_told() {
    let rows = World::with_clocks(30, -3600).check(&[]);
    let clocks: Vec<_> = odd(&rows).iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(
        clocks,
        [
            ("clock: API server", Verdict::Warning),
            ("clock: cloud", Verdict::Failed)
        ]
    );
}

#[test]
fn a_configuration_that_is_wrong_in_several_places_is_told_as_a_whole() {
    let mut world = World::new();
    world.lines.push_str("zoen=a\nregion=?!\n");
    let rows = world.check(&[]);
    let checks: Vec<_> = odd(&rows).iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(
        checks,
        [
            ("cloud config", Verdict::Failed),
            ("configuration", Verdict::Warning),
            ("cloud", Verdict::Skipped)
        ],
        "the cluster is looked at all the same"
    );
    assert_eq!(found(&rows, "API server"), "Kubernetes v1.37.2");
    let rows = world.check(&["--v=x", "--node-monitor-period=0"]);
    let failed = rows.iter().filter(|row| row.verdict == Verdict::Failed);
    assert_eq!(
        failed.map(|row| &*row.check).collect::<Vec<_>>(),
        ["flags", "flags", "cloud config"]
    );
}

#[test]
fn the_age_of_our_certificates_is_told() {
    let world = World::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let old = world.write("old.crt", &params.self_signed(&key).unwrap().pem());
    let key = world.write("old.key", &key.serialize_pem());
    let user = format!(
        "token: {TOKEN}, client-certificate: {}, client-key: {}",
        old.display(),
        key.display()
    );
    world.write("kubeconfig", &world.kubeconfig(&user));
    let files = [
        format!("--tls-cert-file={}", old.display()),
        format!("--tls-private-key-file={}", key.display()),
    ];
    let rows = world.check(&[&files[0], &files[1]]);
    let checks: Vec<_> = odd(&rows).iter().map(|row| (row.0, row.1)).collect();
    assert_eq!(
        checks,
        [
            ("certificate: client", Verdict::Failed),
            ("certificate: endpoint", Verdict::Failed)
        ],
        "{rows:?}"
    );
}

#[test]
fn a_step_that_hangs_is_left_behind() {
    let mut steps = Steps::new();
    let (_never_sent, hangs) = bounded::<Value>(0);
    steps.patience = Duration::from_millis(1);
    assert_eq!(steps.take(move || hangs.recv().ok()), None);
    steps.patience = STEP;
    assert_eq!(steps.take(|| 1), Some(1));
}
