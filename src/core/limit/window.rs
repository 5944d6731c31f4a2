//! A sliding window: no window of its length, wherever it begins, ever holds more requests than it may.
//!
//! The moments of up to 64 requests are kept as they are, two of them without a heap; beyond that, requests are counted in
//! slots. When a window has passed without a request, moments are kept again.
//!
//! Moments are nanoseconds since a start that is common to all of a table. A request that is late (one with a later moment
//! is counted already) is counted as if it had come with the newest: the promise holds for the order of decisions.

use std::{mem, slice};

use super::quota::Standing;
use super::slots::Slots;

/// So many moments are kept at most.
const MOMENTS: usize = 64;
/// A list has room for so many at first, a cache line, and for twice as many whenever it is full.
const FIRST_MOMENTS: usize = 8;

/// What a subject spent of a window.
#[derive(Debug)]
pub enum Window {
    /// One request.
    One(u64),
    /// Two.
    Two([u64; 2]),
    /// Some, the oldest first.
    List(Vec<u64>),
    /// Many.
    Slots(Box<Slots>),
}

impl Window {
    /// Where the subject stands in the window of this length that ends now.
    pub fn look(&self, length: u64, max: u32, now: u64) -> Standing {
        if let Window::Slots(slots) = self {
            return slots.look(length, max, now);
        }
        let live = self.live(length, now);
        let used = live.len() as u32;
        // If fewer may come than came when more were allowed, one more is free when all but those are gone.
        let next = live.get(used.saturating_sub(max) as usize);
        Standing::new(used, max, next.map_or(0, |moment| (moment + length).saturating_sub(now)))
    }

    /// Counts a request that was admitted. Where the subject stands then.
    pub fn commit(&mut self, length: u64, max: u32, now: u64) -> Standing {
        match self {
            Window::Slots(slots) if !slots.is_empty(length, now) => return slots.commit(length, max, now),
            Window::Slots(_) => *self = Window::One(now),
            _ => self.add(length, now),
        }
        self.look(length, max, now)
    }

    fn add(&mut self, length: u64, now: u64) {
        let now = self.moments().last().map_or(now, |last| now.max(*last));
        let live = self.live(length, now);
        match *live {
            [] => *self = Window::One(now),
            [one] => *self = Window::Two([one, now]),
            _ if live.len() == MOMENTS => *self = Window::Slots(Box::new(Slots::new(live, length, now))),
            _ => self.push(self.moments().len() - live.len(), now),
        }
    }

    /// Whether nothing of it is in the window that ends now.
    pub fn is_empty(&self, length: u64, now: u64) -> bool {
        match self {
            Window::Slots(slots) => slots.is_empty(length, now),
            _ => self.live(length, now).is_empty(),
        }
    }

    /// Bytes on the heap.
    pub fn heap(&self) -> usize {
        match self {
            Window::One(_) | Window::Two(_) => 0,
            Window::List(list) => size_of::<u64>() * list.capacity(),
            Window::Slots(_) => size_of::<Slots>(),
        }
    }

    /// Adds one to the list, without so many of the oldest.
    fn push(&mut self, gone: usize, now: u64) {
        let mut list = match mem::replace(self, Window::One(now)) {
            Window::List(list) => list,
            few => {
                let mut list = Vec::with_capacity(FIRST_MOMENTS);
                list.extend_from_slice(few.moments());
                list
            }
        };
        list.drain(..gone);
        if list.len() == list.capacity() {
            list.reserve_exact(list.len());
        }
        list.push(now);
        *self = Window::List(list);
    }

    fn moments(&self) -> &[u64] {
        match self {
            Window::One(moment) => slice::from_ref(moment),
            Window::Two(moments) => moments,
            Window::List(list) => list,
            Window::Slots(_) => &[],
        }
    }

    /// The moments in the window that ends now.
    fn live(&self, length: u64, now: u64) -> &[u64] {
        let moments = self.moments();
        let is_gone = |moment: &u64| moment + length <= now;
        match moments {
            // Often nothing is gone, and of a long list only its ends have to come from memory.
            [first, ..] if !is_gone(first) => moments,
            _ => &moments[moments.partition_point(is_gone)..],
        }
    }
}
