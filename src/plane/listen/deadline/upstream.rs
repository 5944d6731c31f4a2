//! The upstream's socket, as long as it is the request's alone: it shows whom a silence is to be blamed on, and is shut down
//! when time is over.

use std::cell::Cell;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use pingora::protocols::l4::ext::get_tcp_info;

/// The upstream's socket, if it is known and ours.
#[derive(Default)]
pub(super) struct Upstream(Cell<Option<RawFd>>);

impl Upstream {
    /// This is the one.
    pub fn connected(&self, socket: RawFd) {
        self.0.set(Some(socket));
    }

    /// It is no longer ours.
    pub fn forget(&self) {
        self.0.set(None);
    }

    /// The socket.
    pub fn socket(&self) -> Option<RawFd> {
        self.0.get()
    }

    /// Shuts it down, and forgets it.
    pub fn shut_down(&self) {
        if let Some(socket) = self.0.take() {
            // Should it fail, the grace will pass.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }

    /// Whether it takes what is written, as far as that can be known: then it is the client who is waited for.
    pub fn takes(&self) -> bool {
        self.0.get().is_none_or(|socket| get_tcp_info(socket).map_or(true, |info| info.tcpi_notsent_bytes == 0))
    }

    /// Whether something of it waits to be read: then it is the client who is waited for.
    pub fn has_more(&self) -> bool {
        let peek = |socket| recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        self.0.get().is_some_and(|socket| peek(socket).is_ok_and(|bytes| bytes > 0))
    }
}
