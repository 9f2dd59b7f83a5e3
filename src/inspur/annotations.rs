//! What a Service can ask for, in one table: the readers, the cloud config and the reference page share it.
//!
//! Absent is not invalid: what is not there is `None`, what cannot be read is an error that names annotation, value and what is
//! allowed. Source of the names: inspur-api.md 5.

mod table;

use std::fmt;
use std::num::NonZeroU16;

use super::model::ForwardRule;
use crate::k8s::types::Pairs;

use table::Target;
pub use table::{Annotation, TABLE};

/// The SLB on which a Service's listeners stand.
pub const SLB_ID: &str = "service.beta.kubernetes.io/inspur-load-balancer-slbid";
const SLB_ID_INTERNAL: &str = "service.beta.kubernetes.io/inspur-internal-load-balancer-slbid";

/// Written by the controller: the SLBs, comma-separated, on which a Service may have listeners.
pub const SLB_IN_USE: &str = "loadbalancer.inspur.com/slb-in-use";

/// On a Node: its instance's id.
pub const INSTANCE_ID: &str = "node.beta.kubernetes.io/instance-id";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    ForwardRule,
    HealthCheck,
    CheckType,
    CheckPort,
    CheckPeriod,
    CheckTimeout,
    CheckTries,
    CheckDomain,
    CheckPath,
}

/// The cloud config's key for checks where no annotation switches them; its words are `on` and `off`.
const HEALTH_CHECK: &str = "health-check";

/// How listeners should be, as far as somebody said so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// How members take turns.
    pub rule: Option<ForwardRule>,
    /// Whether members are checked.
    pub check: Option<Switch>,
    /// What a check asks.
    pub check_type: Option<CheckType>,
    /// Which port it asks.
    pub check_port: Option<CheckPort>,
    /// Seconds between two checks.
    pub check_period_seconds: Option<u16>,
    /// Seconds a member has to answer.
    pub check_timeout_seconds: Option<u16>,
    /// Checks in a row that must agree.
    pub check_tries: Option<u16>,
    /// The `Host` header.
    pub check_domain: Option<Box<str>>,
    /// What is asked for.
    pub check_path: Option<Box<str>>,
}

/// What the cloud config says for all Services; an annotation wins.
pub type Defaults = Wishes;

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Checked.
    On,
    /// Not checked.
    Off,
}

/// What a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckType {
    /// Whether a connection opens.
    Tcp,
    /// Whether a page is there.
    Http,
}

/// Which port a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckPort {
    /// The one the member serves on.
    Member,
    /// This one on every member.
    Fixed(NonZeroU16),
}

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// On which SLB.
    pub slb: Option<Box<str>>,
    /// How.
    pub wishes: Wishes,
}

/// An annotation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Its key.
    pub annotation: &'static str,
    /// What was found.
    pub value: Box<str>,
    /// What it may be.
    pub allowed: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.value.chars().take(64).collect();
        write!(
            f,
            "annotation {} is {shown:?}; allowed is {}",
            self.annotation, self.allowed
        )
    }
}

/// Reads all annotations of a Service.
///
/// # Errors
/// Every annotation that cannot be read.
pub fn read(annotations: &Pairs) -> Result<Asked, Vec<Invalid>> {
    let (mut asked, mut invalid) = (Asked::default(), Vec::new());
    for row in TABLE {
        for &key in [row.name].iter().chain(row.aliases) {
            let Some(value) = annotations.get(key) else {
                continue;
            };
            let refused = match row.target {
                Target::Wish(wish) => asked
                    .wishes
                    .set(wish, value.trim())
                    .err()
                    .map(|NotAllowed| row.allowed.en),
                Target::Slb => set_slb(&mut asked.slb, value.trim(), row.allowed.en).err(),
            };
            invalid.extend(refused.map(|allowed| Invalid {
                annotation: key,
                value: value.into(),
                allowed,
            }));
        }
    }
    if invalid.is_empty() {
        Ok(asked)
    } else {
        Err(invalid)
    }
}

/// Sets a default from the cloud config. `key` is the last part of an annotation's name, or `health-check`; false when it
/// is neither.
///
/// # Errors
/// What the key takes, when the value is not that.
pub fn set_default(defaults: &mut Defaults, key: &str, value: &str) -> Result<bool, String> {
    let value = value.trim();
    if key == HEALTH_CHECK {
        defaults.check = Some(match &*value.to_ascii_lowercase() {
            "on" => Switch::On,
            "off" => Switch::Off,
            _ => return Err(format!("{value:?} is not allowed; on and off are")),
        });
        return Ok(true);
    }
    let row = TABLE.iter().find_map(|row| match row.target {
        Target::Wish(wish) if row.name.rsplit('/').next() == Some(key) => Some((row, wish)),
        Target::Wish(_) | Target::Slb => None,
    });
    let Some((row, wish)) = row else {
        return Ok(false);
    };
    match defaults.set(wish, value) {
        Ok(()) => Ok(true),
        Err(NotAllowed) => Err(format!("{value:?} is not allowed; allowed is {}", row.allowed.en)),
    }
}

struct NotAllowed;

