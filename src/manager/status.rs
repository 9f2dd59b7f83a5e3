//! `/statusz`: what the daemon does and what it cannot do, in plain text for people. Pure.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use crate::config::PROGRAM;
use crate::controllers::service::{Claimed, Report};

/// More listeners are not shown, unless their Services fail.
const MOST_LISTENERS: usize = 1_000;

/// More of one word from outside is not shown.
const MOST_CHARACTERS: usize = 240;

/// All that is shown.
#[derive(Debug, Clone)]
pub struct Status {
    /// When it was asked for.
    pub now: SystemTime,
    /// Of the program.
    pub version: &'static str,
    /// When the process began.
    pub started: SystemTime,
    /// `None` without an election.
    pub leader: Option<Leader>,
    /// One for each resource that is watched.
    pub informers: Vec<Informer>,
    /// `None` when the service controller is off.
    pub services: Option<Report>,
    /// While no Node is deleted because too many should be.
    pub braked: Option<Braked>,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// What this replica is to it.
    pub rank: Rank,
    /// The identity in the lease; empty while nobody leads.
    pub holder: String,
    /// Since when it has been seen so.
    pub since: SystemTime,
}

impl Status {
    /// Whether this replica works.
    fn leads(&self) -> bool {
        self.leader
            .as_ref()
            .is_none_or(|leader| leader.rank == Rank::Leads)
    }
}

/// A replica's part in the leader election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// It leads.
    Leads,
    /// It holds the lease, and waits until no earlier holder can believe that it leads.
    Waits,
    /// It does not hold the lease.
    StandsBy,
}

/// A resource that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Informer {
    /// `services`.
    pub resource: &'static str,
    /// Since when all of it is known.
    pub synced: Option<SystemTime>,
    /// How many objects are known.
    pub objects: usize,
    /// When the API server was last heard of it.
    pub heard: Option<SystemTime>,
}

/// Nodes that are not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Braked {
    /// How many of them are gone in the cloud.
    pub gone: usize,
    /// Of how many in all.
    pub nodes: usize,
}

/// The page.
pub fn render(status: &Status) -> String {
    let mut page = String::new();
    let written = write_page(&mut page, status);
    written.expect("a String takes everything");
    page
}

/// How things are, in one line: for `systemctl status`.
pub fn headline(status: &Status) -> String {
    let missing = status
        .informers
        .iter()
        .filter(|informer| informer.synced.is_none());
    let missing = Vec::from_iter(missing.map(|informer| informer.resource)).join(", ");
    let waiting = match (status.informers.is_empty(), &*missing) {
        (true, _) => Some("getting ready: waiting for the API server".to_owned()),
        (false, "") => None,
        (false, missing) => Some(format!("waiting for the API server to list {missing}")),
    };
    let part = match &status.leader {
        Some(leader) => match (leader.rank, &*line(&leader.holder)) {
            (Rank::Leads, _) => "leading".to_owned(),
            (Rank::Waits, _) => "about to lead, when any earlier leader must have given up".to_owned(),
            (Rank::StandsBy, "") => "standing by, nobody leads".to_owned(),
            (Rank::StandsBy, holder) => format!("standing by, {holder} leads"),
        },
        None => "working".to_owned(),
    };
    let mut parts = match waiting {
        Some(waiting) if status.leads() => vec![waiting],
        Some(waiting) => vec![part, waiting],
        None => vec![part],
    };
    if missing.is_empty() {
        let count = |informer: &Informer| format!("{} {}", informer.objects, informer.resource);
        parts.extend(status.informers.iter().map(count));
    }
    if let Some(report) = &status.services {
        parts.push(format!("{} listeners", report.claims.len()));
        if !report.failing.is_empty() {
            parts.push(format!("{} services FAIL", report.failing.len()));
        }
    }
    if status.braked.is_some() {
        parts.push("no Node is deleted".to_owned());
    }
    parts.join("; ")
}

