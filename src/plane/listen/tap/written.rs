//! What a client is sent: counted as it is taken, a head with the date of its origin.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Tap;
use super::speech::Speech;
use crate::listen::deadline::{self, Watch};
use crate::listen::redate::{self, Redated};
use gatekeeper_core::refusal::Kind;

impl Tap {
    /// Writes some bytes; the head of a response with the date of its origin.
    fn poll_dated(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.redated.is_none() && redate::is_final(buf) {
            self.redated = self.connection.take_date().and_then(|date| Redated::new(buf, &date));
        }
        let Some(redated) = &mut self.redated else { return Pin::new(&mut self.stream).poll_write(cx, buf) };
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, redated.rest()))?;
        redated.wrote(written);
        if redated.rest().is_empty() {
            self.redated = None;
        }
        Poll::Ready(Ok(written))
    }

    /// What the client is sent lets it send more; while it takes nothing, it is what is waited for.
    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.connection.account.take(*bytes as u64);
        }
        match (&mut self.speech, &written) {
            (Speech::Two(frames), Poll::Ready(Ok(bytes))) => {
                frames.sent(*bytes);
                self.connection.took(*bytes);
            }
            (_, Poll::Pending) => self.fill(),
            _ if self.full => {
                self.full = false;
                deadline::watch(Watch::client_takes);
            }
            _ => {}
        }
        written
    }

    /// The client does not take what it is sent.
    fn fill(&mut self) {
        self.full = true;
        deadline::watch(Watch::fills_client);
    }

    /// Whether the request under way has ended because of that.
    fn is_given_up() -> bool {
        deadline::watch(Watch::late).is_some_and(|late| late.kind == Kind::CLIENT_GONE)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if Tap::is_given_up() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.unflushed = true;
        let written = self.poll_dated(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if Tap::is_given_up() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.unflushed = true;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if Tap::is_given_up() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        match flushed {
            Poll::Ready(_) => {
                self.unflushed = false;
                if std::mem::take(&mut self.full) {
                    deadline::watch(Watch::client_takes);
                }
            }
            Poll::Pending => self.fill(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
