//! The cloud config: where the cloud's APIs are, who we are to them, and defaults for Services.
//!
//! The file is read as a whole and every fault in it is reported, with its line. Secrets go straight into [`Secret`];
//! no error or warning shows any of one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Warning;
use super::nearest::nearest;
use crate::inspur::annotations::{self, Defaults};
use crate::inspur::api::Credentials;
use crate::inspur::name::ClusterId;
use crate::runtime::secret::Secret;
use crate::runtime::secret_source::SecretSource;

mod change;
mod check;
mod error;
pub mod keys;
mod read;

pub use change::Change;
pub use error::{Error, Problem};
use keys::{KEYS, Key, Kind};
use read::Contents;

/// A larger file is no cloud config.
pub const MAX_BYTES: u64 = 1 << 20;

/// A cloud config whose every value has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudConfig {
    /// The file.
    pub path: PathBuf,
    /// Base URL of the SLB API, without a slash at its end.
    pub slb_url: String,
    /// Base URL of the ECS API, without a slash at its end. `None`: no instance API.
    pub ecs_url: Option<String>,
    /// How to get a token.
    pub credentials: Credentials,
    /// A readable file of PEM certificates to verify the cloud against. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are in names in the cloud. `None`: derive it from `kube-system`'s UID.
    pub cluster_id: Option<ClusterId>,
    /// Region of Nodes where no instance API tells it.
    pub region: Option<String>,
    /// Zone of Nodes where no instance API tells it.
    pub zone: Option<String>,
    /// The cluster's subnet.
    pub subnet_id: Option<String>,
    /// Calls to the cloud a second; 0 for no limit of ours.
    pub api_qps: f64,
    /// Calls to the cloud at once before `api_qps` limits them.
    pub api_burst: u32,
    /// How listeners are where no annotation says it; `health-check` included.
    pub defaults: Defaults,
}

/// What came of reading a cloud config.
#[derive(Debug)]
pub struct Loaded {
    /// The config, or everything that is wrong with it, in the file's order.
    pub config: Result<CloudConfig, Vec<Error>>,
    /// What is suspicious; often the reason for an error, too.
    pub warnings: Vec<Warning>,
}

/// Reads the file at `path`, and checks it, the secrets' files and the CA file.
pub fn load(path: &Path) -> Loaded {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(source) => failed(path, Problem::Unreadable(source)),
        Ok(size) if size as u64 > MAX_BYTES => failed(path, Problem::NotText),
        Ok(_) => from_bytes(path, &bytes),
    }
}

/// Checks what was read from `path`, as [`load`] does.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Loaded {
    // the 2020 controller took a file with comments in GBK; a value in it is refused where it is checked
    let text = String::from_utf8_lossy(bytes);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    if is_utf8 || read::gives_a_key(&text) {
        parse(path, &text)
    } else {
        failed(path, Problem::NotText)
    }
}

fn failed(path: &Path, problem: Problem) -> Loaded {
    Loaded {
        config: Err(vec![Error {
            path: path.to_owned(),
            line: None,
            problem,
        }]),
        warnings: Vec::new(),
    }
}

/// Checks `text`, which was read from `path`. A relative path in it starts at the directory of `path`.
pub fn parse(path: &Path, text: &str) -> Loaded {
    let mut reader = Reader::new(path);
    let config = reader.sort(text).then(|| reader.config()).flatten();
    let Reader {
        mut errors,
        mut warnings,
        ..
    } = reader;
    errors.sort_by_key(|error| error.line.unwrap_or(usize::MAX));
    warnings.sort_by_key(|(line, _)| *line);
    Loaded {
        config: match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(errors),
        },
        warnings: warnings.into_iter().map(|(_, warning)| warning).collect(),
    }
}

/// Two keys of one meaning.
const HEALTH_CHECK: &str = "health-check";
const IS_HEALTH_CHECK: &str = "is-healthcheck";

/// Why a key of a way is missed.
const NEEDED: &str = "the way to a token that is configured needs it";

/// One way to a token: the keys that belong to it.
struct Way {
    name: &'static str,
    keys: &'static [&'static str],
    secret: (&'static str, &'static str),
    /// For a missing secret.
    either: &'static str,
    /// From the values of `keys`, in their order, and the secret.
    build: fn(&[String], SecretSource) -> Credentials,
}

