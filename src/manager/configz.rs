//! `/configz`: the configuration in use, as upstream's controller managers show theirs, and beside it what the cloud config says.
//! No secret is in it. Pure.
//!
//! Source: ccm-behaviour.md 2.10, whose mixed letter case is real.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::cloud_config::CloudConfig;
use crate::config::controllers::CONTROLLERS;
use crate::config::flags::Flags;
use crate::inspur::annotations::{CheckPort, CheckType, Defaults, Switch};
use crate::inspur::api::Credentials;
use crate::inspur::model::ForwardRule;
use crate::leader_election;
use crate::runtime::secret_source::SecretSource;

/// Upstream's key.
pub const KEY: &str = "cloudcontrollermanager.config.k8s.io";

/// The key of what the cloud config says.
pub const CLOUD_KEY: &str = "cloudconfig.inspur.com";

/// The document.
pub fn document(config: &Config) -> Value {
    json!({ KEY: component(&config.flags), CLOUD_KEY: cloud(&config.cloud) })
}

fn component(flags: &Flags) -> Value {
    json!({
        "kind": "CloudControllerManagerConfiguration",
        "apiVersion": "cloudcontrollermanager.config.k8s.io/v1alpha1",
        "Generic": generic(flags),
        "KubeCloudShared": {
            "CloudProvider": { "Name": "incloud", "CloudConfigFile": flags.cloud_config },
            "ExternalCloudVolumePlugin": "",
            "UseServiceAccountCredentials": flags.use_service_account_credentials,
            "AllowUntaggedCloud": false,
            "RouteReconciliationPeriod": duration(Duration::from_secs(10)),
            "NodeMonitorPeriod": duration(flags.node_monitor_period),
            "ClusterName": flags.cluster_name,
            "ClusterCIDR": "",
            "AllocateNodeCIDRs": false,
            "CIDRAllocatorType": "RangeAllocator",
            "ConfigureCloudRoutes": false,
            "NodeSyncPeriod": duration(Duration::ZERO),
        },
        "NodeController": {
            "ConcurrentNodeSyncs": flags.concurrent_node_syncs,
            "ConcurrentNodeStatusUpdates": flags.concurrent_node_status_updates,
        },
        "ServiceController": { "ConcurrentServiceSyncs": flags.concurrent_service_syncs },
        "NodeStatusUpdateFrequency": duration(flags.node_status_update_frequency),
        "Webhook": { "Webhooks": [] },
    })
}

fn generic(flags: &Flags) -> Value {
    let enabled = CONTROLLERS
        .iter()
        .filter(|controller| controller.here && flags.controllers.enables(controller.name));
    json!({
        "Port": 0,
        "Address": "0.0.0.0",
        "MinResyncPeriod": duration(flags.min_resync_period),
        "ClientConnection": {
            "kubeconfig": flags.kubeconfig.as_deref().unwrap_or_else(|| "".as_ref()),
            "acceptContentTypes": "",
            "contentType": "application/json",
            "qps": flags.kube_api_qps.unwrap_or(-1.0),
            "burst": flags.kube_api_burst,
        },
        "ControllerStartInterval": duration(flags.controller_start_interval),
        "LeaderElection": leader_election(flags.election.as_ref()),
        "Controllers": enabled.map(|controller| controller.name).collect::<Vec<_>>(),
        "Debugging": { "enableProfiling": flags.profiling, "enableContentionProfiling": false },
        "LeaderMigrationEnabled": false,
        "LeaderMigration": { "leaderName": "", "resourceLock": "", "controllerLeaders": null },
    })
}

fn leader_election(election: Option<&leader_election::Options>) -> Value {
    let Some(options) = election else {
        return json!({ "leaderElect": false });
    };
    json!({
        "leaderElect": true,
        "leaseDuration": duration(options.lease_duration),
        "renewDeadline": duration(options.renew_deadline),
        "retryPeriod": duration(options.retry_period),
        "resourceLock": "leases",
        "resourceName": options.name,
        "resourceNamespace": options.namespace,
    })
}

