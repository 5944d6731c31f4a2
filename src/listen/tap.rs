//! A tap on a client's byte stream: it knows what the framework's own reading and writing leaves out.
//!
//! * A response's head is buffered by the framework until its first body bytes come. A client of a stream would wait for
//!   its head as long as for its first event. So whatever is buffered is sent when the request's task turns to reading,
//!   which is when it waits.
//! * The framework's search for the HTTP/2 preface waits for all of its 24 bytes. Here it ends at the first byte that
//!   differs, so that a shorter HTTP/1 request is answered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A tap on a client's byte stream.
#[derive(Debug)]
pub struct Tap {
    stream: Stream,
    h2c: bool,
    /// Something was written and may still be buffered.
    unflushed: bool,
    /// Read ahead, and to be read again.
    ahead: SmallVec<[u8; 24]>,
}

impl Tap {
    /// A tap on a stream, on which HTTP/2 may begin without TLS if `h2c`.
    pub fn new(stream: Stream, h2c: bool) -> Self {
        Tap { stream, h2c, unflushed: false, ahead: SmallVec::new() }
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            return Poll::Ready(Ok(()));
        }
        if self.unflushed {
            // A client that takes nothing must not keep us from hearing what it says: pending is no obstacle.
            if let Poll::Ready(flushed) = self.as_mut().poll_flush(cx) {
                flushed?;
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.unflushed = false;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Peek for Tap {
    /// Reads ahead as long as it looks like HTTP/2's preface, if that is wanted; what is beyond stays zero in `buf`.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        if !self.h2c {
            return Ok(true);
        }
        let mut ahead = std::mem::take(&mut self.ahead);
        while ahead.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&ahead) {
            let mut more = [0; H2_PREFACE.len()];
            let read = self.stream.read(&mut more[ahead.len()..]).await?;
            ahead.extend_from_slice(&more[ahead.len()..][..read]);
            if read == 0 {
                break;
            }
        }
        buf.iter_mut().zip(&ahead).for_each(|(to, from)| *to = *from);
        self.ahead = ahead;
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Tap {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Tap {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Tap {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Tap {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.stream.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.stream.get_write_pending_time()
    }
}

impl GetProxyDigest for Tap {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Tap {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn tap() -> (Tap, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        (Tap::new(Box::new(ours), true), theirs)
    }

    async fn peek(tap: &mut Tap) -> bool {
        let mut buf = [0; 24];
        tap.try_peek(&mut buf).await.unwrap() && buf == *H2_PREFACE
    }

    #[tokio::test]
    async fn a_request_shorter_than_the_preface_is_not_waited_for() {
        let (mut tap, mut client) = tap();
        client.write_all(b"P").await.unwrap();
        client.write_all(b"UT /").await.unwrap();
        assert!(!peek(&mut tap).await);
        drop(client);
        let mut read = Vec::new();
        tap.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"PUT /");
    }

    #[tokio::test]
    async fn the_preface_is_found_in_pieces_and_read_again() {
        let (mut tap, mut client) = tap();
        client.write_all(&H2_PREFACE[..10]).await.unwrap();
        let (found, ()) = tokio::join!(peek(&mut tap), async {
            client.write_all(&H2_PREFACE[10..]).await.unwrap();
            client.write_all(b"rest").await.unwrap();
        });
        assert!(found);
        drop(client);
        let mut read = Vec::new();
        tap.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [&H2_PREFACE[..], b"rest"].concat());
    }
}
