//! The budget of failures: an address that showed too many wrong credentials has to wait, before any more work is done for it
//! (SEMANTICS 4.9). A peer on a unix socket that says of no client is never refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use http::header::RETRY_AFTER;

use crate::plan::address::network;
use crate::policy::limit::{Algorithm, Charge, Local, Quota, Rule, Table};
use crate::policy::refusal::{Kind, Refusal};

/// The budget of failures.
pub struct Failures {
    rule: Rule,
    hasher: RandomState,
}

/// Addresses whose failures are counted exactly.
const ADDRESSES: u32 = 100_000;

impl Failures {
    /// So many in any time of this length.
    pub fn new(max: u32, window: Duration) -> Self {
        let quota = Quota { max, window, algorithm: Algorithm::Window };
        let counts = Arc::new(Table::new(quota, ADDRESSES, Instant::now()));
        Failures { rule: Rule::new("failures", quota, counts), hasher: RandomState::new() }
    }

    /// Whether it is as many.
    pub fn is(&self, max: u32, window: Duration) -> bool {
        (self.rule.quota.max, self.rule.quota.window) == (max, window)
    }

    /// Refuses an address whose budget is spent.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Refusal> {
        let Some(charge) = self.charge(address) else { return Ok(()) };
        let standing = Local.look_now(&[charge], now).standings.first().copied();
        let Some(standing) = standing.filter(|standing| !standing.admitted) else { return Ok(()) };
        let seconds = standing.reset.as_millis().div_ceil(1000).max(1);
        let refusal = Refusal::new(Kind::AUTH_FAILURES, "too many wrong credentials came from this address");
        Err(refusal.with_header(RETRY_AFTER, u64::try_from(seconds).unwrap_or(u64::MAX).into()))
    }

    /// Counts a failure.
    pub fn note(&self, address: Option<IpAddr>, now: Instant) {
        if let Some(charge) = self.charge(address) {
            Local.charge_now(&[charge], now);
        }
    }

    fn charge(&self, address: Option<IpAddr>) -> Option<Charge<'_>> {
        let key = self.hasher.hash_one(network(address?));
        Some(Charge { rule: &self.rule, key, shadow: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_when_its_budget_is_spent() {
        let (failures, began) = (Failures::new(3, Duration::from_secs(60)), Instant::now());
        let address = |text: &str| text.parse().ok();
        for second in 0..3 {
            let now = began + Duration::from_secs(second);
            assert!(failures.admit(address("192.0.2.1"), now).is_ok());
            failures.note(address("192.0.2.1"), now);
        }
        let refusal = failures.admit(address("192.0.2.1"), began + Duration::from_secs(10)).unwrap_err();
        assert_eq!((refusal.kind, &refusal.headers[0].1), (Kind::AUTH_FAILURES, &50.into()));
        assert!(failures.admit(address("192.0.2.2"), began).is_ok() && failures.admit(None, began).is_ok());
        assert!(failures.admit(address("192.0.2.1"), began + Duration::from_secs(60)).is_ok());
    }
}