/// By the keys of the cloud config. What is not given is not there.
fn cloud(config: &CloudConfig) -> Value {
    let mut shown = Map::new();
    let mut show = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(key.to_owned(), value);
        }
    };
    show("slbUrl-pre", Some(json!(config.slb_url)));
    show("ecsUrl-pre", config.ecs_url.as_ref().map(|url| json!(url)));
    let (way, secret_key, secret) = match &config.credentials {
        Credentials::Static(token) => ("static token", "kktoken", token),
        Credentials::Keycloak {
            url,
            client_id,
            client_secret,
            requested_subject,
        } => {
            show("keycloakUrl", Some(json!(url)));
            show("token-client-id", Some(json!(client_id)));
            show("requested-subject", Some(json!(requested_subject)));
            ("token exchange", "client-secret", client_secret)
        }
        Credentials::Iam {
            url,
            username,
            password,
        } => {
            show("iam-url", Some(json!(url)));
            show("iam-username", Some(json!(username)));
            ("password login", "iam-password", password)
        }
    };
    show("credentials", Some(json!(way)));
    match secret {
        // not even how long it is
        SecretSource::Value(_) => show(secret_key, Some(json!("(not shown)"))),
        SecretSource::File(path) => show(&format!("{secret_key}-file"), Some(json!(path))),
    }
    show("ca-file", config.ca_file.as_ref().map(|path| json!(path)));
    show(
        "cluster-id",
        config.cluster_id.as_ref().map(|id| json!(id.as_str())),
    );
    show("region", config.region.as_ref().map(|region| json!(region)));
    show("zone", config.zone.as_ref().map(|zone| json!(zone)));
    show("subnet-id", config.subnet_id.as_ref().map(|id| json!(id)));
    show("api-qps", Some(json!(config.api_qps)));
    show("api-burst", Some(json!(config.api_burst)));
    show_defaults(&config.defaults, &mut show);
    Value::Object(shown)
}

fn show_defaults(defaults: &Defaults, show: &mut dyn FnMut(&str, Option<Value>)) {
    let rule = |rule| match rule {
        ForwardRule::RoundRobin => "RR",
        ForwardRule::WeightedRoundRobin => "WRR",
    };
    let switch = |switch| match switch {
        Switch::On => "on",
        Switch::Off => "off",
    };
    let check_type = |check_type| match check_type {
        CheckType::Tcp => "tcp",
        CheckType::Http => "http",
    };
    let check_port = |port| match port {
        CheckPort::Member => json!(0),
        CheckPort::Fixed(port) => json!(port.get()),
    };
    let number = |number: Option<u16>| number.map(|number| json!(number));
    let text = |text: &Option<Box<str>>| text.as_ref().map(|text| json!(text));
    show("forward-rule", defaults.rule.map(|r| json!(rule(r))));
    show("health-check", defaults.check.map(|s| json!(switch(s))));
    show(
        "healthcheck-type",
        defaults.check_type.map(|t| json!(check_type(t))),
    );
    show("healthcheck-port", defaults.check_port.map(check_port));
    show("healthcheck-period", number(defaults.check_period_seconds));
    show("healthcheck-timeout", number(defaults.check_timeout_seconds));
    show("healthcheck-max", number(defaults.check_tries));
    show("healthcheck-domain", text(&defaults.check_domain));
    show("healthcheck-path", text(&defaults.check_path));
}

