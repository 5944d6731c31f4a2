//! What a client of HTTP/2 says: what costs it nothing is counted, and a header block that it leaves incomplete has its time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};

use super::Tap;
use super::speech::Speech;
use crate::listen::patience::Waiting;
use gatekeeper_core::frames::{BLOCK_TIMEOUT, Excess, FRAGMENTS};

impl Tap {
    pub(super) fn poll_two(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

    /// Ends a connection whose client goes too far.
    pub(super) fn cut(&self, excess: Excess) -> io::Error {
        self.reception.observers.metrics.cut(excess.code);
        log::debug!("{:?} is cut off: {}", self.connection.source, excess.text);
        io::Error::new(io::ErrorKind::InvalidData, excess.text)
    }
}
