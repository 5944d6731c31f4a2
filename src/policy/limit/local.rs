//! The ledger of this process.
//!
//! All shards a request needs are locked at once, in the order of their addresses, so that no two requests wait for each
//! other; then all its charges are looked at, and all are counted or none.

use std::ptr;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::ledger::{Answer, Charge, Decision, Ledger};
use super::shard::Shard;

/// The ledger of this process: it counts in the rules' tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local;

impl Local {
    /// Charges at once.
    pub fn charge_now(&self, charges: &[Charge<'_>], now: Instant) -> Decision {
        let mut locked = Locked::new(charges);
        let mut decision = locked.look(charges, now);
        if decision.admitted {
            locked.commit(charges, &mut decision, now);
        }
        decision
    }

    /// Looks at once.
    pub fn look_now(&self, charges: &[Charge<'_>], now: Instant) -> Decision {
        Locked::new(charges).look(charges, now)
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

/// The shards of some charges, each once and in the order of their addresses.
struct Locked<'a>(SmallVec<[(*const Mutex<Shard>, MutexGuard<'a, Shard>); 4]>);

impl<'a> Locked<'a> {
    fn new(charges: &[Charge<'a>]) -> Self {
        let mut mutexes: SmallVec<[&'a Mutex<Shard>; 4]> = charges.iter().map(mutex).collect();
        mutexes.sort_unstable_by_key(|mutex| ptr::from_ref(*mutex));
        mutexes.dedup_by(|a, b| ptr::eq(*a, *b));
        Locked(mutexes.iter().map(|mutex| (ptr::from_ref(*mutex), mutex.lock())).collect())
    }

    fn look(&mut self, charges: &[Charge<'a>], now: Instant) -> Decision {
        let standings: SmallVec<[_; 4]> = charges
            .iter()
            .map(|charge| charge.rule.counts.look(self.shard(charge), charge.key, &charge.rule.quota, now))
            .collect();
        let admitted = charges.iter().zip(&standings).all(|(charge, standing)| charge.shadow || standing.admitted);
        Decision { admitted, standings }
    }

    fn commit(&mut self, charges: &[Charge<'a>], decision: &mut Decision, now: Instant) {
        for (index, charge) in charges.iter().enumerate() {
            let standing = decision.standings[index];
            let earlier = charges[..index].iter().position(|earlier| earlier.is_same(charge));
            decision.standings[index] = match earlier {
                Some(earlier) => decision.standings[earlier],
                None if standing.admitted => {
                    charge.rule.counts.commit(self.shard(charge), charge.key, &charge.rule.quota, now)
                }
                None => standing,
            };
        }
    }

    fn shard(&mut self, charge: &Charge<'a>) -> &mut Shard {
        let wanted = ptr::from_ref(mutex(charge));
        let index = self.0.partition_point(|(address, _)| *address < wanted);
        &mut self.0[index].1
    }
}

fn mutex<'a>(charge: &Charge<'a>) -> &'a Mutex<Shard> {
    charge.rule.counts.shard(charge.key)
}