/// As Go prints durations: `12h0m0s`, `1.5s`, `0s`. Source: Go, time.Duration.String.
fn duration(duration: Duration) -> String {
    let (seconds, nanoseconds) = (duration.as_secs(), duration.subsec_nanos());
    let fraction = |value: u128, digits: usize| {
        let text = format!("{value:0digits$}");
        let (whole, fraction) = text.split_at(text.len() - (digits - 1));
        let fraction = fraction.trim_end_matches('0');
        match fraction {
            "" => whole.to_owned(),
            _ => format!("{whole}.{fraction}"),
        }
    };
    match duration.as_nanos() {
        0 => "0s".to_owned(),
        nanos @ 1..1_000 => format!("{nanos}ns"),
        nanos @ 1_000..1_000_000 => format!("{}µs", fraction(nanos, 4)),
        nanos @ 1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 7)),
        _ => {
            let second = fraction(
                u128::from(seconds % 60) * 1_000_000_000 + u128::from(nanoseconds),
                10,
            );
            match (seconds / 3_600, seconds / 60 % 60) {
                (0, 0) => format!("{second}s"),
                (0, minutes) => format!("{minutes}m{second}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{second}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{self, Start};

    fn config(flags: &[&str], cloud_config: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud-config");
        std::fs::write(&path, cloud_config).unwrap();
        let path = format!("--cloud-config={}", path.display());
        match config::load(flags.iter().copied().chain([&*path]).map(OsString::from)) {
            Ok(Start::Run { mut config, .. }) => {
                config.flags.cloud_config = "/etc/cloud-config".into();
                *config
            }
            other => panic!("{other:?}"),
        }
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_shape_is_upstreams() {
        let config = config(
            &[
                "--kubeconfig=/k",
                "--kube-api-qps=7.5",
                "--controllers=*,-service",
                "--min-resync-period=90m",
                "--leader-elect-lease-duration=16s",
            ],
            "slbUrl-pre=https://x/slbs\nkktoken=t0ken-s3cret\n",
        );
        let document = document(&config);
        assert_eq!(keys(&document), [CLOUD_KEY, KEY]);
        let component = &document[KEY];
        assert_eq!(
            keys(component),
            [
                "Generic",
                "KubeCloudShared",
                "NodeController",
                "NodeStatusUpdateFrequency",
                "ServiceController",
                "Webhook",
                "apiVersion",
                "kind",
            ]
        );
        let want = json!({
            "Port": 0, "Address": "0.0.0.0", "MinResyncPeriod": "1h30m0s",
            "ClientConnection": {
                "kubeconfig": "/k", "acceptContentTypes": "", "contentType": "application/json", "qps": 7.5, "burst": 30,
            },
            "ControllerStartInterval": "0s",
            "LeaderElection": {
                "leaderElect": true, "leaseDuration": "16s", "renewDeadline": "10s", "retryPeriod": "2s",
                "resourceLock": "leases", "resourceName": "cloud-controller-manager", "resourceNamespace": "kube-system",
            },
            "Controllers": ["cloud-node-controller", "cloud-node-lifecycle-controller"],
            "Debugging": {"enableProfiling": true, "enableContentionProfiling": false},
            "LeaderMigrationEnabled": false,
            "LeaderMigration": {"leaderName": "", "resourceLock": "", "controllerLeaders": null},
        });
        assert_eq!(component["Generic"], want);
        let shared = &component["KubeCloudShared"];
        assert_eq!(
            shared["CloudProvider"],
            json!({"Name": "incloud", "CloudConfigFile": "/etc/cloud-config"})
        );
        assert_eq!(
            (&shared["ClusterName"], &shared["NodeMonitorPeriod"]),
            (&json!("kubernetes"), &json!("5s"))
        );
        let off = super::document(&self::config(
            &["--leader-elect=false"],
            "slbUrl-pre=https://x/slbs\nkktoken=t0ken-s3cret\n",
        ));
        assert_eq!(
            off[KEY]["Generic"]["LeaderElection"],
            json!({"leaderElect": false})
        );
    }

    #[test]
    fn the_cloud_config_is_shown_by_its_keys_and_without_any_secret() {
        let secret_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret_file.path(), "canary-in-file\n").unwrap();
        let path = secret_file.path().display().to_string();
        let file = format!("iam-password-file={path}");
        for (case, lines, want) in [
            (
                "static",
                "kktoken=canary-token",
                json!({"credentials": "static token", "kktoken": "(not shown)"}),
            ),
            (
                "exchange",
                "keycloakUrl=https://k/token\ntoken-client-id=me\nrequested-subject=you\nclient-secret=canary-secret",
                json!({
                    "credentials": "token exchange", "keycloakUrl": "https://k/token", "token-client-id": "me",
                    "requested-subject": "you", "client-secret": "(not shown)",
                }),
            ),
            (
                "login by file",
                &*format!("iam-url=https://i/login\niam-username=a.b\n{file}"),
                json!({
                    "credentials": "password login", "iam-url": "https://i/login", "iam-username": "a.b",
                    "iam-password-file": path,
                }),
            ),
        ] {
            let text = format!(
                "slbUrl-pre=https://x/slbs\necsUrl-pre=https://x/instances\nregion=r1\nforward-rule=WRR\n\
                 healthcheck-port=8080\nhealth-check=off\n{lines}\n"
            );
            let document = document(&config(&[], &text));
            let mut want = want;
            for (key, value) in [
                ("slbUrl-pre", json!("https://x/slbs")),
                ("ecsUrl-pre", json!("https://x/instances")),
                ("region", json!("r1")),
                ("forward-rule", json!("WRR")),
                ("healthcheck-port", json!(8080)),
                ("health-check", json!("off")),
                ("api-qps", json!(0.0)),
                ("api-burst", json!(50)),
            ] {
                want[key] = value;
            }
            assert_eq!(document[CLOUD_KEY], want, "{case}");
            assert!(!document.to_string().contains("canary"), "{case}");
        }
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (nanos, want) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (1_000_000, "1ms"),
            (2_050_000, "2.05ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (61_000_000_000, "1m1s"),
            (43_200_000_000_000, "12h0m0s"),
            (3_600_500_000_000, "1h0m0.5s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), want);
        }
    }
}
