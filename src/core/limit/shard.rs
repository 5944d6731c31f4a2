//! A part of a table: the accounts behind one lock.

use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use hashbrown::HashTable;

use super::account::Account;
use super::quota::{Quota, Standing, nanos};
use super::sketch::{COUNTERS, Sketch};

/// Accounts are looked through so often at most in the time that a quota takes to be whole again, or in a second.
const SWEEPS: u64 = 8;
const SECOND: u64 = 1_000_000_000;

/// The accounts behind one lock.
#[derive(Debug, Default)]
pub struct Shard {
    /// By their keys, which are hashes already.
    accounts: HashTable<(u64, Account)>,
    sketch: Option<Box<Sketch>>,
    /// When accounts may be looked through again.
    next_sweep: u64,
}

/// Where a subject's account was found, if it has one: for as long as the shard is locked, a hint that spares a second search.
pub type Found = Option<usize>;

/// How many subjects of a table may have accounts.
#[derive(Debug)]
pub struct Room {
    /// So many.
    pub max: AtomicUsize,
    /// So many have.
    pub taken: AtomicUsize,
    /// Requests of subjects there was no room for.
    pub overflowed: AtomicU64,
    /// They are counted in sketches.
    pub sketches: bool,
    /// Counters of a row of a shard's sketch.
    counters: usize,
}

impl Room {
    /// For so many subjects, in so many shards.
    pub fn new(max: usize, shards: usize) -> Self {
        let (max, taken, overflowed) = (AtomicUsize::new(max), AtomicUsize::new(0), AtomicU64::new(0));
        Room { max, taken, overflowed, sketches: true, counters: COUNTERS / shards }
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
    pub fn look(&self, key: u64, quota: &Quota, now: u64) -> (Standing, Found) {
        let found = self.find(key);
        let account = found.and_then(|place| self.accounts.get_bucket(place));
        let standing = match (account, &self.sketch) {
            (Some((_, account)), _) => account.look(quota, now),
            (None, Some(sketch)) => sketch.look(key, quota, now),
            (None, None) => Standing::new(0, quota.capacity(), 0),
        };
        (standing, found)
    }

    /// Counts a request that was admitted.
    pub fn commit(&mut self, key: u64, found: Found, quota: &Quota, now: u64, room: &Room) -> Standing {
        let found = found.filter(|place| self.accounts.get_bucket(*place).is_some_and(|(held, _)| *held == key));
        let place = found.or_else(|| self.find(key));
        if let Some((_, account)) = place.and_then(|place| self.accounts.get_bucket_mut(place)) {
            return Standing { admitted: true, ..account.commit(quota, now) };
        }
        if !self.is_sketched(key, quota, now) && self.has_room(quota, now, room) {
            self.accounts.insert_unique(key, (key, Account::new(quota, now)), |(key, _)| *key);
        } else {
            room.overflowed.fetch_add(1, Relaxed);
            if room.sketches {
                let sketch = self.sketch.get_or_insert_with(|| Box::new(Sketch::new(room.counters, now)));
                sketch.commit(key, quota, now);
            }
        }
        Standing { admitted: true, ..self.look(key, quota, now).0 }
    }

    fn find(&self, key: u64) -> Found {
        self.accounts.find_bucket_index(key, |(held, _)| *held == key)
    }

    /// Forgets the accounts that count nothing any more, and gives their memory back.
    pub fn sweep(&mut self, quota: &Quota, now: u64, room: &Room) {
        self.next_sweep = now + nanos(quota.span()).max(SECOND) / SWEEPS;
        let before = self.accounts.len();
        let live = self.accounts.iter().filter(|(_, account)| !account.is_empty(quota, now)).count();
        if live == before {
            return;
        }
        // What is removed from a table leaves marks that make it grow; and it never shrinks.
        let old = mem::replace(&mut self.accounts, HashTable::with_capacity(live + live / 8 + 1));
        for (key, account) in old.into_iter().filter(|(_, account)| !account.is_empty(quota, now)) {
            self.accounts.insert_unique(key, (key, account), |(key, _)| *key);
        }
        room.give(before - live);
    }

    /// About how many bytes are on the heap.
    pub fn memory(&self, room: &Room) -> usize {
        let map = match self.accounts.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two() * (size_of::<(u64, Account)>() + 1),
        };
        let sketch = self.sketch.as_ref().map_or(0, |_| Sketch::memory(room.counters));
        map + sketch + self.accounts.iter().map(|(_, account)| account.heap()).sum::<usize>()
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
