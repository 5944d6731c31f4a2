//! A tap on a client's byte stream: it knows what the framework's own reading and writing leaves out.
//!
//! * HTTP/1: each message passes the inspector (`wire`) before the framework sees a byte of it. A head that is refused,
//!   or does not arrive in time, is answered here, once all earlier requests are settled, and the connection ends.
//! * One message at a time: what a client pipelines is held until the request before it is settled, so that no byte is
//!   ever read as part of the wrong message. The first piece is held; more stays with the kernel. So that a client that
//!   goes meanwhile is missed all the same, its connection is looked at from time to time.
//! * Between requests a connection may be silent for a while, then it ends without a word. So it does when it may be used no
//!   more (`lifetime`).
//! * A response's head is buffered by the framework until its first body bytes come; a client of a stream would wait for
//!   its head as long as for its first event. So what is buffered is sent when the request's task turns to reading,
//!   which is when it waits.
//! * A response's head leaves with the date of its origin (`redate`).
//! * HTTP/2: a client that sends too much of what costs it nothing (`frames`), or leaves a header block incomplete, is cut
//!   off.
//! * When the time of the request under way is over, reading fails, which is how its exchange learns of it; and writing, if
//!   the client did not take its answer.
//! * The framework's search for HTTP/2's preface waits for all of its 24 bytes, and for ever. Here it ends at the first
//!   byte that differs, or when a head's time is over.

mod framework;
mod held;
mod http1;
mod http2;
mod speech;
mod written;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::Peek;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufWriter, ReadBuf};

use super::connection::Connection;
use super::deadline::{self, Watch};
use super::lifetime::{Lifetime, Use};
use super::limits::Limits;
use super::patience::Patience;
use super::reception::Reception;
use super::redate::Redated;
use super::transport::Transport;
use gatekeeper_core::wire;
use held::Held;
use speech::Speech;

/// A response's head and a small body leave in one segment.
const WRITE_BUFFER: usize = 1460;

/// A tap on a client's byte stream.
pub struct Tap {
    stream: BufWriter<Transport>,
    reception: Arc<Reception>,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    limits: Limits,
    speech: Speech,
    held: Held,
    /// The client sends no more.
    ended: bool,
    /// Something was written and may still be buffered.
    unflushed: bool,
    /// A head that is being written with another date.
    redated: Option<Redated>,
    /// The client did not take what was written last.
    full: bool,
    patience: Patience,
    lifetime: Lifetime,
    /// How it may be used, when that was last looked at.
    usable: Use,
}

impl Tap {
    /// A tap on a connection; `is_h2` if both ends have agreed on HTTP/2.
    pub fn new(
        stream: Transport,
        reception: Arc<Reception>,
        connection: Arc<Connection>,
        limits: Limits,
        is_h2: bool,
    ) -> Self {
        let speech = match is_h2 {
            true => Speech::two(reception.rules().budgets),
            false if connection.entrance.h2c => Speech::Undecided,
            false => Speech::one(limits.wire),
        };
        Tap {
            stream: BufWriter::with_capacity(WRITE_BUFFER, stream),
            reception,
            digest: connection.digest(),
            lifetime: Lifetime::new(connection.entrance.cohort.clone()),
            usable: Use::Free,
            connection,
            limits,
            speech,
            held: Held::default(),
            ended: false,
            unflushed: false,
            redated: None,
            full: false,
            patience: Patience::default(),
        }
    }

    /// Bounds the connection's age; who serves it is told by what is returned.
    pub fn bound(&mut self, age: Duration) -> ShutdownWatch {
        self.lifetime.bound(age)
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if deadline::watch(Watch::late).is_some() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.usable = self.lifetime.poll(cx);
        if self.held.is_released() {
            self.held.give(buf);
            return Poll::Ready(Ok(()));
        }
        if self.unflushed {
            // A client that takes nothing must not keep us from hearing what it says: pending is no obstacle.
            if let Poll::Ready(flushed) = self.as_mut().poll_flush(cx) {
                flushed?;
            }
        }
        match self.speech {
            Speech::One(..) => self.poll_one(cx, buf),
            Speech::Two(_) | Speech::Undecided => self.poll_two(cx, buf),
            Speech::Farewell(_) => self.poll_farewell(cx),
        }
    }
}

#[async_trait]
impl Peek for Tap {
    /// Decides between HTTP/1 and HTTP/2 without TLS: reads as long as it looks like the preface. What is not there stays
    /// zero in `buf`.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        if !matches!(self.speech, Speech::Undecided) {
            return Ok(true);
        }
        let decided = tokio::time::timeout(self.limits.head_timeout, self.read_preface()).await;
        let is_h2 = decided.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        buf.iter_mut().zip(self.held.bytes()).for_each(|(to, from)| *to = *from);
        self.speech = match is_h2 {
            true => Speech::two(self.reception.rules().budgets),
            false => Speech::one(self.limits.wire),
        };
        if let Speech::Two(frames) = &mut self.speech {
            frames.judge(self.held.bytes(), Instant::now()).map_err(|excess| self.cut(excess))?;
            self.held.release(self.held.bytes().len());
        }
        Ok(true)
    }
}

impl Tap {
    async fn read_preface(&mut self) -> io::Result<bool> {
        loop {
            if let Some(is_h2) = wire::is_h2_preface(self.held.bytes()) {
                return Ok(is_h2);
            }
            let mut more = [0; wire::H2_PREFACE.len()];
            let wanted = more.get_mut(self.held.bytes().len()..).unwrap_or_default();
            let read = self.stream.read(wanted).await?;
            if read == 0 {
                self.ended = true;
                return Ok(false);
            }
            self.held.add(wanted.get(..read).unwrap_or_default());
        }
    }
}