fn write_page(page: &mut String, status: &Status) -> fmt::Result {
    let Status {
        now,
        version,
        started,
        ..
    } = *status;
    writeln!(page, "{PROGRAM} v{version}")?;
    writeln!(page, "up {}, since {}", age(now, started), date(started))?;
    writeln!(page, "\nleader election")?;
    write_leader(page, now, status.leader.as_ref())?;
    writeln!(page, "\nwatched")?;
    for informer in &status.informers {
        write_informer(page, now, informer)?;
    }
    if let Some(report) = &status.services {
        write_load_balancers(page, now, report, status.leads())?;
        write_failing(page, now, report)?;
    }
    if let Some(Braked { gone, nodes }) = status.braked {
        writeln!(
            page,
            "\nno Node is deleted: {gone} of {nodes} are gone in the cloud, which is more than the brake allows"
        )?;
        writeln!(
            page,
            "  if they are really gone, annotate those to delete with node.inspur.com/deletion-wanted=true,"
        )?;
        writeln!(
            page,
            "  or raise --node-deletion-brake-percent; if not, check the cloud's account and region"
        )?;
    }
    Ok(())
}

fn write_leader(page: &mut String, now: SystemTime, leader: Option<&Leader>) -> fmt::Result {
    let Some(leader) = leader else {
        return writeln!(page, "  off: this is the only replica");
    };
    let (holder, since) = (line(&leader.holder), date(leader.since));
    let age = age(now, leader.since);
    match (leader.rank, &*holder) {
        (Rank::Leads, holder) => writeln!(page, "  this replica leads, since {since} ({age}), as {holder}"),
        (Rank::Waits, holder) => writeln!(
            page,
            "  this replica has the lease, since {since} ({age}), as {holder}; it leads when any earlier leader must have given up"
        ),
        (Rank::StandsBy, "") => writeln!(
            page,
            "  nobody leads, since {since} ({age}); this replica stands by"
        ),
        (Rank::StandsBy, holder) => writeln!(
            page,
            "  {holder} leads, seen since {since} ({age}); this replica stands by"
        ),
    }
}

fn write_informer(page: &mut String, now: SystemTime, informer: &Informer) -> fmt::Result {
    let Informer {
        resource,
        synced,
        objects,
        heard,
    } = informer;
    let synced = match synced {
        Some(synced) => format!("synced since {} ({})", date(*synced), age(now, *synced)),
        None => "not synced yet".to_owned(),
    };
    let heard = match heard {
        Some(heard) => format!("last heard {} ago", age(now, *heard)),
        None => "never heard".to_owned(),
    };
    writeln!(page, "  {resource}: {objects} known, {synced}, {heard}")
}

/// A listener as it is shown, in the order in which it is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Listener<'a> {
    slb: &'a str,
    protocol: &'a str,
    port: u16,
}

impl<'a> Listener<'a> {
    /// From `slb-1/TCP/80`.
    fn of(claimed: &'a Claimed) -> Self {
        let claim = &*claimed.claim.0;
        let mut parts = claim.rsplitn(3, '/');
        let (port, protocol, slb) = (parts.next(), parts.next(), parts.next());
        match (slb, protocol, port.and_then(|port| port.parse().ok())) {
            (Some(slb), Some(protocol), Some(port)) => Self { slb, protocol, port },
            _ => Self {
                slb: claim,
                protocol: "",
                port: 0,
            },
        }
    }
}

