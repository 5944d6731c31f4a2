//! Listening sockets that somebody else has bound: systemd (socket activation), or the gateway this one succeeds.
//!
//! Both hand them over in one way: LISTEN_FDS says how many there are from descriptor 3 on, and LISTEN_PID, where it is
//! set, for whom. A socket is recognised by its address; where the configuration says port 0, any one of that IP address
//! will do. What the configuration does not name is closed, with a warning; what is no listening socket is a fault.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use nix::sys::socket::{AddressFamily, SockType, getsockopt, sockopt};

use crate::life::succession::Line;
use gatekeeper_plane::listen::socket::{self, Socket};

/// Set for a gateway that succeeds another: the last descriptor is the line to that one.
pub const SUCCESSOR: &str = "GATEKEEPER_SUCCESSOR";
/// What it is set to by a gateway that hands over more than sockets.
pub const ESTATE: &str = "2";

/// What was handed over to this process.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
    /// The line to the gateway that this one succeeds.
    pub line: Option<Line>,
}

impl Inherited {
    /// Takes what was handed over, once. The variables are cleared, so this comes before there are other threads.
    pub fn take() -> Result<Inherited, String> {
        let successor = std::env::var_os(SUCCESSOR);
        let mut handed = ListenFd::from_env();
        let count = handed.len();
        let last = count.checked_sub(1).filter(|_| successor.is_some());
        let line = last.map(|last| line(&mut handed, last)).transpose()?;
        let line = line.map(|stream| Line { stream, has_estate: successor.is_some_and(|said| said == ESTATE) });
        let listeners = count - usize::from(line.is_some());
        let sockets = (0..listeners).map(|index| listener(&mut handed, index)).collect::<Result<_, _>>()?;
        Ok(Inherited { sockets, line })
    }

    /// The socket of an address, bound now if it was not handed over.
    pub fn bind(&mut self, address: &str) -> Result<Socket, String> {
        match self.sockets.iter().position(|socket| is_meant(&socket.address, address)) {
            Some(at) => Ok(Socket { asked: address.into(), ..self.sockets.swap_remove(at) }),
            None => socket::bind(address),
        }
    }

    /// Closes the sockets that nobody wanted.
    pub fn close_rest(self) {
        for socket in self.sockets {
            log::warn!("closing the inherited socket on {}: it is not in the configuration", socket.address);
        }
    }
}

/// Whether a socket on this address is the one that the configuration means.
fn is_meant(actual: &str, asked: &str) -> bool {
    let parsed = |address: &str| address.parse::<SocketAddr>().ok();
    match (parsed(actual), parsed(asked)) {
        (Some(actual), Some(asked)) => actual == asked || (asked.port() == 0 && actual.ip() == asked.ip()),
        _ => actual == asked,
    }
}

fn line(handed: &mut ListenFd, index: usize) -> Result<UnixStream, String> {
    let (unix, stream) = (AddressFamily::Unix as i32, SockType::Stream as i32);
    let line = handed.take_custom(index, unix, stream, "line to the gateway before");
    line.ok().flatten().ok_or("the socket to the previous process is missing".into())
}

fn listener(handed: &mut ListenFd, index: usize) -> Result<Socket, String> {
    let fault = |text: &str| format!("inherited socket {index} of LISTEN_FDS (counted from 0) {text}");
    let (address, fd) = take(handed, index).map_err(|error| fault(&format!("cannot be used: {error}")))?;
    match getsockopt(&fd, sockopt::AcceptConn) {
        Ok(true) => Ok(Socket { asked: address.clone(), address, fd }),
        _ => Err(fault("is not a listening socket: a .socket unit needs ListenStream= and Accept=no")),
    }
}

fn take(handed: &mut ListenFd, index: usize) -> io::Result<(String, OwnedFd)> {
    if let Ok(Some(tcp)) = handed.take_tcp_listener(index) {
        tcp.set_nonblocking(true)?;
        return Ok((tcp.local_addr()?.to_string(), tcp.into()));
    }
    let unix = handed.take_unix_listener(index)?.ok_or(io::ErrorKind::NotFound)?;
    unix.set_nonblocking(true)?;
    let address = unix.local_addr()?;
    let path = address.as_pathname().ok_or(io::Error::other("the socket has no path"))?;
    Ok((format!("unix:{}", path.display()), unix.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(addresses: &[&str]) -> Inherited {
        Inherited { sockets: addresses.iter().map(|address| socket::bind(address).unwrap()).collect(), line: None }
    }

    #[test]
    fn what_was_handed_over_is_recognised_by_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("unix:{}/socket", folder.path().display());
        let mut inherited = inherited(&["127.0.0.1:0", "127.0.0.2:0", &path]);
        let addresses: Vec<String> = inherited.sockets.iter().map(|socket| socket.address.clone()).collect();
        assert_eq!(inherited.bind(&path).unwrap().address, path);
        assert_eq!(inherited.bind(&addresses[0]).unwrap().address, addresses[0]);
        assert!(inherited.bind(&addresses[0]).is_ok(), "it was handed over once, and dropped: bound anew");
        assert_eq!(inherited.bind("127.0.0.2:0").unwrap().address, addresses[1]);
        assert!(inherited.sockets.is_empty());
    }

    #[test]
    fn an_address_means_itself_and_port_0_any() {
        assert!(is_meant("127.0.0.1:80", "127.0.0.1:80") && is_meant("127.0.0.1:80", "127.0.0.1:0"));
        assert!(!is_meant("127.0.0.1:80", "127.0.0.1:81") && !is_meant("127.0.0.1:80", "0.0.0.0:0"));
        assert!(is_meant("[::1]:80", "[0::1]:80") && is_meant("unix:/a", "unix:/a") && !is_meant("unix:/a", "unix:/b"));
    }
}
