//! What there is to read.

use std::sync::Arc;

use serde_json::json;

use super::exchange::{Answer, Incoming};
use super::health::{Checks, Summary};
use crate::metrics::{CONTENT_TYPE, Metrics};

/// Writes a page when it is asked for. It must be quick, and must not take a lock that is held for long.
pub type Page = Box<dyn Fn() -> String + Send + Sync>;

/// Sets the verbosity of the log, or says why it cannot.
pub type SetVerbosity = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Where the pages' contents come from.
pub struct Pages {
    /// `/healthz`, `/livez`, `/readyz` and `/metrics/slis`.
    pub checks: Arc<Checks>,
    /// `/metrics`.
    pub metrics: Metrics,
    /// `/configz`: JSON without secrets.
    pub configz: Page,
    /// `/statusz`: text for people.
    pub status: Page,
    /// `/debug/flags/v`; `None` for no such page.
    pub set_verbosity: Option<SetVerbosity>,
}

/// A page, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Summary(Summary),
    /// And its name.
    Check(Summary, &'a str),
    Metrics,
    Slis,
    Configz,
    Version,
    Statusz,
    Verbosity,
    Nowhere,
}

/// A body longer than this is no verbosity.
pub(super) const VERBOSITY_LIMIT: usize = 16;

impl<'a> Place<'a> {
    /// Where `path` leads. Paths are compared as they come: an encoded one leads nowhere, so nobody who decides by path can be fooled.
    pub(super) fn of(path: &'a str) -> Self {
        let page = match path {
            "/metrics" => return Self::Metrics,
            "/metrics/slis" => return Self::Slis,
            "/configz" => return Self::Configz,
            "/version" => return Self::Version,
            "/statusz" => return Self::Statusz,
            "/debug/flags/v" => return Self::Verbosity,
            _ => path.strip_prefix('/').unwrap_or_default(),
        };
        let (page, check) = match page.split_once('/') {
            Some((page, check)) => (page, Some(check)),
            None => (page, None),
        };
        let summaries = [Summary::Healthz, Summary::Livez, Summary::Readyz];
        match (
            summaries.into_iter().find(|summary| summary.name() == page),
            check,
        ) {
            (Some(summary), None) => Self::Summary(summary),
            (Some(summary), Some(check)) => Self::Check(summary, check),
            (None, _) => Self::Nowhere,
        }
    }

    /// For metrics: one of a fixed set.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Summary(summary) | Self::Check(summary, _) => summary.name(),
            Self::Metrics => "metrics",
            Self::Slis => "slis",
            Self::Configz => "configz",
            Self::Version => "version",
            Self::Statusz => "statusz",
            Self::Verbosity => "flags",
            Self::Nowhere => "other",
        }
    }

    /// Whether a request of this method may come with a body.
    pub(super) fn takes_body(self, method: &str) -> bool {
        self == Self::Verbosity && method == "PUT"
    }
}

impl Pages {
    /// The answer to one who may have it. `body` is empty where none is taken.
    pub(super) fn answer(&self, place: Place<'_>, request: &Incoming<'_>, body: &[u8]) -> Answer {
        match (place, request.method) {
            (Place::Verbosity, method) => self.verbosity(method, body),
            (Place::Nowhere, _) => not_found(),
            (_, "GET" | "HEAD") => self.read(place, request.query),
            _ => Answer::text(405, "Method Not Allowed\n").with("Allow", "GET, HEAD"),
        }
    }

    fn read(&self, place: Place<'_>, query: &str) -> Answer {
        let prometheus = |metrics: &Metrics| Answer {
            content_type: CONTENT_TYPE,
            ..Answer::text(200, metrics.text())
        };
        match place {
            Place::Summary(summary) => self.checks.summary(summary, query),
            Place::Check(summary, check) => self.checks.single(summary, check).unwrap_or_else(not_found),
            Place::Metrics => prometheus(&self.metrics),
            Place::Slis => prometheus(self.checks.slis()),
            Place::Configz => Answer::json(200, (self.configz)()),
            Place::Version => Answer::json(200, version()),
            Place::Statusz => Answer::text(200, (self.status)()),
            Place::Verbosity | Place::Nowhere => not_found(),
        }
    }

