//! A sliding window for many requests: they are counted in slots of a 128th of the window, and all of a slot count until
//! its last moment is out of the window.
//!
//! Known inaccuracy: a request counts for up to a 128th of the window too long, so steady traffic gets at least 98.6 % of
//! what it may have (with half as many slots, 97.5 %).

use std::ops::Range;

use super::quota::Standing;

/// So many slots are a window.
const WHOLE: u64 = 128;
/// One more is where a window begins.
const SLOTS: u64 = WHOLE + 1;

/// Requests by slots of time.
#[derive(Debug)]
pub struct Slots {
    /// The number of the newest slot, counted from the start.
    newest: u64,
    /// The number of the oldest one with a request in it.
    first: u64,
    /// All requests there are.
    total: u32,
    /// Slot n is at n % SLOTS. All of them are in the window that ends in the newest.
    counts: [u32; SLOTS as usize],
}

impl Slots {
    /// With the requests that came at these moments, the newest last, and one more.
    pub fn new(moments: &[u64], length: u64, now: u64) -> Self {
        let newest = moments.first().map_or(now, |first| *first) / width(length);
        let mut slots = Slots { newest, first: newest, total: 0, counts: [0; SLOTS as usize] };
        for moment in moments.iter().chain([&now]) {
            slots.commit(length, u32::MAX, *moment);
        }
        slots
    }

    /// Where the subject stands in the window of this length that ends now.
    pub fn look(&self, length: u64, max: u32, now: u64) -> Standing {
        let width = width(length);
        let oldest = self.oldest(width, now);
        if self.first >= oldest && self.total <= max {
            // The usual case, without a look at the counts.
            return self.standing(width, max, now);
        }
        let gone: u32 = self.counts(self.first..oldest).map(|(_, count)| count).sum();
        let used = self.total - gone;
        // If fewer may come than came when more were allowed, one more is free when all but those are gone.
        let mut ahead = used.saturating_sub(max);
        let next = self.counts(oldest.max(self.first)..self.newest + 1).find(|(_, count)| {
            let found = *count > ahead;
            ahead = ahead.saturating_sub(*count);
            found
        });
        Standing::new(used, max, next.map_or(0, |(slot, _)| ((slot + SLOTS) * width).saturating_sub(now)))
    }

    /// Counts a request that was admitted. Where the subject stands then.
    pub fn commit(&mut self, length: u64, max: u32, now: u64) -> Standing {
        let width = width(length);
        let current = self.newest.max(now / width);
        for passed in (self.newest + 1..=current).take(SLOTS as usize) {
            self.total -= std::mem::take(self.count(passed));
        }
        self.newest = current;
        self.total += 1;
        *self.count(current) += 1;
        let oldest = current.saturating_sub(WHOLE);
        if self.first < oldest {
            self.first = oldest;
            while *self.count(self.first) == 0 {
                self.first += 1;
            }
        }
        self.standing(width, max, now)
    }

    /// Where the subject stands if all there is counts, and that is no more than there may be.
    fn standing(&self, width: u64, max: u32, now: u64) -> Standing {
        Standing::new(self.total, max, ((self.first + SLOTS) * width).saturating_sub(now))
    }

    /// Whether nothing of it is in the window that ends now.
    pub fn is_empty(&self, length: u64, now: u64) -> bool {
        self.oldest(width(length), now) > self.newest
    }

    /// The oldest slot that a window holds in part or whole that ends now.
    fn oldest(&self, width: u64, now: u64) -> u64 {
        self.newest.max(now / width).saturating_sub(WHOLE)
    }

    fn counts(&self, slots: Range<u64>) -> impl Iterator<Item = (u64, u32)> {
        let slots = slots.start..slots.end.min(self.newest + 1);
        slots.map(|slot| (slot, self.counts[(slot % SLOTS) as usize]))
    }

    fn count(&mut self, slot: u64) -> &mut u32 {
        &mut self.counts[(slot % SLOTS) as usize]
    }
}

/// A slot's length in nanoseconds. Rounded up, so that as many as are a window are never shorter than it.
fn width(length: u64) -> u64 {
    length.div_ceil(WHOLE)
}