fn write_load_balancers(page: &mut String, now: SystemTime, report: &Report, leads: bool) -> fmt::Result {
    let failing: HashSet<&str> = report.failing.iter().map(|(key, _)| &**key).collect();
    let mut listeners: Vec<(Listener<'_>, &Claimed)> = report
        .claims
        .iter()
        .map(|claimed| (Listener::of(claimed), claimed))
        .collect();
    listeners.sort_by(|a, b| a.0.cmp(&b.0));
    let asked_for = if leads {
        ""
    } else {
        " asked for; who leads knows whether they are served"
    };
    writeln!(page, "\nload balancers: {} listeners{asked_for}", listeners.len())?;
    let (mut shown, mut last) = (0, None);
    for (listener, claimed) in &listeners {
        let fails = failing.contains(&*claimed.service);
        if shown >= MOST_LISTENERS && !fails {
            continue;
        }
        shown += 1;
        if last.replace(listener.slb) != Some(listener.slb) {
            writeln!(page, "  {}", line(listener.slb))?;
        }
        let port = format!("{}/{}", listener.protocol, listener.port);
        let state = match (fails, claimed.succeeded) {
            (false, Some(succeeded)) => format!("ok {} ago", age(now, succeeded)),
            (true, Some(succeeded)) => format!("FAILS, last ok {} ago", age(now, succeeded)),
            (true, None) => "FAILS, never ok in this process".to_owned(),
            (false, None) if leads => "not looked at yet".to_owned(),
            (false, None) => String::new(),
        };
        let text = format!("    {port:<9} {}  {state}", line(&claimed.service));
        writeln!(page, "{}", text.trim_end())?;
    }
    match listeners.len() - shown {
        0 => Ok(()),
        more => writeln!(page, "  and {more} more, of Services that do not fail"),
    }
}

fn write_failing(page: &mut String, now: SystemTime, report: &Report) -> fmt::Result {
    if report.failing.is_empty() {
        return writeln!(page, "\nfailing: nothing");
    }
    writeln!(page, "\nfailing: {} Services", report.failing.len())?;
    for (key, failing) in &report.failing {
        let (times, age, since) = (failing.times, age(now, failing.since), date(failing.since));
        let tried = if times == 1 {
            "once"
        } else {
            &format!("{times} times")
        };
        writeln!(
            page,
            "  {}  {}, {tried} since {since} ({age})",
            line(key),
            failing.reason
        )?;
        writeln!(page, "    {}", line(&failing.error))?;
    }
    Ok(())
}

/// What comes from outside, on one line and not too long.
fn line(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(MOST_CHARACTERS).map(printable).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

fn date(time: SystemTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH))
}

