//! `deploy/examples` is read as the program reads it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::cloud_config::{self, Problem};
use crate::inspur::annotations::{TABLE, read};
use crate::runtime::yaml;

/// Rights for a flag, not a Service; `tests/it` applies them.
const RIGHTS: &str = "service-account-credentials.yaml";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples");

/// The file that the cloud config names, which no example brings along.
const SECRET: &str = "/etc/kubernetes/inspur-client-secret";

#[test]
fn the_cloud_config_lacks_nothing_but_the_secret() {
    let path = PathBuf::from(FOLDER).join("cloud-config");
    let text = std::fs::read_to_string(&path).unwrap();
    let loaded = cloud_config::parse(&path, &text);
    let errors = loaded.config.unwrap_err();
    assert!(
        matches!(&errors[..], [error] if matches!(error.problem, Problem::Secret { key: "client-secret-file", .. })),
        "{errors:?}"
    );

    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "s\n").unwrap();
    assert!(text.contains(SECRET));
    let loaded = cloud_config::parse(&path, &text.replace(SECRET, secret.to_str().unwrap()));
    assert!(loaded.config.is_ok() && loaded.warnings.is_empty(), "{loaded:?}");
}

#[test]
fn every_service_asks_for_what_there_is() {
    let known: BTreeSet<&str> = TABLE
        .iter()
        .flat_map(|row| [row.name].into_iter().chain(row.aliases.iter().copied()))
        .collect();
    let files = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut services = 0;
    let objects = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    for path in objects.filter(|path| !path.ends_with(RIGHTS)) {
        let (shown, text) = (path.display(), std::fs::read_to_string(&path).unwrap());
        let object = yaml::parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(
            (object["kind"].as_str(), object["spec"]["type"].as_str()),
            (Some("Service"), Some("LoadBalancer")),
            "{shown}"
        );
        let annotations = object["metadata"]["annotations"].as_object().unwrap();
        let pairs: Vec<(&str, &str)> = annotations
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
            .collect();
        let asked =
            read(&pairs.iter().copied().collect()).unwrap_or_else(|invalid| panic!("{shown}: {invalid:?}"));
        assert!(asked.slb.is_some(), "{shown} names no SLB");
        for (key, value) in pairs {
            assert!(known.contains(key), "{shown}: {key} is no annotation of ours");
            // Kubernetes takes nothing but strings
            let bare = value.parse::<f64>().is_ok() || ["true", "false"].contains(&value);
            assert!(
                !bare || text.contains(&format!("{key}: \"{value}\"")),
                "{shown}: {key} needs quotes"
            );
        }
        services += 1;
    }
    assert!(services >= 3, "{services}");
}
