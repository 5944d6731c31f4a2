//! The verdicts of the last while, counted without a lock.
//!
//! The window is a ring of sixteen slots, each for a sixteenth of its length and packed in one word: a stamp (the
//! generation of the breaker and the number of the sixteenth), the verdicts and the failures among them. A slot with
//! another stamp is empty to whoever counts, so nothing has to be cleared when time passes or the breaker closes.
//!
//! Stamps are cut to 28 bits. A slot is mistaken for a newer one only if nothing was counted in it for a multiple of
//! 65536 windows, or of 256 generations in the same sixteenth.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::sync::AtomicU64;

const SLOTS: u64 = 16;
const TICK_BITS: u32 = 20;
const COUNT_BITS: u32 = 18;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

/// The verdicts of the last while.
pub struct Window {
    start: Instant,
    /// Nanoseconds of one slot.
    width: u64,
    slots: [AtomicU64; SLOTS as usize],
}

/// So many verdicts, and the failures among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub verdicts: u32,
    pub failures: u32,
}

impl Window {
    /// An empty window of such a length.
    pub fn new(length: Duration, start: Instant) -> Self {
        let width = (nanos(length) / SLOTS).max(1);
        Window { start, width, slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Counts one.
    pub fn count(&self, generation: u32, failed: bool, now: Instant) {
        let tick = self.tick(now);
        let more = |slot| Some(pack(stamp(generation, tick), tally(slot, stamp(generation, tick)).and(failed)));
        let _ = self.slot(tick).fetch_update(Relaxed, Relaxed, more);
    }

    /// What was counted in this generation and is not too long ago.
    pub fn sum(&self, generation: u32, now: Instant) -> Tally {
        let newest = self.tick(now);
        let ticks = newest.saturating_sub(SLOTS - 1)..=newest;
        ticks.map(|tick| tally(self.slot(tick).load(Relaxed), stamp(generation, tick))).fold(
            Tally::default(),
            |a, b| Tally { verdicts: a.verdicts + b.verdicts, failures: a.failures + b.failures },
        )
    }

    /// The number of the sixteenth; the first is 1, so that no stamp of generation 0 is that of an unused slot.
    fn tick(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.start)) / self.width + 1
    }

    fn slot(&self, tick: u64) -> &AtomicU64 {
        &self.slots[(tick % SLOTS) as usize]
    }
}

impl Tally {
    fn and(self, failed: bool) -> Self {
        let full = u32::from(self.verdicts == COUNT_MAX);
        Tally { verdicts: (self.verdicts >> full) + 1, failures: (self.failures >> full) + u32::from(failed) }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn stamp(generation: u32, tick: u64) -> u64 {
    (u64::from(generation) << TICK_BITS | tick & ((1 << TICK_BITS) - 1)) & (u64::MAX >> (2 * COUNT_BITS))
}

fn pack(stamp: u64, tally: Tally) -> u64 {
    stamp << (2 * COUNT_BITS) | u64::from(tally.verdicts) << COUNT_BITS | u64::from(tally.failures)
}

/// What a slot holds for the owner of a stamp.
fn tally(slot: u64, stamp: u64) -> Tally {
    if slot >> (2 * COUNT_BITS) != stamp {
        return Tally::default();
    }
    let low = |bits: u64| bits as u32 & COUNT_MAX;
    Tally { verdicts: low(slot >> COUNT_BITS), failures: low(slot) }
}
