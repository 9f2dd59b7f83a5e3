//! Which API server to talk to, whom to trust and who we are: from a kubeconfig, or from the pod. Pure but for the files
//! of the pod's own account, which are read later.
//!
//! A kubeconfig arrives as plain data, each scalar a string as in YAML (real booleans and numbers are taken too). Everything
//! wrong with it is reported at once, with file, entry and field, and never with a secret.

mod read;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::read::{Entry, Reader};
use super::exec::{ExecCluster, ExecConfig};
use crate::http::agent::{Identity, Pem, Roots};
use crate::http::proxy::{ProxyUrl, split_port};
use crate::runtime::secret::Secret;

/// How to reach an API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAccess {
    /// Scheme, host, port, perhaps a path; no slash at its end.
    pub server: String,
    /// Whom to trust.
    pub roots: Roots,
    /// The name to ask for and to verify instead of the server's.
    pub server_name: Option<String>,
    /// The way there. The environment's proxies are not for the API server.
    pub proxy: Option<ProxyUrl>,
    /// The certificate to show.
    pub identity: Option<Identity>,
    /// What to send.
    pub credentials: Credentials,
}

/// Where the `Authorization` header comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nowhere: none is sent.
    Nobody,
    /// It is always the same.
    Token {
        /// For errors.
        from: String,
        /// The token.
        token: Secret,
    },
    /// It stands in a file.
    TokenFile {
        /// Its path.
        path: PathBuf,
        /// For as long as the file has never been read.
        fallback: Option<Secret>,
    },
    /// A program prints it.
    Exec(Box<ExecConfig>),
}

/// All that is wrong with a kubeconfig or a pod's environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Problems(pub Vec<String>);

/// What the current context of `config` says; `file` is its path, for errors and for relative paths in it. `master`
/// replaces the server's URL.
///
/// # Errors
/// Everything that is missing, contradictory, or refused: see the module.
pub fn resolve(config: &Value, file: &Path, master: Option<&str>) -> Result<ClusterAccess, Problems> {
    let mut reader = Reader::new(file);
    let root = reader.root(config);
    let (cluster, user) = reader.current(root, master.is_some());
    let access = ClusterAccess {
        server: String::new(),
        roots: Roots::Nobody,
        server_name: None,
        proxy: None,
        identity: None,
        credentials: Credentials::Nobody,
    };
    let access = read_cluster(&mut reader, cluster.as_ref(), master, access);
    let access = match &user {
        Some(user) => read_user(&mut reader, user, cluster.as_ref(), access),
        None => access,
    };
    reader.finish(access)
}

/// The pod's own account. `variable` reads the environment, `folder` is where kubelet puts the account's files.
///
/// # Errors
/// Not in a pod.
pub fn in_cluster(
    variable: impl Fn(&str) -> Option<String>,
    folder: &Path,
) -> Result<ClusterAccess, Problems> {
    let read = |name| variable(name).filter(|value| !value.is_empty());
    let (Some(host), Some(port)) = (read("KUBERNETES_SERVICE_HOST"), read("KUBERNETES_SERVICE_PORT")) else {
        let problem = "neither a kubeconfig is given, nor does this run in a pod \
                       (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set)";
        return Err(Problems(vec![problem.to_owned()]));
    };
    let host = host.split('%').next().unwrap_or_default();
    let server = match host.contains(':') {
        true => format!("https://[{host}]:{port}"),
        false => format!("https://{host}:{port}"),
    };
    Ok(ClusterAccess {
        server,
        roots: Roots::Pem(Pem::File(folder.join("ca.crt"))),
        server_name: None,
        proxy: None,
        identity: None,
        credentials: Credentials::TokenFile {
            path: folder.join("token"),
            fallback: None,
        },
    })
}

/// Only the API server at `master`, as nobody.
///
/// # Errors
/// Not a URL that may be used.
pub fn only_master(master: &str) -> Result<ClusterAccess, Problems> {
    resolve(&Value::Null, Path::new("--master"), Some(master))
}