const KEYCLOAK: Way = Way {
    name: "the token exchange",
    keys: &["keycloakUrl", "token-client-id", "requested-subject"],
    secret: ("client-secret", "client-secret-file"),
    either: "client-secret or client-secret-file",
    build: |values, client_secret| Credentials::Keycloak {
        url: values[0].clone(),
        client_id: values[1].clone(),
        requested_subject: values[2].clone(),
        client_secret,
    },
};
const STATIC: Way = Way {
    name: "the static token",
    keys: &[],
    secret: ("kktoken", "kktoken-file"),
    either: "kktoken or kktoken-file",
    build: |_, token| Credentials::Static(token),
};
const IAM_PASSWORD: Way = Way {
    name: "the password login",
    keys: &["iam-url", "iam-username"],
    secret: ("iam-password", "iam-password-file"),
    either: "iam-password or iam-password-file",
    build: |values, password| Credentials::Iam {
        url: values[0].clone(),
        username: values[1].clone(),
        password,
    },
};

impl Way {
    fn all_keys(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied().chain([self.secret.0, self.secret.1])
    }
}

/// A value that was given, and its line. Has no `Debug`: it may be secret.
struct Found {
    line: usize,
    value: String,
}

struct Reader<'a> {
    path: &'a Path,
    /// By the key's name; empty values are not here.
    found: BTreeMap<&'static str, Found>,
    errors: Vec<Error>,
    /// With their lines.
    warnings: Vec<(usize, Warning)>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            found: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn error(&mut self, line: impl Into<Option<usize>>, problem: Problem) {
        self.errors.push(Error {
            path: self.path.to_owned(),
            line: line.into(),
            problem,
        });
    }

    fn warn(&mut self, line: usize, warning: impl FnOnce(PathBuf) -> Warning) {
        self.warnings.push((line, warning(self.path.to_owned())));
    }

    /// Sorts the text's entries by key; reports what is no entry, repeated or unknown. False when there is nothing to look at.
    fn sort(&mut self, text: &str) -> bool {
        match read::contents(text) {
            Contents::Lines { entries, skipped } => {
                if entries.is_empty() && skipped.is_empty() {
                    self.error(None, Problem::Empty);
                    return false;
                }
                for line in skipped {
                    self.warn(line, |path| Warning::SkippedLine { path, line });
                }
                self.by_key(entries, Self::last_counts);
            }
            Contents::Yaml(Ok(entries)) => {
                if entries.is_empty() {
                    self.error(None, Problem::Empty);
                    return false;
                }
                self.by_key(entries, Self::refuse_repeated);
            }
            Contents::Yaml(Err(read::BadYaml { line, reason })) => {
                self.error(line, Problem::Yaml { reason });
                return false;
            }
        }
        true
    }

    /// As the 2020 controller had it, but said aloud: somebody may edit the line that has no effect.
    fn last_counts(&mut self, key: &'static str, earlier: usize, line: usize) {
        self.warn(line, |path| Warning::RepeatedKey {
            path,
            line,
            key,
            earlier,
        });
    }

    fn refuse_repeated(&mut self, key: &'static str, first: usize, line: usize) {
        self.error(line, Problem::Duplicate { key, first });
    }

    /// `repeated` is told a key, its earlier line and its later one, which replaces it.
    fn by_key(&mut self, entries: Vec<read::Entry>, repeated: fn(&mut Self, &'static str, usize, usize)) {
        let mut lines = BTreeMap::new();
        for read::Entry { line, key, value } in entries {
            let Some(known) = keys::find(&key) else {
                self.warn_unknown(line, key, value.as_deref());
                continue;
            };
            let key = known.name;
            let Some(value) = value else {
                self.error(line, Problem::NotPlain { key });
                continue;
            };
            if let Some(earlier) = lines.insert(key, line) {
                repeated(self, key, earlier, line);
            }
            if value.is_empty() {
                self.found.remove(key);
            } else {
                self.found.insert(key, Found { line, value });
            }
        }
    }

    /// What looks like a piece of a secret broken over lines (a base64 text's end) is not shown.
    fn warn_unknown(&mut self, line: usize, key: String, value: Option<&str>) {
        let nearest = nearest(&key, keys::spellings());
        let is_key = read::is_key(&key) && value.is_none_or(|value| !value.trim_matches('=').is_empty());
        self.warn(line, |path| Warning::UnknownKey {
            path,
            line,
            key: (is_key || nearest.is_some()).then_some(key),
            nearest,
        });
    }

    /// Everything that can be understood; `None` when something that is needed cannot. Then there are errors.
    fn config(&mut self) -> Option<CloudConfig> {
        // each is read even if one before it failed, so that all errors are found
        let slb_url = self
            .required("slbUrl-pre", "it is where the SLB API is")
            .map(base_url);
        let ecs_url = self.checked("ecsUrl-pre", check::url).map(base_url);
        let credentials = self.credentials();
        let config = CloudConfig {
            path: self.path.to_owned(),
            slb_url: slb_url.unwrap_or_default(),
            ecs_url,
            ca_file: self.ca_file(),
            cluster_id: self.checked("cluster-id", check::cluster_id),
            region: self.checked("region", check::label),
            zone: self.checked("zone", check::label),
            subnet_id: self.checked("subnet-id", check::text),
            api_qps: self.or_default("api-qps", check::rate),
            api_burst: self.or_default("api-burst", check::count),
            defaults: self.defaults(),
            credentials: credentials?,
        };
        Some(config)
    }

    /// The key's value after `check`; `None` when it is not given, or reported as not allowed.
    fn checked<T>(&mut self, name: &'static str, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let key = keys::find(name).expect("the table has every key that is read");
        let found = self.found.get(name)?;
        let checked = if found.value.contains(char::REPLACEMENT_CHARACTER) {
            Err("must be UTF-8".to_owned())
        } else {
            check(&found.value)
        };
        match checked {
            Ok(value) => Some(value),
            Err(allowed) => {
                let (line, found) = (found.line, may_show(key, &found.value));
                self.error(
                    line,
                    Problem::Value {
                        key: key.name,
                        found,
                        allowed,
                    },
                );
                None
            }
        }
    }

    fn or_default<T>(&mut self, name: &'static str, check: impl Fn(&str) -> Result<T, String>) -> T {
        let key = keys::find(name).expect("the table has every key that is read");
        self.checked(name, &check).unwrap_or_else(|| {
            check(key.default).unwrap_or_else(|_| panic!("the table's default of {name} is allowed"))
        })
    }

    /// A URL or text that must be there.
    fn required(&mut self, name: &'static str, why: &'static str) -> Option<String> {
        if !self.found.contains_key(name) {
            self.error(None, Problem::Missing { keys: name, why });
        }
        let is_url = keys::find(name).is_some_and(|key| key.kind == Kind::Url);
        self.checked(name, if is_url { check::url } else { check::text })
    }

    fn credentials(&mut self) -> Option<Credentials> {
        self.set_leftover_token_aside();
        let ways = [KEYCLOAK, STATIC, IAM_PASSWORD];
        let given = |way: &Way| -> Vec<&str> {
            way.all_keys()
                .filter(|key| self.found.contains_key(key))
                .collect()
        };
        let present: Vec<&Way> = ways.iter().filter(|way| !given(way).is_empty()).collect();
        let way = match present[..] {
            [way] => way,
            [] => {
                let ways = ways
                    .map(|way| [way.keys, &[way.either]].concat().join(", "))
                    .join("; or ");
                self.error(None, Problem::NoCredentials { ways });
                return None;
            }
            _ => {
                let name = |way: &&Way| format!("{} ({})", way.name, given(way).join(", "));
                let found = present.iter().map(name).collect::<Vec<_>>().join(" and ");
                self.error(None, Problem::SeveralCredentials { found });
                return None;
            }
        };
        let values: Vec<Option<String>> = way.keys.iter().map(|name| self.required(name, NEEDED)).collect();
        let secret = self.secret(way);
        let values: Option<Vec<String>> = values.into_iter().collect();
        Some((way.build)(&values?, secret?))
    }

    /// The 2020 controller read `kktoken` and never used it: files that it ran with may hold one, perhaps long expired. Only with
    /// its own complete keys, and nothing newer, is that what is meant.
    /// Source: OpenInspur/cloud-provider-inspur, cloud-controller-manager/pkg/api_client.go, getKeyCloakToken.
    fn set_leftover_token_aside(&mut self) {
        let given = |key: &&str| self.found.contains_key(key);
        let complete = KEYCLOAK.keys.iter().chain([&KEYCLOAK.secret.0]).all(given);
        let newer = [KEYCLOAK.secret.1, STATIC.secret.1].iter().any(given)
            || IAM_PASSWORD.all_keys().any(|key| given(&key));
        if !complete || newer {
            return;
        }
        if let Some(Found { line, .. }) = self.found.remove(STATIC.secret.0) {
            self.warn(line, |path| Warning::LeftoverToken { path, line });
        }
    }

    /// The way's secret, or the file that holds it now.
    fn secret(&mut self, way: &Way) -> Option<SecretSource> {
        let (key, file) = way.secret;
        let check = if key == STATIC.secret.0 {
            check::token
        } else {
            check::text
        };
        let (line, problem) = match (self.found.contains_key(key), self.found.get(file)) {
            (true, None) => {
                let text = self.checked(key, check)?;
                return Some(SecretSource::Value(Secret::new(text)));
            }
            (false, Some(given)) => {
                let source = SecretSource::File(self.resolve(&given.value));
                match usable(file, &source, check) {
                    Ok(()) => return Some(source),
                    Err(problem) => (Some(given.line), problem),
                }
            }
            (true, Some(given)) => (Some(given.line), Problem::Exclusive { key, other: file }),
            (false, None) => (
                None,
                Problem::Missing {
                    keys: way.either,
                    why: NEEDED,
                },
            ),
        };
        self.error(line, problem);
        None
    }

    fn ca_file(&mut self) -> Option<PathBuf> {
        let path = self.resolve(&self.found.get("ca-file")?.value);
        self.checked("ca-file", |_| check::certificates(&path))?;
        Some(path)
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// What the module that reads annotations takes them for.
    fn defaults(&mut self) -> Defaults {
        let mut defaults = Defaults::default();
        let mut wrong = Vec::new();
        for key in KEYS
            .iter()
            .filter(|key| matches!(key.kind, Kind::Annotation | Kind::Switch))
        {
            let Some(Found { line, value }) = self.found.get(key.name) else {
                continue;
            };
            match annotations::set_default(&mut defaults, key.name, value) {
                Ok(known) => debug_assert!(known, "{} is the default of an annotation", key.name),
                Err(reason) => wrong.push((
                    *line,
                    Problem::Default {
                        key: key.name,
                        reason,
                    },
                )),
            }
        }
        if let (Some(given), true) = (
            self.found.get(IS_HEALTH_CHECK),
            self.found.contains_key(HEALTH_CHECK),
        ) {
            let (key, other) = (HEALTH_CHECK, IS_HEALTH_CHECK);
            wrong.push((given.line, Problem::Exclusive { key, other }));
        }
        for (line, problem) in wrong {
            self.error(line, problem);
        }
        defaults
    }
}

/// Whether the file that `key` names holds a secret as `check` wants it.
fn usable(
    key: &'static str,
    source: &SecretSource,
    check: fn(&str) -> Result<String, String>,
) -> Result<(), Problem> {
    let secret = source.read().map_err(|source| Problem::Secret { key, source })?;
    let wrong = |allowed| Problem::Value {
        key,
        found: None,
        allowed: format!("names a file whose text {allowed}"),
    };
    check(secret.expose()).map(drop).map_err(wrong)
}

/// Paths are appended to it.
fn base_url(url: String) -> String {
    url.trim_end_matches('/').to_owned()
}

/// The value, if there can be no secret in it: a URL with a user or query may hold one.
fn may_show(key: &Key, value: &str) -> Option<String> {
    let hidden = key.kind == Kind::Secret || (key.kind == Kind::Url && value.contains(['@', '?', '#']));
    (!hidden).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
