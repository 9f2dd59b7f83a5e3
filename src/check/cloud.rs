//! The cloud: whether there is a token, whether its APIs answer, and whether they know what the cluster is about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::cluster::Seen;
use super::skew::{self, Reading};
use super::table::Row;
use super::{LIMITS, STEP, Steps};
use crate::cloud::{self, CloudProvider, Freshness, Lookup};
use crate::config::Config;
use crate::http::agent::Agent;
use crate::http::proxy::{ProxyRules, split_port};
use crate::http::{self, Limits, Request, Response, Transport};
use crate::inspur::api::{Client, Credentials, Error, Exchanges, Retrying, Tokens};
use crate::inspur::name::ClusterId;
use crate::inspur::{self, InspurCloud, annotations};
use crate::k8s::types::Node;
use crate::manager::connections::{cloud_agent, cloud_options};
use crate::metrics::Metrics;
use crate::runtime::chain;
use crate::runtime::clock::Clock;
use crate::runtime::secret_source::SecretSource;

const TOKEN: &str = "cloud token";
const SLB: &str = "SLB API";
const ECS: &str = "ECS API";

/// No SLB and no Node is called so: to ask for it is to ask whether somebody answers.
const NOBODY: &str = "check-config";

/// More SLBs are not looked at.
const MOST_SLBS: usize = 20;

pub(super) fn check(steps: &mut Steps, config: &Config, seen: &Seen, rows: &mut Vec<Row>) {
    rows.push(of_proxies(config));
    let agent = match cloud_agent(config) {
        Ok(agent) => agent,
        Err(error) => {
            let advice = "name a ca-file that can be used, or install the system's certificates";
            rows.push(Row::failed("access to the cloud", chain(&error)).advice(advice));
            rows.push(Row::skipped("cloud", "there is no way to it"));
            return;
        }
    };
    let transport = Arc::new(Noting {
        agent,
        clock: Arc::clone(&steps.clock),
        reading: Mutex::default(),
    });
    of_slbs(steps, config, seen, &transport, rows);
    rows.push(of_instances(steps, config, seen, &transport));
    let reading = *transport.reading.lock().unwrap_or_else(PoisonError::into_inner);
    rows.push(skew::judge("cloud", reading));
}

/// The daemon's way to the cloud, with shorter deadlines, and an eye on the dates in answers.
struct Noting {
    agent: Arc<Agent>,
    clock: Arc<dyn Clock>,
    reading: Mutex<Option<Reading>>,
}

impl Transport for Noting {
    fn exchange(&self, request: &Request) -> Result<Response, http::Error> {
        let mut request = request.clone();
        request.limits = Limits { ..LIMITS };
        let before = self.clock.wall();
        let response = self.agent.exchange(&request)?;
        let date = response.header("Date");
        if let Some(reading) = date.and_then(|date| Reading::of(before, date, self.clock.wall())) {
            *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        }
        Ok(response)
    }

    fn shutdown(&self) {
        self.agent.shutdown();
    }
}

/// Through which proxies the cloud is reached.
fn of_proxies(config: &Config) -> Row {
    const CHECK: &str = "proxies";
    let rules = match ProxyRules::from_env(|name| std::env::var(name).ok()) {
        Ok(rules) => rules,
        Err(error) => {
            return Row::failed(CHECK, chain(&error)).advice("set that variable right, or unset it");
        }
    };
    let token = match &config.cloud.credentials {
        Credentials::Keycloak { url, .. } | Credentials::Iam { url, .. } => Some(url),
        Credentials::Static(_) => None,
    };
    let urls = [Some(&config.cloud.slb_url), config.cloud.ecs_url.as_ref(), token];
    let mut ways: Vec<String> = urls
        .into_iter()
        .flatten()
        .filter_map(|url| {
            let (scheme, rest) = url.split_once("://")?;
            let authority = rest.split('/').next()?;
            let (host, port) = split_port(authority);
            let https = scheme == "https";
            let port = port
                .and_then(|port| port.parse().ok())
                .unwrap_or(if https { 443 } else { 80 });
            let way = match rules.decide(https, host, port) {
                Some(proxy) => format!("{authority} through {proxy}"),
                None => format!("{authority} directly"),
            };
            Some(way)
        })
        .collect();
    ways.dedup();
    Row::ok(CHECK, ways.join(", "))
}

