//! Counts of a fixed size, for subjects there is no room for.
//!
//! Requests are counted in two intervals, each as long as it takes a quota to be whole again, the current and the one
//! before, and both count whole: no window touches more than two.
//!
//! Known inaccuracy: it refuses too early, never too late. Requests count for up to two intervals, and subjects may share
//! counters: one is counted too high by about the intervals' requests of all divided by the counters of a row.

use std::fmt;

use pingora_limits::estimator::Estimator;

use super::quota::{Quota, Standing, nanos};

/// Rows of counters; a subject has one in each, and the lowest tells.
const ROWS: usize = 4;

/// Counters of a row that together keep what all shards of a table count apart.
pub const COUNTERS: usize = 16_384;

/// Counts of a fixed size.
pub struct Sketch {
    /// When the current interval began.
    begin: u64,
    current: Estimator,
    before: Estimator,
}

impl Sketch {
    /// With so many counters in a row.
    pub fn new(counters: usize, now: u64) -> Self {
        Sketch { begin: now, current: Estimator::new(ROWS, counters), before: Estimator::new(ROWS, counters) }
    }

    /// Bytes with so many counters in a row.
    pub fn memory(counters: usize) -> usize {
        2 * ROWS * counters * size_of::<isize>()
    }

    /// Where a subject stands.
    pub fn look(&self, key: u64, quota: &Quota, now: u64) -> Standing {
        let (span, passed) = self.passed(quota, now);
        let (before, current) = match passed {
            0 => (count(&self.before, key), count(&self.current, key)),
            1 => (count(&self.current, key), 0),
            _ => (0, 0),
        };
        let (used, capacity) = (before.saturating_add(current), quota.capacity());
        // What is of the interval before goes when the current ends, and what is of the current one interval later.
        let ends = match (before, current) {
            (0, 0) => return Standing::new(0, capacity, 0),
            (1.., _) if current < capacity => passed + 1,
            _ => passed + 2,
        };
        Standing::new(used, capacity, (self.begin + span * ends).saturating_sub(now))
    }

    /// Counts a request that was admitted.
    pub fn commit(&mut self, key: u64, quota: &Quota, now: u64) {
        let (span, passed) = self.passed(quota, now);
        if passed > 0 {
            std::mem::swap(&mut self.current, &mut self.before);
            self.current.reset();
            self.begin += span * passed;
        }
        if passed > 1 {
            self.before.reset();
        }
        self.current.incr(key, 1);
    }

    /// Whether nothing of it counts any more.
    pub fn is_empty(&self, quota: &Quota, now: u64) -> bool {
        self.passed(quota, now).1 > 1
    }

    /// An interval's length, and how many have passed since the current one began.
    fn passed(&self, quota: &Quota, now: u64) -> (u64, u64) {
        let span = nanos(quota.span());
        (span, now.saturating_sub(self.begin) / span)
    }
}

impl fmt::Debug for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sketch").field("begin", &self.begin).finish_non_exhaustive()
    }
}

fn count(estimator: &Estimator, key: u64) -> u32 {
    u32::try_from(estimator.get(key)).unwrap_or(u32::MAX)
}
