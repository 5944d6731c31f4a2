//! The last words on a connection: the answer to what was refused, then its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For the last words on a connection, and for the client to hear them.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// What is read, and forgotten, after the last words.
const LINGERED_BYTES: usize = 256 * 1024;

/// How far the end of a connection has come.
pub enum Farewell {
    /// The words, and how many of their bytes are written.
    Saying(Vec<u8>, usize),
    /// Nothing more is written.
    Closing,
    /// What the client still sends is read, or the connection's reset might overtake the answer.
    Lingering(usize),
}

impl Farewell {
    /// Ends a connection with these words.
    pub fn new(words: Vec<u8>) -> Self {
        Farewell::Saying(words, 0)
    }

    /// Goes on; ready when the connection may be dropped.
    pub fn poll<S>(&mut self, mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite,
    {
        loop {
            match self {
                Farewell::Saying(words, said) if *said < words.len() => {
                    *said += ready!(stream.as_mut().poll_write(cx, words.get(*said..).unwrap_or_default()))?;
                }
                Farewell::Saying(..) => {
                    ready!(stream.as_mut().poll_flush(cx))?;
                    *self = Farewell::Closing;
                }
                Farewell::Closing => {
                    ready!(stream.as_mut().poll_shutdown(cx))?;
                    *self = Farewell::Lingering(0);
                }
                Farewell::Lingering(read) => {
                    let mut forgotten = [0; 1024];
                    let mut piece = ReadBuf::new(&mut forgotten);
                    ready!(stream.as_mut().poll_read(cx, &mut piece))?;
                    *read += piece.filled().len();
                    if piece.filled().is_empty() || *read > LINGERED_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}
