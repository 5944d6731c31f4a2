//! The most requests in flight to a service, and the queue of those that find no room.
//!
//! Whoever comes while others wait waits too, so nobody is overtaken who came in first; known inaccuracy: two that come at
//! the very moment when room is made may change places.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Counts the requests in a service.
#[derive(Default)]
pub struct Gate {
    inside: AtomicU32,
    waiting: AtomicU32,
    left: Notify,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In flight.
    pub most: u32,
    /// Waiting.
    pub queue: Queue,
}

/// How many may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many.
    pub length: u32,
    /// How long.
    pub timeout: Duration,
}

impl Room {
    /// The same for a request that has only so much time.
    pub fn within(self, time: Option<Duration>) -> Self {
        let timeout = time.map_or(self.queue.timeout, |time| time.min(self.queue.timeout));
        Room { queue: Queue { timeout, ..self.queue }, ..self }
    }
}

/// Why there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// As many wait as may.
    QueueFull,
    /// It waited as long as it may.
    TooLate,
}

/// A request in the service.
#[must_use]
pub struct Pass(Arc<Gate>);

/// A request in a queue.
pub(super) struct Waiting<'a>(&'a AtomicU32);

impl Gate {
    /// Requests in the service that were let in.
    pub fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// Requests in its queue.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets a request in at once, if there is room and nobody waits.
    pub fn try_enter(self: &Arc<Self>, room: Room) -> Option<Pass> {
        if self.waiting() == 0 { self.take(room.most) } else { None }
    }

    /// Lets a request in as soon as there is room.
    pub async fn enter(self: &Arc<Self>, room: Room) -> Result<Pass, NoRoom> {
        let Some(_waiting) = Waiting::join(&self.waiting, room.queue.length) else { return Err(NoRoom::QueueFull) };
        let until = Instant::now() + room.queue.timeout;
        let mut is_next = self.waiting() == 1;
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // From here on nobody leaves unheard.
            left.as_mut().enable();
            if let Some(pass) = is_next.then(|| self.take(room.most)).flatten() {
                // There may be room for another.
                self.left.notify_one();
                return Ok(pass);
            }
            timeout_at(until, left).await.map_err(|_| NoRoom::TooLate)?;
            is_next = true;
        }
    }

    /// Lets those who wait look again: there may be more room than there was.
    pub fn look_again(&self) {
        self.left.notify_waiters();
    }

    fn take(self: &Arc<Self>, most: u32) -> Option<Pass> {
        let more = |inside: u32| (inside < most).then(|| inside + 1);
        let entered = self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.ok().map(|_| Pass(Arc::clone(self)))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
        // Without someone who waits it would be remembered, and wake the next one for nothing: that does no harm.
        self.0.left.notify_one();
    }
}

impl<'a> Waiting<'a> {
    /// Joins a queue, unless it is full.
    pub fn join(waiting: &'a AtomicU32, most: u32) -> Option<Self> {
        let more = |waiting: u32| (waiting < most).then(|| waiting + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Waiting(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
