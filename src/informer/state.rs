//! When to list, when to watch, how long to wait before: pure.

use std::time::{Duration, Instant};

use super::failure::Failure;
use super::version::{Order, compare_versions};
use crate::runtime::backoff::Backoff;
use crate::runtime::random::Random;

/// Where a reflector stands. Whatever it is, readers keep what the store shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The store may be behind, or has never been filled. A list must be applied before anything else.
    Listing(Listing),
    /// The store shows the known version; a watch goes on from there. Falls back to `Listing` when the server no
    /// longer knows that version, or keeps failing.
    Watching,
    /// The watch has been silent for so long that the server may have gone back in time. Falls back to `Watching`
    /// when that cannot be told.
    Probing,
}

/// Which list to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) want: Want,
    /// Whether the list before would have taken most objects away, so that this one decides.
    pub(super) confirms: bool,
}

/// How a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The newest state, in pages.
    Newest,
    /// The newest state in one page, when pages expire while they are read.
    NewestWhole,
    /// Any state not older than the known version: cheap for the server.
    Known,
}

/// What happened to the request that the last [`Next`] asked for.
#[derive(Debug)]
pub(super) enum Input {
    /// A whole, valid list of this version was applied.
    Listed(Box<str>),
    /// The list was valid, and would take away most of what is known. It was not applied.
    Doubtful,
    /// A page other than the first has expired.
    PagesExpired,
    /// No list, and nothing was applied.
    ListFailed(Failure),
    /// The watch is over.
    WatchEnded(Watched, End),
    /// The newest version, to compare with ours.
    Probed(Box<str>),
    /// No answer to that.
    ProbeFailed,
}

/// How a watch went until it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    /// From the request to the end.
    pub(super) lasted: Duration,
    /// Whether any event or bookmark came.
    pub(super) heard: bool,
    /// How long it was asked to last.
    pub(super) window: Duration,
}

/// Why a watch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server closed it, or its time was up.
    Clean,
    /// The connection broke.
    Broken,
    /// It could not be opened, or an ERROR event ended it.
    Failed(Failure),
    /// What came was no watch.
    Garbled,
}

/// What to do now: after `delay`, what the state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) state: State,
    pub(super) delay: Duration,
}

/// The state, and what is remembered to decide the next one.
#[derive(Debug)]
pub(super) struct Machine {
    state: State,
    version: Option<Box<str>>,
    failures: u32,
    failed_at: Option<Instant>,
    expired_at: Option<Instant>,
    /// In a row: watches that ended within a second without an event.
    short: u32,
    /// In a row: 5xx answers to the opening of a watch.
    unavailable: u32,
    /// In a row: 401 answers.
    unauthorized: u32,
    /// In a row: watches that broke.
    broken: u32,
    /// In a row: whole watch windows in which nothing came.
    silent: u32,
    bookmarks: bool,
}

/// 0.8 s, doubled up to 30 s, spread over [1, 2) times that. Source: client-go `reflector.go`.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(1200),
    cap: Duration::from_secs(45),
    jitter: 1.0 / 3.0,
};
/// Failures further apart than this do not add up. Source: client-go `reflector.go`.
const CALM: Duration = Duration::from_secs(120);
/// A watch that lasted so long ends a row of failures.
const LONG_WATCH: Duration = Duration::from_secs(60);
/// Source: client-go `VeryShortWatchError`.
const SHORT_WATCH: Duration = Duration::from_secs(1);
/// A server may close a watch a little early.
const SLACK: Duration = Duration::from_secs(5);
/// The most that a server may ask us to wait.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);
/// So many of one kind in a row change the course.
const ROW: u32 = 3;