    /// Source: ccm-behaviour.md 2.10; kubernetes/apiserver, pkg/server/routes/flags.go.
    fn verbosity(&self, method: &str, body: &[u8]) -> Answer {
        let Some(set) = &self.set_verbosity else {
            return not_found();
        };
        if method != "PUT" {
            return Answer::text(406, "unsupported http method\n");
        }
        let value = String::from_utf8_lossy(body);
        match set(&value) {
            Ok(()) => Answer::text(
                200,
                format!("successfully set klog.logging.verbosity to {value}\n"),
            ),
            Err(reason) => Answer::text(
                400,
                format!("failed set klog.logging.verbosity {value}: {reason}\n"),
            ),
        }
    }
}

/// As Go says it.
fn not_found() -> Answer {
    Answer::text(404, "404 page not found\n")
}

/// The fields that clients of Kubernetes know, those about Go and about the working copy empty. Source: kubernetes/apimachinery, pkg/version/types.go.
fn version() -> String {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = json!({
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{system}/{machine}"),
    });
    format!("{version:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        let metrics = Metrics::new();
        metrics.counter("seen_total", "Seen.").inc();
        Pages {
            checks: Arc::new(Checks::new()),
            metrics,
            configz: Box::new(|| r#"{"a": 1}"#.to_owned()),
            status: Box::new(|| "all is well\n".to_owned()),
            set_verbosity: Some(Box::new(|value| match value.parse::<u32>() {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            })),
        }
    }

    fn ask(pages: &Pages, method: &str, path: &str, body: &str) -> Answer {
        let request = Incoming {
            method,
            path,
            query: "",
            headers: &[],
            client_certificates: &[],
            peer: ([127, 0, 0, 1], 1).into(),
        };
        pages.answer(Place::of(path), &request, body.as_bytes())
    }

    fn text(answer: &Answer) -> &str {
        std::str::from_utf8(&answer.body).unwrap()
    }

    #[test]
    fn every_path_has_its_page() {
        let pages = pages();
        for (path, status, content_type, begins) in [
            ("/healthz", 200, "text/plain; charset=utf-8", "ok"),
            ("/livez", 200, "text/plain; charset=utf-8", "ok"),
            ("/readyz", 200, "text/plain; charset=utf-8", "ok"),
            ("/healthz/ping", 200, "text/plain; charset=utf-8", "ok"),
            (
                "/healthz/other",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "/healthz/",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            ("/metrics", 200, CONTENT_TYPE, "# HELP seen_total"),
            ("/metrics/slis", 200, CONTENT_TYPE, ""),
            ("/configz", 200, "application/json", "{\"a\": 1}"),
            ("/version", 200, "application/json", "{\n"),
            ("/statusz", 200, "text/plain; charset=utf-8", "all is well\n"),
            ("/", 404, "text/plain; charset=utf-8", "404 page not found\n"),
            (
                "/%68ealthz",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
            (
                "//healthz",
                404,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
        ] {
            let answer = ask(&pages, "GET", path, "");
            assert_eq!(
                (answer.status, answer.content_type),
                (status, content_type),
                "{path}"
            );
            assert!(text(&answer).starts_with(begins), "{path}: {}", text(&answer));
        }
    }

    #[test]
    fn pages_are_read_and_not_written() {
        let pages = pages();
        for method in ["POST", "PUT", "DELETE", "get"] {
            let answer = ask(&pages, method, "/metrics", "");
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.headers, [("Allow", "GET, HEAD".to_owned())], "{method}");
            assert_eq!(ask(&pages, method, "/nowhere", "").status, 404, "{method}");
        }
        assert_eq!(ask(&pages, "HEAD", "/healthz", "").status, 200);
    }

    #[test]
    fn the_verbosity_is_put() {
        let mut pages = pages();
        for (method, body, want) in [
            (
                "PUT",
                "4",
                (200, "successfully set klog.logging.verbosity to 4\n"),
            ),
            (
                "PUT",
                "x",
                (
                    400,
                    "failed set klog.logging.verbosity x: invalid digit found in string\n",
                ),
            ),
            ("GET", "", (406, "unsupported http method\n")),
            ("POST", "", (406, "unsupported http method\n")),
        ] {
            let answer = ask(&pages, method, "/debug/flags/v", body);
            assert_eq!((answer.status, text(&answer)), want, "{method} {body}");
        }
        pages.set_verbosity = None;
        assert_eq!(ask(&pages, "PUT", "/debug/flags/v", "4").status, 404);
    }

    #[test]
    fn the_version_is_one_that_clients_of_kubernetes_decode() {
        let version: serde_json::Value = serde_json::from_str(&version()).unwrap();
        assert_eq!(version["gitVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
        assert!(
            version
                .as_object()
                .unwrap()
                .values()
                .all(serde_json::Value::is_string)
        );
        assert!(version["platform"].as_str().unwrap().contains('/'));
    }
}
