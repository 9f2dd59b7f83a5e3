//! How much is said, and by whom: `-v` and `--vmodule`.

use log::LevelFilter;

/// Those that speak of connections and TLS; they stay one step quieter than we are.
const CHATTY: [&str; 2] = ["ureq", "rustls"];

/// What `-v` lets through: from us, and from the HTTP and TLS crates, which stay one step quieter.
///
/// 0 to 3 are what an operator wants (Kubernetes' usual 2 included), 4 and 5 add decisions, 6 and more everything.
pub fn levels(verbosity: u32) -> (LevelFilter, LevelFilter) {
    match verbosity {
        0..=3 => (LevelFilter::Info, LevelFilter::Warn),
        4..=5 => (LevelFilter::Debug, LevelFilter::Info),
        6.. => (LevelFilter::Trace, LevelFilter::Debug),
    }
}

/// What `verbosity` lets through from the module `target`.
pub(super) fn level(target: &str, verbosity: u32) -> LevelFilter {
    let (ours, theirs) = levels(verbosity);
    if CHATTY.iter().any(|chatty| target.starts_with(chatty)) {
        theirs
    } else {
        ours
    }
}

/// `--vmodule`: modules that say more than the others.
///
/// `pattern=N` by comma. A pattern is compared with as many of the last segments of a module's path as it has itself, so
/// `client` is `cloud_provider_inspur::k8s::client`, and `service/*` every module right below one named `service`; segments
/// are separated by `/` or `::`. `*` stands for any letters of one segment and `?` for one letter. The first pattern that fits
/// a module counts, and only if it raises `-v`, as in klog. Source: kubernetes/klog, klog.go, moduleSpec and setV.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// Never empty.
    segments: Vec<String>,
    verbosity: u32,
}

impl Modules {
    /// # Errors
    /// The first entry that is not `pattern=N`.
    pub fn parse(text: &str) -> Result<Self, &str> {
        let entries = text.split(',').map(str::trim);
        // upstream lets a comma at the end pass
        let patterns = entries
            .filter(|entry| !entry.is_empty())
            .map(|entry| Pattern::parse(entry).ok_or(entry));
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// How much the module `target` says when all others say as much as `verbosity` lets them.
    pub(super) fn verbosity(&self, target: &str, verbosity: u32) -> u32 {
        let first = self.0.iter().find(|pattern| pattern.fits(target));
        first.map_or(verbosity, |pattern| pattern.verbosity.max(verbosity))
    }

    /// How much the most talkative of all modules says.
    pub(super) fn highest(&self, verbosity: u32) -> u32 {
        self.0
            .iter()
            .fold(verbosity, |highest, pattern| highest.max(pattern.verbosity))
    }
}

impl Pattern {
    fn parse(entry: &str) -> Option<Self> {
        let (pattern, verbosity) = entry.split_once('=')?;
        let segments: Vec<String> = pattern.replace("::", "/").split('/').map(str::to_owned).collect();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-*?".contains(c);
        let sound = |segment: &String| !segment.is_empty() && segment.chars().all(allowed);
        let digits = verbosity.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            verbosity: verbosity.parse().ok().filter(|_| digits)?,
            segments: Some(segments).filter(|segments| segments.iter().all(sound))?,
        })
    }

    fn fits(&self, target: &str) -> bool {
        let mut found = target.rsplit("::");
        self.segments
            .iter()
            .rev()
            .all(|wanted| found.next().is_some_and(|found| glob(wanted, found)))
    }
}

/// Whether `text` is as `pattern` says: `*` is anything, `?` one letter.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // where to go on when what follows the last star does not fit
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[t] => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, t) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn verbosity_chooses_levels_and_keeps_libraries_quieter() {
        for (verbosity, want) in [
            (0, (LevelFilter::Info, LevelFilter::Warn)),
            (3, (LevelFilter::Info, LevelFilter::Warn)),
            (4, (LevelFilter::Debug, LevelFilter::Info)),
            (6, (LevelFilter::Trace, LevelFilter::Debug)),
            (u32::MAX, (LevelFilter::Trace, LevelFilter::Debug)),
        ] {
            assert_eq!(levels(verbosity), want, "{verbosity}");
        }
        assert_eq!(level("ureq_proto::client", 4), LevelFilter::Info);
        assert_eq!(level("cloud_provider_inspur::k8s", 4), LevelFilter::Debug);
    }

    #[test]
    fn a_pattern_raises_the_modules_it_fits() {
        let client = "cloud_provider_inspur::k8s::client";
        let sync = "cloud_provider_inspur::controllers::service::sync";
        for (case, modules, target, want) in [
            ("nothing", "", client, 2),
            ("the last segment", "client=5", client, 5),
            ("not a piece of it", "clien=5", client, 2),
            ("not one before", "k8s=5", client, 2),
            ("two segments", "k8s/client=5", client, 5),
            ("as Rust writes them", "k8s::client=5", client, 5),
            ("a star", "cl*t=5", client, 5),
            ("a star for nothing", "client*=5", client, 5),
            ("a star is one segment", "k8s*=5", client, 2),
            ("a letter", "clien?=5", client, 5),
            ("one letter", "clie?=5", client, 2),
            ("all below", "service/*=4", sync, 4),
            ("all below another", "node/*=4", sync, 2),
            ("more segments than there are", "a/b/c/client=5", client, 2),
            ("the second", "reflector=6,client=5,", client, 5),
            ("the first that fits", "c*=4,client=6", client, 4),
            ("never less than all", "client=1", client, 2),
            ("a library", "run=6", "ureq::run", 6),
        ] {
            let parsed = Modules::parse(modules).unwrap_or_else(|entry| panic!("{case}: {entry}"));
            assert_eq!(parsed.verbosity(target, 2), want, "{case}");
        }
    }

    #[test]
    fn the_most_talkative_module_is_known() {
        let modules = Modules::parse("a=3,b=6,c=1").unwrap();
        assert_eq!([modules.highest(0), modules.highest(9)], [6, 9]);
        assert_eq!(Modules::default().highest(2), 2);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (modules, want) in [
            ("client", "client"),
            ("client=", "client="),
            ("=5", "=5"),
            ("client=x", "client=x"),
            ("client=-1", "client=-1"),
            ("client=+1", "client=+1"),
            ("client=4294967296", "client=4294967296"),
            ("a=1,client=1=2", "client=1=2"),
            ("[a]=1", "[a]=1"),
            ("a//b=1", "a//b=1"),
            ("a b=1", "a b=1"),
        ] {
            assert_eq!(Modules::parse(modules), Err(want), "{modules}");
        }
    }

    proptest! {
        #[test]
        fn a_star_fits_as_the_plain_definition_says(pattern in "[ab*?]{0,6}", text in "[ab]{0,7}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], text) => text.is_empty(),
                    ([b'*', rest @ ..], text) => (0..=text.len()).any(|taken| plain(rest, &text[taken..])),
                    ([b'?', rest @ ..], [_, text @ ..]) => plain(rest, text),
                    ([letter, rest @ ..], [first, text @ ..]) => letter == first && plain(rest, text),
                    (_, []) => false,
                }
            }
            prop_assert_eq!(glob(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
