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
                if self.inside() < room.most {
                    self.left.notify_one();
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::atomic::AtomicUsize;

    fn room(most: u32, length: u32, millis: u64) -> Room {
        Room { most, queue: Queue { length, timeout: Duration::from_millis(millis) } }
    }

    const PATIENT: u64 = 60_000;

    #[tokio::test]
    async fn who_finds_no_room_waits_or_is_told_why_not() {
        let gate = Arc::new(Gate::default());
        let first = gate.try_enter(room(1, 1, PATIENT)).unwrap();
        assert!(gate.try_enter(room(1, 1, PATIENT)).is_none());
        assert_eq!(gate.enter(room(1, 0, PATIENT)).await.err(), Some(NoRoom::QueueFull));
        assert_eq!(gate.enter(room(1, 1, 10)).await.err(), Some(NoRoom::TooLate));
        let mut second = Box::pin(gate.enter(room(1, 1, PATIENT)));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!((gate.inside(), gate.waiting()), (1, 1));
        assert_eq!(gate.enter(room(1, 1, PATIENT)).await.err(), Some(NoRoom::QueueFull));
        drop(first);
        // There is room, but not for one who comes while another waits.
        assert!(gate.try_enter(room(1, 1, PATIENT)).is_none());
        let second = second.await.unwrap();
        assert_eq!((gate.inside(), gate.waiting()), (1, 0));
        drop(second);
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test]
    async fn those_who_wait_enter_in_their_order_and_who_left_is_passed_over() {
        let gate = Arc::new(Gate::default());
        let mut inside = gate.try_enter(room(1, 9, PATIENT));
        let mut queue: Vec<_> = (0..6).map(|_| Box::pin(gate.enter(room(1, 9, PATIENT)))).collect();
        for waiting in &mut queue {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        // One leaves before its turn; another when it was told and had not yet moved.
        drop(queue.remove(2));
        assert_eq!(gate.waiting(), 5);
        drop(inside.take());
        drop(queue.remove(0));
        while !queue.is_empty() {
            assert!(queue.iter_mut().skip(1).all(|waiting| waiting.as_mut().now_or_never().is_none()));
            inside = Some(queue.remove(0).await.unwrap());
            assert_eq!(gate.inside(), 1);
            drop(inside.take());
        }
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_too_many_are_inside_and_nobody_is_forgotten() {
        const MOST: usize = 3;
        let gate = Arc::new(Gate::default());
        let (inside, entered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..16).map(|task| {
            let (gate, inside, entered) = (gate.clone(), inside.clone(), entered.clone());
            tokio::spawn(async move {
                for turn in 0..200 {
                    // Every fifth gives up soon.
                    let room = room(MOST as u32, 100, PATIENT);
                    let enters = gate.enter(room);
                    let pass = match (task + turn) % 5 {
                        0 => tokio::time::timeout(Duration::from_micros(50), enters).await.ok(),
                        _ => Some(enters.await),
                    };
                    let Some(pass) = pass else { continue };
                    let _pass = pass.unwrap();
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < MOST);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    entered.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        for task in futures::future::join_all(tasks).await {
            task.unwrap();
        }
        assert!(entered.load(Ordering::SeqCst) >= 16 * 160);
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }
}
