//! Instances in the hands of somebody outside, with `curl`:
//!
//! | call | effect |
//! |---|---|
//! | `GET /_sim/instances` | what is there, and the distortions in force |
//! | `POST /_sim/instances` | puts one there, body `ID=NAME,IP[,ZONE]` |
//! | `POST /_sim/instances/ID` | sets its status, body `STOPPED` |
//! | `DELETE /_sim/instances/ID` | takes it away |
//! | `POST /_sim/distortions` | distorts answers, body `{"without": ["i-1"], "answers": 2}`, `{"as-of": "now"}` or `{"at-most": 0}`; all from now on where `answers` is not there |
//! | `DELETE /_sim/distortions` | ends them |

use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use super::instances::{Distortion, InstanceSeed, Status};
use super::render::Problem;
use super::{Cloud, Quirks};
use crate::sim::server::{Incoming, Reply};

impl Cloud {
    /// `None` when there is no such call.
    pub(super) fn act_as_told(&self, request: &Incoming) -> Option<Reply> {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
        let body = String::from_utf8_lossy(&request.body);
        let body = body.trim();
        let result = match (request.method.as_str(), &path[..]) {
            ("GET", ["instances"]) => return Some(self.instances_shown()),
            ("POST", ["instances"]) => refusing(body.parse()).map(|seed| self.add_instance(seed)),
            ("POST", ["instances", id]) => refusing(body.parse())
                .and_then(|status| there(id, self.change_if_there(id, |instance| instance.status = status))),
            ("DELETE", ["instances", id]) => there(id, self.remove_instance(id).then_some(())),
            ("POST", ["distortions"]) => refusing(self.distort_as_told(body)),
            ("DELETE", ["distortions"]) => {
                self.clear_distortions();
                Ok(())
            }
            _ => return None,
        };
        Some(match result {
            Ok(()) => Reply::empty(204),
            Err(problem) => problem.reply(Quirks::default()),
        })
    }

    fn instances_shown(&self) -> Reply {
        let text = self.0.read(|state| state.instances.to_string());
        Reply {
            body: text.into_bytes(),
            ..Reply::empty(200).with_header("Content-Type", "text/plain")
        }
    }

    fn distort_as_told(&self, body: &str) -> Result<(), String> {
        let (distortion, answers) = match serde_json::from_str(body).map_err(|error| error.to_string())? {
            Told::Without { without, answers } => (Distortion::without(without), answers),
            Told::AtMost { at_most, answers } => (Distortion::AtMost(at_most), answers),
            Told::AsOf {
                as_of: Moment::Now,
                answers,
            } => (Distortion::AsOf(self.instances()), answers),
        };
        self.distort(distortion, answers);
        Ok(())
    }
}

fn refusing<T>(result: Result<T, String>) -> Result<T, Problem> {
    result.map_err(|message| Problem::new(400, &message))
}

fn there(id: &str, done: Option<()>) -> Result<(), Problem> {
    done.ok_or_else(|| Problem::new(404, &format!("there is no instance {id}")))
}

