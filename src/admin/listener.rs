//! Accepting on the administration listener, which must not take from the data plane.
//!
//! It has a small share of the process' descriptors and no more. When its connections are as many as they may be, the
//! oldest of those that wait for nothing of ours is closed for the new one: whoever holds connections without asking
//! anything keeps nobody out. If all are being answered, the new one is turned away.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use nix::sys::resource::{Resource, getrlimit};

use super::connection::{Caller, Connections};
use super::stream::Stream;
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::accept;
use gatekeeper_plane::observe::TurnedAway;

/// The administration listener.
pub struct Listener {
    socket: accept::Listener,
    plane: Arc<Plane>,
    open: Connections,
}

impl Listener {
    /// Accepts on a bound socket.
    pub fn new(fd: OwnedFd, is_unix: bool, plane: Arc<Plane>) -> io::Result<Self> {
        let open = Connections::at_most(share_of_descriptors());
        Ok(Listener { socket: accept::Listener::new(fd, is_unix)?, plane, open })
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
                        return (Stream::new(socket, connection, self.plane.clone()), caller);
                    }
                    None => self.plane.observers.metrics.turned_away(TurnedAway::AdministrationFull),
                },
                // The client went before we came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::warn!("administration cannot accept connections: {error}; retrying");
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
