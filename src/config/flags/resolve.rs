//! From what is given to what it means: the checks that the table of flags cannot make, those of one flag beside another above all.

use std::path::PathBuf;
use std::time::Duration;

use super::table::PROVIDERS;
use super::{Error, Flags, Given, Warning, values};
use crate::config::controllers::{CONTROLLERS, Selection};
use crate::config::nearest::nearest;
use crate::logging::{Format, Modules};

impl Given {
    /// Checks what the table does not. When there are errors, what it returns means nothing.
    pub(super) fn resolve(&mut self, cloud_config: PathBuf, warnings: &mut Vec<Warning>) -> Flags {
        let provider = self.last("cloud-provider");
        if provider.is_empty() {
            let why = "it must be incloud";
            self.errors.push(Error::Empty {
                flag: "cloud-provider",
                why,
            });
        } else if !PROVIDERS.contains(&provider) {
            self.refuse("cloud-provider", "must be incloud or its alias inspur");
        }
        if cloud_config.as_os_str().is_empty() {
            let why = "it must name the file with the cloud's addresses and credentials";
            self.errors.push(Error::Empty {
                flag: "cloud-config",
                why,
            });
        }
        let qps: f64 = self.number("kube-api-qps");
        if qps == 0.0 {
            self.refuse(
                "kube-api-qps",
                "must not be 0: a number below 0 switches the limit off",
            );
        }
        for flag in ["node-monitor-period", "node-status-update-frequency"] {
            if self.duration(flag).is_zero() {
                self.refuse(flag, "must be longer than 0");
            }
        }
        let json = self.last("logging-format") == "json";
        if json && !self.last("vmodule").is_empty() {
            self.refuse(
                "vmodule",
                "must be empty with --logging-format=json: only supported for text log format",
            );
        }
        let node_syncs: usize = self.number("concurrent-node-syncs");
        Flags {
            kubeconfig: self.path("kubeconfig"),
            master: self.non_empty("master"),
            cloud_config,
            cluster_name: self.last("cluster-name").to_owned(),
            controllers: self.controllers(warnings),
            concurrent_service_syncs: self.number("concurrent-service-syncs"),
            concurrent_node_syncs: node_syncs,
            concurrent_node_status_updates: match self.number("concurrent-node-status-updates") {
                0 => node_syncs,
                threads => threads,
            },
            node_status_update_frequency: self.duration("node-status-update-frequency"),
            node_monitor_period: self.duration("node-monitor-period"),
            node_startup_grace_period: self.duration("node-startup-grace-period"),
            node_deletion_confirmations: self.number("node-deletion-confirmations"),
            node_deletion_brake_percent: self.number("node-deletion-brake-percent"),
            node_deletion_brake_window: self.duration("node-deletion-brake-window"),
            min_resync_period: self.duration("min-resync-period"),
            kube_api_qps: (qps > 0.0).then_some(qps),
            kube_api_burst: self.number("kube-api-burst"),
            controller_start_interval: self.duration("controller-start-interval"),
            use_service_account_credentials: self.is_true("use-service-account-credentials"),
            election: self.election(),
            serving: self.serving(warnings),
            profiling: self.is_true("profiling"),
            verbosity: self.number("v"),
            vmodule: Modules::parse(self.last("vmodule")).expect("the table allows only what fits"),
            logging_format: if json { Format::Json } else { Format::Text },
        }
    }

    /// The last value is not allowed.
    pub(super) fn refuse(&mut self, flag: &'static str, allowed: impl Into<String>) {
        let found = self.last(flag).to_owned();
        self.refuse_found(flag, found, allowed);
    }

    /// All that is given of a list, or one entry, is not allowed.
    pub(super) fn refuse_found(&mut self, flag: &'static str, found: String, allowed: impl Into<String>) {
        let allowed = allowed.into();
        self.errors.push(Error::Value { flag, found, allowed });
    }

    /// Whether something is wrong with the flag by itself, so that comparing it with others would only confuse.
    pub(super) fn is_refused(&self, name: &str) -> bool {
        self.errors.iter().any(|error| match error {
            Error::Value { flag, .. } | Error::NoValue { flag } => *flag == name,
            _ => false,
        })
    }

    pub(super) fn duration(&self, flag: &'static str) -> Duration {
        // one that is none was reported when it was given
        values::duration(self.last(flag)).unwrap_or_default()
    }

    pub(super) fn path(&self, flag: &'static str) -> Option<PathBuf> {
        self.non_empty(flag).map(PathBuf::from)
    }

    fn controllers(&mut self, warnings: &mut Vec<Warning>) -> Selection {
        match Selection::new(self.list("controllers")) {
            Ok(selection) => {
                let absent = selection.named().filter(|controller| !controller.here);
                warnings.extend(absent.map(|controller| Warning::ControllerNotHere {
                    name: controller.name,
                }));
                if !CONTROLLERS.iter().any(|c| c.here && selection.enables(c.name)) {
                    warnings.push(Warning::NothingToRun);
                }
                selection
            }
            Err(unknown) => {
                let names = || CONTROLLERS.iter().flat_map(|c| [c.name, c.alias]);
                self.errors
                    .extend(unknown.into_iter().map(|name| Error::UnknownController {
                        nearest: nearest(&name, names()),
                        name,
                    }));
                Selection::new([]).expect("nothing names no unknown controller")
            }
        }
    }
}