/// An empty id is none: the Service then waits for one.
fn set_slb(slb: &mut Option<Box<str>>, id: &str, allowed: &'static str) -> Result<(), &'static str> {
    // a comma separates the ids of the record
    let readable = id.len() <= 128
        && id
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && c != ',');
    match slb {
        _ if id.is_empty() => Ok(()),
        _ if !readable => Err(allowed),
        Some(other) if **other != *id => Err("the same SLB as in the other spelling of the key"),
        slb => {
            *slb = Some(id.into());
            Ok(())
        }
    }
}

impl Wishes {
    fn set(&mut self, wish: Wish, value: &str) -> Result<(), NotAllowed> {
        let lower = value.to_ascii_lowercase();
        match wish {
            Wish::ForwardRule => {
                let rule = ForwardRule::ALL
                    .into_iter()
                    .find(|r| r.as_str().eq_ignore_ascii_case(value));
                self.rule = Some(rule.ok_or(NotAllowed)?);
            }
            Wish::HealthCheck => {
                self.check = Some(match &*lower {
                    "1" | "true" => Switch::On,
                    "0" | "false" => Switch::Off,
                    _ => return Err(NotAllowed),
                });
            }
            Wish::CheckType => {
                self.check_type = Some(match &*lower {
                    "tcp" => CheckType::Tcp,
                    "http" => CheckType::Http,
                    _ => return Err(NotAllowed),
                });
            }
            Wish::CheckPort => {
                let port = number(value, 0, u16::MAX)?;
                self.check_port = Some(NonZeroU16::new(port).map_or(CheckPort::Member, CheckPort::Fixed));
            }
            Wish::CheckPeriod => self.check_period_seconds = Some(number(value, 1, 3600)?),
            Wish::CheckTimeout => self.check_timeout_seconds = Some(number(value, 1, 3600)?),
            Wish::CheckTries => self.check_tries = Some(number(value, 1, 100)?),
            Wish::CheckDomain => {
                let letter = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
                self.check_domain = Some(text(value, 253, letter)?);
            }
            Wish::CheckPath => {
                let path = text(value, 255, |b| b.is_ascii_graphic())?;
                self.check_path = Some(Some(path).filter(|p| p.starts_with('/')).ok_or(NotAllowed)?);
            }
        }
        Ok(())
    }
}

fn number(value: &str, least: u16, most: u16) -> Result<u16, NotAllowed> {
    // `parse` alone would take a leading plus
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
        _ => Err(NotAllowed),
    }
}