fn of_slbs(steps: &mut Steps, config: &Config, seen: &Seen, transport: &Arc<Noting>, rows: &mut Vec<Row>) {
    let cloud = &config.cloud;
    let tokens = Tokens::new(cloud.credentials.clone(), exchanges(steps, transport));
    let client = Arc::new(Client::new(
        &cloud.slb_url,
        Arc::new(tokens),
        exchanges(steps, transport),
        steps.gate.clone(),
    ));
    let named = named_slbs(seen);
    let probes: Vec<(&str, Option<&str>)> = match named.is_empty() {
        true => vec![(NOBODY, None)],
        false => named
            .iter()
            .map(|(slb, service)| (&**slb, Some(&**service)))
            .collect(),
    };
    let (mut there, mut token_told) = (0, false);
    for (slb, service) in &probes {
        let (asker, id) = (Arc::clone(&client), (*slb).to_owned());
        let Some(answer) = steps.take(move || asker.describe(&id).map(drop)) else {
            rows.push(hangs(SLB));
            return;
        };
        if let Err(Error::Credentials { reason, .. }) = &answer {
            rows.push(Row::failed(TOKEN, reason.clone()).advice(token_advice(&cloud.credentials)));
            rows.push(Row::skipped(SLB, "there is no token"));
            return;
        }
        if !std::mem::replace(&mut token_told, true) {
            rows.push(Row::ok(TOKEN, token_found(&cloud.credentials)));
        }
        match (answer, service) {
            (Ok(()), _) => there += 1,
            (Err(Error::NotFound { .. }), None) => {
                rows.push(Row::ok(SLB, "it answers; no Service names an SLB yet"));
                return;
            }
            (Err(error @ (Error::NotFound { .. } | Error::Forbidden { .. })), Some(service)) => {
                let advice = "name another SLB in that Service, or use the account that has this one";
                let found = format!("Service {service} names it: {}", chain(&error));
                rows.push(Row::warning(format!("SLB {slb}"), found).advice(advice));
            }
            (Err(error), _) => {
                rows.push(Row::failed(SLB, chain(&error)).advice(advice(&error, "slbUrl-pre")));
                return;
            }
        }
    }
    let found = match there {
        0 => "it answers".to_owned(),
        there => format!("{there} of {} SLBs that Services name are there", probes.len()),
    };
    rows.push(Row::ok(SLB, found));
}

fn exchanges(steps: &Steps, transport: &Arc<Noting>) -> Exchanges {
    let (transport, clock) = (
        Arc::clone(transport) as Arc<dyn Transport>,
        Arc::clone(&steps.clock),
    );
    Exchanges::new(transport, clock, steps.stop.token(), once())
}

fn once() -> Retrying {
    Retrying {
        attempts: 1,
        ..Retrying::default()
    }
}

/// SLBs that Services name, each with one of them.
fn named_slbs(seen: &Seen) -> BTreeMap<String, String> {
    let ours = seen
        .services
        .iter()
        .filter(|service| &*service.type_ == "LoadBalancer" && service.load_balancer_class.is_none());
    let named = ours.filter_map(|service| {
        let slb = annotations::read(&service.meta.annotations).ok()?.slb?;
        Some((slb.into_string(), service.meta.key()))
    });
    let all: BTreeMap<_, _> = named.collect();
    all.into_iter().take(MOST_SLBS).collect()
}

fn token_found(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Static(SecretSource::Value(_)) => "the static one of the cloud config".to_owned(),
        Credentials::Static(SecretSource::File(path)) => format!("the static one in {}", path.display()),
        Credentials::Keycloak { url, .. } | Credentials::Iam { url, .. } => format!("from {url}"),
    }
}

fn token_advice(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::Static(_) => "make the token's file readable",
        Credentials::Keycloak { .. } => {
            "check keycloakUrl, token-client-id, client-secret and requested-subject, and the network"
        }
        Credentials::Iam { .. } => "check iam-url, iam-username and iam-password, and the network",
    }
}

