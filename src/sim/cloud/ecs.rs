//! The instances API: which call, whether it is well formed, what it shows. It changes nothing.
//!
//! Assumed: all of it.

use std::net::IpAddr;

use super::instances::{InstanceSeed, Shown};
use super::query::{self, Page};
use super::render::Problem;
use super::state::{Kind, State};
use super::{NameMatch, UnknownInstance};
use crate::sim::server::{Incoming, Now, Reply};

/// So many ids can be asked for at once.
const ID_LIMIT: usize = 100;

/// Which instances are asked for.
enum Question {
    Ids(Vec<String>),
    Named(String),
    At(IpAddr),
    All,
}

impl State {
    /// Acts on a call; what it was and how many ids it named, for the list of calls.
    pub(super) fn respond_ecs(
        &mut self,
        request: &Incoming,
        below: &str,
        now: Now,
    ) -> (Kind, usize, Result<Reply, Problem>) {
        let kind = match route(request, below) {
            Ok(kind) => kind,
            Err(problem) => return (Kind::Unknown, 0, Err(problem)),
        };
        let question = Question::read(kind, request);
        let ids = match &question {
            Ok(Question::Ids(ids)) => ids.len(),
            _ => 0,
        };
        let admitted = self.admit(request, now);
        let result = admitted.and_then(|user| self.show_instances(&user, &question?, Page::read(request)?));
        (kind, ids, result)
    }

    /// Somebody else's instances are as if they did not exist.
    fn show_instances(&mut self, user: &str, question: &Question, page: Page) -> Result<Reply, Problem> {
        let (quirks, shown) = (self.options.quirks, self.instances.next_answer());
        let mut found = question.select(&shown, quirks.name_match);
        found.retain(|instance| instance.owner == user);
        let about_one = matches!(question, Question::Ids(ids) if ids.len() == 1);
        if about_one && found.is_empty() && quirks.unknown_instance == UnknownInstance::NotFound {
            return Err(Problem::new(404, "the instance does not exist"));
        }
        let found = page.of(found.into_iter()).take(shown.at_most);
        let found = found.map(|instance| quirks.instance(instance)).collect();
        Ok(Reply::json(200, &quirks.list(found)))
    }
}

impl Question {
    fn read(kind: Kind, request: &Incoming) -> Result<Self, Problem> {
        let only = |names: &[&str]| query::check_names(request, &[names, &["pageNo", "pageSize"]].concat());
        match kind {
            Kind::DescribeInstances => {
                only(&["instanceIds"])?;
                let ids = query::ids(request, "instanceIds")?;
                match ids.len() {
                    0..=ID_LIMIT => Ok(Self::Ids(ids)),
                    _ => Err(Problem::invalid(
                        "instanceIds",
                        &format!("has more than {ID_LIMIT} ids"),
                    )),
                }
            }
            Kind::FindInstances => match request.query("instanceName") {
                Some(name) => {
                    only(&["instanceName"])?;
                    match name.is_empty() {
                        false => Ok(Self::Named(name)),
                        true => Err(Problem::invalid("instanceName", "is empty")),
                    }
                }
                None => {
                    only(&["privateIp"])?;
                    let ip = request.query("privateIp").and_then(|ip| ip.parse().ok());
                    ip.map(Self::At)
                        .ok_or_else(|| Problem::invalid("privateIp", "must be an IP address"))
                }
            },
            _ => only(&[]).map(|()| Self::All),
        }
    }

    /// Each instance once, by id, however often it is asked for.
    fn select<'a>(&self, shown: &'a Shown, name_match: NameMatch) -> Vec<&'a InstanceSeed> {
        match self {
            Self::Ids(ids) => {
                let mut ids: Vec<&String> = ids.iter().collect();
                ids.sort();
                ids.dedup();
                ids.into_iter().filter_map(|id| shown.get(id)).collect()
            }
            Self::Named(name) => {
                let fits = |found: &str| match name_match {
                    NameMatch::Exact => found == name,
                    NameMatch::Contains => found.contains(name.as_str()),
                };
                shown.all().filter(|instance| fits(&instance.name)).collect()
            }
            Self::At(ip) => {
                let is_it = |text: &String| text.parse() == Ok(*ip);
                let all = shown.all();
                all.filter(|instance| instance.private_ips.iter().any(is_it))
                    .collect()
            }
            Self::All => shown.all().collect(),
        }
    }
}

fn route(request: &Incoming, below: &str) -> Result<Kind, Problem> {
    if !below.is_empty() {
        return Err(Problem::new(404, "no such path"));
    }
    if request.method != "GET" {
        return Err(Problem::new(405, "no such verb here"));
    }
    let has = |name: &str| request.query(name).is_some();
    Ok(if has("instanceIds") {
        Kind::DescribeInstances
    } else if has("instanceName") || has("privateIp") {
        Kind::FindInstances
    } else {
        Kind::ListInstances
    })
}
