//! The API server: where it is, whether it answers, who we are to it, and what we may do there.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::permissions::{Need, Weight, Who, needs};
use super::table::Row;
use super::{LIMITS, STEP, Steps, certificates, skew};
use crate::config::flags::Flags;
use crate::http;
use crate::k8s::connect::{ClientKind, ConnectError, ConnectOptions, Connector, connect};
use crate::k8s::types::{Node, Service};
use crate::k8s::{Call, Client, ClientMetrics, Error, Review, kubeconfig};
use crate::manager::connections::api_server;
use crate::runtime::chain;
use crate::runtime::json;
use crate::runtime::yaml;

/// What of the cluster the cloud is asked about.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) services: Vec<Service>,
    pub(super) nodes: Vec<Arc<Node>>,
}

/// Source: the oldest version that the daemon is tested against.
const OLDEST_MINOR: u32 = 14;
/// Serves SelfSubjectReview. Source: kubernetes, pkg/apis/authentication/v1.
const TELLING_MINOR: u32 = 28;

const SERVER: &str = "API server";

pub(super) fn check(steps: &mut Steps, flags: &Flags, knows_itself: bool, rows: &mut Vec<Row>) -> Seen {
    let connector = match api_server(
        flags,
        &steps.stop,
        &steps.gate,
        &steps.clock,
        ClientMetrics::default(),
    ) {
        Ok(connector) => connector,
        Err(error) => {
            let way = "give --kubeconfig a file that can be used, or run in a Pod with a service account";
            rows.push(Row::failed("access to the cluster", chain(&error)).advice(way));
            rows.push(Row::skipped(SERVER, "there is no way to it"));
            return Seen::default();
        }
    };
    let way = match (&flags.kubeconfig, &flags.master) {
        (Some(path), _) => format!("by {}", path.display()),
        (None, Some(_)) => "by --master, as nobody".to_owned(),
        (None, None) => "by the Pod's service account".to_owned(),
    };
    let found = format!("{}, {way}", connector.server());
    rows.push(Row::ok("access to the cluster", found));
    rows.extend(of_our_certificate(flags, steps.clock.wall()));
    let client = client_of(&connector, steps);
    let Some(kubernetes) = is_there(steps, &client, rows) else {
        rows.push(Row::skipped("permissions", "the API server cannot be asked"));
        return Seen::default();
    };
    rows.push(who_we_are(steps, &client, &kubernetes));
    may_we(steps, &client, flags, knows_itself, rows);
    Seen {
        services: list(steps, &client, "/api/v1/services?limit=500"),
        nodes: list(steps, &client, "/api/v1/nodes?limit=100")
            .into_iter()
            .map(Arc::new)
            .collect(),
    }
}

fn client_of(connector: &Connector, steps: &Steps) -> Client {
    connector.client("check-config", ClientKind::Controllers, steps.stop.token())
}

/// The row of the kubeconfig's client certificate, if it has one.
fn of_our_certificate(flags: &Flags, now: SystemTime) -> Option<Row> {
    let path = flags.kubeconfig.as_deref()?;
    let identity = identity(path, flags.master.as_deref())?;
    Some(certificates::of(
        "certificate: client",
        &identity.certificate,
        now,
    ))
}

/// A kubeconfig that cannot be used was told of before.
fn identity(path: &Path, master: Option<&str>) -> Option<http::agent::Identity> {
    let text = std::fs::read_to_string(path).ok()?;
    let config = yaml::parse(&text).ok()?;
    kubeconfig::resolve(&config, path, master).ok()?.identity
}

