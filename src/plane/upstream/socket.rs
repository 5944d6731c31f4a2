//! A connection's socket that somebody else owns, and may close at any time.
//!
//! A descriptor alone does not name it: another socket may have got the number since. The kernel gives each socket a cookie
//! that no other ever has.

use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use socket2::SockRef;

/// A socket, by its descriptor and its cookie.
pub struct Socket {
    descriptor: RawFd,
    cookie: u64,
}

impl Socket {
    /// The socket that has this descriptor now.
    pub fn of(descriptor: RawFd) -> Option<Socket> {
        let cookie = cookie(&duplicate(descriptor)?)?;
        Some(Socket { descriptor, cookie })
    }

    /// Whether its owner still has it open.
    pub fn is_open(&self) -> bool {
        self.get().is_some()
    }

    /// Ends the connection; its owner notices.
    pub fn shut_down(&self) {
        if let Some(socket) = self.get() {
            // It fails if the connection has ended already.
            let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
        }
    }

    fn get(&self) -> Option<OwnedFd> {
        duplicate(self.descriptor).filter(|socket| cookie(socket) == Some(self.cookie))
    }
}

/// A descriptor of our own for it, which can't become another socket's while we look at it.
fn duplicate(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: the number is used for this one call, which fails if nothing is open under it.
    #[allow(unsafe_code, reason = "a descriptor that may be closed by now can't be named otherwise")]
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    descriptor.try_clone_to_owned().ok()
}

fn cookie(socket: &OwnedFd) -> Option<u64> {
    SockRef::from(socket).cookie().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_the_socket_that_was_meant_is_shut_down() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = Socket::of(ours.as_raw_fd()).unwrap();
        assert!(socket.is_open());
        let other = Socket { cookie: socket.cookie + 1, ..socket };
        other.shut_down();
        theirs.set_nonblocking(true).unwrap();
        assert!(!other.is_open() && theirs.read(&mut [0]).is_err(), "it is another");
        socket.shut_down();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        drop(ours);
        assert!(!socket.is_open());
    }
}
