//! How a listener checks its members. Pure.

use std::num::NonZeroU16;

use super::annotations::{CheckPort, CheckType, Switch, Wishes};
use super::model::{HealthCheck, Probe, ProbeKind, Protocol};
use crate::k8s::types::Service;

/// Built-in defaults of a check. Source: the issue; the old controller's 30/1/1 flapped.
const PERIOD_SECONDS: u16 = 10;
const TIMEOUT_SECONDS: u16 = 5;
const TRIES: u16 = 3;

/// Where kube-proxy answers for a `Local` Service. Source: kubernetes `service/helpers: GetServiceHealthCheckPathPort`.
const LOCAL_PATH: &str = "/healthz";

/// How members are checked. An annotation wins over what `externalTrafficPolicy: Local` needs, that over the cloud config,
/// and that over what is built in.
pub(super) fn health_check(
    service: &Service,
    protocol: Protocol,
    asked: &Wishes,
    defaults: &Wishes,
) -> HealthCheck {
    let answerable_for_udp =
        asked.check_type.is_some() && matches!(asked.check_port, Some(CheckPort::Fixed(_)));
    match asked.check.or(defaults.check).unwrap_or(Switch::On) {
        Switch::Off => return HealthCheck::Off,
        // nothing answers a TCP probe on the port of a UDP service
        Switch::On if protocol == Protocol::Udp && !answerable_for_udp => return HealthCheck::Off,
        Switch::On => {}
    }
    // a type or a port of the owner's own is a check of another kind: kube-proxy's port and path do not belong to it
    let own = asked.check_type.is_some() || asked.check_port.is_some();
    let local =
        NonZeroU16::new(service.health_check_node_port).filter(|_| service.local_traffic_only && !own);
    let check_type = local
        .map(|_| CheckType::Http)
        .or(asked.check_type)
        .or(defaults.check_type);
    let port = local
        .map(CheckPort::Fixed)
        .or(asked.check_port)
        .or(defaults.check_port);
    let path = asked.check_path.as_deref();
    let path = path
        .or(local.map(|_| LOCAL_PATH))
        .or(defaults.check_path.as_deref());
    let domain = asked.check_domain.as_deref().or(defaults.check_domain.as_deref());
    let number = |asked: Option<u16>, default: Option<u16>, built_in| asked.or(default).unwrap_or(built_in);
    HealthCheck::On(Probe {
        kind: match check_type.unwrap_or(CheckType::Tcp) {
            CheckType::Tcp => ProbeKind::Tcp,
            CheckType::Http => ProbeKind::Http {
                domain: domain.unwrap_or_default().into(),
                path: path.unwrap_or("/").into(),
            },
        },
        port: match port.unwrap_or(CheckPort::Member) {
            CheckPort::Member => None,
            CheckPort::Fixed(port) => Some(port),
        },
        period_seconds: number(
            asked.check_period_seconds,
            defaults.check_period_seconds,
            PERIOD_SECONDS,
        ),
        timeout_seconds: number(
            asked.check_timeout_seconds,
            defaults.check_timeout_seconds,
            TIMEOUT_SECONDS,
        ),
        tries: number(asked.check_tries, defaults.check_tries, TRIES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspur::annotations::set_default;
    use crate::inspur::desired;
    use crate::inspur::testing::service;

    fn probe(kind: ProbeKind, port: u16, period: u16, timeout: u16, tries: u16) -> HealthCheck {
        HealthCheck::On(Probe {
            kind,
            port: NonZeroU16::new(port),
            period_seconds: period,
            timeout_seconds: timeout,
            tries,
        })
    }

    fn http(domain: &str, path: &str) -> ProbeKind {
        ProbeKind::Http {
            domain: domain.into(),
            path: path.into(),
        }
    }

    #[test]
    fn checks_follow_annotations_then_the_policy_then_the_config() {
        let plain = || service("web").tcp(80, 30080).build();
        let local = || service("web").tcp(80, 30080).local(31000).build();
        let udp = || service("web").udp(53, 30053).build();
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(&str, Service, Pairs, Pairs, HealthCheck); 16] = [
            (
                "nothing said",
                plain(),
                &[],
                &[],
                probe(ProbeKind::Tcp, 0, 10, 5, 3),
            ),
            (
                "off by annotation",
                plain(),
                &[("is-healthcheck", "0")],
                &[],
                HealthCheck::Off,
            ),
            (
                "off by config",
                plain(),
                &[],
                &[("health-check", "off")],
                HealthCheck::Off,
            ),
            (
                "on by annotation, off by config",
                plain(),
                &[("is-healthcheck", "1")],
                &[("health-check", "off")],
                probe(ProbeKind::Tcp, 0, 10, 5, 3),
            ),
            (
                "all by annotation",
                plain(),
                &[
                    ("healthcheck-type", "http"),
                    ("healthcheck-port", "8080"),
                    ("healthcheck-period", "7"),
                    ("healthcheck-timeout", "2"),
                    ("healthcheck-max", "4"),
                    ("healthcheck-domain", "d"),
                    ("healthcheck-path", "/p"),
                ],
                &[("healthcheck-period", "99"), ("healthcheck-path", "/c")],
                probe(http("d", "/p"), 8080, 7, 2, 4),
            ),
            (
                "all by config",
                plain(),
                &[],
                &[
                    ("healthcheck-type", "http"),
                    ("healthcheck-port", "8080"),
                    ("healthcheck-period", "7"),
                    ("healthcheck-timeout", "2"),
                    ("healthcheck-max", "4"),
                    ("healthcheck-domain", "d"),
                    ("healthcheck-path", "/p"),
                ],
                probe(http("d", "/p"), 8080, 7, 2, 4),
            ),
            (
                "http without a path",
                plain(),
                &[("healthcheck-type", "http")],
                &[],
                probe(http("", "/"), 0, 10, 5, 3),
            ),
            (
                "Local",
                local(),
                &[],
                &[],
                probe(http("", "/healthz"), 31000, 10, 5, 3),
            ),
            (
                "Local over the config, but for its times",
                local(),
                &[],
                &[
                    ("healthcheck-type", "tcp"),
                    ("healthcheck-port", "1"),
                    ("healthcheck-path", "/c"),
                    ("healthcheck-max", "9"),
                ],
                probe(http("", "/healthz"), 31000, 10, 5, 9),
            ),
            (
                "Local, off",
                local(),
                &[("is-healthcheck", "false")],
                &[],
                HealthCheck::Off,
            ),
            (
                "Local, a path of its own",
                local(),
                &[("healthcheck-path", "/up")],
                &[],
                probe(http("", "/up"), 31000, 10, 5, 3),
            ),
            (
                "Local, a type of its own",
                local(),
                &[("healthcheck-type", "tcp")],
                &[],
                probe(ProbeKind::Tcp, 0, 10, 5, 3),
            ),
            (
                "Local, no port for it",
                service("web").tcp(80, 30080).local(0).build(),
                &[],
                &[],
                probe(ProbeKind::Tcp, 0, 10, 5, 3),
            ),
            (
                "UDP",
                udp(),
                &[("is-healthcheck", "1"), ("healthcheck-type", "tcp")],
                &[("healthcheck-port", "9")],
                HealthCheck::Off,
            ),
            (
                "UDP with a type and the member's port",
                udp(),
                &[("healthcheck-type", "tcp"), ("healthcheck-port", "0")],
                &[],
                HealthCheck::Off,
            ),
            (
                "UDP with a type and a port that can answer",
                udp(),
                &[("healthcheck-type", "http"), ("healthcheck-port", "10256")],
                &[],
                probe(http("", "/"), 10256, 10, 5, 3),
            ),
        ];
        for (case, service, asked, defaults, want) in cases {
            let wishes = |pairs: Pairs| {
                let mut wishes = Wishes::default();
                for (key, value) in pairs {
                    assert_eq!(set_default(&mut wishes, key, value), Ok(true), "{case}: {key}");
                }
                wishes
            };
            let protocol = desired::frontend(&service.ports[0]).unwrap().protocol;
            let got = health_check(&service, protocol, &wishes(asked), &wishes(defaults));
            assert_eq!(got, want, "{case}");
        }
    }
}
