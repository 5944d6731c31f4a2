//! A line of requests that wait for room: so many at most, each for so long at most, served in the order in which they came.
//!
//! Whoever comes while others wait waits behind them. Known inaccuracy: two that come at the very moment when room is made
//! may change places.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Requests that wait for room.
#[derive(Default)]
pub struct Line {
    waiting: AtomicU32,
    pub(super) called: Notify,
}

/// How many may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many.
    pub length: u32,
    /// How long.
    pub timeout: Duration,
}

/// Why there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// As many wait as may.
    QueueFull,
    /// It waited as long as it may.
    TooLate,
}

/// A request in the line.
struct Waiting<'a>(&'a AtomicU32);

impl Queue {
    /// The same for a request that has only so much time.
    pub fn within(self, time: Option<Duration>) -> Self {
        Queue { timeout: time.map_or(self.timeout, |time| time.min(self.timeout)), ..self }
    }
}

impl Line {
    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Room was made. Without someone who waits it is remembered, and the next one looks once for nothing.
    pub fn call_next(&self) {
        self.called.notify_one();
    }

    /// There may be more room than there was.
    pub fn call_all(&self) {
        self.called.notify_waiters();
    }

    /// Waits for what `take` finds, which is asked when those before were served. `more` tells whether there is room for
    /// yet another one then.
    pub async fn wait<T>(
        &self,
        queue: Queue,
        mut take: impl FnMut() -> Option<T>,
        more: impl Fn() -> bool,
    ) -> Result<T, NoRoom> {
        let Some(_waiting) = self.join(queue.length) else { return Err(NoRoom::QueueFull) };
        let until = Instant::now() + queue.timeout;
        let mut is_next = self.waiting() == 1;
        loop {
            let mut called = std::pin::pin!(self.called.notified());
            // From here on no call goes unheard.
            called.as_mut().enable();
            if let Some(taken) = is_next.then(&mut take).flatten() {
                if more() {
                    self.call_next();
                }
                return Ok(taken);
            }
            timeout_at(until, called).await.map_err(|_| NoRoom::TooLate)?;
            is_next = true;
        }
    }

    fn join(&self, most: u32) -> Option<Waiting<'_>> {
        let more = |waiting: u32| (waiting < most).then(|| waiting + 1);
        let joined = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        joined.ok().map(|_| Waiting(&self.waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
