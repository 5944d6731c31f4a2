//! The circuit breaker of one service: after enough failures its requests are refused at once for a while, then single
//! requests find out whether it is back.
//!
//! ```text
//!            failures reach the threshold
//!   +--------+ ------------------------------> +------+
//!   | closed |                                 | open | <-----------+
//!   +--------+ <--- reset by hand ------------ +------+             |
//!       ^  ^                                      |                 |
//!       |  |                     the wait is over | and one asks    | a failure: the wait doubles
//!       |  |                                      v                 |
//!       |  +------- reset by hand --------- +-----------+           |
//!       +---------------------------------- | half-open | ----------+
//!         success_threshold successes       +-----------+
//!         (the wait is short again)          one probe at a time
//! ```
//!
//! * Only a failure opens. In a row: any success begins the row anew. By ratio: at a failure, once the window holds
//!   `min_requests` verdicts of which `rate` or more are failures. A neutral verdict counts nowhere.
//! * A request whose body is still to come holds no slot, or a client that stalls would hold it: while no probe is on its
//!   way, one in a tenth of a second is let pass, and becomes the probe when its body is whole or its answer is there. If
//!   there is another one by then, it says nothing.
//! * The first probes are requests of routes that did well since the breaker was last closed, if there are such: others
//!   wait for as long as the breaker is open at first, at most ten seconds, so that it closes even if no request of
//!   those routes comes. A failed probe takes its route's precedence away (`precedence`).
//! * A probe keeps its slot until its verdict, or until it is dropped. Its verdict may be told early, at the head of the
//!   response; if the request fails later all the same, that is one more failure, in whatever state its own verdict led
//!   to.
//! * A probe that gave no verdict for `probe_timeout` is replaced by the next that asks. What it says afterwards is
//!   ignored; if no one has asked, its verdict still counts. The timeout belongs above that of a request.
//! * Every opening, closing and reset begins a new generation. What was admitted in an older one changes nothing.
//! * Open without anyone asking is half-open as soon as the wait is over; the transition is told when one asks.
//!
//! Known inaccuracy: the window of a ratio moves by sixteenths, so a verdict counts for between 15 and 16 of them. A
//! sixteenth that sees more than 262143 verdicts keeps their ratio, but not their number.

mod machine;
mod precedence;
mod window;

#[cfg(test)]
mod interleaved;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use machine::{Breaker, Permit};
use serde::{Deserialize, Serialize};

/// How long routes that did well have precedence at most.
const LONGEST_PRECEDENCE: Duration = Duration::from_secs(10);

/// What a breaker reads and writes at once from several threads; a test puts others in their place.
mod sync {
    pub use parking_lot::Mutex;
    pub use std::sync::atomic::AtomicU64;
}

/// When a breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// What opens it.
    pub failures: Failures,
    /// How many probes must succeed to close it (0 is as 1).
    pub success_threshold: u32,
    /// How long it stays open at first.
    pub timeout: Duration,
    /// How long it stays open at most, however often its probes failed.
    pub max_timeout: Duration,
    /// After how long a probe without a verdict is lost.
    pub probe_timeout: Duration,
}

/// What opens a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failures {
    /// So many in a row (0 is as 1).
    Consecutive(u32),
    /// A part of all requests.
    Ratio {
        /// Which part.
        rate: Rate,
        /// Of the requests of how long.
        window: Duration,
        /// How many there must be, failures included.
        min_requests: u32,
    },
}

/// A part of a whole: more than nothing, at most all.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// What a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service answered as it should.
    Success,
    /// It did not.
    Failure,
    /// Nothing was learnt about the service.
    Neutral,
}

/// A request that asks a breaker for leave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker {
    /// The hash of its route's name.
    pub route: u64,
    /// Its body is still to come.
    pub uploads: bool,
}

/// A request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How long until a probe may go; zero if one is on its way and its verdict may come at any moment.
    pub retry_after: Duration,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request at a time passes as a probe.
    HalfOpen,
}

/// What happened to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Requests failed, or a probe did.
    Opened {
        /// How long requests are refused.
        wait: Duration,
    },
    /// The wait is over: the first probe goes.
    HalfOpened,
    /// Enough probes succeeded.
    Closed,
    /// Closed by hand, whatever it was.
    Reset,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            failures: Failures::Consecutive(5),
            success_threshold: 2,
            timeout: Duration::from_secs(60),
            max_timeout: Duration::from_secs(600),
            probe_timeout: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// How long only those probe who have precedence.
    fn precedence(&self) -> Duration {
        self.timeout.min(LONGEST_PRECEDENCE)
    }

    /// The wait after one that was not long enough.
    fn longer(&self, wait: Duration) -> Duration {
        wait.saturating_mul(2).min(self.max_timeout.max(self.timeout))
    }
}

impl Rate {
    /// This part, if it is one.
    pub fn new(part: f64) -> Option<Self> {
        (part > 0.0 && part <= 1.0).then_some(Rate(part))
    }

    /// Whether so many of a whole are this part or more. (The quotient rounds as the written number did: 7 of 100
    /// are 0.07, while 0.07 times 100 is more than 7.)
    fn is_reached(self, some: u32, all: u32) -> bool {
        f64::from(some) / f64::from(all) >= self.0
    }
}

impl State {
    /// Its name, as metrics and the administration have it.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transition::Opened { wait } => write!(f, "opened: requests are refused for {wait:?}"),
            Transition::HalfOpened => {
                f.write_str("half-open: single requests find out whether the service works again")
            }
            Transition::Closed => f.write_str("closed: requests pass again"),
            Transition::Reset => f.write_str("reset by an administrator: requests pass again"),
        }
    }
}

impl Transition {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        if self == Transition::Reset { "reset" } else { self.state().name() }
    }

    /// Where it led to.
    pub fn state(self) -> State {
        match self {
            Transition::Opened { .. } => State::Open,
            Transition::HalfOpened => State::HalfOpen,
            Transition::Closed | Transition::Reset => State::Closed,
        }
    }
}
