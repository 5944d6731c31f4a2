//! Sinks: where finished requests go.
//!
//! The data plane tells each of its sinks of every request, in the task that served it. So a sink is **bounded, lossy and
//! counted**: [`Sink::take`] copies what it wants to keep into something of fixed size and returns. It never waits, and what
//! does not fit is dropped and counted by reason ([`Drops`]). [`Queue`] is the way to do that for a sink whose records are
//! written by a thread of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::event::Event;

/// Somebody who is told of every finished request.
pub trait Sink: Send + Sync {
    /// Takes what it keeps of an event. It is called by whoever served the request, and must not wait.
    fn take(&self, event: &Event<'_>);

    /// What it dropped so far; absent for a sink that never has to drop anything.
    fn drops(&self) -> Option<&Drops> {
        None
    }
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The sink had no room: it is slower than the requests come.
    QueueFull,
    /// There was room, but the sink could not write the record in the end.
    Unwritten,
    /// The sink panicked.
    Panicked,
}

impl DropReason {
    /// Every reason there is, in the order of their values.
    pub const ALL: [DropReason; 3] = [DropReason::QueueFull, DropReason::Unwritten, DropReason::Panicked];

    /// Its name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::Unwritten => "unwritten",
            DropReason::Panicked => "panicked",
        }
    }
}

/// Counts the records that a sink dropped, by reason.
#[derive(Debug)]
pub struct Drops {
    /// The sink's name in the metrics.
    pub sink: &'static str,
    counts: [AtomicU64; DropReason::ALL.len()],
}

impl Drops {
    /// A sink has dropped nothing yet.
    pub fn of(sink: &'static str) -> Drops {
        Drops { sink, counts: Default::default() }
    }

    /// Counts a number of records that were dropped.
    pub fn add(&self, reason: DropReason, records: u64) {
        let [queue_full, unwritten, panicked] = &self.counts;
        let count = match reason {
            DropReason::QueueFull => queue_full,
            DropReason::Unwritten => unwritten,
            DropReason::Panicked => panicked,
        };
        count.fetch_add(records, Ordering::Relaxed);
    }

    /// How many were dropped for each reason.
    pub fn by_reason(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// How many were dropped for this reason.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.by_reason().filter(|(each, _)| *each == reason).map(|(_, count)| count).sum()
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.by_reason().map(|(_, count)| count).sum()
    }
}

/// A bounded queue between those who serve requests and the thread that writes a sink's records.
#[derive(Debug)]
pub struct Queue<T> {
    records: ArrayQueue<T>,
    drops: Drops,
}

impl<T> Queue<T> {
    /// An empty queue of a sink, with room for so many records.
    pub fn new(sink: &'static str, length: usize) -> Queue<T> {
        Queue { records: ArrayQueue::new(length.max(1)), drops: Drops::of(sink) }
    }

    /// Queues a record, or counts it as dropped. It is only made if there is room.
    pub fn offer(&self, record: impl FnOnce() -> T) {
        if self.records.is_full() || self.records.push(record()).is_err() {
            self.drops.add(DropReason::QueueFull, 1);
        }
    }

    /// Takes the oldest record.
    pub fn pop(&self) -> Option<T> {
        self.records.pop()
    }

    /// How many records there is room for.
    pub fn capacity(&self) -> usize {
        self.records.capacity()
    }

    /// What was dropped.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::event::{Arrival, Outcome, Way};

    /// A sink whose writer takes a record only when it is told to.
    struct Slow(Queue<SystemTime>);

    impl Sink for Slow {
        fn take(&self, event: &Event<'_>) {
            self.0.offer(|| event.facts.started);
        }

        fn drops(&self) -> Option<&Drops> {
            Some(self.0.drops())
        }
    }

    fn event() -> Event<'static> {
        let arrival = Arrival { request_id: None, started: SystemTime::UNIX_EPOCH, client: None };
        Event::of(arrival, None, Way::default(), Outcome::after(Duration::ZERO))
    }

    #[test]
    fn a_slow_sink_drops_what_does_not_fit_and_counts_it() {
        let sink = Slow(Queue::new("slow", 4));
        (0..10).for_each(|_| sink.take(&event()));
        let drops = sink.drops().unwrap();
        assert_eq!((drops.sink, drops.total(), drops.count(DropReason::QueueFull)), ("slow", 6, 6));
        assert!(sink.0.pop().is_some());
        (0..2).for_each(|_| sink.take(&event()));
        assert_eq!(drops.count(DropReason::QueueFull), 7, "there was room for one again");
    }

    #[test]
    fn reasons_are_counted_apart() {
        let drops = Drops::of("any");
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            drops.add(reason, at as u64 + 1);
        }
        assert_eq!(
            drops.by_reason().collect::<Vec<_>>(),
            DropReason::ALL.into_iter().zip([1, 2, 3]).collect::<Vec<_>>()
        );
        assert_eq!((drops.count(DropReason::Unwritten), drops.total()), (2, 6));
    }

    #[test]
    fn a_record_without_room_is_not_made() {
        let queue = Queue::new("any", 0);
        queue.offer(|| 1);
        queue.offer(|| panic!("there is no room for it"));
        assert_eq!((queue.capacity(), queue.pop(), queue.pop()), (1, Some(1), None));
    }

    #[test]
    fn every_record_is_taken_or_counted() {
        let sink = Arc::new(Slow(Queue::new("slow", 8)));
        let mut taken = 0;
        thread::scope(|scope| {
            let tellers: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..1000).for_each(|_| sink.take(&event())))).collect();
            while !tellers.iter().all(|teller| teller.is_finished()) {
                taken += u64::from(sink.0.pop().is_some());
            }
        });
        while sink.0.pop().is_some() {
            taken += 1;
        }
        assert_eq!(taken + sink.0.drops().total(), 4000);
    }
}
