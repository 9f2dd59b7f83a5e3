//! What kube-controller-manager does for the pages: it signs what was approved, and fills the Secrets that ask for a token.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::pods::{SYSTEM, list};
use crate::support::World;
use crate::support::api::text;

/// A token of a service account in `kube-system`.
pub fn token_of(world: &World, account: &str) -> String {
    let path = format!("{SYSTEM}/serviceaccounts/{account}/token");
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [], "expirationSeconds": 3600}});
    text(&world.api.create(&path, &request)["status"]["token"]).to_owned()
}

/// What kube-controller-manager does for a page: it signs what was approved, and fills the Secrets that ask for a token.
pub fn manage(world: &World) {
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    if world.api.minor() >= 19 {
        for request in world.api.list(requests) {
            let approved = list(&request["status"]["conditions"])
                .iter()
                .any(|condition| condition["type"] == "Approved");
            if approved && request["status"].get("certificate").is_none() {
                let path = format!("{requests}/{}/status", text(&request["metadata"]["name"]));
                let certificate = sign(world, text(&request["spec"]["request"]));
                world.api.patch(
                    &path,
                    &json!({"status": {"certificate": STANDARD.encode(certificate)}}),
                );
            }
        }
    }
    for secret in world.api.list(&format!("{SYSTEM}/secrets")) {
        let account = text(&secret["metadata"]["annotations"]["kubernetes.io/service-account.name"]);
        if secret["type"] == "kubernetes.io/service-account-token" && secret["data"].get("token").is_none() {
            let path = format!("{SYSTEM}/secrets/{}", text(&secret["metadata"]["name"]));
            let token = STANDARD.encode(token_of(world, account));
            world.api.patch(&path, &json!({"data": {"token": token}}));
        }
    }
}

fn sign(world: &World, request: &str) -> Vec<u8> {
    let authority = world
        .api
        .client_certificates
        .as_deref()
        .expect("a real API server");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let request = STANDARD.decode(request).expect("requests are in base64");
    std::fs::write(folder.path().join("request"), request).expect("the folder is ours");
    // with extensions it is of version 3
    std::fs::write(folder.path().join("extensions"), "extendedKeyUsage=clientAuth\n")
        .expect("the folder is ours");
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let signed = Command::new("openssl")
        .args([
            "x509",
            "-req",
            "-days",
            "1",
            "-in",
            &file(folder.path(), "request"),
        ])
        .args(["-extfile", &file(folder.path(), "extensions")])
        .args([
            "-CA",
            &file(authority, "ca.crt"),
            "-CAkey",
            &file(authority, "ca.key"),
            "-set_serial",
            "7",
        ])
        .output()
        .expect("openssl made the authority");
    assert!(
        signed.status.success(),
        "{}",
        String::from_utf8_lossy(&signed.stderr)
    );
    signed.stdout
}
