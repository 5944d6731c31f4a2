//! The accounts of one rule's subjects.
//!
//! * A subject is known by a hash of 64 bits, keyed so that nobody can look for two that have the same. Of a million
//!   subjects any two have with a chance of 1 to 37 million; then they share an account, and are refused too early.
//! * The accounts lie in shards, each with its own lock, so that requests seldom wait for each other.
//! * An account that counts nothing any more is forgotten, but not before a shard would grow or the table is full, and at
//!   most 8 times in a window (or the time that a burst takes), so that requests pay little for it. One that counts is
//!   never forgotten.
//! * When as many subjects as may have accounts, further ones are counted in sketches, 1 MiB for all of them. They stay
//!   there until nothing of them counts any more: so they never have more than they may.
//!
//! Memory: 33 bytes of a shard's map per subject, which is between 7/16 and 7/8 full, so about 55 for a rate or for one or
//! two requests in a window; beyond that, 64 to 512 bytes of the heap for up to 64 requests, 536 for any number. (The
//! allocator may keep for a while what maps that grew have left.)

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::Mutex;

use super::quota::{Quota, Standing, nanos};
use super::shard::{Found, Room, Shard};

/// The accounts of one rule's subjects.
#[derive(Debug)]
pub struct Table {
    /// Its place in the order in which tables are locked.
    pub(super) number: u64,
    start: Instant,
    quota: Quota,
    room: Room,
    shards: Box<[Mutex<Shard>]>,
}

/// Subjects that a shard is made for.
const SUBJECTS_PER_SHARD: usize = 16_384;

impl Table {
    /// For so many subjects.
    pub fn new(quota: Quota, max_subjects: u32, start: Instant) -> Self {
        let shards = (max_subjects as usize / SUBJECTS_PER_SHARD).next_power_of_two().clamp(16, 1024);
        let room = Room::new(max_subjects as usize, shards);
        let shards = std::iter::repeat_with(Mutex::default).take(shards).collect();
        static TABLES: AtomicU64 = AtomicU64::new(0);
        Table { number: TABLES.fetch_add(1, Relaxed), start, quota, room, shards }
    }

    /// Subjects that there is no room for are not counted, and pass.
    pub fn without_sketches(mut self) -> Self {
        self.room.sketches = false;
        self
    }

    /// Whether what it counted holds for this quota too: the numbers may differ.
    pub fn holds_for(&self, quota: &Quota) -> bool {
        let same_algorithm = std::mem::discriminant(&self.quota.algorithm) == std::mem::discriminant(&quota.algorithm);
        same_algorithm && self.quota.window == quota.window
    }

    /// Changes for how many subjects it is. Those that are too many keep their accounts as long as they count.
    pub fn set_max_subjects(&self, max_subjects: u32) {
        self.room.max.store(max_subjects as usize, Relaxed);
    }

    /// How many subjects have accounts, those included that count nothing any more and are not forgotten yet.
    pub fn subjects(&self) -> usize {
        self.room.taken.load(Relaxed)
    }

    /// How many requests of subjects without an account were counted, ever.
    pub fn overflowed(&self) -> u64 {
        self.room.overflowed.load(Relaxed)
    }

    /// About how many bytes it takes. Looks at all accounts, a shard at a time.
    pub fn memory(&self) -> usize {
        size_of_val(&*self.shards) + self.shards.iter().map(|shard| shard.lock().memory(&self.room)).sum::<usize>()
    }

    /// Forgets the accounts that count nothing any more, a shard at a time.
    pub fn sweep(&self, now: Instant) {
        let now = self.moment(now);
        self.shards.iter().for_each(|shard| shard.lock().sweep(&self.quota, now, &self.room));
    }

    /// The shard a subject is in. (A map finds its way by a hash's lowest and highest bits.) The last get twice as many
    /// subjects as the first: if all had the same, their maps would all grow at once, and all be half empty then.
    pub(super) fn shard(&self, key: u64) -> &Mutex<Shard> {
        let even = (key >> 40) & 0xffff;
        let uneven = even * (0x4_0000 - even) / 3;
        &self.shards[((uneven * self.shards.len() as u64) >> 32) as usize]
    }

    /// Counts a request of a subject of this shard, whose account was found there.
    pub(super) fn commit(&self, shard: &mut Shard, key: u64, found: Found, quota: &Quota, now: u64) -> Standing {
        shard.commit(key, found, quota, now, &self.room)
    }

    /// A moment as accounts keep it.
    pub(super) fn moment(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start))
    }
}
