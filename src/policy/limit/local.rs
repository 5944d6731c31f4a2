//! The ledger of this process.
//!
//! All shards a request needs are locked at once, in the order of their addresses, so that no two requests wait for each
//! other; then all its charges are looked at, and all are counted or none.

use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::ledger::{Answer, Charge, Decision, Ledger};
use super::shard::{Found, Shard};

/// The ledger of this process: it counts in the rules' tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Local {
    /// Charges at once.
    pub fn charge_now(&self, charges: &[Charge<'_>], now: Instant) -> Decision {
        let mut locked = Locked::new(charges);
        let (mut decision, found) = locked.look(charges, now);
        if decision.admitted {
            locked.commit(charges, &mut decision, &found, now);
        }
        decision
    }

    /// Looks at once.
    pub fn look_now(&self, charges: &[Charge<'_>], now: Instant) -> Decision {
        Locked::new(charges).look(charges, now).0
    }
}

impl Ledger for Local {
    fn charge(&self, charges: &[Charge<'_>], now: Instant) -> Answer {
        Answer::Now(self.charge_now(charges, now))
    }

    fn look(&self, charges: &[Charge<'_>], now: Instant) -> Answer {
        Answer::Now(self.look_now(charges, now))
    }
}

/// The shards of some charges.
struct Locked<'a> {
    /// Each once.
    shards: SmallVec<[MutexGuard<'a, Shard>; 4]>,
    /// Which of them is a charge's.
    places: SmallVec<[usize; 4]>,
}

impl<'a> Locked<'a> {
    fn new(charges: &[Charge<'a>]) -> Self {
        let mutexes: SmallVec<[&'a Mutex<Shard>; 4]> =
            charges.iter().map(|charge| charge.rule.counts.shard(charge.key)).collect();
        let address = |mutex: &Mutex<Shard>| std::ptr::from_ref(mutex).addr();
        let mut order: SmallVec<[usize; 4]> = (0..mutexes.len()).collect();
        order.sort_unstable_by_key(|charge| address(mutexes[*charge]));
        let (mut shards, mut places) = (SmallVec::new(), SmallVec::from_elem(0, mutexes.len()));
        let mut last = None;
        for charge in order {
            let mutex = mutexes[charge];
            if last.replace(address(mutex)) != Some(address(mutex)) {
                shards.push(mutex.lock());
            }
            places[charge] = shards.len() - 1;
        }
        Locked { shards, places }
    }

    fn look(&self, charges: &[Charge<'a>], now: Instant) -> (Decision, SmallVec<[Found; 4]>) {
        let (mut standings, mut found) = (SmallVec::new(), SmallVec::new());
        let mut admitted = true;
        for (charge, place) in charges.iter().zip(&self.places) {
            let (standing, spot) = charge.rule.counts.look(&self.shards[*place], charge.key, &charge.rule.quota, now);
            admitted &= charge.shadow || standing.admitted;
            standings.push(standing);
            found.push(spot);
        }
        (Decision { admitted, standings }, found)
    }

    fn commit(&mut self, charges: &[Charge<'a>], decision: &mut Decision, found: &[Found], now: Instant) {
        for (index, charge) in charges.iter().enumerate() {
            let standing = decision.standings[index];
            let earlier = charges[..index].iter().position(|earlier| earlier.is_same(charge));
            decision.standings[index] = match earlier {
                Some(earlier) => decision.standings[earlier],
                None if standing.admitted => {
                    let shard = &mut self.shards[self.places[index]];
                    charge.rule.counts.commit(shard, charge.key, found[index], &charge.rule.quota, now)
                }
                None => standing,
            };
        }
    }
}