fn text(value: &str, longest: usize, letter: impl Fn(u8) -> bool) -> Result<Box<str>, NotAllowed> {
    let fits = value.len() <= longest && value.bytes().all(letter);
    fits.then(|| value.into()).ok_or(NotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::health::health_check;
    use crate::inspur::model::Protocol;
    use crate::inspur::testing::service;

    fn read_one(key: &str, value: &str) -> Result<Asked, String> {
        read(&[(key, value)].into_iter().collect()).map_err(|all| {
            let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
            texts.join("; ")
        })
    }

    #[test]
    fn every_value_that_is_allowed_is_read() {
        type Wished = fn(&mut Wishes);
        let cases: [(&str, &str, Wished); 18] = [
            ("forward-rule", "RR", |w| w.rule = Some(ForwardRule::RoundRobin)),
            ("forward-rule", "wrr", |w| {
                w.rule = Some(ForwardRule::WeightedRoundRobin)
            }),
            ("is-healthcheck", "0", |w| w.check = Some(Switch::Off)),
            ("is-healthcheck", "1", |w| w.check = Some(Switch::On)),
            ("is-healthcheck", "True", |w| w.check = Some(Switch::On)),
            ("is-healthcheck", " false ", |w| w.check = Some(Switch::Off)),
            ("healthcheck-type", "tcp", |w| w.check_type = Some(CheckType::Tcp)),
            ("healthcheck-type", "HTTP", |w| {
                w.check_type = Some(CheckType::Http)
            }),
            ("healthcheck-port", "0", |w| {
                w.check_port = Some(CheckPort::Member)
            }),
            ("healthcheck-port", "65535", |w| {
                w.check_port = NonZeroU16::new(65535).map(CheckPort::Fixed);
            }),
            ("healthcheck-period", "1", |w| w.check_period_seconds = Some(1)),
            ("healthcheck-period", "3600", |w| {
                w.check_period_seconds = Some(3600)
            }),
            ("healthcheck-timeout", "5", |w| w.check_timeout_seconds = Some(5)),
            ("healthcheck-max", "100", |w| w.check_tries = Some(100)),
            ("healthcheck-domain", "", |w| w.check_domain = Some("".into())),
            ("healthcheck-domain", "shop.example", |w| {
                w.check_domain = Some("shop.example".into())
            }),
            ("healthcheck-path", "/", |w| w.check_path = Some("/".into())),
            ("healthcheck-path", "/up?x=1", |w| {
                w.check_path = Some("/up?x=1".into())
            }),
        ];
        for (key, value, wished) in cases {
            let mut want = Wishes::default();
            wished(&mut want);
            let asked = read_one(&format!("loadbalancer.inspur.com/{key}"), value);
            assert_eq!(asked.map(|a| a.wishes), Ok(want.clone()), "{key}: {value}");
            let mut defaults = Defaults::default();
            assert_eq!(set_default(&mut defaults, key, value), Ok(true), "{key}: {value}");
            assert_eq!(defaults, want, "{key}: {value}");
        }
    }

    #[test]
    fn the_defaults_in_the_table_are_those_that_count() {
        let mut told = Wishes::default();
        for row in TABLE {
            if let Target::Wish(wish) = row.target {
                let value = Some(row.default.en).filter(|text| *text != "nothing");
                assert!(told.set(wish, value.unwrap_or_default()).is_ok(), "{}", row.name);
            }
        }
        let (service, nothing) = (service("web").tcp(80, 30080).build(), Wishes::default());
        assert_eq!(told.rule, Some(ForwardRule::default()));
        for check_type in [CheckType::Tcp, CheckType::Http] {
            let asked = Wishes {
                check_type: Some(check_type),
                ..Wishes::default()
            };
            assert_eq!(
                health_check(&service, Protocol::Tcp, &asked, &told),
                health_check(&service, Protocol::Tcp, &asked, &nothing),
                "{check_type:?}"
            );
        }
        assert_eq!(
            health_check(&service, Protocol::Tcp, &nothing, &told),
            health_check(&service, Protocol::Tcp, &nothing, &nothing)
        );
    }

    #[test]
    fn a_value_that_is_not_allowed_is_an_error_that_says_what_is() {
        for (key, values) in [
            ("forward-rule", &["", "LC", "R R"][..]),
            ("is-healthcheck", &["", "2", "yes", "on"]),
            ("healthcheck-type", &["", "https", "udp"]),
            ("healthcheck-port", &["", "-1", "+1", "65536", "http", "80.0"]),
            ("healthcheck-period", &["0", "3601", "10s", ""]),
            ("healthcheck-timeout", &["0", "3601"]),
            ("healthcheck-max", &["0", "101"]),
            ("healthcheck-domain", &["a b", "a/b", "ä"]),
            ("healthcheck-path", &["", "healthz", "/a b", "/ä"]),
        ] {
            for value in values {
                let key_of = |name: &str| name.rsplit('/').next() == Some(key);
                let row = TABLE.iter().find(|row| key_of(row.name)).unwrap();
                let want = format!(
                    "annotation {} is {value:?}; allowed is {}",
                    row.name, row.allowed.en
                );
                assert_eq!(read_one(row.name, value), Err(want));
                let mut defaults = Defaults::default();
                assert!(set_default(&mut defaults, key, value).is_err(), "{key}: {value}");
                assert_eq!(defaults, Defaults::default(), "{key}: {value}");
            }
        }
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let pairs = [
            ("loadbalancer.inspur.com/forward-rule", "LC"),
            ("loadbalancer.inspur.com/healthcheck-port", "http"),
            ("loadbalancer.inspur.com/healthcheck-path", "/ok"),
        ];
        let invalid = read(&pairs.into_iter().collect()).unwrap_err();
        let keys: Vec<_> = invalid.iter().map(|i| i.annotation).collect();
        assert_eq!(keys, [pairs[0].0, pairs[1].0]);
    }

    #[test]
    fn both_spellings_name_the_slb() {
        let (one, two) = (SLB_ID, SLB_ID_INTERNAL);
        for (case, pairs, want) in [
            ("neither", &[][..], Ok(None)),
            ("the first", &[(one, "slb-1")], Ok(Some("slb-1"))),
            ("the second", &[(two, " slb-1 ")], Ok(Some("slb-1"))),
            ("both alike", &[(one, "slb-1"), (two, "slb-1")], Ok(Some("slb-1"))),
            (
                "one of them empty",
                &[(one, ""), (two, "slb-1")],
                Ok(Some("slb-1")),
            ),
            ("empty", &[(one, " ")], Ok(None)),
            ("both, different", &[(one, "slb-1"), (two, "slb-2")], Err(two)),
            ("a list", &[(one, "slb-1,slb-2")], Err(one)),
            ("spaces in it", &[(one, "slb 1")], Err(one)),
        ] {
            let asked = read(&pairs.iter().copied().collect());
            let got = asked.map(|a| a.slb).map_err(|all| all[0].annotation);
            assert_eq!(got, want.map(|id| id.map(Box::from)), "{case}");
        }
    }

    #[test]
    fn the_config_knows_its_own_switch_and_no_other_keys() {
        let mut defaults = Defaults::default();
        assert_eq!(set_default(&mut defaults, "health-check", "off"), Ok(true));
        assert_eq!(defaults.check, Some(Switch::Off));
        assert_eq!(set_default(&mut defaults, "health-check", "On"), Ok(true));
        assert_eq!(defaults.check, Some(Switch::On));
        assert!(set_default(&mut defaults, "health-check", "1").is_err());
        for key in ["inspur-load-balancer-slbid", "slb-in-use", "region", ""] {
            assert_eq!(set_default(&mut defaults, key, "x"), Ok(false), "{key}");
        }
    }
}
