//! Whose certificates count: authorities of clients and of front proxies, from files or from the cluster, and their rotation.
//!
//! A new version that cannot be used is told once and counted; the old one goes on. What a file names replaces what the cluster
//! says, each for itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::certificate::{Bundle, BundleError};
use super::reviews::{ReviewError, Reviews};
use super::trouble::Trouble;
use crate::metrics::IntCounterVec;
use crate::runtime::reload::Reloaded;
use crate::runtime::{chain, fingerprint};
use crate::serve::options::{Authentication, RequestHeader};

/// Whom to trust now.
#[derive(Clone, Default)]
pub(super) struct Trusted {
    /// `None` where certificates of clients say nothing.
    pub(super) clients: Option<Arc<Bundle>>,
    /// `None` where nobody is a front proxy.
    pub(super) proxies: Option<Arc<Proxies>>,
}

/// Front proxies, and how they say who calls.
pub(super) struct Proxies {
    pub(super) bundle: Bundle,
    pub(super) rules: RequestHeader,
}

/// Why a file does not hold authorities.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is missing, is a directory, may not be read, is too large.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// It holds something else.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Why the cluster's authorities are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// There was no answer to believe.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// What should be a list of strings is not.
    #[error("{key} in the ConfigMap {CONFIG_MAP} is not a list of strings in JSON")]
    NotAList {
        /// Of the ConfigMap.
        key: &'static str,
    },
}

/// Knows whom to trust.
pub(super) struct Trust {
    client_file: Option<PathBuf>,
    proxy_file: Option<(PathBuf, RequestHeader)>,
    lookup: Option<Arc<dyn Reviews>>,
    reloads: IntCounterVec,
    trouble: Trouble,
    state: Mutex<State>,
}

struct State {
    trusted: Trusted,
    /// When the files were looked at.
    checked: Instant,
    /// The version last seen of each part, good or bad.
    seen: [Option<u64>; 2],
    /// Whether it was of no use.
    refused: [bool; 2],
    /// Since [`Trust::happened`] was last called.
    happened: Reloaded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Clients,
    Proxies,
}

impl Trust {
    /// Reads the files, and asks `reviews` for what they do not say.
    pub(super) fn new(
        options: &Authentication,
        reviews: Option<&Arc<dyn Reviews>>,
        reloads: IntCounterVec,
        now: Instant,
    ) -> Result<Self, Error> {
        let rules = &options.request_header;
        let proxy_file = rules.client_ca_file.clone().map(|path| (path, rules.clone()));
        let all_from_files = options.client_ca_file.is_some() && proxy_file.is_some();
        let wanted = !options.skip_lookup && !all_from_files;
        if wanted && reviews.is_none() {
            log::warn!(
                "there is no API server to look the cluster's authorities up from, so certificates of its clients and front proxies say nothing; --authentication-kubeconfig names one, --authentication-skip-lookup does without"
            );
        }
        let trust = Self {
            client_file: options.client_ca_file.clone(),
            proxy_file,
            lookup: reviews.filter(|_| wanted).cloned(),
            reloads,
            trouble: Trouble::default(),
            state: Mutex::new(State {
                trusted: Trusted::default(),
                checked: now,
                seen: [None, None],
                refused: [false, false],
                happened: Reloaded::Unchanged,
            }),
        };
        trust.read_at_start()?;
        match trust.look_up(START_LIMIT) {
            Ok(()) => {}
            // an authority of clients that is missing has never ended a start
            Err(error) if options.tolerate_lookup_failure || trust.proxy_file.is_some() => {
                trust.tell_failure(&error, now);
            }
            Err(source) => return Err(Error::Lookup(source)),
        }
        // what the program starts with is no change
        if trust.happened() == Reloaded::Refused {
            trust.lock().happened = Reloaded::Refused;
        }
        Ok(trust)
    }

    /// Whom to trust at `now`. Looks at the files if that was a while ago.
    pub(super) fn at(&self, now: Instant) -> Trusted {
        self.reread(now, FILES_AGE);
        self.lock().trusted.clone()
    }

    /// Whether the cluster is to be asked again and again.
    pub(super) fn looks_up(&self) -> bool {
        self.lookup.is_some()
    }

