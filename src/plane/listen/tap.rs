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

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};

use super::connection::Connection;
use super::deadline::{self, Watch};
use super::farewell::{FAREWELL, Farewell};
use super::lifetime::{LAST_REQUEST, Lifetime, Use};
use super::limits::Limits;
use super::patience::{Patience, Waiting};
use super::reception::Reception;
use super::redate::{self, Redated};
use super::refuse::{HEAD_TIMEOUT, refuse};
use super::transport::Transport;
use gatekeeper_core::frames::{BLOCK_TIMEOUT, Excess, FRAGMENTS, Frames};
use gatekeeper_core::refusal::Kind;
use gatekeeper_core::wire::{self, Fault, Inspector, Phase, Step};

/// A response's head and a small body leave in one segment.
const WRITE_BUFFER: usize = 1460;
/// How soon it is seen that a client is gone which has sent more than its request.
const LOOK: Duration = Duration::from_millis(250);

/// A tap on a client's byte stream.
pub struct Tap {
    stream: BufWriter<Transport>,
    reception: Arc<Reception>,
    connection: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    limits: Limits,
    speech: Speech,
    /// What has arrived and is not yet handed on.
    held: Vec<u8>,
    /// So many bytes of it may be handed on.
    released: usize,
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

/// What is spoken on a connection.
enum Speech {
    /// It may turn out to be HTTP/2.
    Undecided,
    /// HTTP/1: the inspector, and how many heads were handed on.
    One(Box<Inspector>, u64),
    /// HTTP/2.
    Two(Box<Frames>),
    /// The answer to what was refused, then nothing any more.
    Farewell(Farewell),
}

/// What the next bytes of an HTTP/1 client are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next request's, which has to wait for its turn.
    Later,
    /// A request's first.
    Begin,
    /// A head's.
    Head,
    /// A body's, or another protocol's.
    Body,
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
            true => two(&reception),
            false if connection.entrance.h2c => Speech::Undecided,
            false => Speech::One(Box::new(Inspector::new(limits.wire)), 0),
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
            held: Vec::new(),
            released: 0,
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

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.released.min(buf.remaining());
        buf.put_slice(self.held.get(..length).unwrap_or_default());
        self.released -= length;
        self.held.drain(..length);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }

    fn next(&mut self) -> Next {
        let Speech::One(inspector, heads) = &mut self.speech else { return Next::Body };
        match inspector.phase() {
            Phase::Idle | Phase::Head if self.connection.is_upgraded() => {
                inspector.upgraded();
                Next::Body
            }
            Phase::Idle | Phase::Head if *heads > self.connection.settled() => Next::Later,
            Phase::Idle => Next::Begin,
            Phase::Head => Next::Head,
            Phase::Body | Phase::Upgraded | Phase::Refused => Next::Body,
        }
    }

    fn poll_one(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = self.next();
            if next == Next::Begin && self.usable == Use::Over {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            if !self.held.is_empty() {
                match judge(&mut self.speech, next, &self.held) {
                    Step::Release(length) => {
                        self.patience.end();
                        self.released = length;
                        self.give(buf);
                        return Poll::Ready(Ok(()));
                    }
                    Step::Refuse(fault) => return self.refuse(next, fault, cx),
                    // The task looks again when the request under way is settled.
                    Step::More if next == Next::Later => return self.poll_hung_up(cx),
                    Step::More => {}
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(self.poll_more(next, cx, buf))? {
                Step::Release(_) => return Poll::Ready(Ok(())),
                Step::Refuse(fault) => return self.refuse(next, fault, cx),
                Step::More => {}
            }
            if matches!(self.speech, Speech::Farewell(_)) {
                return self.poll_farewell(cx);
            }
        }
    }

    /// Ready, with nothing read, when the client is gone whose next request is held: what is read no further shows no end.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended {
            ready!(self.patience.poll(cx, Waiting::Turn, LOOK));
            self.patience.end();
            self.ended = self.stream.get_ref().is_hung_up();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more. Usually it may stay where it is wanted; else it is held.
    fn poll_more(&mut self, next: Next, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Step>> {
        let before = buf.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_pending() {
            return self.wait(next, cx).map(|()| Ok(Step::More));
        }
        let arrived = buf.filled().get(before..).unwrap_or_default();
        self.ended = arrived.is_empty();
        let step = if self.held.is_empty() { judge(&mut self.speech, next, arrived) } else { Step::More };
        let mut passed = 0;
        if let Step::Release(length) = step {
            passed = length;
            self.patience.end();
        }
        self.held.extend_from_slice(arrived.get(passed..).unwrap_or_default());
        buf.set_filled(before + passed);
        Poll::Ready(Ok(step))
    }

    /// Waits for the client, as long as it may keep us waiting; ready when its time is over and it was told.
    fn wait(&mut self, next: Next, cx: &mut Context<'_>) -> Poll<()> {
        let first = matches!(self.speech, Speech::One(_, 0));
        let (waiting, limit) = match next {
            Next::Begin if !first && self.usable == Use::Last => {
                (Waiting::Begin, LAST_REQUEST.min(self.limits.keep_alive))
            }
            Next::Begin if !first => (Waiting::Begin, self.limits.keep_alive),
            Next::Begin => (Waiting::Begin, self.limits.head_timeout),
            Next::Head => (Waiting::Head, self.limits.head_timeout),
            Next::Body => {
                deadline::watch(Watch::asks_client);
                return Poll::Pending;
            }
            Next::Later => return Poll::Pending,
        };
        ready!(self.patience.poll(cx, waiting, limit));
        match next {
            Next::Head => self.speech = Speech::Farewell(self.farewell(HEAD_TIMEOUT)),
            _ => self.ended = true,
        }
        Poll::Ready(())
    }

    /// Refuses what has arrived. A body is part of a request that was begun: it is broken off, and that request answered.
    fn refuse(&mut self, next: Next, fault: Fault, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if next == Next::Body {
            self.connection.break_off(fault);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault.text)));
        }
        self.speech = Speech::Farewell(self.farewell(fault));
        self.poll_farewell(cx)
    }

    fn farewell(&mut self, fault: Fault) -> Farewell {
        let waited = self.patience.waited();
        self.patience.end();
        let is_head = wire::is_head(&self.held);
        Farewell::new(refuse(&self.reception, &self.connection, fault, is_head, waited))
    }

    /// Says the last words; ready, with nothing read, when the connection may end.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_last_words(cx) {
            Poll::Ready(said) => Poll::Ready(said),
            Poll::Pending => self.patience.poll(cx, Waiting::Farewell, FAREWELL).map(Ok),
        }
    }

    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.speech {
            Speech::Farewell(farewell) => farewell.poll(Pin::new(&mut self.stream), cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_two(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Speech::Two(frames) = &mut self.speech else { return Pin::new(&mut self.stream).poll_read(cx, buf) };
        let before = buf.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_ready() {
            let mut judged = frames.judge(buf.filled().get(before..).unwrap_or_default(), Instant::now());
            if !frames.take_cut_paths().into_iter().all(|path| self.connection.note_cut(path)) {
                judged = Err(FRAGMENTS);
            }
            if frames.open_block().is_none() {
                self.patience.end();
            }
            return Poll::Ready(judged.map_err(|excess| self.cut(excess)));
        }
        if let Some(block) = frames.open_block() {
            ready!(self.patience.poll(cx, Waiting::Block(block), self.limits.head_timeout));
            return Poll::Ready(Err(self.cut(BLOCK_TIMEOUT)));
        }
        // Served requests between two looks are a sign of life, too.
        let waiting = Waiting::Requests(self.connection.settled());
        while self.patience.poll(cx, waiting, self.limits.keep_alive).is_ready() {
            if self.connection.is_idle() {
                return Poll::Ready(Ok(()));
            }
            self.patience.end();
        }
        Poll::Pending
    }

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

    fn cut(&self, excess: Excess) -> io::Error {
        self.reception.observers.metrics.cut(excess.code);
        log::debug!("{:?} is cut off: {}", self.connection.source, excess.text);
        io::Error::new(io::ErrorKind::InvalidData, excess.text)
    }
}

/// HTTP/2, from its first byte.
fn two(reception: &Reception) -> Speech {
    Speech::Two(Box::new(Frames::new(reception.rules().budgets, Instant::now())))
}

/// Judges bytes that begin where nothing is released yet.
fn judge(speech: &mut Speech, next: Next, bytes: &[u8]) -> Step {
    let Speech::One(inspector, heads) = speech else { return Step::More };
    if next == Next::Later || bytes.is_empty() {
        return Step::More;
    }
    let step = inspector.inspect(bytes);
    if next != Next::Body && matches!(step, Step::Release(_)) {
        *heads += 1;
    }
    step
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if deadline::watch(Watch::late).is_some() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.usable = self.lifetime.poll(cx);
        if self.released > 0 {
            self.give(buf);
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
        buf.iter_mut().zip(&self.held).for_each(|(to, from)| *to = *from);
        self.speech = match is_h2 {
            true => two(&self.reception),
            false => Speech::One(Box::new(Inspector::new(self.limits.wire)), 0),
        };
        if let Speech::Two(frames) = &mut self.speech {
            frames.judge(&self.held, Instant::now()).map_err(|excess| self.cut(excess))?;
            self.released = self.held.len();
        }
        Ok(true)
    }
}

impl Tap {
    async fn read_preface(&mut self) -> io::Result<bool> {
        loop {
            if let Some(is_h2) = wire::is_h2_preface(&self.held) {
                return Ok(is_h2);
            }
            let mut more = [0; wire::H2_PREFACE.len()];
            let wanted = more.get_mut(self.held.len()..).unwrap_or_default();
            let read = self.stream.read(wanted).await?;
            if read == 0 {
                self.ended = true;
                return Ok(false);
            }
            self.held.extend_from_slice(wanted.get(..read).unwrap_or_default());
        }
    }
}

#[async_trait]
impl Shutdown for Tap {
    async fn shutdown(&mut self) {
        // TLS has something to say, and the client may not listen.
        let _ = tokio::time::timeout(FAREWELL, self.stream.shutdown()).await;
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("source", &self.connection.source).finish_non_exhaustive()
    }
}

impl UniqueID for Tap {
    fn id(&self) -> UniqueIDType {
        self.stream.get_ref().as_raw_fd()
    }
}

impl Ssl for Tap {
    /// What requests want to know of TLS, the connection tells them.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        None
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        matches!(self.speech, Speech::Two(_)).then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Tap {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Tap {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Tap {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
