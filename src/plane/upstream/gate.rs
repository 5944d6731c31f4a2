//! The most requests in flight to a service, and the line of those that find no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::line::{Line, NoRoom, Queue};

/// Counts the requests in a service.
#[derive(Default)]
pub struct Gate {
    inside: AtomicU32,
    /// Those that wait before it.
    pub line: Line,
}

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In flight.
    pub most: u32,
    /// Waiting.
    pub queue: Queue,
}

/// A request in the service.
#[must_use]
pub struct Pass(Arc<Gate>);

impl Gate {
    /// Requests in the service that were let in.
    pub fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// Lets a request in at once, if there is room and nobody waits.
    pub fn try_enter(self: &Arc<Self>, room: Room) -> Option<Pass> {
        if self.line.waiting() == 0 { self.take(room.most) } else { None }
    }

    /// Whether a request would be let in at once.
    pub fn has_room(&self, room: Room) -> bool {
        self.line.waiting() == 0 && self.inside() < room.most
    }

    /// Lets a request in as soon as there is room.
    pub async fn enter(self: &Arc<Self>, room: Room) -> Result<Pass, NoRoom> {
        self.line.wait(room.queue, || self.take(room.most), || self.inside() < room.most).await
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
        self.0.line.call_next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

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
        assert_eq!((gate.inside(), gate.line.waiting()), (1, 1));
        assert_eq!(gate.enter(room(1, 1, PATIENT)).await.err(), Some(NoRoom::QueueFull));
        drop(first);
        // There is room, but not for one who comes while another waits.
        assert!(gate.try_enter(room(1, 1, PATIENT)).is_none());
        let second = second.await.unwrap();
        assert_eq!((gate.inside(), gate.line.waiting()), (1, 0));
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
        assert_eq!(gate.line.waiting(), 5);
        drop(inside.take());
        drop(queue.remove(0));
        while !queue.is_empty() {
            assert!(queue.iter_mut().skip(1).all(|waiting| waiting.as_mut().now_or_never().is_none()));
            inside = Some(queue.remove(0).await.unwrap());
            assert_eq!(gate.inside(), 1);
            drop(inside.take());
        }
        assert_eq!((gate.inside(), gate.line.waiting()), (0, 0));
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
        assert_eq!((gate.inside(), gate.line.waiting()), (0, 0));
    }
}