/// Where kubelet puts the files of a pod's account.
pub const POD_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn read_cluster(
    reader: &mut Reader<'_>,
    cluster: Option<&Entry<'_>>,
    master: Option<&str>,
    mut access: ClusterAccess,
) -> ClusterAccess {
    let named = cluster.and_then(|cluster| reader.text(cluster, "server"));
    let server = match (master, named, cluster) {
        (Some(master), _, _) => check_server(master).map_err(|e| format!("--master: {e}")),
        (None, Some(server), Some(cluster)) => check_server(&server).map_err(|e| cluster.at("server", &e)),
        (None, None, Some(cluster)) => Err(cluster.at("server", "it is missing")),
        // that there is no cluster is reported already
        (None, _, None) => Ok(String::new()),
    };
    match server {
        Ok(server) => access.server = server,
        Err(problem) => reader.problem(problem),
    }
    let is_tls = access.server.starts_with("https:");
    if is_tls {
        access.roots = Roots::System;
    }
    let Some(cluster) = cluster else {
        return access;
    };
    if reader.flag(cluster, "insecure-skip-tls-verify") {
        let reason = "it is refused: name the CA (certificate-authority), or the name in the certificate (tls-server-name)";
        reader.problem(cluster.at("insecure-skip-tls-verify", reason));
    }
    let roots = reader.pem(cluster, "certificate-authority");
    if let (true, Some(pem)) = (is_tls, roots) {
        access.roots = Roots::Pem(pem);
    }
    access.server_name = reader.text(cluster, "tls-server-name");
    if let Some(url) = reader.text(cluster, "proxy-url") {
        match ProxyUrl::parse("proxy-url", &url) {
            Ok(proxy) => access.proxy = Some(proxy),
            Err(error) => reader.problem(cluster.at("proxy-url", &error.reason)),
        }
    }
    access
}

fn read_user(
    reader: &mut Reader<'_>,
    user: &Entry<'_>,
    cluster: Option<&Entry<'_>>,
    mut access: ClusterAccess,
) -> ClusterAccess {
    for (field, reason) in REFUSED_OF_USERS {
        if user.map.get(*field).is_some_and(|value| !is_nothing(value)) {
            reader.problem(user.at(field, reason));
        }
    }
    let (certificate, key) = (
        reader.pem(user, "client-certificate"),
        reader.pem(user, "client-key"),
    );
    access.identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.problem(user.at("client-key", "it is missing, but there is a client-certificate"));
            None
        }
        (None, Some(_)) => {
            reader.problem(user.at("client-certificate", "it is missing, but there is a client-key"));
            None
        }
    };
    let token = reader.text(user, "token").map(Secret::new);
    let exec = user.map.get("exec").filter(|value| !is_nothing(value));
    access.credentials = match (reader.path(user, "tokenFile"), token, exec) {
        (Some(path), fallback, _) => Credentials::TokenFile { path, fallback },
        (None, Some(token), _) => Credentials::Token {
            from: user.at("token", "").trim_end_matches([':', ' ']).to_owned(),
            token,
        },
        // a certificate of the user's own switches the program off. Source: client-go, exec.UpdateTransportConfig
        (None, None, Some(exec)) if access.identity.is_none() => {
            let shown = shown_cluster(reader, cluster, &access);
            match read_exec(reader, user, exec, shown) {
                Some(exec) => Credentials::Exec(Box::new(exec)),
                None => Credentials::Nobody,
            }
        }
        (None, None, _) => Credentials::Nobody,
    };
    access
}

