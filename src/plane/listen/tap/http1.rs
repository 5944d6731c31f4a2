//! What a client of HTTP/1 says: each message is judged before the framework sees a byte of it, one after the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::Tap;
use super::speech::{Next, Speech};
use crate::listen::deadline::{self, Watch};
use crate::listen::farewell::{FAREWELL, Farewell};
use crate::listen::lifetime::{LAST_REQUEST, Use};
use crate::listen::patience::Waiting;
use crate::listen::refuse::{HEAD_TIMEOUT, refuse};
use gatekeeper_core::wire::{self, Fault, Phase, Step};

/// How soon it is seen that a client is gone which has sent more than its request.
const LOOK: Duration = Duration::from_millis(250);

impl Tap {
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

    pub(super) fn poll_one(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = self.next();
            if next == Next::Begin && self.usable == Use::Over {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            if !self.held.is_empty() {
                match self.speech.judge(next, self.held.bytes()) {
                    Step::Release(length) => {
                        self.patience.end();
                        self.held.release(length);
                        self.held.give(buf);
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
        let step = if self.held.is_empty() { self.speech.judge(next, arrived) } else { Step::More };
        let mut passed = 0;
        if let Step::Release(length) = step {
            passed = length;
            self.patience.end();
        }
        self.held.add(arrived.get(passed..).unwrap_or_default());
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
        let is_head = wire::is_head(self.held.bytes());
        Farewell::new(refuse(&self.reception, &self.connection, fault, is_head, waited))
    }

    /// Says the last words; ready, with nothing read, when the connection may end.
    pub(super) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
}
