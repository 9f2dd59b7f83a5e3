//! Which controllers run.

use crate::metrics::{IntGaugeVec, Metrics};

/// Shows which controllers run. Source: ccm-behaviour.md 7.1.
#[derive(Clone)]
pub struct Running(IntGaugeVec);

/// As upstream names this program here.
const MANAGER: &str = "cloud-controller-manager";

impl Running {
    /// None does.
    pub fn new(metrics: &Metrics) -> Self {
        Self(metrics.gauges(
            "running_managed_controllers",
            "1 while the controller of that name runs, 0 after it has ended; absent before it has begun. The names are cloud-node, \
             cloud-node-lifecycle and service.",
            &["name", "manager"],
        ))
    }

    /// The controller of that short name has begun: `service`, `cloud-node`, `cloud-node-lifecycle`.
    pub fn begun(&self, name: &'static str) {
        self.0.with_label_values(&[name, MANAGER]).set(1);
    }

    /// It has ended.
    pub fn ended(&self, name: &'static str) {
        self.0.with_label_values(&[name, MANAGER]).set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::lines;

    #[test]
    fn a_controller_is_shown_from_its_beginning_on() {
        let metrics = Metrics::new();
        let running = Running::new(&metrics);
        let shown = || lines(&metrics, "running_managed_controllers");
        assert_eq!(shown(), [""; 0]);
        let line = |value| {
            format!(
                "running_managed_controllers{{manager=\"cloud-controller-manager\",name=\"service\"}} {value}"
            )
        };
        running.begun("service");
        assert_eq!(shown(), [line(1)]);
        running.ended("service");
        assert_eq!(shown(), [line(0)]);
    }
}
