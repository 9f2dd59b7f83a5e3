//! Which program this is, as metrics.

use super::Metrics;

/// Registers `kubernetes_build_info` and `inspur_ccm_build_info`, which are 1 for ever: what they tell is in their labels.
pub fn register(metrics: &Metrics) {
    let kubernetes = metrics.gauges(
        "kubernetes_build_info",
        "Always 1; the labels tell the version of this program, where Kubernetes' own programs tell theirs. What a Rust program \
         does not have is empty.",
        &[
            "major",
            "minor",
            "git_version",
            "git_commit",
            "git_tree_state",
            "build_date",
            "go_version",
            "compiler",
            "platform",
        ],
    );
    let version = env!("CARGO_PKG_VERSION");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let minor = env!("CARGO_PKG_VERSION_MINOR");
    let git_version = format!("v{version}");
    let labels = [major, minor, &git_version, "", "", "", "", "rustc", &platform()];
    kubernetes.with_label_values(&labels).set(1);
    let own = metrics.gauges(
        "inspur_ccm_build_info",
        "Always 1; the label tells the version of this program.",
        &["version"],
    );
    own.with_label_values(&[version]).set(1);
}

/// As Go spells it: `linux/amd64`.
fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::lines;

    #[test]
    fn the_version_is_told_in_both_tongues() {
        let metrics = Metrics::new();
        register(&metrics);
        let version = env!("CARGO_PKG_VERSION");
        let kubernetes = lines(&metrics, "kubernetes_build_info");
        assert_eq!(kubernetes.len(), 1);
        assert!(
            kubernetes[0].contains(&format!("git_version=\"v{version}\"")),
            "{kubernetes:?}"
        );
        let own = lines(&metrics, "inspur_ccm_build_info");
        assert_eq!(own, [format!("inspur_ccm_build_info{{version=\"{version}\"}} 1")]);
    }
}
