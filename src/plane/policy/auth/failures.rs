//! The budget of failures: an address that showed too many wrong credentials has to wait, before any more work is done for it
//! (SEMANTICS 4.9). A peer on a unix socket that says of no client is never refused.
//!
//! The failures of 100000 addresses are counted at a time. Those of further ones are not, since strangers must not be able to
//! lock out others by filling the table: `gatekeeper_auth_failures_overflowed_total` tells of them.
//!
//! Known inaccuracy: a credential that is judged without asking anybody is counted after it was judged, so that each thread may
//! judge one at the moment when the budget is spent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use http::header::RETRY_AFTER;

use super::turns::{Turn, Turns};
use gatekeeper_core::limit::Local;
use gatekeeper_core::limit::Table;
use gatekeeper_core::limit::{Algorithm, Quota, Standing};
use gatekeeper_core::limit::{Charge, Rule};
use gatekeeper_core::net::network;
use gatekeeper_core::refusal::{Kind, Refusal};

/// The budget of failures.
pub struct Failures {
    rule: Rule,
    hasher: RandomState,
    turns: Turns,
}

/// Addresses whose failures are counted.
const ADDRESSES: u32 = 100_000;

impl Failures {
    /// So many in any time of this length.
    pub fn new(max: u32, window: Duration) -> Self {
        Failures::of(max, window, ADDRESSES)
    }

    fn of(max: u32, window: Duration, addresses: u32) -> Self {
        let quota = Quota { max, window, algorithm: Algorithm::Window };
        let counts = Arc::new(Table::new(quota, addresses, Instant::now()).without_sketches());
        let rule = Rule::new("failures", quota, counts);
        Failures { rule, hasher: RandomState::new(), turns: Turns::default() }
    }

    /// Whether it is as many.
    pub fn is(&self, max: u32, window: Duration) -> bool {
        (self.rule.quota.max, self.rule.quota.window) == (max, window)
    }

    /// What was counted.
    pub fn counts(&self) -> &Table {
        &self.rule.counts
    }

    /// Refuses an address whose budget is spent.
    pub fn admit(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Refusal> {
        self.charge(address).map_or(Ok(()), |charge| left(charge, now).map(drop))
    }

    /// A turn to ask others about what came from an address, as soon as one of so many is free, and no more than failures are
    /// left to it. `None` where the address is not known.
    pub async fn turn(&self, address: Option<IpAddr>, most: u32) -> Result<Option<Turn<'_>>, Refusal> {
        let Some(charge) = self.charge(address) else { return Ok(None) };
        let most = || left(charge, Instant::now()).map(|left| left.min(most));
        self.turns.take(charge.key, most).await.map(Some)
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

/// How many failures are left; a refusal if none is.
fn left(charge: Charge<'_>, now: Instant) -> Result<u32, Refusal> {
    match Local.look_now(&[charge], now).standings.first() {
        Some(standing) if !standing.admitted => Err(spent(standing)),
        standing => Ok(standing.map_or(u32::MAX, |standing| standing.left)),
    }
}

fn spent(standing: &Standing) -> Refusal {
    let seconds = standing.reset.as_millis().div_ceil(1000).max(1);
    let refusal = Refusal::new(Kind::AUTH_FAILURES, "too many failed authentications from this address");
    refusal.with_header(RETRY_AFTER, u64::try_from(seconds).unwrap_or(u64::MAX).into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn newcomers_pass_a_full_table() {
        let (failures, now) = (Failures::of(2, Duration::from_secs(60), 1000), Instant::now());
        let address = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        for number in 0..100_000 {
            assert!(failures.admit(address(number), now).is_ok(), "{number}: nobody pays for others");
            failures.note(address(number), now);
        }
        assert_eq!((failures.counts().subjects(), failures.counts().overflowed()), (1000, 99_000));
        // Who is counted is counted still.
        failures.note(address(7), now);
        assert!(failures.admit(address(7), now).is_err());
        // There is room again when the window is over.
        let later = now + Duration::from_secs(60);
        (0..2).for_each(|_| failures.note(address(200_000), later));
        assert!(failures.admit(address(200_000), later).is_err());
    }

    #[tokio::test]
    async fn questions_of_an_address_are_few_at_a_time_and_never_outrun_its_budget() {
        let failures = Failures::new(60, Duration::from_secs(60));
        let (now, most, refused) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        let ask = async |number: u32, is_good: bool| {
            let address = format!("2001:db8::{number:x}").parse().ok();
            let Ok(_turn) = failures.turn(address, 8).await else {
                refused.fetch_add(1, Ordering::Relaxed);
                return;
            };
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            if !is_good {
                failures.note(address, Instant::now());
            }
        };
        futures::future::join_all((0..300).map(|number| ask(number, true))).await;
        assert_eq!((most.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)), (8, 0));
        futures::future::join_all((0..300).map(|number| ask(number, false))).await;
        assert_eq!(refused.load(Ordering::Relaxed), 240);
        assert!(failures.turn(None, 8).await.is_ok_and(|turn| turn.is_none()));
        assert!(failures.turns.is_empty(), "nothing stays of those that are gone");
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_may_go() {
        let failures = Failures::new(60, Duration::from_secs(60));
        let address = "192.0.2.1".parse().ok();
        let held = failures.turn(address, 1).await.unwrap();
        let soon = Duration::from_millis(20);
        for _ in 0..3 {
            assert!(tokio::time::timeout(soon, failures.turn(address, 1)).await.is_err());
        }
        let mut waiting = Box::pin(failures.turn(address, 1));
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        drop(held);
        assert!(tokio::time::timeout(soon * 50, waiting).await.is_ok());
        assert!(failures.turns.is_empty());
    }

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
