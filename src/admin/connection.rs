//! The connections of the administration listener: which there are, and which of them wait for something of ours.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use futures::task::AtomicWaker;

/// What is known of one connection, shared by its stream and its requests.
#[derive(Debug, Default)]
pub struct Connection {
    /// The peer's address; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    begun: AtomicUsize,
    answered: AtomicUsize,
    closed: AtomicBool,
    waker: AtomicWaker,
}

/// The connection a request came on.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Connection>);

/// The connections there are, the oldest first.
pub struct Connections {
    all: Vec<Weak<Connection>>,
    most: usize,
}

/// A request that is being answered as long as this lives.
pub struct Answering(Arc<Connection>);

impl Connections {
    /// None so far, and never more than this.
    pub fn at_most(most: usize) -> Self {
        Connections { all: Vec::new(), most }
    }

    /// Takes one more in, for which another may have to go.
    pub fn admit(&mut self, peer: Option<IpAddr>) -> Option<Arc<Connection>> {
        self.all.retain(|connection| connection.strong_count() > 0);
        if self.all.len() >= self.most {
            let is_free =
                |connection: &Weak<Connection>| connection.upgrade().is_none_or(|found| found.close_if_idle());
            let oldest = self.all.iter().position(is_free)?;
            self.all.remove(oldest);
        }
        let connection = Arc::new(Connection { peer, ..Connection::default() });
        self.all.push(Arc::downgrade(&connection));
        Some(connection)
    }
}

impl Connection {
    /// A request's head was handed on.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// A request is answered as long as what is returned lives.
    pub fn answering(self: &Arc<Self>) -> Answering {
        Answering(self.clone())
    }

    /// Whether a request waits for its answer.
    pub fn is_busy(&self) -> bool {
        self.begun.load(Ordering::Acquire) > self.answered.load(Ordering::Acquire)
    }

    /// Whether another needs its place; if not yet, the task is woken when one does.
    pub fn is_closed(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.closed.load(Ordering::Acquire)
    }

    fn close_if_idle(&self) -> bool {
        if self.is_busy() {
            return false;
        }
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
        true
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_idle_one_goes_and_none_that_is_busy() {
        let mut open = Connections::at_most(2);
        let first = open.admit(None).unwrap();
        let second = open.admit(None).unwrap();
        first.begin();
        let third = open.admit(None).unwrap();
        assert!(!first.closed.load(Ordering::Relaxed) && second.closed.load(Ordering::Relaxed));
        third.begin();
        assert!(open.admit(None).is_none(), "all are busy");
        drop(first.answering());
        assert!(open.admit(None).is_some() && first.closed.load(Ordering::Relaxed));
        assert_eq!(open.all.len(), 2);
    }
}
