//! What a connection's bytes travel on: TCP, a unix socket, or TLS over one of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection without TLS.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

/// A connection, as its application sees it.
#[derive(Debug)]
pub enum Transport {
    /// Without TLS.
    Plain(Socket),
    /// With TLS.
    Tls(Box<TlsStream<Socket>>),
}

/// Does the same with either variant, pinned.
macro_rules! either {
    ($self:expr, $first:path, $second:path, $stream:ident => $do:expr) => {
        match $self.get_mut() {
            $first(inner) => {
                let $stream = Pin::new(inner);
                $do
            }
            $second(inner) => {
                let $stream = Pin::new(inner);
                $do
            }
        }
    };
}

macro_rules! delegate {
    ($type:ty, $first:path, $second:path) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                either!(self, $first, $second, stream => stream.poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                either!(self, $first, $second, stream => stream.poll_write(cx, buf))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                either!(self, $first, $second, stream => stream.poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!(self, $first, $second, stream => stream.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                either!(self, $first, $second, stream => stream.poll_shutdown(cx))
            }
        }
    };
}

delegate!(Socket, Socket::Tcp, Socket::Unix);
delegate!(Transport, Transport::Plain, Transport::Tls);

impl Socket {
    /// Looks at what has arrived without taking it, as soon as there is something; 0 at the end.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        let fd = self.as_raw_fd();
        let mut look = || {
            let flags = nix::sys::socket::MsgFlags::MSG_PEEK;
            nix::sys::socket::recv(fd, buf, flags).map_err(io::Error::from)
        };
        match self {
            Socket::Tcp(stream) => stream.async_io(Interest::READABLE, &mut look).await,
            Socket::Unix(stream) => stream.async_io(Interest::READABLE, &mut look).await,
        }
    }
}

impl Transport {
    /// Whether the other end is gone, or sends no more, however much of what it sent is unread.
    pub fn is_hung_up(&self) -> bool {
        let fd = match self {
            Transport::Plain(socket) => socket.as_fd(),
            Transport::Tls(stream) => stream.get_ref().0.as_fd(),
        };
        // An error and the end of both directions need not be asked for.
        let asked = PollFd::new(fd, PollFlags::from_bits_retain(libc::POLLRDHUP));
        poll(&mut [asked], PollTimeout::ZERO).is_ok_and(|found| found > 0)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Transport::Plain(socket) => socket.as_raw_fd(),
            Transport::Tls(stream) => stream.get_ref().0.as_raw_fd(),
        }
    }
}
