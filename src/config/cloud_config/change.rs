//! From one version of a cloud config to the next while the program runs.

use super::CloudConfig;
use crate::inspur::api::Credentials;

/// What a later version says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Who we are to the cloud, or where a token is asked for.
    pub credentials: bool,
    /// How listeners are where no annotation says it.
    pub defaults: bool,
    /// `api-qps` or `api-burst`.
    pub limit: bool,
    /// The keys whose new values count only after a restart.
    pub fixed: Vec<&'static str>,
}

impl Change {
    /// Everything that may change.
    pub fn of_all() -> Self {
        Self {
            credentials: true,
            defaults: true,
            limit: true,
            fixed: Vec::new(),
        }
    }

    /// Whether there is something to do at once.
    pub fn is_effective(&self) -> bool {
        self.credentials || self.defaults || self.limit
    }
}

impl CloudConfig {
    /// This one, with everything of `later` that may change while the program runs; and what is different in `later`.
    pub fn updated(&self, later: Self) -> (Self, Change) {
        let mut change = Change {
            credentials: self.credentials != later.credentials,
            defaults: self.defaults != later.defaults,
            limit: (self.api_qps, self.api_burst) != (later.api_qps, later.api_burst),
            fixed: self.what_is_fixed(&later),
        };
        let mut updated = Self {
            api_qps: later.api_qps,
            api_burst: later.api_burst,
            defaults: later.defaults,
            ..self.clone()
        };
        match needs_roots(&later.credentials) {
            Some(key) if self.trusts_nobody() => {
                change.credentials = false;
                change.fixed.push(key);
            }
            _ => updated.credentials = later.credentials,
        }
        (updated, change)
    }

    fn what_is_fixed(&self, later: &Self) -> Vec<&'static str> {
        [
            ("slbUrl-pre", self.slb_url != later.slb_url),
            ("ecsUrl-pre", self.ecs_url != later.ecs_url),
            ("ca-file", self.ca_file != later.ca_file),
            ("cluster-id", self.cluster_id != later.cluster_id),
            ("region", self.region != later.region),
            ("zone", self.zone != later.zone),
            ("subnet-id", self.subnet_id != later.subnet_id),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }

    /// Whether all there was at the start is on this machine and spoken to without TLS, so that no authority was loaded.
    fn trusts_nobody(&self) -> bool {
        self.ca_file.is_none()
            && !self.slb_url.starts_with("https://")
            && needs_roots(&self.credentials).is_none()
    }
}

/// The key that leads to a server with TLS.
fn needs_roots(credentials: &Credentials) -> Option<&'static str> {
    let (key, url) = match credentials {
        Credentials::Keycloak { url, .. } => ("keycloakUrl", url),
        Credentials::Iam { url, .. } => ("iam-url", url),
        Credentials::Static(_) => return None,
    };
    url.starts_with("https://").then_some(key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::cloud_config::parse;

    const BASE: &str = "slbUrl-pre=https://x/slbs\nkeycloakUrl=https://k/token\ntoken-client-id=c\nclient-secret=s\nrequested-subject=u\n";

    fn config(text: &str) -> CloudConfig {
        let loaded = parse(Path::new("/etc/cloud-config"), text);
        loaded.config.unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn each_key_counts_at_once_or_is_named() {
        let at_once = |credentials, defaults, limit| Change {
            credentials,
            defaults,
            limit,
            fixed: Vec::new(),
        };
        let fixed = |key| Change {
            fixed: vec![key],
            ..Change::default()
        };
        for (case, later, want) in [
            ("nothing", BASE.to_owned(), Change::default()),
            (
                "a secret",
                BASE.replace("=s\n", "=t\n"),
                at_once(true, false, false),
            ),
            (
                "where a token is",
                BASE.replace("//k/", "//l/"),
                at_once(true, false, false),
            ),
            (
                "another way",
                "slbUrl-pre=https://x/slbs\nkktoken=t".into(),
                at_once(true, false, false),
            ),
            (
                "a default",
                format!("{BASE}forward-rule=WRR"),
                at_once(false, true, false),
            ),
            ("a rate", format!("{BASE}api-qps=2"), at_once(false, false, true)),
            (
                "a burst",
                format!("{BASE}api-burst=2"),
                at_once(false, false, true),
            ),
            ("the SLB API", BASE.replace("//x/", "//y/"), fixed("slbUrl-pre")),
            (
                "the ECS API",
                format!("{BASE}ecsUrl-pre=https://x/instances"),
                fixed("ecsUrl-pre"),
            ),
            ("who we are", format!("{BASE}cluster-id=c1"), fixed("cluster-id")),
            ("a region", format!("{BASE}region=r"), fixed("region")),
            ("a zone", format!("{BASE}zone=z"), fixed("zone")),
            ("a subnet", format!("{BASE}subnet-id=n"), fixed("subnet-id")),
        ] {
            let (old, new) = (config(BASE), config(&later));
            let (updated, change) = old.updated(new.clone());
            assert_eq!(change, want, "{case}");
            let in_force = if change.fixed.is_empty() { &new } else { &old };
            assert_eq!(&updated, in_force, "{case}");
        }
    }

    #[test]
    fn what_may_change_changes_beside_what_may_not() {
        let later = format!("{}region=r\n", BASE.replace("=s\n", "=t\n"));
        let (updated, change) = config(BASE).updated(config(&later));
        assert_eq!((change.credentials, &*change.fixed), (true, &["region"][..]));
        assert_eq!(updated, config(&BASE.replace("=s\n", "=t\n")));
    }

    #[test]
    fn a_token_service_with_tls_needs_authorities_that_were_loaded() {
        let local = BASE.replace("https://", "http://127.0.0.1/");
        let moved = local.replace("http://127.0.0.1/k", "https://k");
        let (updated, change) = config(&local).updated(config(&moved));
        assert_eq!(
            (change.credentials, &*change.fixed),
            (false, &["keycloakUrl"][..])
        );
        assert_eq!(updated, config(&local));
        let (_, change) = config(&moved).updated(config(&local));
        assert_eq!((change.credentials, &*change.fixed), (true, &[][..]));
    }
}
