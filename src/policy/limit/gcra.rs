//! The generic cell rate algorithm: a steady rate with a burst.
//!
//! Each request takes its time at the steady rate; who is ahead of time by less than a burst takes may pass. So any time
//! holds at most a burst and what comes at the rate: a window may hold nearly twice its number.
//!
//! Known inaccuracy: what a request takes is rounded up to whole nanoseconds, so a rate of millions per second is kept a
//! little lower.

use super::quota::{Quota, Standing};

/// Until when a subject has spent the rate: nanoseconds since the table's start.
#[derive(Debug)]
pub struct Gcra(u64);

impl Gcra {
    /// With one request.
    pub fn new(quota: &Quota, now: u64) -> Self {
        Gcra(now.saturating_add(quota.interval()))
    }

    /// Where the subject stands.
    pub fn look(&self, quota: &Quota, now: u64) -> Standing {
        let (ahead, interval, capacity) = (self.0.saturating_sub(now), quota.interval(), quota.capacity());
        let used = u32::try_from(ahead.div_ceil(interval)).unwrap_or(u32::MAX);
        let next = ahead - interval * u64::from(used.min(capacity).saturating_sub(1));
        Standing::new(used, capacity, next)
    }

    /// Counts a request that was admitted. Where the subject stands then.
    pub fn commit(&mut self, quota: &Quota, now: u64) -> Standing {
        *self = Gcra::new(quota, self.0.max(now));
        self.look(quota, now)
    }

    /// Whether nothing of it counts any more.
    pub fn is_empty(&self, now: u64) -> bool {
        self.0 <= now
    }
}