const NEWEST: State = State::Listing(Listing {
    want: Want::Newest,
    confirms: false,
});

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            state: NEWEST,
            version: None,
            failures: 0,
            failed_at: None,
            expired_at: None,
            short: 0,
            unavailable: 0,
            unauthorized: 0,
            broken: 0,
            silent: 0,
            bookmarks: true,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// What the store shows; empty before the first list.
    pub(super) fn version(&self) -> &str {
        self.version.as_deref().unwrap_or_default()
    }

    /// Whether to ask for bookmarks: not from a server that refused the request.
    pub(super) fn bookmarks(&self) -> bool {
        self.bookmarks
    }

    /// An event or bookmark of this version was applied. An older one, sent again, changes nothing.
    pub(super) fn advance(&mut self, version: &str) {
        if compare_versions(version, self.version()) != Order::Older {
            self.version = Some(version.into());
        }
    }

    /// Takes what happened and decides what comes next.
    pub(super) fn step(&mut self, input: Input, now: Instant, random: &Random) -> Next {
        let (state, delay) = match (self.state, input) {
            (State::Listing(_), Input::Listed(version)) => {
                self.version = Some(version);
                (self.short, self.unavailable, self.silent) = (0, 0, 0);
                (State::Watching, Duration::ZERO)
            }
            (State::Listing(_), Input::Doubtful) => (
                State::Listing(Listing {
                    want: Want::Newest,
                    confirms: true,
                }),
                Duration::ZERO,
            ),
            (State::Listing(listing), Input::PagesExpired) => {
                let want = Want::NewestWhole;
                let state = State::Listing(Listing { want, ..listing });
                (state, self.expired(now, random))
            }
            (State::Listing(listing), Input::ListFailed(failure)) => {
                self.list_failed(listing, failure, now, random)
            }
            (State::Watching, Input::WatchEnded(watched, end)) => self.watch_ended(watched, end, now, random),
            (State::Probing, Input::Probed(version)) => {
                self.silent = 0;
                if compare_versions(&version, self.version()) == Order::Older {
                    (NEWEST, Duration::ZERO)
                } else {
                    (State::Watching, Duration::ZERO)
                }
            }
            (State::Probing, Input::ProbeFailed) => (State::Watching, self.backoff(now, random)),
            // an answer to a question that was not asked: start over, which is always right
            (_, _) => (NEWEST, self.backoff(now, random)),
        };
        self.state = state;
        Next { state, delay }
    }

    fn list_failed(
        &mut self,
        listing: Listing,
        failure: Failure,
        now: Instant,
        random: &Random,
    ) -> (State, Duration) {
        let newest = State::Listing(Listing {
            want: Want::Newest,
            ..listing
        });
        let same = State::Listing(listing);
        match failure {
            Failure::Expired if listing.want == Want::Known => (newest, Duration::ZERO),
            Failure::Expired => (newest, self.backoff(now, random)),
            Failure::FromTheFuture(after) => (newest, self.no_sooner(after, now, random)),
            Failure::Throttled(after) => (same, self.no_sooner(after, now, random)),
            Failure::Unavailable(after) => (newest, self.no_sooner(after, now, random)),
            Failure::Unreachable => (same, self.backoff(now, random)),
            Failure::Unauthorized => (same, self.unauthorized(now, random)),
            Failure::Denied => (same, self.longest(now, random)),
            Failure::Rejected => (newest, self.longest(now, random)),
            Failure::Unintelligible => (newest, self.backoff(now, random)),
        }
    }

    fn watch_ended(
        &mut self,
        watched: Watched,
        end: End,
        now: Instant,
        random: &Random,
    ) -> (State, Duration) {
        if watched.heard || watched.lasted >= SHORT_WATCH {
            (self.short, self.unavailable, self.unauthorized) = (0, 0, 0);
        }
        if watched.lasted >= LONG_WATCH {
            (self.failures, self.broken) = (0, 0);
        }
        if watched.heard {
            self.silent = 0;
        }
        let known = State::Listing(Listing {
            want: Want::Known,
            confirms: false,
        });
        match end {
            End::Clean if !watched.heard && watched.lasted < SHORT_WATCH => {
                let state = after_a_row(&mut self.short, known);
                (state, self.backoff(now, random))
            }
            End::Clean => {
                if !watched.heard && watched.lasted + SLACK >= watched.window {
                    self.silent += 1;
                }
                self.broken = 0;
                let state = if self.silent >= ROW {
                    State::Probing
                } else {
                    State::Watching
                };
                (state, random.between(Duration::ZERO, Duration::from_millis(500)))
            }
            End::Broken => {
                self.broken += 1;
                let delay = if self.broken == 1 {
                    random.between(Duration::ZERO, Duration::from_secs(1))
                } else {
                    self.backoff(now, random)
                };
                (State::Watching, delay)
            }
            End::Garbled => (known, self.backoff(now, random)),
            End::Failed(failure) => match failure {
                Failure::Expired => (known, self.expired(now, random)),
                Failure::FromTheFuture(after) => (NEWEST, self.no_sooner(after, now, random)),
                Failure::Throttled(after) => (State::Watching, self.no_sooner(after, now, random)),
                Failure::Unavailable(after) => {
                    let state = after_a_row(&mut self.unavailable, known);
                    (state, self.no_sooner(after, now, random))
                }
                Failure::Unreachable => (State::Watching, self.backoff(now, random)),
                Failure::Unauthorized => (State::Watching, self.unauthorized(now, random)),
                Failure::Denied => (State::Watching, self.longest(now, random)),
                Failure::Rejected => {
                    self.bookmarks = false;
                    (NEWEST, self.longest(now, random))
                }
                Failure::Unintelligible => (known, self.backoff(now, random)),
            },
        }
    }

    fn backoff(&mut self, now: Instant, random: &Random) -> Duration {
        if self
            .failed_at
            .is_some_and(|at| now.saturating_duration_since(at) > CALM)
        {
            self.failures = 0;
        }
        self.failed_at = Some(now);
        let delay = BACKOFF.delay(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// The longest back-off, for what will not mend by itself soon.
    fn longest(&mut self, now: Instant, random: &Random) -> Duration {
        self.backoff(now, random);
        BACKOFF.delay(u32::MAX, random)
    }

    fn no_sooner(&mut self, after: Option<Duration>, now: Instant, random: &Random) -> Duration {
        let least = after.unwrap_or(Duration::from_secs(1));
        self.backoff(now, random).max(least).min(RETRY_AFTER_CAP)
    }

    /// Once at once: the credentials may have been renewed meanwhile.
    fn unauthorized(&mut self, now: Instant, random: &Random) -> Duration {
        self.unauthorized += 1;
        if self.unauthorized == 1 {
            Duration::ZERO
        } else {
            self.backoff(now, random)
        }
    }

    /// Once at once: versions do expire. Again within two minutes: something is wrong.
    fn expired(&mut self, now: Instant, random: &Random) -> Duration {
        let before = self.expired_at.replace(now);
        if before.is_some_and(|at| now.saturating_duration_since(at) < CALM) {
            self.backoff(now, random)
        } else {
            Duration::ZERO
        }
    }
}

/// Watches on, until it has been so `ROW` times; then `relist`.
fn after_a_row(count: &mut u32, relist: State) -> State {
    *count += 1;
    if *count < ROW {
        return State::Watching;
    }
    *count = 0;
    relist
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Watched = Watched {
        lasted: Duration::from_secs(250),
        heard: false,
        window: Duration::from_secs(250),
    };
    const SHORT: Watched = Watched {
        lasted: Duration::from_millis(10),
        ..QUIET
    };
    const KNOWN: State = State::Listing(Listing {
        want: Want::Known,
        confirms: false,
    });

    struct Driven {
        machine: Machine,
        now: Instant,
        random: Random,
    }

    impl Driven {
        /// Watching from version 10.
        fn watching() -> Self {
            let mut driven = Self {
                machine: Machine::new(),
                now: Instant::now(),
                random: Random::from_seed(1),
            };
            driven.step(Input::Listed("10".into()));
            driven
        }

        /// Takes `input`, then lets the delay pass.
        fn step(&mut self, input: Input) -> (State, Duration) {
            let Next { state, delay } = self.machine.step(input, self.now, &self.random);
            self.now += delay;
            (state, delay)
        }

        fn end(&mut self, watched: Watched, end: End) -> (State, Duration) {
            self.step(Input::WatchEnded(watched, end))
        }
    }

    /// `(low, high)` in milliseconds: the delay is in `[low, high)`, or 0 for `(0, 0)`.
    fn assert_delay(case: &str, delay: Duration, (low, high): (u128, u128)) {
        let ms = delay.as_millis();
        assert!((low..high.max(low + 1)).contains(&ms), "{case}: {ms} ms");
    }

    #[test]
    fn the_first_end_of_a_watch_leads_where_it_must() {
        let seconds = |s| Some(Duration::from_secs(s));
        use Failure::*;
        for (case, end, state, delay) in [
            ("clean", End::Clean, State::Watching, (0, 500)),
            ("broken", End::Broken, State::Watching, (0, 1000)),
            ("garbled", End::Garbled, KNOWN, (800, 1600)),
            ("expired", End::Failed(Expired), KNOWN, (0, 0)),
            (
                "too large",
                End::Failed(FromTheFuture(None)),
                NEWEST,
                (1000, 1600),
            ),
            (
                "429",
                End::Failed(Throttled(seconds(7))),
                State::Watching,
                (7000, 7000),
            ),
            (
                "429 for ever",
                End::Failed(Throttled(seconds(99_999))),
                State::Watching,
                (60_000, 60_000),
            ),
            (
                "503",
                End::Failed(Unavailable(seconds(0))),
                State::Watching,
                (800, 1600),
            ),
            ("refused", End::Failed(Unreachable), State::Watching, (800, 1600)),
            ("401", End::Failed(Unauthorized), State::Watching, (0, 0)),
            ("403", End::Failed(Denied), State::Watching, (30_000, 60_000)),
            ("400", End::Failed(Rejected), NEWEST, (30_000, 60_000)),
            ("another answer", End::Failed(Unintelligible), KNOWN, (800, 1600)),
        ] {
            let got = Driven::watching().end(QUIET, end);
            assert_eq!(got.0, state, "{case}");
            assert_delay(case, got.1, delay);
        }
    }

    #[test]
    fn a_failed_list_is_asked_for_again() {
        let listing = |want| State::Listing(Listing { want, confirms: true });
        for (case, want, failure, state, delay) in [
            ("expired", Want::Known, Failure::Expired, Want::Newest, (0, 0)),
            (
                "too large",
                Want::Known,
                Failure::FromTheFuture(None),
                Want::Newest,
                (1000, 1600),
            ),
            (
                "expired, though the newest",
                Want::Newest,
                Failure::Expired,
                Want::Newest,
                (800, 1600),
            ),
            (
                "429",
                Want::Known,
                Failure::Throttled(None),
                Want::Known,
                (1000, 1600),
            ),
            (
                "503",
                Want::Known,
                Failure::Unavailable(None),
                Want::Newest,
                (1000, 1600),
            ),
            (
                "refused",
                Want::NewestWhole,
                Failure::Unreachable,
                Want::NewestWhole,
                (800, 1600),
            ),
            ("401", Want::Known, Failure::Unauthorized, Want::Known, (0, 0)),
            (
                "403",
                Want::Newest,
                Failure::Denied,
                Want::Newest,
                (30_000, 60_000),
            ),
            (
                "HTML",
                Want::Known,
                Failure::Unintelligible,
                Want::Newest,
                (800, 1600),
            ),
        ] {
            let mut driven = Driven::watching();
            driven.machine.state = listing(want);
            let got = driven.step(Input::ListFailed(failure));
            assert_eq!(got.0, listing(state), "{case}");
            assert_delay(case, got.1, delay);
        }
    }

    #[test]
    fn clean_ends_never_list_and_failures_keep_the_version() {
        let mut driven = Driven::watching();
        let busy = Watched { heard: true, ..QUIET };
        for n in 11..400 {
            driven.machine.advance(&n.to_string());
            assert_eq!(driven.end(busy, End::Clean).0, State::Watching);
        }
        for _ in 0..50 {
            assert_eq!(
                driven.end(SHORT, End::Failed(Failure::Unreachable)).0,
                State::Watching
            );
            assert_eq!(driven.end(SHORT, End::Broken).0, State::Watching);
        }
        assert_eq!(driven.machine.version(), "399");
    }

    #[test]
    fn watches_that_end_at_once_lead_to_a_list_and_slow_down() {
        let mut driven = Driven::watching();
        let start = driven.now;
        let (mut requests, mut lists) = (0, 0);
        while driven.now < start + Duration::from_secs(600) {
            requests += 1;
            if driven.end(SHORT, End::Clean).0 == KNOWN {
                lists += 1;
                driven.step(Input::Listed("10".into()));
            }
        }
        assert!((10..30).contains(&requests), "{requests} watches in ten minutes");
        assert_eq!(lists, requests / 3);
    }

    #[test]
    fn the_delay_grows_and_is_forgotten_after_calm_or_a_long_watch() {
        let mut driven = Driven::watching();
        for low in [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let (_, delay) = driven.end(SHORT, End::Failed(Failure::Unreachable));
            assert_delay("growing", delay, (low, 2 * low));
        }
        driven.now += CALM + Duration::from_secs(1);
        let (_, delay) = driven.end(SHORT, End::Failed(Failure::Unreachable));
        assert_delay("after calm", delay, (800, 1600));
        driven.end(SHORT, End::Failed(Failure::Unreachable));
        let (_, delay) = driven.end(QUIET, End::Garbled);
        assert_delay("after a long watch", delay, (800, 1600));
        // a list that succeeds is no reason to hurry
        driven.step(Input::Listed("10".into()));
        let (_, delay) = driven.end(SHORT, End::Garbled);
        assert_delay("list good, watch bad", delay, (1600, 3200));
    }

    #[test]
    fn expiry_is_immediate_once_and_then_waits() {
        let mut driven = Driven::watching();
        assert_eq!(
            driven.end(SHORT, End::Failed(Failure::Expired)),
            (KNOWN, Duration::ZERO)
        );
        driven.step(Input::Listed("11".into()));
        let (state, delay) = driven.end(SHORT, End::Failed(Failure::Expired));
        assert_eq!(state, KNOWN);
        assert_delay("again", delay, (800, 1600));
    }

    #[test]
    fn pages_that_expire_are_read_whole() {
        let mut driven = Driven::watching();
        driven.machine.state = NEWEST;
        let (state, delay) = driven.step(Input::PagesExpired);
        let State::Listing(listing) = state else {
            panic!("{state:?}")
        };
        assert_eq!((listing.want, delay), (Want::NewestWhole, Duration::ZERO));
    }

    #[test]
    fn three_server_errors_in_a_row_lead_to_a_list() {
        let mut driven = Driven::watching();
        let states: Vec<State> = (0..3)
            .map(|_| driven.end(SHORT, End::Failed(Failure::Unavailable(None))).0)
            .collect();
        assert_eq!(states, [State::Watching, State::Watching, KNOWN]);
    }

    #[test]
    fn three_silent_windows_ask_whether_the_server_went_back() {
        for (newest, want) in [("9", NEWEST), ("10", State::Watching), ("11", State::Watching)] {
            let mut driven = Driven::watching();
            let states: Vec<State> = (0..3).map(|_| driven.end(QUIET, End::Clean).0).collect();
            assert_eq!(states, [State::Watching, State::Watching, State::Probing]);
            assert_eq!(driven.step(Input::Probed(newest.into())).0, want, "{newest}");
            driven.machine.state = State::Watching;
            assert_eq!(driven.end(QUIET, End::Clean).0, State::Watching, "counted anew");
        }
        let mut driven = Driven::watching();
        let heard = Watched { heard: true, ..QUIET };
        for watched in [QUIET, QUIET, heard, QUIET, QUIET] {
            assert_eq!(driven.end(watched, End::Clean).0, State::Watching);
        }
    }

    #[test]
    fn a_doubtful_list_is_confirmed_by_another_whatever_comes_between() {
        let mut driven = Driven::watching();
        driven.end(SHORT, End::Failed(Failure::Expired));
        driven.step(Input::Doubtful);
        for input in [Input::ListFailed(Failure::Unreachable), Input::PagesExpired] {
            let (State::Listing(listing), _) = driven.step(input) else {
                panic!("not listing")
            };
            assert!(listing.confirms && listing.want != Want::Known);
        }
        assert_eq!(driven.step(Input::Listed("3".into())).0, State::Watching);
        assert_eq!(
            driven.machine.version(),
            "3",
            "a list may go back, events may not"
        );
        driven.machine.advance("2");
        assert_eq!(driven.machine.version(), "3");
    }
}
