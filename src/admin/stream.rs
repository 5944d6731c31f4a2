//! A connection's bytes on the administration listener, as strictly read as those in front.
//!
//! * Each message passes the inspector (`listen::wire`) before the server sees a byte of it. What is refused is answered
//!   here, after all earlier answers, and the connection ends.
//! * A head, a body and the taking of an answer have their deadlines, and so has the silence between requests.
//! * One message at a time: what is pipelined is held until the answer before it has been taken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use gatekeeper_core::request_id;
use gatekeeper_core::wire::{self, Fault, Inspector, Phase, Step};
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::farewell::{FAREWELL, Farewell};
use gatekeeper_plane::listen::limits::Limits;
use gatekeeper_plane::listen::patience::{Patience, Waiting};
use gatekeeper_plane::listen::refuse::{HEAD_TIMEOUT, answer};
use gatekeeper_plane::listen::transport::Socket;

/// For a client to take a whole answer, once it has kept us waiting.
const ANSWER: Duration = Duration::from_secs(20);
/// What is read at a time.
const PIECE: usize = 4096;

/// A connection's bytes.
pub struct Stream {
    socket: Socket,
    connection: Arc<Connection>,
    plane: Arc<Plane>,
    limits: Limits,
    inspector: Inspector,
    /// What has arrived and is not yet handed on.
    held: Vec<u8>,
    /// So many bytes of it may be handed on.
    released: usize,
    /// A head was handed on.
    has_begun: bool,
    /// The client sends no more, or is not listened to any more.
    ended: bool,
    /// Something was written, and may not have been taken.
    unflushed: bool,
    /// The task reads again when the answer has been taken.
    later: Option<Waker>,
    farewell: Option<Farewell>,
    reading: Patience,
    writing: Patience,
}

impl Stream {
    /// The bytes of a connection that has just been accepted.
    pub fn new(socket: Socket, connection: Arc<Connection>, plane: Arc<Plane>) -> Self {
        let limits = plane.live.plan().edge.limits;
        Stream {
            socket,
            connection,
            plane,
            limits,
            inspector: Inspector::new(limits.wire),
            held: Vec::new(),
            released: 0,
            has_begun: false,
            ended: false,
            unflushed: false,
            later: None,
            farewell: None,
            reading: Patience::default(),
            writing: Patience::default(),
        }
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.released.min(buf.remaining());
        buf.put_slice(self.held.get(..length).unwrap_or_default());
        self.released -= length;
        self.held.drain(..length);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.held.is_empty() {
                if self.is_answering() && self.inspector.phase() != Phase::Body {
                    self.later = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let phase = self.inspector.phase();
                match self.judge() {
                    Step::Release(length) => {
                        self.released = length;
                        self.give(buf);
                        return Poll::Ready(Ok(()));
                    }
                    Step::Refuse(fault) if phase == Phase::Body => return Poll::Ready(Err(self.broken(fault))),
                    Step::Refuse(fault) => return self.refuse(fault, cx),
                    Step::More => {}
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = ready!(self.poll_more(cx))? {
                return self.refuse(fault, cx);
            }
        }
    }

    fn judge(&mut self) -> Step {
        let before = self.inspector.phase();
        let step = self.inspector.inspect(&self.held);
        if matches!(step, Step::Release(_)) {
            if before != Phase::Body {
                self.connection.begin();
                self.has_begun = true;
            }
            // A body has its time as a whole, however it comes.
            if [before, self.inspector.phase()] != [Phase::Body; 2] {
                self.reading.end();
            }
        }
        step
    }

    /// Reads more; the fault, if that took too long.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Fault>>> {
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        if Pin::new(&mut self.socket).poll_read(cx, &mut piece)?.is_pending() {
            return self.wait(cx);
        }
        self.ended = piece.filled().is_empty();
        self.held.extend_from_slice(piece.filled());
        Poll::Ready(Ok(None))
    }

    /// Waits for the client as long as it may keep us waiting. While we keep it waiting, it may be silent.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Fault>>> {
        let (waiting, limit) = match self.inspector.phase() {
            Phase::Body => (Waiting::Body, self.limits.head_timeout),
            _ if self.is_answering() => {
                self.later = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Phase::Head => (Waiting::Head, self.limits.head_timeout),
            _ if self.has_begun => (Waiting::Begin, self.limits.keep_alive),
            _ => (Waiting::Begin, self.limits.head_timeout),
        };
        ready!(self.reading.poll(cx, waiting, limit));
        match waiting {
            Waiting::Head => return Poll::Ready(Ok(Some(HEAD_TIMEOUT))),
            Waiting::Body => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            _ => self.ended = true,
        }
        Poll::Ready(Ok(None))
    }

    /// Whether an answer is being made, or has not yet been taken.
    fn is_answering(&self) -> bool {
        self.connection.is_busy() || self.unflushed
    }

    /// A request's body breaks a rule: reading it fails, and that request is answered by whoever reads it.
    fn broken(&self, fault: Fault) -> io::Error {
        self.plane.observers.metrics.refused(fault.code);
        io::Error::new(io::ErrorKind::InvalidData, fault.text)
    }

    /// Refuses a head.
    fn refuse(&mut self, fault: Fault, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plane.observers.metrics.refused(fault.code);
        let id = request_id::new(SystemTime::now());
        let is_head = wire::is_head(&self.held);
        self.farewell = Some(Farewell::new(answer(fault, id.to_str().unwrap_or_default(), is_head)));
        self.reading.end();
        self.poll_farewell(cx)
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        match farewell.poll(Pin::new(&mut self.socket), cx) {
            Poll::Ready(said) => Poll::Ready(said),
            Poll::Pending => self.reading.poll(cx, Waiting::Farewell, FAREWELL).map(Ok),
        }
    }

    /// Waits for the client to take an answer.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.connection.is_closed(cx) {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        self.writing.poll(cx, Waiting::Answer, ANSWER).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.released > 0 {
            self.give(buf);
            return Poll::Ready(Ok(()));
        }
        if self.connection.is_closed(cx) {
            return Poll::Ready(Ok(()));
        }
        match self.farewell {
            Some(_) => self.poll_farewell(cx),
            None => self.poll_next(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        match Pin::new(&mut self.socket).poll_write(cx, buf) {
            Poll::Pending => self.poll_taken(cx).map(Err),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        // Who waits for the answer to be taken is woken by that alone: a task that flushes while its answer is being made would wake
        // itself again and again.
        if std::mem::take(&mut self.unflushed) {
            self.writing.end();
            if let Some(waker) = self.later.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
