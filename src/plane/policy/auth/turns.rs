//! Turns to ask others about credentials: of one address only a few questions are under way at a time, and never more than its
//! budget of failures has left. Who finds no turn waits; whoever turns out to be known has spent nothing (SEMANTICS 4.9).
//!
//! A turn is held until its failure was counted, so that no crowd of questions outruns the budget.
//!
//! Known inaccuracy: what is judged without asking counts at once and does not wait for turns, so that an address may fail as
//! often beyond its budget as it had questions under way.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Who asks, or waits for a turn, by address.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<u64, Queue>>);

/// The questions of one address.
#[derive(Default)]
struct Queue {
    /// Those under way.
    under_way: u32,
    /// These, and those that wait.
    present: u32,
    /// Tells one that waits to look again.
    freed: Arc<Notify>,
}

/// A turn; the next one's when it is dropped.
pub struct Turn<'t> {
    _place: Place<'t>,
}

/// A place in the queue of an address.
struct Place<'t> {
    turns: &'t Turns,
    address: u64,
    freed: Arc<Notify>,
    has_turn: bool,
}

impl Turns {
    /// Takes a turn of an address as soon as fewer are taken than `most` says; what it refuses with ends the wait.
    pub async fn take<R>(&self, address: u64, most: impl Fn() -> Result<u32, R>) -> Result<Turn<'_>, R> {
        let mut place = self.enter(address);
        loop {
            let freed = place.freed.clone();
            if place.take(&most)? {
                return Ok(Turn { _place: place });
            }
            freed.notified().await;
        }
    }

    /// Whether nobody asks or waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn enter(&self, address: u64) -> Place<'_> {
        let mut queues = self.0.lock();
        let queue = queues.entry(address).or_default();
        queue.present += 1;
        Place { turns: self, address, freed: queue.freed.clone(), has_turn: false }
    }
}

impl Place<'_> {
    /// Takes a turn if there is one. Who takes it, or leaves without, lets the next one look: there may be more.
    fn take<R>(&mut self, most: impl Fn() -> Result<u32, R>) -> Result<bool, R> {
        let mut queues = self.turns.0.lock();
        let Some(queue) = queues.get_mut(&self.address) else { return Ok(false) };
        // Looked at under the lock: a turn that comes back has counted its failure by then.
        if queue.under_way >= most()? {
            return Ok(false);
        }
        queue.under_way += 1;
        self.has_turn = true;
        queue.freed.notify_one();
        Ok(true)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock();
        let Some(queue) = queues.get_mut(&self.address) else { return };
        queue.present -= 1;
        queue.under_way -= u32::from(self.has_turn);
        if queue.present == 0 {
            queues.remove(&self.address);
        } else {
            queue.freed.notify_one();
        }
    }
}
