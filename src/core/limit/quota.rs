//! What a subject may spend, and where it stands with that.

use std::time::Duration;

/// What a subject may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many requests (0 is as 1).
    pub max: u32,
    /// In any time of this length.
    pub window: Duration,
    /// How they are counted.
    pub algorithm: Algorithm,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// No window, wherever it begins, holds more.
    Window,
    /// A steady rate with a burst.
    Gcra {
        /// How many may come at once (0 is as 1).
        burst: u32,
    },
}

/// Where a subject stands with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the rule lets the request pass.
    pub admitted: bool,
    /// What is spent, this request included if it was counted.
    pub used: u32,
    /// What is left after that: nothing exactly when another request would be refused.
    pub left: u32,
    /// After how long there is one more: when nothing is left, a request is admitted then and not before.
    pub reset: Duration,
}

impl Quota {
    /// How many may come at once.
    pub fn capacity(&self) -> u32 {
        match self.algorithm {
            Algorithm::Window => self.max.max(1),
            Algorithm::Gcra { burst } => burst.max(1),
        }
    }

    /// How long it takes until a capacity that was spent at once is there again, whole.
    pub fn span(&self) -> Duration {
        Duration::from_nanos(match self.algorithm {
            Algorithm::Window => self.length(),
            Algorithm::Gcra { .. } => self.interval().saturating_mul(u64::from(self.capacity())),
        })
    }

    /// How large a burst may be that comes at this rate: it is there again, whole, within 100 years. What is spent ahead of
    /// time must stay within what can be counted, or nothing would ever be refused.
    pub fn largest_burst(&self) -> u32 {
        u32::try_from(LONGEST_SPAN / self.interval()).unwrap_or(u32::MAX)
    }

    /// The window's length in nanoseconds.
    pub(super) fn length(&self) -> u64 {
        nanos(self.window).max(1)
    }

    /// How long one request takes of a steady rate, in nanoseconds.
    pub(super) fn interval(&self) -> u64 {
        self.length().div_ceil(u64::from(self.max.max(1)))
    }
}

impl Standing {
    /// Where someone stands who spent so much of a capacity, and gets the next back in so many nanoseconds.
    pub(super) fn new(used: u32, capacity: u32, reset: u64) -> Self {
        Standing {
            admitted: used < capacity,
            used,
            left: capacity.saturating_sub(used),
            reset: Duration::from_nanos(reset),
        }
    }
}

/// Nanoseconds of 100 years.
const LONGEST_SPAN: u64 = 36_500 * 86_400 * 1_000_000_000;

/// Nanoseconds, at most 146 years of them, so that sums of a few don't overflow.
pub(super) fn nanos(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(time.subsec_nanos().into()).min(u64::MAX / 4)
}