/// Whether it answers, and as what.
fn is_there(steps: &mut Steps, client: &Client, rows: &mut Vec<Row>) -> Option<Kubernetes> {
    let (asker, clock) = (client.clone(), Arc::clone(&steps.clock));
    let answer = steps.take(move || {
        let before = clock.wall();
        let response = asker.open_once(&Call::get("/version").limits(LIMITS))?;
        let date = response.header("Date").map(str::to_owned);
        let reading = date.and_then(|date| skew::Reading::of(before, &date, clock.wall()));
        let body = response.into_bytes(VERSION_LIMIT).unwrap_or_default();
        Ok((reading, json::read::<Version>(&body).ok()))
    });
    let (reading, version) = match answer {
        Some(Ok(answer)) => answer,
        Some(Err(error @ Error::Forbidden { .. })) => {
            rows.push(
                Row::warning(SERVER, chain(&error))
                    .advice("allow everybody to read /version, as Kubernetes does by default"),
            );
            return Some(Kubernetes::default());
        }
        Some(Err(error)) => {
            rows.push(failure(SERVER, &error));
            return None;
        }
        None => {
            rows.push(hangs(SERVER));
            return None;
        }
    };
    let kubernetes = Kubernetes {
        minor: version.as_ref().and_then(Version::minor),
    };
    rows.push(judge_version(version));
    rows.push(skew::judge(SERVER, reading));
    Some(kubernetes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    major: String,
    minor: String,
    git_version: String,
}

impl Version {
    /// 28 for 1.28.
    fn minor(&self) -> Option<u32> {
        // some distributions write 27+
        let digits = self.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse().ok().filter(|_| self.major == "1")
    }
}

/// Which one answers.
#[derive(Default)]
struct Kubernetes {
    /// 28 for 1.28, if it is known.
    minor: Option<u32>,
}

fn judge_version(version: Option<Version>) -> Row {
    let Some(version) = version else {
        return Row::failed(SERVER, "what answers is no API server of Kubernetes")
            .advice("check the address");
    };
    let git_version = &version.git_version;
    if version.minor().is_some_and(|minor| minor < OLDEST_MINOR) {
        let advice = format!("upgrade the cluster to 1.{OLDEST_MINOR} or later");
        return Row::failed(SERVER, format!("Kubernetes {git_version} is too old")).advice(advice);
    }
    Row::ok(SERVER, format!("Kubernetes {git_version}"))
}

/// An older one is not asked: it would refuse the question.
fn who_we_are(steps: &mut Steps, client: &Client, kubernetes: &Kubernetes) -> Row {
    const CHECK: &str = "who we are";
    let untold = || {
        let why = format!("the API server does not tell (it does from Kubernetes 1.{TELLING_MINOR} on)");
        Row::skipped(CHECK, why)
    };
    if kubernetes.minor.is_some_and(|minor| minor < TELLING_MINOR) {
        return untold();
    }
    let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
    match ask(steps, client, Call::review(Review::SelfSubject, &review)) {
        Some(Ok(answer)) => match answer["status"]["userInfo"]["username"].as_str() {
            Some("system:anonymous") => {
                Row::failed(CHECK, "nobody: the API server sees no credentials of ours")
                    .advice("put credentials into the kubeconfig")
            }
            Some(name) => Row::ok(CHECK, name),
            None => Row::skipped(CHECK, "the answer does not say"),
        },
        Some(Err(
            error @ (Error::Unauthorized { .. } | Error::NoAnswer { .. } | Error::Unavailable { .. }),
        )) => failure(CHECK, &error),
        Some(Err(_)) => untold(),
        None => hangs(CHECK),
    }
}

/// One row for each kind of object.
fn may_we(steps: &mut Steps, client: &Client, flags: &Flags, knows_itself: bool, rows: &mut Vec<Row>) {
    let (mut answers, serving) = (true, flags.serving.as_ref());
    let mut others = Others::default();
    for need in needs(flags, knows_itself) {
        let check = format!("may {}", need.object());
        if !answers {
            rows.push(Row::skipped(check, "the API server no longer answers"));
            continue;
        }
        let kubeconfig = match need.who {
            Who::Us | Who::Account(_) => None,
            Who::Authentication => Some(serving.and_then(|s| s.authentication.kubeconfig.as_deref())),
            Who::Authorization => Some(serving.and_then(|s| s.authorization.kubeconfig.as_deref())),
        };
        let asker = match kubeconfig {
            None => Ok(client.clone()),
            Some(kubeconfig) => others.client(steps, flags, client, kubeconfig),
        };
        let row = match asker {
            Ok(asker) => permission(steps, &asker, &need, check),
            Err(why) => Ok(Row::skipped(check, why)),
        };
        answers = row.is_ok();
        rows.push(row.unwrap_or_else(|row| row));
    }
}

/// Clients with the endpoint's own kubeconfigs.
#[derive(Default)]
struct Others(Vec<(Option<std::path::PathBuf>, Result<Client, String>)>);

impl Others {
    /// Without a kubeconfig the endpoint asks as the Pod.
    fn client(
        &mut self,
        steps: &Steps,
        flags: &Flags,
        ours: &Client,
        kubeconfig: Option<&Path>,
    ) -> Result<Client, String> {
        if kubeconfig == flags.kubeconfig.as_deref() && flags.master.is_none() {
            return Ok(ours.clone());
        }
        if let Some((_, known)) = self.0.iter().find(|(path, _)| path.as_deref() == kubeconfig) {
            return known.clone();
        }
        let connector = connect(ConnectOptions {
            kubeconfig,
            master: None,
            qps: 0.0,
            burst: 1,
            stop: steps.stop.token(),
            gate: steps.gate.clone(),
            clock: Arc::clone(&steps.clock),
            metrics: ClientMetrics::default(),
        });
        let client = match connector {
            Ok(connector) => Ok(client_of(&connector, steps)),
            Err(ConnectError::Config(_)) if kubeconfig.is_none() => Err(
                "nobody is asked about callers of the endpoint: no --authentication-kubeconfig or \
                 --authorization-kubeconfig, and no Pod"
                    .to_owned(),
            ),
            Err(error) => Err(chain(&error)),
        };
        self.0.push((kubeconfig.map(Path::to_owned), client.clone()));
        client
    }
}

/// The row of one need.
///
/// # Errors
/// The row, too: when the API server does not answer, so that it is no use to go on asking.
fn permission(steps: &mut Steps, client: &Client, need: &Need, check: String) -> Result<Row, Row> {
    let (review, us) = match need.who {
        Who::Account(name) => (Review::SubjectAccess, format!("kube-system/{name}")),
        Who::Us | Who::Authentication | Who::Authorization => (Review::SelfSubjectAccess, "we".to_owned()),
    };
    let mut denied = Vec::new();
    for verb in &need.verbs {
        match ask(steps, client, Call::review(review, &need.review(verb))) {
            Some(Ok(answer)) if answer["status"]["allowed"] == true => {}
            Some(Ok(_)) => denied.push(*verb),
            Some(Err(Error::Forbidden { .. })) if review == Review::SubjectAccess => {
                return Ok(Row::skipped(check, format!("we may not ask what {us} may do")));
            }
            Some(Err(error @ (Error::NoAnswer { .. } | Error::Unavailable { .. }))) => {
                return Err(failure(&check, &error));
            }
            Some(Err(error)) => return Ok(failure(&check, &error)),
            None => return Err(hangs(&check)),
        }
    }
    if denied.is_empty() {
        return Ok(Row::ok(check, need.verbs.join(", ")));
    }
    let found = format!("{us} may not {}, to {}", denied.join(", "), need.purpose);
    let row = match need.weight {
        Weight::Needed => Row::failed(check, found),
        Weight::Wanted => Row::warning(check, found),
    };
    Ok(row.advice(match need.who {
        Who::Account(_) => "grant it to that account",
        _ => "apply deploy/rbac.yaml, and run as its service account",
    }))
}

/// The objects that can be read. Why not all can was told before.
fn list<T: DeserializeOwned>(steps: &mut Steps, client: &Client, path: &'static str) -> Vec<T> {
    let Some(Ok(mut list)) = ask(steps, client, Call::get(path)) else {
        return Vec::new();
    };
    let Value::Array(items) = list["items"].take() else {
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| json::read_tree(item).ok())
        .collect()
}

/// `None` when there is no answer in time.
fn ask(steps: &mut Steps, client: &Client, call: Call) -> Option<Result<Value, Error>> {
    let client = client.clone();
    steps.take(move || client.send::<Value>(&call.limits(LIMITS).budget(STEP / 2)))
}

fn hangs(check: &str) -> Row {
    let found = format!("no answer within {} s", STEP.as_secs());
    Row::failed(check, found).advice("check network, firewalls and name resolution")
}

fn failure(check: &str, error: &Error) -> Row {
    let advice = match error {
        Error::Unauthorized { .. } => "renew the token or certificate, or check whose cluster this is",
        Error::Forbidden { .. } => "apply deploy/rbac.yaml, and run as its service account",
        Error::Credentials { .. } => "make the token file or the credential program of the kubeconfig work",
        Error::NoAnswer {
            source: http::Error::Tls { .. },
            ..
        } => "check the authority in the kubeconfig and the name or address of the server",
        Error::NoAnswer { .. } => "check address, network, firewalls and name resolution",
        Error::NotServed { .. } | Error::Unintelligible { .. } => {
            "check that the address is that of an API server"
        }
        _ => "look at the API server's log",
    };
    Row::failed(check, chain(error)).advice(advice)
}

const VERSION_LIMIT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::super::table::Verdict;
    use super::*;

    #[test]
    fn versions_from_1_14_on_will_do() {
        let version = |major: &str, minor: &str| Version {
            major: major.into(),
            minor: minor.into(),
            git_version: "v".into(),
        };
        for (major, minor, want) in [
            ("1", "13", Verdict::Failed),
            ("1", "13+", Verdict::Failed),
            ("1", "14", Verdict::Ok),
            ("1", "27+", Verdict::Ok),
            ("2", "0", Verdict::Ok),
        ] {
            let row = judge_version(Some(version(major, minor)));
            assert_eq!(row.verdict, want, "{major}.{minor}");
        }
        assert_eq!(judge_version(None).verdict, Verdict::Failed);
    }
}
