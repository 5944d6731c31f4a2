//! The ledger of this process.
//!
//! All shards a request needs are locked at once, in one order (that of their tables, then of their addresses), so that no
//! two requests wait for each other; then all its charges are looked at, and all are counted or none.

use std::ptr;
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
        let (mut decision, seen) = locked.look(charges, now);
        if decision.admitted {
            locked.commit(charges, &mut decision, &seen);
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
    /// Which of them is a charge's; usually each has its own, and nothing needs to be said.
    places: Option<SmallVec<[usize; 4]>>,
}

/// What was seen when a charge was looked at.
struct Seen {
    found: Found,
    /// When that was, as its table counts.
    now: u64,
}

impl<'a> Locked<'a> {
    fn new(charges: &[Charge<'a>]) -> Self {
        let number = |charge: &Charge| charge.rule.counts.number;
        if charges.is_sorted_by(|one, next| number(one) < number(next)) {
            let shards = charges.iter().map(|charge| mutex(charge).lock()).collect();
            return Locked { shards, places: None };
        }
        let turn = |charge: &usize| (number(&charges[*charge]), ptr::from_ref(mutex(&charges[*charge])).addr());
        let mut order: SmallVec<[usize; 4]> = (0..charges.len()).collect();
        order.sort_unstable_by_key(turn);
        let (mut shards, mut places) = (SmallVec::new(), SmallVec::from_elem(0, charges.len()));
        let mut last = None;
        for charge in order {
            if last.replace(turn(&charge)) != Some(turn(&charge)) {
                shards.push(mutex(&charges[charge]).lock());
            }
            places[charge] = shards.len() - 1;
        }
        Locked { shards, places: Some(places) }
    }

    fn place(&self, charge: usize) -> usize {
        self.places.as_ref().map_or(charge, |places| places[charge])
    }

    fn look(&self, charges: &[Charge<'a>], now: Instant) -> (Decision, SmallVec<[Seen; 4]>) {
        let mut decision = Decision { admitted: true, standings: SmallVec::new() };
        let mut seen = SmallVec::new();
        for (index, charge) in charges.iter().enumerate() {
            let now = charge.rule.counts.moment(now);
            let (standing, found) = self.shards[self.place(index)].look(charge.key, &charge.rule.quota, now);
            decision.admitted &= charge.shadow || standing.admitted;
            decision.standings.push(standing);
            seen.push(Seen { found, now });
        }
        (decision, seen)
    }

    fn commit(&mut self, charges: &[Charge<'a>], decision: &mut Decision, seen: &[Seen]) {
        for (index, (charge, Seen { found, now })) in charges.iter().zip(seen).enumerate() {
            // Those with shards of their own are all different.
            let shared = self.places.as_ref();
            let earlier = shared.and_then(|_| charges[..index].iter().position(|earlier| earlier.is_same(charge)));
            if let Some(earlier) = earlier {
                decision.standings[index] = decision.standings[earlier];
            } else if decision.standings[index].admitted {
                let place = self.place(index);
                let shard = &mut self.shards[place];
                decision.standings[index] =
                    charge.rule.counts.commit(shard, charge.key, *found, &charge.rule.quota, *now);
            }
        }
    }
}

fn mutex<'a>(charge: &Charge<'a>) -> &'a Mutex<Shard> {
    charge.rule.counts.shard(charge.key)
}