/// What the cloud knows of the Nodes' instances, asked as the daemon asks.
fn of_instances(steps: &mut Steps, config: &Config, seen: &Seen, transport: &Arc<Noting>) -> Row {
    let api = &config.cloud;
    if api.ecs_url.is_none() {
        let found = "no ecsUrl-pre: no Node is ever deleted, or tainted as shut down, by the cloud's word";
        return Row::skipped(ECS, found);
    }
    // no name is made of it
    let cluster_id = ClusterId::parse("check").expect("it is one");
    let options = inspur::Options {
        retrying: once(),
        ..cloud_options(api, cluster_id)
    };
    let inspur = InspurCloud::new(
        options,
        Arc::clone(transport) as Arc<dyn Transport>,
        steps.gate.clone(),
        Arc::clone(&steps.clock),
        steps.stop.token(),
        &Metrics::new(),
    );
    let mut nobody = Node::default();
    nobody.meta.name = NOBODY.into();
    nobody.provider_id = format!("{}://{NOBODY}", inspur.name()).into();
    let nodes = match &*seen.nodes {
        [] => vec![Arc::new(nobody)],
        nodes => nodes.to_vec(),
    };
    let asked = nodes.clone();
    let look_up = move || {
        inspur
            .instances()
            .map(|instances| instances.look_up(&asked, Freshness::Now))
    };
    let Some(Some(answers)) = steps.take(look_up) else {
        return hangs(ECS);
    };
    let (mut found, mut missing) = (0, Vec::new());
    for (node, answer) in nodes.iter().zip(&answers) {
        match answer {
            Ok(Lookup::Found(_)) => found += 1,
            Ok(Lookup::Missing(_)) | Err(cloud::Error::NotFound { .. } | cloud::Error::Rejected { .. }) => {
                missing.push(&*node.meta.name);
            }
            Err(error) => {
                let advice = "check ecsUrl-pre, and that this account may read instances";
                return Row::failed(ECS, format!("Node {}: {}", node.meta.name, chain(error))).advice(advice);
            }
        }
    }
    judge_instances(seen.nodes.len(), found, &missing)
}

fn judge_instances(nodes: usize, found: usize, missing: &[&str]) -> Row {
    let some = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match (nodes, found, missing.len()) {
        (0, ..) => Row::ok(ECS, "it answers; there is no Node to ask about"),
        (_, _, 0) => Row::ok(ECS, format!("it knows the instances of {found} Nodes")),
        (_, 0, _) => Row::failed(
            ECS,
            format!("it knows none of the {nodes} Nodes' instances ({some})"),
        )
        .advice("check account, region and ecsUrl-pre: these Nodes would be taken for gone"),
        (_, _, gone) => Row::warning(
            ECS,
            format!("it does not know the instances of {gone} of {nodes} Nodes: {some}"),
        )
        .advice("if they are not really gone, check their provider IDs"),
    }
}

fn advice(error: &Error, url: &str) -> String {
    match error {
        Error::Unauthorized { .. } => {
            "the token is good for nothing here: check its account, region and age".to_owned()
        }
        Error::Forbidden { .. } => "allow this account to read".to_owned(),
        Error::Throttled { .. } | Error::Unavailable { .. } => "try again later".to_owned(),
        Error::NoAnswer {
            source: http::Error::Tls { .. },
            ..
        } => format!("check ca-file and {url}"),
        Error::NoAnswer { .. } => format!("check {url}, network, proxies and name resolution"),
        _ => format!("check {url}"),
    }
}

fn hangs(check: &str) -> Row {
    let found = format!("no answer within {} s", STEP.as_secs());
    Row::failed(check, found).advice("check network, proxies and name resolution")
}

#[cfg(test)]
mod tests {
    use super::super::table::Verdict;
    use super::*;

    #[test]
    fn a_cloud_that_knows_none_of_the_nodes_is_the_wrong_one() {
        for (case, nodes, found, missing, want) in [
            ("no Nodes", 0, 0, &["check-config"][..], Verdict::Ok),
            ("all", 2, 2, &[], Verdict::Ok),
            ("some", 2, 1, &["n2"], Verdict::Warning),
            ("none", 2, 0, &["n1", "n2"], Verdict::Failed),
        ] {
            assert_eq!(judge_instances(nodes, found, missing).verdict, want, "{case}");
        }
    }
}
