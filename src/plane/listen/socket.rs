//! Listening sockets, bound before anything else starts, so that a port in use is a sentence and not a panic.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{self as system, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    /// As it was asked for: `127.0.0.1:0`, `unix:/path`.
    pub asked: String,
    /// What it came to be: port 0 is a real one here.
    pub address: String,
    /// The socket.
    pub fd: OwnedFd,
}

/// Binds an address; the error is one sentence that names it.
pub fn bind(address: &str) -> Result<Socket, String> {
    let bound = match address.strip_prefix("unix:") {
        Some(path) => bind_unix(path).map(|fd| (address.to_owned(), fd)),
        None => bind_tcp(address),
    };
    let (actual, fd) = bound.map_err(|error| format!("cannot listen on {address}: {}", cause(&error)))?;
    Ok(Socket { asked: address.into(), address: actual, fd })
}

fn bind_tcp(address: &str) -> io::Result<(String, OwnedFd)> {
    let address: SocketAddr = address.parse().map_err(|_| io::Error::other("not an IP address and a port"))?;
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = system::socket(family, SockType::Stream, flags, None)?;
    system::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // `[::]` leaves its port to `0.0.0.0`: each listener is one family, whatever the system's default.
        system::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    system::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    // As many may wait as the system allows: a burst of connections is not a reason to lose some.
    system::listen(&fd, Backlog::MAXALLOWABLE)?;
    let listener = TcpListener::from(fd);
    Ok((listener.local_addr()?.to_string(), listener.into()))
}

/// A socket file that nobody answers on is a leftover and is replaced.
fn bind_unix(path: &str) -> io::Result<OwnedFd> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("there is a file of this name that is not a socket")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there".into(),
        io::ErrorKind::PermissionDenied => "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::NotFound => "there is no such folder".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_0_becomes_a_real_one_and_a_taken_one_is_a_sentence() {
        let socket = bind("127.0.0.1:0").unwrap();
        assert!(!socket.address.ends_with(":0"));
        let fault = bind(&socket.address).unwrap_err();
        assert_eq!(fault, format!("cannot listen on {}: another process listens there", socket.address));
    }

    #[test]
    fn both_families_may_have_the_same_port() {
        if TcpListener::bind("[::1]:0").is_err() {
            return; // a machine without IPv6
        }
        let v4 = bind("0.0.0.0:0").unwrap();
        let port = v4.address.rsplit(':').next().unwrap();
        let v6 = bind(&format!("[::]:{port}")).unwrap();
        assert_eq!(v6.address, format!("[::]:{port}"));
    }

    #[test]
    fn a_leftover_socket_is_replaced_but_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let address = format!("unix:{}", path.display());
        drop(bind(&address).unwrap());
        let socket = bind(&address).unwrap();
        assert!(bind(&address).unwrap_err().ends_with("another process listens there"));
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(bind(&address).unwrap_err().ends_with("not a socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
