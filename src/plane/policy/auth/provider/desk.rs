//! The fetches of a provider, numbered from 1, and which of them a question may wait for.
//!
//! A question about a key that is not there may have a fetch made, from a bucket of a few that gains one now and then.

use tokio::time::Instant;

use super::Pace;

/// The fetches, numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desk {
    /// The last that began.
    pub begun: u64,
    /// The last that ended.
    pub ended: u64,
    /// The last that succeeded.
    pub good: u64,
    /// The last that was asked for.
    pub demanded: u64,
    /// When the bucket is full again.
    pub full_at: Option<Instant>,
}

/// A fetch that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which it is.
    pub number: u64,
    /// Nobody asked for it before.
    pub is_new_demand: bool,
}

impl Desk {
    /// The fetch that a question may wait for.
    pub fn ticket(&self, now: Instant, pace: &Pace) -> Option<Ticket> {
        let is_under_way = self.begun > self.ended;
        let wait_for = |number| Some(Ticket { number, is_new_demand: false });
        if self.demanded > self.begun {
            return wait_for(self.demanded);
        }
        if is_under_way && self.good == 0 {
            return wait_for(self.begun);
        }
        if self.may_demand(now, pace) {
            return Some(Ticket { number: self.begun + 1, is_new_demand: true });
        }
        is_under_way.then_some(self.begun).and_then(wait_for)
    }

    /// Has a fetch made that nobody asked for before.
    pub fn demand(&mut self, number: u64, now: Instant, pace: &Pace) {
        self.demanded = number;
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + pace.demand);
    }

    /// Whether the bucket holds one.
    fn may_demand(&self, now: Instant, pace: &Pace) -> bool {
        let missing = self.full_at.map(|at| at.saturating_duration_since(now)).unwrap_or_default();
        missing <= pace.demand * pace.bucket.saturating_sub(1)
    }
}