/// What a plug-in may be told of the cluster.
fn shown_cluster(
    reader: &mut Reader<'_>,
    cluster: Option<&Entry<'_>>,
    access: &ClusterAccess,
) -> ExecCluster {
    let config = cluster
        .and_then(|cluster| cluster.map.get("extensions")?.as_array())
        .and_then(|list| {
            list.iter()
                .find(|e| e.get("name").and_then(Value::as_str) == Some(EXEC_EXTENSION))
        })
        .and_then(|extension| extension.get("extension"));
    ExecCluster {
        server: access.server.clone(),
        server_name: access.server_name.clone(),
        authority: match &access.roots {
            Roots::Pem(pem) => Some(pem.clone()),
            Roots::Nobody | Roots::System => None,
        },
        proxy_url: cluster
            .and_then(|cluster| reader.text(cluster, "proxy-url"))
            .map(Secret::new),
        config: config.cloned(),
    }
}

fn read_exec(
    reader: &mut Reader<'_>,
    user: &Entry<'_>,
    exec: &Value,
    cluster: ExecCluster,
) -> Option<ExecConfig> {
    let Value::Object(map) = exec else {
        reader.problem(user.at("exec", "it is no mapping"));
        return None;
    };
    let exec = Entry {
        map,
        place: user.at("exec", "").trim_end_matches([':', ' ']).to_owned(),
    };
    let api_version = reader.text(&exec, "apiVersion").unwrap_or_default();
    let is_v1 = api_version == "client.authentication.k8s.io/v1";
    if !is_v1 && api_version != "client.authentication.k8s.io/v1beta1" {
        let reason = format!("{api_version:?} is neither client.authentication.k8s.io/v1 nor …/v1beta1");
        reader.problem(exec.at("apiVersion", &reason));
    }
    match reader.text(&exec, "interactiveMode").as_deref() {
        Some("Never" | "IfAvailable") => {}
        Some("Always") => {
            reader.problem(exec.at("interactiveMode", "Always cannot be: a daemon has no terminal"))
        }
        Some(_) => reader.problem(exec.at("interactiveMode", "it is none of Never, IfAvailable, Always")),
        None if is_v1 => reader.problem(exec.at("interactiveMode", "it is missing (Never, IfAvailable)")),
        None => {}
    }
    let command = match reader.text(&exec, "command") {
        // a bare name is looked up in PATH
        Some(command) if command.contains('/') => reader.folder.join(command),
        Some(command) => PathBuf::from(command),
        None => {
            reader.problem(exec.at("command", "it is missing"));
            return None;
        }
    };
    Some(ExecConfig {
        api_version,
        command,
        args: reader.texts(&exec, "args"),
        env: reader.pairs(&exec, "env"),
        install_hint: reader.text(&exec, "installHint"),
        cluster: reader.flag(&exec, "provideClusterInfo").then_some(cluster),
    })
}

/// The URL without query, fragment and last slash.
fn check_server(url: &str) -> Result<String, String> {
    let url = url.trim();
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = url[..end].trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").ok_or("it must begin with https://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user and password in it are not supported".to_owned());
    }
    let (host, port) = split_port(authority);
    if host.is_empty() || url.contains(char::is_whitespace) {
        return Err(format!("{url:?} is not a URL"));
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!("the port of {url:?} is not a number"));
    }
    match scheme {
        "https" => Ok(url.to_owned()),
        "http" if is_loopback(host) => Ok(url.to_owned()),
        "http" => Err(
            "http:// is refused but for loopback addresses: anybody between could read and change everything"
                .to_owned(),
        ),
        _ => Err("it must begin with https://".to_owned()),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `null`, and what Go would leave out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

const REFUSED_OF_USERS: &[(&str, &str)] = &[
    ("auth-provider", "such plug-ins no longer exist; use exec"),
    (
        "username",
        "user names and passwords are not supported; use a token, a client certificate or exec",
    ),
    (
        "password",
        "user names and passwords are not supported; use a token, a client certificate or exec",
    ),
    ("as", "acting as somebody else is not supported"),
    ("as-uid", "acting as somebody else is not supported"),
    ("as-groups", "acting as somebody else is not supported"),
    ("as-user-extra", "acting as somebody else is not supported"),
];

type Object = Map<String, Value>;
