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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::quota::{Algorithm, nanos};
    use super::*;

    fn quota(max: u32, seconds: u64, burst: u32) -> Quota {
        Quota { max, window: Duration::from_secs(seconds), algorithm: Algorithm::Gcra { burst } }
    }

    /// From one bound to the other, the bounds and their neighbours often.
    fn within(least: u64, most: u64) -> impl Strategy<Value = u64> {
        prop_oneof![Just(least), Just(most), Just(most - 1), Just(least + 1), least..=most]
    }

    proptest! {
        /// Whatever `check` lets pass: a burst is admitted and not one more, at any time a clock can show, and what is told of
        /// it is true.
        #[test]
        fn a_burst_is_kept_to_the_edges(
            max in within(1, 1_000_000_000), seconds in within(1, 31_536_000), burst in within(1, 1_000_000_000),
            now in within(0, nanos(Duration::MAX)),
        ) {
            let largest = quota(max as u32, seconds, 1).largest_burst();
            let quota = quota(max as u32, seconds, (burst as u32).min(largest));
            let (burst, interval) = (quota.capacity(), quota.interval());
            let spent = |requests: u32| Gcra(now + interval * u64::from(requests));
            prop_assert!(spent(burst - 1).look(&quota, now).admitted);
            let mut gcra = spent(burst - 1);
            let standing = gcra.commit(&quota, now);
            prop_assert_eq!((standing.used, standing.left, standing.admitted), (burst, 0, false));
            prop_assert_eq!(standing.reset, Duration::from_nanos(interval));
            prop_assert!(!gcra.look(&quota, now + interval - 1).admitted && gcra.look(&quota, now + interval).admitted);
            prop_assert!(gcra.is_empty(now + nanos(quota.span())) && !gcra.is_empty(now + nanos(quota.span()) - 1));
        }
    }

    #[test]
    fn a_burst_that_could_not_be_counted_is_not_one() {
        let year = 31_536_000;
        assert_eq!(quota(1, year, 1).largest_burst(), 100);
        assert_eq!(quota(1, 1, 1).largest_burst(), 3_153_600_000);
        assert_eq!(quota(1_000_000_000, 1, 1).largest_burst(), u32::MAX);
        // This is why: nothing more fits, and so nothing would be refused.
        let beyond = quota(1, year, 1_000_000_000);
        assert!(Gcra(u64::MAX).look(&beyond, 0).admitted);
    }
}
