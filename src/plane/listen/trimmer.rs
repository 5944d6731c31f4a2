//! Makes room where answers that nobody takes fill their budget: strangers may do that on purpose, and honest clients are
//! to go on.
//!
//! Who would need longest to take what waits, at the pace of the last seconds, gives up first, and only who would need more
//! than [`PATIENCE`]. Where that does not help, because all of them take something, new answers wait their turn. Beyond a
//! quarter more than the budget there is no grace: it is memory that runs out.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatekeeper_background::persist;
use tokio::time::sleep;

use super::ledger::{Account, Ledger};
use crate::observe::Metrics;

/// Between two looks while there is room.
const CALM: Duration = Duration::from_millis(100);
/// And while there is little.
const BUSY: Duration = Duration::from_millis(25);
/// A pace is that of about so long.
const PACE: Duration = Duration::from_secs(2);
/// Who takes what waits within this time gives up nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody's pace is known before.
const GRACE: Duration = Duration::from_secs(1);

/// Makes room where answers that nobody takes fill their budget.
pub struct Trimmer {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

impl Trimmer {
    /// Makes room in this ledger.
    pub fn new(ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        Trimmer { ledger, metrics }
    }

    /// Goes on for ever.
    pub async fn keep(self) {
        persist("the limit on buffered responses", || self.go_on()).await;
    }

    async fn go_on(&self) {
        loop {
            sleep(self.look()).await;
        }
    }

    /// Looks once; the time until the next look.
    fn look(&self) -> Duration {
        let ledger = &self.ledger;
        let total = ledger.total();
        self.metrics.answers_wait(total, ledger.take_waits());
        self.metrics.gave_up(trim(ledger, Instant::now()));
        if total < ledger.budget() / 4 { CALM } else { BUSY }
    }
}

/// Notes how fast everyone takes what waits, and makes some give up if there is no room; how many.
fn trim(ledger: &Ledger, now: Instant) -> u64 {
    let mut slow: Vec<_> = ledger.accounts().into_iter().map(|account| (needs(&account, now), account)).collect();
    let (total, budget) = (ledger.total(), ledger.budget());
    if total < budget {
        return 0;
    }
    let patience = if total > budget + budget / 4 { Duration::ZERO } else { PATIENCE };
    slow.retain(|(needs, _)| *needs >= patience);
    slow.sort_by_key(|(needs, _)| Reverse(*needs));
    let (mut too_much, mut given_up) = (total - budget / 8 * 7, 0);
    for (_, account) in slow {
        if too_much == 0 {
            break;
        }
        let (back, fresh) = account.give_up();
        too_much = too_much.saturating_sub(back);
        given_up += u64::from(fresh);
    }
    given_up
}

/// How fast a connection takes what waits for it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it was looked at first, and last.
    looked: Option<(Instant, Instant)>,
    /// What it had taken by then.
    taken: u64,
    per_second: f64,
}

impl Pace {
    /// How long it needs for what waits; no time as long as its pace is not known.
    fn needs(&mut self, waiting: u64, taken: u64, now: Instant) -> Duration {
        let (first, last) = *self.looked.get_or_insert((now, now));
        let passed = now.saturating_duration_since(last).as_secs_f64();
        if passed > 0.0 {
            let lately = taken.saturating_sub(self.taken) as f64 / passed;
            self.per_second += (lately - self.per_second) * (passed / PACE.as_secs_f64()).min(1.0);
        }
        (self.looked, self.taken) = (Some((first, now)), taken);
        if now.saturating_duration_since(first) < GRACE {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(waiting as f64 / self.per_second.max(1.0)).unwrap_or(Duration::MAX)
    }
}

fn needs(account: &Account, now: Instant) -> Duration {
    account.pace.lock().needs(account.waiting(), account.taken(), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn holding(ledger: &Arc<Ledger>, bytes: u64) -> (Arc<Account>, Arc<crate::listen::ledger::Held>) {
        let account = ledger.open();
        account.add(bytes);
        let held = account.note(bytes).unwrap();
        held.moved(bytes, 0);
        (account, held)
    }

    #[test]
    fn who_takes_nothing_makes_room_and_who_takes_something_does_not() {
        let ledger = Ledger::new(10 * MIB);
        let (mut now, second) = (Instant::now(), Duration::from_secs(1));
        let stalled: Vec<_> = (0..4).map(|_| holding(&ledger, MIB)).collect();
        let (slow, slow_held) = holding(&ledger, MIB);
        assert_eq!(trim(&ledger, now), 0);
        for _ in 0..10 {
            now += second;
            slow.add(MIB / 2);
            slow.take(MIB / 2);
            assert_eq!(trim(&ledger, now), 0, "there is room");
        }
        let (newcomer, newcomers_held) = holding(&ledger, 2 * MIB);
        assert!(newcomer.full().is_some());
        assert!((1..=4).contains(&trim(&ledger, now)));
        assert!(stalled.iter().any(|(_, held)| held.is_given_up()));
        assert!(!slow_held.is_given_up() && !newcomers_held.is_given_up());
    }

    #[test]
    fn far_beyond_the_budget_there_is_no_grace() {
        let ledger = Ledger::new(10 * MIB);
        let all: Vec<_> = (0..10).map(|_| holding(&ledger, MIB)).collect();
        let given_up = trim(&ledger, Instant::now());
        assert!((5..10).contains(&given_up), "{given_up}");
        assert_eq!(all.iter().filter(|(_, held)| held.is_given_up()).count() as u64, given_up);
    }
}