    /// Asks the cluster again.
    pub(super) fn look_up_again(&self, now: Instant) {
        match self.look_up(REFRESH_LIMIT) {
            Ok(()) if self.trouble.is_over() => {
                log::info!("the cluster's authorities can be read again");
            }
            Ok(()) => {}
            Err(error) => self.tell_failure(&error, now),
        }
    }

    /// What became of new versions since the last call, whoever looked.
    pub(super) fn happened(&self) -> Reloaded {
        std::mem::take(&mut self.lock().happened)
    }

    /// Looks at the files again if that was `age` ago.
    pub(super) fn reread(&self, now: Instant, age: Duration) {
        {
            let mut state = self.lock();
            if now.saturating_duration_since(state.checked) < age {
                return;
            }
            // before reading, so that other threads go on with what there is
            state.checked = now;
        }
        if let Some(path) = &self.client_file {
            let read = read(path);
            self.offer(Part::Clients, &path.display(), version(&read), || clients(&read?));
        }
        if let Some((path, rules)) = &self.proxy_file {
            let read = read(path);
            self.offer(Part::Proxies, &path.display(), version(&read), || {
                proxies(&read?, rules)
            });
        }
    }

    fn read_at_start(&self) -> Result<(), Error> {
        let unusable = |flag, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Authorities { flag, path, source }
        };
        if let Some(path) = &self.client_file {
            let read = read(path);
            let version = version(&read);
            let made = read.and_then(|bytes| clients(&bytes));
            self.put(
                Part::Clients,
                version,
                made.map_err(unusable("client-ca-file", path))?,
            );
        }
        if let Some((path, rules)) = &self.proxy_file {
            let read = read(path);
            let version = version(&read);
            let made = read.and_then(|bytes| proxies(&bytes, rules));
            let made = made.map_err(unusable("requestheader-client-ca-file", path))?;
            self.put(Part::Proxies, version, made);
        }
        Ok(())
    }

    /// What the ConfigMap does not say is left as it was. Source: apiserver pkg/server/dynamiccertificates/configmap_cafile_content.go.
    fn look_up(&self, within: Duration) -> Result<(), LookupError> {
        let Some(reviews) = &self.lookup else {
            return Ok(());
        };
        let Some(data) = reviews.authorities(within)? else {
            return Ok(());
        };
        let pem = |key: &str| data.get(key).filter(|pem| !pem.is_empty());
        if let (None, Some(pem)) = (&self.client_file, pem("client-ca-file")) {
            self.offer(Part::Clients, &CONFIG_MAP, fingerprint(pem), || {
                clients(pem.as_bytes())
            });
        }
        if let (None, Some(pem)) = (&self.proxy_file, pem("requestheader-client-ca-file")) {
            let rules = rules(&data)?;
            let version = fingerprint(&(pem, format!("{rules:?}")));
            self.offer(Part::Proxies, &CONFIG_MAP, version, || {
                proxies(pem.as_bytes(), &rules)
            });
        }
        Ok(())
    }

    /// Takes a version that was not seen yet, if it can be used.
    fn offer(
        &self,
        part: Part,
        from: &dyn std::fmt::Display,
        version: u64,
        make: impl FnOnce() -> Result<Trusted, FileError>,
    ) {
        if self.lock().seen[part as usize] == Some(version) {
            return;
        }
        match make() {
            Ok(made) => {
                self.put(part, version, made);
                self.remember(part, Reloaded::Changed);
                self.reloads.with_label_values(&["success"]).inc();
                log::info!(of:? = part, from:% = from; "use new authorities for callers of the endpoint");
            }
            Err(error) => {
                self.lock().seen[part as usize] = Some(version);
                self.remember(part, Reloaded::Refused);
                self.reloads.with_label_values(&["failure"]).inc();
                log::error!(of:? = part, from:% = from, error = chain(&error).as_str(); "keep the old authorities for callers of the endpoint: the new ones cannot be used");
            }
        }
    }

    /// All is well only when nothing is refused any more.
    fn remember(&self, part: Part, happened: Reloaded) {
        let mut state = self.lock();
        state.refused[part as usize] = happened == Reloaded::Refused;
        if happened == Reloaded::Refused || state.refused == [false, false] {
            state.happened = happened;
        }
    }

    fn put(&self, part: Part, version: u64, made: Trusted) {
        let mut state = self.lock();
        state.seen[part as usize] = Some(version);
        match part {
            Part::Clients => state.trusted.clients = made.clients,
            Part::Proxies => state.trusted.proxies = made.proxies,
        }
    }

    fn tell_failure(&self, error: &LookupError, now: Instant) {
        let error = chain(error);
        if let Some(repeated) = self.trouble.failed(&error, now) {
            log::warn!(error = error.as_str(), repeated; "cannot read the cluster's authorities of clients and front proxies; go on with those known");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn clients(pem: &[u8]) -> Result<Trusted, FileError> {
    let clients = Some(Arc::new(Bundle::parse(pem)?));
    Ok(Trusted {
        clients,
        proxies: None,
    })
}

fn proxies(pem: &[u8], rules: &RequestHeader) -> Result<Trusted, FileError> {
    let (bundle, rules) = (Bundle::parse(pem)?, rules.clone());
    Ok(Trusted {
        clients: None,
        proxies: Some(Arc::new(Proxies { bundle, rules })),
    })
}

/// How front proxies say who calls, by the cluster's word. Source: kubernetes pkg/controlplane/controller/clusterauthenticationtrust.
fn rules(data: &BTreeMap<String, String>) -> Result<RequestHeader, LookupError> {
    let list = |key: &'static str| match data.get(key).map(String::as_str) {
        None | Some("") => Ok(Vec::new()),
        // null is an empty list to Go
        Some(text) => serde_json::from_str::<Option<Vec<String>>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|_| LookupError::NotAList { key }),
    };
    Ok(RequestHeader {
        client_ca_file: None,
        username_headers: list("requestheader-username-headers")?,
        group_headers: list("requestheader-group-headers")?,
        uid_headers: list("requestheader-uid-headers")?,
        extra_headers_prefixes: list("requestheader-extra-headers-prefix")?,
        allowed_names: list("requestheader-allowed-names")?,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::Unreadable)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(FileError::Unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::Unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

fn version(read: &Result<Vec<u8>, FileError>) -> u64 {
    match read {
        Ok(bytes) => fingerprint(bytes),
        Err(error) => fingerprint(&chain(error)),
    }
}

const CONFIG_MAP: &str = "kube-system/extension-apiserver-authentication";
/// No bundle is as large.
const MOST_BYTES: u64 = 4 << 20;
/// How old a look at the files may be when somebody calls.
const FILES_AGE: Duration = Duration::from_secs(10);
/// For the first look-up, with its retries.
const START_LIMIT: Duration = Duration::from_secs(10);
const REFRESH_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::Ca;
    use crate::metrics::Metrics;
    use crate::serve::who::testing::{FakeReviews, authentication, client, now as date};

    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        metrics: Metrics,
        reviews: Arc<FakeReviews>,
        start: Instant,
        folder: tempfile::TempDir,
        options: Authentication,
    }

    impl World {
        fn new() -> Self {
            Self {
                metrics: Metrics::new(),
                reviews: Arc::new(FakeReviews::default()),
                start: Instant::now(),
                folder: tempfile::tempdir().unwrap(),
                options: authentication(),
            }
        }

        fn trust(&self) -> Result<Trust, Error> {
            let reloads = self.metrics.counters("client_ca_reloads_total", "x", &["result"]);
            let reviews: Arc<dyn Reviews> = Arc::clone(&self.reviews) as _;
            Trust::new(&self.options, Some(&reviews), reloads, self.start)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        /// How often new versions were taken and refused.
        fn reloads(&self) -> (u64, u64) {
            let text = self.metrics.text();
            let count = |result: &str| {
                let line = format!("client_ca_reloads_total{{result=\"{result}\"}} ");
                let found = text.lines().find_map(|l| l.strip_prefix(&line));
                found.map_or(0, |count| count.parse().unwrap())
            };
            (count("success"), count("failure"))
        }
    }

    fn trusts(trusted: &Trusted, ca: &Ca) -> bool {
        let chain = [client(ca, "bob", &[], |_| {})];
        trusted
            .clients
            .as_ref()
            .is_some_and(|bundle| bundle.verify(&chain, date()).is_ok())
    }

    fn trusts_proxies(trusted: &Trusted, ca: &Ca) -> bool {
        let chain = [client(ca, "front", &[], |_| {})];
        trusted
            .proxies
            .as_ref()
            .is_some_and(|proxies| proxies.bundle.verify(&chain, date()).is_ok())
    }

    #[test]
    fn a_new_version_of_a_file_is_taken_and_a_bad_one_refused() {
        let (one, two) = (Ca::new("one"), Ca::new("two"));
        let mut world = World::new();
        let path = world.write("ca.crt", &one.certificate);
        world.options.client_ca_file = Some(path.clone());
        let trust = world.trust().unwrap();
        let at = |seconds| trust.at(world.start + seconds * SECOND);
        assert!(trusts(&at(0), &one) && !trusts(&at(0), &two));
        world.write("ca.crt", &two.certificate);
        assert!(trusts(&at(9), &one), "not looked at yet");
        assert!(trusts(&at(10), &two) && !trusts(&at(10), &one));
        for (case, text) in [
            ("garbage", "garbage"),
            ("nothing", ""),
            ("half", &one.certificate[..99]),
        ] {
            world.write("ca.crt", text);
            trust.reread(world.start, Duration::ZERO);
            assert!(trusts(&at(10), &two), "{case}: the old one goes on");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        for _ in 0..3 {
            trust.reread(world.start, Duration::ZERO);
        }
        assert!(trusts(&at(10), &two), "a folder");
        assert_eq!(world.reloads(), (1, 4), "each bad version is counted once");
        std::fs::remove_dir(&path).unwrap();
        world.write("ca.crt", &one.certificate);
        trust.reread(world.start, Duration::ZERO);
        assert!(trusts(&at(10), &one));
    }

    #[test]
    fn a_file_that_cannot_be_used_at_start_ends_it() {
        let ca = Ca::new("ca");
        let mut world = World::new();
        let good = world.write("good", &ca.certificate);
        for (case, clients, proxies, want) in [
            ("both good", &*good, &*good, None),
            (
                "garbage",
                &*world.write("garbage", "x"),
                &*good,
                Some("client-ca-file"),
            ),
            (
                "missing",
                &*good,
                Path::new("/nowhere"),
                Some("requestheader-client-ca-file"),
            ),
            ("a folder", world.folder.path(), &*good, Some("client-ca-file")),
        ] {
            world.metrics = Metrics::new();
            world.options.client_ca_file = Some(clients.to_owned());
            world.options.request_header.client_ca_file = Some(proxies.to_owned());
            match (world.trust().err(), want) {
                (None, None) => {}
                (Some(Error::Authorities { flag, .. }), Some(want)) if flag == want => {}
                (found, _) => panic!("{case}: {found:?}"),
            }
        }
        assert_eq!(world.reviews.looked_up(), 0, "nothing is left to ask");
    }

    #[test]
    fn the_cluster_says_whom_to_trust() {
        let (clients, front) = (Ca::new("clients"), Ca::new("front"));
        let world = World::new();
        world.reviews.set_authorities(Ok(Some(vec![
            ("client-ca-file", clients.certificate.clone()),
            ("requestheader-client-ca-file", front.certificate.clone()),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#.into()),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#.into()),
            (
                "requestheader-extra-headers-prefix",
                r#"["X-Remote-Extra-"]"#.into(),
            ),
            ("requestheader-uid-headers", "null".into()),
            ("requestheader-allowed-names", r#"["front-proxy-client"]"#.into()),
        ])));
        let trust = world.trust().unwrap();
        let trusted = trust.at(world.start);
        assert!(trusts(&trusted, &clients) && !trusts(&trusted, &front));
        assert!(trusts_proxies(&trusted, &front) && !trusts_proxies(&trusted, &clients));
        let rules = &trusted.proxies.as_ref().unwrap().rules;
        assert_eq!(rules.username_headers, ["X-Remote-User"]);
        assert_eq!(rules.group_headers, ["X-Remote-Group"]);
        assert_eq!(rules.extra_headers_prefixes, ["X-Remote-Extra-"]);
        assert_eq!(rules.allowed_names, ["front-proxy-client"]);
        assert!(rules.uid_headers.is_empty());
        let other = Ca::new("other");
        world
            .reviews
            .set_authorities(Ok(Some(vec![("client-ca-file", other.certificate.clone())])));
        trust.look_up_again(world.start);
        let trusted = trust.at(world.start);
        assert!(
            trusts(&trusted, &other) && !trusts(&trusted, &clients),
            "a new version"
        );
        assert!(
            trusts_proxies(&trusted, &front),
            "what is not said any more goes on"
        );
        for (case, answer) in [
            ("nothing there", Ok(None)),
            ("empty", Ok(Some(vec![("client-ca-file", String::new())]))),
            ("garbage", Ok(Some(vec![("client-ca-file", "x".into())]))),
            (
                "no list",
                Ok(Some(vec![
                    ("requestheader-client-ca-file", front.certificate.clone()),
                    ("requestheader-username-headers", "X-Remote-User".into()),
                ])),
            ),
            ("no answer", Err(ReviewError::NoAnswer { message: "x".into() })),
        ] {
            world.reviews.set_authorities(answer);
            trust.look_up_again(world.start);
            let trusted = trust.at(world.start);
            assert!(
                trusts(&trusted, &other) && trusts_proxies(&trusted, &front),
                "{case}"
            );
        }
    }

    #[test]
    fn what_a_file_says_replaces_what_the_cluster_says() {
        let (mine, clusters) = (Ca::new("mine"), Ca::new("cluster's"));
        let mut world = World::new();
        world.reviews.set_authorities(Ok(Some(vec![
            ("client-ca-file", clusters.certificate.clone()),
            ("requestheader-client-ca-file", clusters.certificate.clone()),
        ])));
        world.options.client_ca_file = Some(world.write("ca.crt", &mine.certificate));
        let trusted = world.trust().unwrap().at(world.start);
        assert!(trusts(&trusted, &mine) && !trusts(&trusted, &clusters));
        assert!(trusts_proxies(&trusted, &clusters));
    }

    #[test]
    fn a_lookup_in_vain_ends_the_start_unless_it_may_fail() {
        let forbidden = || {
            Err(ReviewError::Refused {
                status: 403,
                message: "not allowed to GET it".into(),
            })
        };
        let list = || {
            Ok(Some(vec![
                ("requestheader-client-ca-file", Ca::new("x").certificate),
                ("requestheader-username-headers", "{".into()),
            ]))
        };
        let mut world = World::new();
        let file = world.write("ca.crt", &Ca::new("ca").certificate);
        #[derive(Clone, Copy, PartialEq)]
        enum May {
            Must,
            Tolerate,
            Skip,
            File,
        }
        let lookup = "unable to load configmap based request-header-client-ca-file: ";
        for (case, answer, may, want) in [
            ("not there", Ok(None), May::Must, None),
            ("forbidden", forbidden(), May::Must, Some("not allowed to GET it")),
            ("tolerated", forbidden(), May::Tolerate, None),
            ("skipped", forbidden(), May::Skip, None),
            ("clients only", forbidden(), May::File, None),
            (
                "no list",
                list(),
                May::Must,
                Some(
                    "requestheader-username-headers in the ConfigMap kube-system/extension-apiserver-authentication is not a list of strings in JSON",
                ),
            ),
        ] {
            world.metrics = Metrics::new();
            world.reviews.set_authorities(answer);
            world.options.tolerate_lookup_failure = may == May::Tolerate;
            world.options.skip_lookup = may == May::Skip;
            world.options.request_header.client_ca_file = (may == May::File).then(|| file.clone());
            let before = world.reviews.looked_up();
            let found = world.trust().err().map(|error| chain(&error));
            assert_eq!(found, want.map(|want| format!("{lookup}{want}")), "{case}");
            assert_eq!(
                world.reviews.looked_up() - before,
                usize::from(may != May::Skip),
                "{case}"
            );
        }
    }
}
