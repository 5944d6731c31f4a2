//! A part of a table: the accounts behind one lock.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::account::Account;
use super::quota::{Quota, Standing, nanos};
use super::sketch::{COUNTERS, Sketch};

/// Accounts are looked through so often at most in the time that a quota takes to be whole again, or in a second.
const SWEEPS: u64 = 8;
const SECOND: u64 = 1_000_000_000;

/// The accounts behind one lock.
#[derive(Debug, Default)]
pub struct Shard {
    accounts: Accounts,
    sketch: Option<Box<Sketch>>,
    /// When accounts may be looked through again.
    next_sweep: u64,
}

type Accounts = HashMap<u64, Account, BuildHasherDefault<AsIs>>;

/// How many subjects of a table may have accounts.
#[derive(Debug)]
pub struct Room {
    /// So many.
    pub max: AtomicUsize,
    /// So many have.
    pub taken: AtomicUsize,
    /// Requests that were counted in sketches.
    pub overflowed: AtomicU64,
    /// Counters of a row of a shard's sketch.
    counters: usize,
}

impl Room {
    /// For so many subjects, in so many shards.
    pub fn new(max: usize, shards: usize) -> Self {
        let (max, taken, overflowed) = (AtomicUsize::new(max), AtomicUsize::new(0), AtomicU64::new(0));
        Room { max, taken, overflowed, counters: COUNTERS / shards }
    }

    fn is_full(&self) -> bool {
        self.taken.load(Relaxed) >= self.max.load(Relaxed)
    }

    fn take(&self) -> bool {
        let max = self.max.load(Relaxed);
        self.taken.fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1)).is_ok()
    }

    fn give(&self, accounts: usize) {
        self.taken.fetch_sub(accounts, Relaxed);
    }
}

impl Shard {
    /// Where a subject stands.
    pub fn look(&self, key: u64, quota: &Quota, now: u64) -> Standing {
        match (self.accounts.get(&key), &self.sketch) {
            (Some(account), _) => account.look(quota, now),
            (None, Some(sketch)) => sketch.look(key, quota, now),
            (None, None) => Standing::new(0, quota.capacity(), 0),
        }
    }

    /// Counts a request that was admitted.
    pub fn commit(&mut self, key: u64, quota: &Quota, now: u64, room: &Room) -> Standing {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.commit(quota, now);
            return Standing { admitted: true, ..account.look(quota, now) };
        }
        if !self.is_sketched(key, quota, now) && self.has_room(quota, now, room) {
            self.accounts.insert(key, Account::new(quota, now));
        } else {
            room.overflowed.fetch_add(1, Relaxed);
            let sketch = self.sketch.get_or_insert_with(|| Box::new(Sketch::new(room.counters, now)));
            sketch.commit(key, quota, now);
        }
        Standing { admitted: true, ..self.look(key, quota, now) }
    }

    /// Forgets the accounts that count nothing any more, and gives their memory back.
    pub fn sweep(&mut self, quota: &Quota, now: u64, room: &Room) {
        self.next_sweep = now + nanos(quota.span()).max(SECOND) / SWEEPS;
        let before = self.accounts.len();
        let live = self.accounts.values().filter(|account| !account.is_empty(quota, now)).count();
        if live == before {
            return;
        }
        // What is removed from a map leaves marks that make it grow; and it never shrinks.
        let mut kept = Accounts::with_capacity_and_hasher(live + live / 8 + 1, BuildHasherDefault::default());
        kept.extend(mem::take(&mut self.accounts).into_iter().filter(|(_, account)| !account.is_empty(quota, now)));
        self.accounts = kept;
        room.give(before - live);
    }

    /// About how many bytes are on the heap.
    pub fn memory(&self, room: &Room) -> usize {
        let map = match self.accounts.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two() * (size_of::<(u64, Account)>() + 1),
        };
        let sketch = self.sketch.as_ref().map_or(0, |_| Sketch::memory(room.counters));
        map + sketch + self.accounts.values().map(Account::heap).sum::<usize>()
    }

    /// Whether the sketch has a subject. (What it counted for it must not be forgotten.)
    fn is_sketched(&mut self, key: u64, quota: &Quota, now: u64) -> bool {
        self.sketch.take_if(|sketch| sketch.is_empty(quota, now));
        self.sketch.as_ref().is_some_and(|sketch| sketch.look(key, quota, now).used > 0)
    }

    /// Whether there is room for another account, which is taken.
    fn has_room(&mut self, quota: &Quota, now: u64, room: &Room) -> bool {
        let full = self.accounts.len() == self.accounts.capacity() || room.is_full();
        if full && now >= self.next_sweep {
            self.sweep(quota, now, room);
        }
        room.take()
    }
}

/// A key is a hash already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