#[derive(Deserialize)]
#[serde(untagged, rename_all_fields = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "must have one of without, at-most and as-of, and may have answers")]
enum Told {
    Without {
        without: Vec<String>,
        answers: Option<u64>,
    },
    AtMost {
        at_most: usize,
        answers: Option<u64>,
    },
    AsOf {
        as_of: Moment,
        answers: Option<u64>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Moment {
    Now,
}

impl FromStr for InstanceSeed {
    type Err = String;

    /// `ID=NAME,IP[,ZONE]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} must be ID=NAME,IP[,ZONE]");
        let (id, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (name, ip, zone) = match rest.split(',').collect::<Vec<_>>()[..] {
            [name, ip] => (name, ip, None),
            [name, ip, zone] => (name, ip, Some(zone)),
            _ => return Err(wrong()),
        };
        if id.is_empty() || name.is_empty() || zone == Some("") {
            return Err(wrong());
        }
        if ip.parse::<IpAddr>().is_err() {
            return Err(format!("{text:?}: {ip:?} is no IP address"));
        }
        let seed = Self::new(id, name, ip);
        Ok(match zone {
            Some(zone) => seed.in_zone(zone),
            None => seed,
        })
    }
}

impl FromStr for Status {
    type Err = String;

    /// As the API spells it.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [
            Self::Pending,
            Self::Running,
            Self::Stopping,
            Self::Stopped,
            Self::Suspended,
            Self::Terminated,
            Self::Error,
        ];
        let found = all.into_iter().find(|status| status.to_string() == text);
        found.ok_or_else(|| {
            let names = all.map(|status| status.to_string()).join(", ");
            format!("{text:?} is none of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::server::Core as _;

    #[test]
    fn an_instance_is_read_from_one_line() {
        for (text, want) in [
            (
                "i-1=node-1,10.0.0.1",
                Ok(InstanceSeed::new("i-1", "node-1", "10.0.0.1")),
            ),
            (
                "i-2=node-2,2001:db8::2,cn-north-3b",
                Ok(InstanceSeed::new("i-2", "node-2", "2001:db8::2").in_zone("cn-north-3b")),
            ),
            ("i-1", Err("must be")),
            ("=node-1,10.0.0.1", Err("must be")),
            ("i-1=node-1", Err("must be")),
            ("i-1=,10.0.0.1", Err("must be")),
            ("i-1=node-1,here", Err("\"here\" is no IP address")),
            ("i-1=node-1,10.0.0.1,", Err("must be")),
            ("i-1=node-1,10.0.0.1,z,y", Err("must be")),
        ] {
            match (text.parse::<InstanceSeed>(), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want),
                (Err(error), Err(want)) => assert!(error.contains(want), "{text}: {error}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn instances_and_answers_change_as_told() {
        let cloud = Cloud::default();
        let line = "i-1 (user-demo, node-1, RUNNING, cn-north-3a, 10.0.0.1, eip \"\")\n";
        let stopped = line.replace("RUNNING", "STOPPED");
        let distorted = "all answers about instances: at most 0 elements\n\
                         the next 2 answers about instances: without {\"i-1\"}\n\
                         all answers about instances: as of earlier, with []\n";
        for (case, method, path, body, status, want) in [
            ("add", "POST", "instances", "i-1=node-1,10.0.0.1\n", 204, line),
            ("nonsense", "POST", "instances", "i-1", 400, line),
            ("stop", "POST", "instances/i-1", "STOPPED\n", 204, &stopped),
            ("no status", "POST", "instances/i-1", "stopped", 400, &stopped),
            ("stop nobody", "POST", "instances/i-9", "STOPPED", 404, &stopped),
            ("remove", "DELETE", "instances/i-1", "", 204, ""),
            ("remove again", "DELETE", "instances/i-1", "", 404, ""),
            (
                "no distortion",
                "POST",
                "distortions",
                "{\"answers\": 1}",
                400,
                "",
            ),
            (
                "two",
                "POST",
                "distortions",
                "{\"at-most\": 1, \"as-of\": \"now\"}",
                400,
                "",
            ),
            (
                "no moment",
                "POST",
                "distortions",
                "{\"as-of\": \"then\"}",
                400,
                "",
            ),
            (
                "cut short",
                "POST",
                "distortions",
                "{\"at-most\": 0}",
                204,
                distorted.split_inclusive('\n').next().unwrap(),
            ),
            (
                "leave out",
                "POST",
                "distortions",
                "{\"without\": [\"i-1\"], \"answers\": 2}",
                204,
                &distorted[..distorted.rfind("all").unwrap()],
            ),
            (
                "freeze",
                "POST",
                "distortions",
                "{\"as-of\": \"now\"}",
                204,
                distorted,
            ),
            ("clear", "DELETE", "distortions", "", 204, ""),
        ] {
            let told = |method: &str, path: &str, body: &str| {
                let request = Incoming {
                    body: body.into(),
                    ..Incoming::new(method, &format!("/_sim/{path}"))
                };
                cloud.told(path, &request).unwrap()
            };
            let reply = told(method, path, body);
            let message = String::from_utf8(reply.body).unwrap();
            assert_eq!(reply.status, status, "{case}: {message}");
            let shown = told("GET", "instances", "").body;
            assert_eq!(String::from_utf8(shown).unwrap(), want, "{case}");
        }
        let nothing = Incoming::new("GET", "/_sim/nothing");
        assert_eq!(cloud.told("nothing", &nothing), None);
    }
}
