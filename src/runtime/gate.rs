//! The gate that every change of the cluster or the cloud passes: open while it is proven that nobody else may write.
//!
//! A request that changes something cannot be built without a [`Permit`], and a permit comes from a [`Gate`] (or says by name
//! why it needs none). It is asked again right before the first byte leaves, since a process may be paused between the two for
//! any time. Source: kube-client.md 7.4, 7.5.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::clock::{Clock, SystemClock};

/// Tells whether we may write now. Clones are one gate.
#[derive(Clone)]
pub struct Gate(Arc<Shared>);

/// Opens and shuts a gate. There is one to each gate that is not always open.
pub struct Keeper(Gate);

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Always,
    Shut,
    Since(Moment, Duration),
}

/// A reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock, which may stand still while the machine sleeps.
    pub now: Instant,
    /// The date, which does not, but may jump.
    pub wall: SystemTime,
}

impl Moment {
    /// Now.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            now: clock.now(),
            wall: clock.wall(),
        }
    }
}

/// The gate is shut: the lease is somebody else's, or not proven to be ours any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not leading: the lease is not provably ours")]
pub struct Shut;

/// What a change of the world is sent with.
#[derive(Clone)]
pub struct Permit(Reason);

#[derive(Clone)]
enum Reason {
    Gate(Gate),
    Harmless,
}

/// Why a request needs no gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harmless {
    /// It is a read after all.
    Read,
    /// It is the lease itself, whose holder the API server decides.
    Lease,
    /// It asks a question by POST: who is this, may they, may we. Nothing is kept.
    Review,
    /// It fetches a token from the cloud's token service.
    CloudToken,
    /// It is not sent by the daemon: the simulators' demo, a test.
    Outside,
}

impl Gate {
    /// Always open: there is one replica only, and no election.
    pub fn open() -> Self {
        Self::with(Arc::new(SystemClock), State::Always)
    }

    /// Shut until its keeper opens it.
    pub fn shut(clock: Arc<dyn Clock>) -> (Self, Keeper) {
        let gate = Self::with(clock, State::Shut);
        (gate.clone(), Keeper(gate))
    }

    fn with(clock: Arc<dyn Clock>, state: State) -> Self {
        let state = Mutex::new(state);
        Self(Arc::new(Shared { clock, state }))
    }

    /// Leave to write now.
    ///
    /// # Errors
    /// It is not proven that nobody else may.
    pub fn pass(&self) -> Result<Permit, Shut> {
        if self.is_open() {
            Ok(Permit(Reason::Gate(self.clone())))
        } else {
            Err(Shut)
        }
    }

    /// Whether it is open now.
    pub fn is_open(&self) -> bool {
        let state = *self.state();
        match state {
            State::Always => true,
            State::Shut => false,
            State::Since(sent, valid) => holds(sent, valid, Moment::of(&*self.0.clock)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Opens the gate until `valid` after `sent`, when the request was sent that proves it.
    pub fn open_since(&self, sent: Moment, valid: Duration) {
        *self.0.state() = State::Since(sent, valid);
    }

    /// Shuts the gate.
    pub fn shut(&self) {
        *self.0.state() = State::Shut;
    }
}

/// Whether a proof from `sent` on still counts. On a machine that slept since then the monotonic clock tells too little, so the clock that
/// went further decides: a date set ahead costs no more than the time until the next renewal.
fn holds(sent: Moment, valid: Duration, at: Moment) -> bool {
    let elapsed = at.now.saturating_duration_since(sent.now);
    let by_date = at.wall.duration_since(sent.wall).unwrap_or_default();
    elapsed.max(by_date) < valid
}

impl Permit {
    /// For what needs no gate. Why is for whoever reads the caller.
    pub fn harmless(_why: Harmless) -> Self {
        Self(Reason::Harmless)
    }

    /// Whether it still holds.
    pub fn holds(&self) -> bool {
        match &self.0 {
            Reason::Gate(gate) => gate.is_open(),
            Reason::Harmless => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_permit_lasts_as_long_as_the_proof() {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
        let (gate, keeper) = Gate::shut(Arc::new(clock.clone()));
        assert!(gate.pass().is_err(), "nothing is proven yet");
        keeper.open_since(Moment::of(&clock), 10 * SECOND);
        let permit = gate.pass().unwrap();
        clock.advance(9 * SECOND);
        assert!(permit.holds());
        clock.advance(SECOND);
        assert!(!permit.holds() && gate.pass().is_err(), "ten seconds are over");
        keeper.open_since(Moment::of(&clock), 10 * SECOND);
        assert!(permit.holds(), "renewed");
        keeper.shut();
        assert!(!permit.holds());
    }

    #[test]
    fn what_needs_no_gate_always_passes() {
        assert!(Permit::harmless(Harmless::Review).holds());
        assert!(Gate::open().pass().unwrap().holds());
    }

    #[test]
    fn sleep_and_jumps_of_the_date() {
        let sent = Moment {
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + 1000 * SECOND,
        };
        for (case, elapsed, by_date, want) in [
            ("time went by", 5, 5, true),
            ("the machine slept", 1, 20, false),
            ("it slept for a moment", 8, 10, false),
            ("the date was set back", 5, -900, true),
            ("the date was set a little ahead", 5, 7, true),
            ("it is over by the monotonic clock", 10, 10, false),
            ("it is over although the date was set back", 10, -900, false),
        ] {
            let at = Moment {
                now: sent.now + elapsed * SECOND,
                wall: if by_date < 0 {
                    sent.wall - Duration::from_secs(-by_date as u64)
                } else {
                    sent.wall + Duration::from_secs(by_date as u64)
                },
            };
            assert_eq!(holds(sent, 10 * SECOND, at), want, "{case}");
        }
    }
}
