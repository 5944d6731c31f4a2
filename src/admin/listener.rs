//! Accepting on the administration listener, which must not take from the data plane.
//!
//! It has a small share of the process' descriptors and no more. When its connections are as many as they may be, the
//! oldest of those that wait for nothing of ours is closed for the new one: whoever holds connections without asking
//! anything keeps nobody out. If all are being answered, the new one is turned away.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use futures::task::AtomicWaker;
use nix::sys::resource::{Resource, getrlimit};

use super::stream::Stream;
use crate::Control;
use gatekeeper_plane::listen::accept;

/// The administration listener.
pub struct Listener {
    socket: accept::Listener,
    control: Arc<Control>,
    open: Connections,
}

/// What is known of one connection, control by its stream and its requests.
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
struct Connections {
    all: Vec<Weak<Connection>>,
    most: usize,
}

/// A request that is being answered as long as this lives.
pub struct Answering(Arc<Connection>);

impl Listener {
    /// Accepts on a bound socket.
    pub fn new(fd: OwnedFd, is_unix: bool, control: Arc<Control>) -> io::Result<Self> {
        let open = Connections { all: Vec::new(), most: share_of_descriptors() };
        Ok(Listener { socket: accept::Listener::new(fd, is_unix)?, control, open })
    }
}

/// As many connections as may be open at a time.
fn share_of_descriptors() -> usize {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(descriptors / 16).unwrap_or(usize::MAX).clamp(4, 128)
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = Caller;

    async fn accept(&mut self) -> (Stream, Caller) {
        let mut told = false;
        loop {
            match self.socket.accept().await {
                Ok((socket, ends)) => match self.open.admit(ends.source.map(|source| source.ip())) {
                    Some(connection) => {
                        let caller = Caller(connection.clone());
                        return (Stream::new(socket, connection, self.control.clone()), caller);
                    }
                    None => self.control.plane.observers.metrics.turned_away("administration_full"),
                },
                // The client went before we came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::warn!("administration can't accept connections for now: {error}");
                    }
                    tokio::time::sleep(accept::PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Caller> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Connected<IncomingStream<'_, Listener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Connections {
    /// Takes one more in, for which another may have to go.
    fn admit(&mut self, peer: Option<IpAddr>) -> Option<Arc<Connection>> {
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
        let mut open = Connections { all: Vec::new(), most: 2 };
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