/// The two greatest units: `3 h 20 min`. What lies ahead, as after the date was set back, is 0 s.
fn age(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cloud::Claim;
    use crate::controllers::service::Failing;

    /// 2026-01-02T03:04:05Z, and seconds after it.
    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045 + seconds)
    }

    fn claimed(claim: &str, service: &str, succeeded: Option<u64>) -> Claimed {
        Claimed {
            claim: Claim(claim.into()),
            service: service.into(),
            succeeded: succeeded.map(at),
        }
    }

    fn failing(reason: &'static str, error: &str, since: u64, times: u32) -> Failing {
        Failing {
            reason,
            error: error.into(),
            since: at(since),
            times,
        }
    }

    fn status() -> Status {
        Status {
            now: at(12_010),
            version: "1.2.3",
            started: at(0),
            leader: Some(Leader {
                rank: Rank::Leads,
                holder: "node-1_1b4e28ba".into(),
                since: at(2),
            }),
            informers: vec![
                Informer {
                    resource: "services",
                    synced: Some(at(3)),
                    objects: 12,
                    heard: Some(at(12_000)),
                },
                Informer {
                    resource: "nodes",
                    synced: None,
                    objects: 0,
                    heard: None,
                },
            ],
            services: Some(Report {
                claims: vec![
                    claimed("slb-2/UDP/53", "shop/dns", None),
                    claimed("slb-1/TCP/443", "shop/front", Some(300)),
                    claimed("slb-1/TCP/80", "default/web", Some(11_998)),
                    claimed("slb-2/TCP/25", "shop/mail", None),
                ],
                failing: vec![
                    (
                        "shop/dns".into(),
                        failing("Unavailable", "SLB slb-2:\nno answer", 12_009, 1),
                    ),
                    (
                        "shop/front".into(),
                        failing("PortTaken", "TCP/443 is taken", 3_000, 40),
                    ),
                ],
            }),
            braked: Some(Braked { gone: 12, nodes: 40 }),
        }
    }

    #[test]
    fn one_line_says_how_things_are() {
        let counts = "4 listeners; 2 services FAIL; no Node is deleted";
        let full = status();
        let mut synced = status();
        synced.informers[1].synced = Some(at(4));
        let with = |status: &Status, leading: Option<(Rank, &str)>| Status {
            leader: leading.map(|(rank, holder)| Leader {
                rank,
                holder: holder.into(),
                since: at(2),
            }),
            ..status.clone()
        };
        let well = Status {
            services: Some(Report {
                claims: Vec::new(),
                failing: Vec::new(),
            }),
            braked: None,
            ..with(&synced, None)
        };
        let early = Status {
            informers: Vec::new(),
            services: None,
            braked: None,
            ..with(&full, Some((Rank::StandsBy, "b")))
        };
        for (status, want) in [
            (
                full.clone(),
                format!("waiting for the API server to list nodes; {counts}"),
            ),
            (synced.clone(), format!("leading; 12 services; 0 nodes; {counts}")),
            (
                with(&synced, Some((Rank::StandsBy, "b\n"))),
                format!("standing by, b  leads; 12 services; 0 nodes; {counts}"),
            ),
            (
                with(&synced, Some((Rank::StandsBy, ""))),
                format!("standing by, nobody leads; 12 services; 0 nodes; {counts}"),
            ),
            (
                with(&full, Some((Rank::StandsBy, "b"))),
                format!("standing by, b leads; waiting for the API server to list nodes; {counts}"),
            ),
            (
                with(&synced, Some((Rank::Waits, "a"))),
                format!(
                    "about to lead, when any earlier leader must have given up; 12 services; 0 nodes; {counts}"
                ),
            ),
            (well, "working; 12 services; 0 nodes; 0 listeners".to_owned()),
            (
                early,
                "standing by, b leads; getting ready: waiting for the API server".to_owned(),
            ),
        ] {
            assert_eq!(headline(&status), want);
        }
    }

    #[test]
    fn the_page_of_a_leader() {
        let want = "\
inspur-cloud-controller-manager v1.2.3
up 3 h 20 min, since 2026-01-02T03:04:05Z

leader election
  this replica leads, since 2026-01-02T03:04:07Z (3 h 20 min), as node-1_1b4e28ba

watched
  services: 12 known, synced since 2026-01-02T03:04:08Z (3 h 20 min), last heard 10 s ago
  nodes: 0 known, not synced yet, never heard

load balancers: 4 listeners
  slb-1
    TCP/80    default/web  ok 12 s ago
    TCP/443   shop/front  FAILS, last ok 3 h 15 min ago
  slb-2
    TCP/25    shop/mail  not looked at yet
    UDP/53    shop/dns  FAILS, never ok in this process

failing: 2 Services
  shop/dns  Unavailable, once since 2026-01-02T06:24:14Z (1 s)
    SLB slb-2: no answer
  shop/front  PortTaken, 40 times since 2026-01-02T03:54:05Z (2 h 30 min)
    TCP/443 is taken

no Node is deleted: 12 of 40 are gone in the cloud, which is more than the brake allows
  if they are really gone, annotate those to delete with node.inspur.com/deletion-wanted=true,
  or raise --node-deletion-brake-percent; if not, check the cloud's account and region
";
        assert_eq!(render(&status()), want);
    }

    #[test]
    fn the_page_of_a_standby() {
        let mut status = status();
        status.leader = Some(Leader {
            rank: Rank::StandsBy,
            holder: "node-2_77".into(),
            since: at(12_000),
        });
        status.services = Some(Report {
            claims: vec![claimed("slb-1/TCP/80", "default/web", None)],
            failing: vec![],
        });
        status.informers.truncate(1);
        status.braked = None;
        let want = "\
inspur-cloud-controller-manager v1.2.3
up 3 h 20 min, since 2026-01-02T03:04:05Z

leader election
  node-2_77 leads, seen since 2026-01-02T06:24:05Z (10 s); this replica stands by

watched
  services: 12 known, synced since 2026-01-02T03:04:08Z (3 h 20 min), last heard 10 s ago

load balancers: 1 listeners asked for; who leads knows whether they are served
  slb-1
    TCP/80    default/web

failing: nothing
";
        assert_eq!(render(&status), want);
    }

    #[test]
    fn nobody_leads_or_nobody_has_to() {
        let mut status = status();
        status.services = None;
        let leader = |leader| {
            status.leader = leader;
            render(&status).lines().nth(4).unwrap().to_owned()
        };
        let mut leader = leader;
        let nobody = Leader {
            rank: Rank::StandsBy,
            holder: String::new(),
            since: at(0),
        };
        assert_eq!(
            leader(Some(nobody)),
            "  nobody leads, since 2026-01-02T03:04:05Z (3 h 20 min); this replica stands by"
        );
        let nearly = Leader {
            rank: Rank::Waits,
            holder: "node-1_1b".into(),
            since: at(12_000),
        };
        assert_eq!(
            leader(Some(nearly)),
            "  this replica has the lease, since 2026-01-02T06:24:05Z (10 s), as node-1_1b; it leads when any earlier leader must have given up"
        );
        assert_eq!(leader(None), "  off: this is the only replica");
    }

    #[test]
    fn thousands_of_listeners_are_cut_but_for_those_that_fail() {
        let name = |n: usize| -> Arc<str> { format!("shop/web-{n:05}").into() };
        let mut status = status();
        status.services = Some(Report {
            claims: (0..10_000)
                .map(|n| {
                    claimed(
                        &format!("slb-{:03}/TCP/{}", n / 100, 1 + n % 100),
                        &name(n),
                        Some(0),
                    )
                })
                .collect(),
            failing: vec![(name(9_999), failing("PortTaken", &"x".repeat(200), 0, 2))],
        });
        let page = render(&status);
        let shown = page.lines().filter(|line| line.contains("shop/web-")).count();
        assert_eq!(shown, MOST_LISTENERS + 2, "the one that fails is there twice");
        assert!(
            page.contains("  slb-099\n    TCP/100   shop/web-09999  FAILS"),
            "{page}"
        );
        assert!(page.contains("\n  and 8999 more, of Services that do not fail\n"));
        let names = (0..10_000).map(name);
        status.services.as_mut().unwrap().failing = names
            .map(|key| (key, failing("PortTaken", &"x".repeat(200), 0, 2)))
            .collect();
        let page = render(&status);
        assert!(
            !page.contains("more, of") && page.len() < 4 << 20,
            "{} bytes",
            page.len()
        );
    }

    #[test]
    fn what_comes_from_outside_stays_on_its_line() {
        let odd = claimed(&format!("\u{1b}[2J{}/TCP/80", "s".repeat(500)), "a/b", Some(0));
        let mut status = status();
        status.services = Some(Report {
            claims: vec![odd, claimed("no-port", "a/c", Some(0))],
            failing: vec![],
        });
        let page = render(&status);
        assert!(
            !page.contains('\u{1b}') && page.lines().all(|line| line.chars().count() < 300),
            "{page}"
        );
        assert_eq!(
            page.lines().filter(|line| line.contains("a/")).count(),
            2,
            "{page}"
        );
    }

    #[test]
    fn ages_are_told_in_two_units_and_never_negative() {
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (400 * 86_400, "400 d 0 h"),
        ] {
            assert_eq!(age(at(seconds), at(0)), want);
        }
        assert_eq!(age(at(0), at(5)), "0 s");
    }
}
