//! Plain HTTP on a port that speaks TLS: the client is told so, which a failed handshake would not tell.
//!
//! A client that begins with a usual method gets a short answer, and no more time than anybody's last words. It is counted; the
//! log has a line at most once in [`QUIET`], whatever comes. Known inaccuracy: whoever sends the method in pieces is not
//! recognised.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::entrance::Entrance;
use super::farewell::{FAREWELL, Farewell};
use super::transport::Socket;

/// How long the log says nothing of it after a line.
const QUIET: Duration = Duration::from_secs(60);

const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncache-control: no-store\r\n\
                      content-length: 40\r\nconnection: close\r\n\r\nThis port speaks TLS: use https:// here\n";

/// What requests begin with, that of HTTP/2 included; records of TLS never do.
const BEGINNINGS: [&[u8]; 10] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH ", b"PRI * HT"];

/// When the log had its last line about it.
#[derive(Debug, Default)]
pub struct Said(Mutex<Option<Instant>>);

impl Said {
    /// Whether the log may have a line now; if so, it has one.
    fn may_say(&self, now: Instant) -> bool {
        let last = &mut *self.0.lock();
        let may = last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET);
        if may {
            *last = Some(now);
        }
        may
    }
}

/// Whether a client begins with a request, where a handshake is awaited. Nothing is taken of what it sent.
pub async fn begins(socket: &Socket) -> bool {
    let mut first = [0; 8];
    // An error shows in the handshake.
    let arrived = socket.peek(&mut first).await.unwrap_or(0);
    let first = first.get(..arrived).unwrap_or_default();
    BEGINNINGS.iter().any(|beginning| first.starts_with(beginning))
}

/// Tells a client that TLS is spoken here.
pub async fn refuse(mut socket: Socket, entrance: &Entrance, said: &Said) {
    if said.may_say(Instant::now()) {
        let listener = entrance.called().shown();
        log::warn!("listener {listener}: a client sent plain HTTP to a TLS port (logged at most once a minute)");
    }
    let mut farewell = Farewell::new(ANSWER.into());
    let end = poll_fn(|cx| farewell.poll(Pin::new(&mut socket), cx));
    // Whether the client has heard it is its own affair.
    let _ = timeout(FAREWELL, end).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_length_it_tells() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }

    #[test]
    fn a_flood_is_one_line_a_minute() {
        let (said, start) = (Said::default(), Instant::now());
        let lines = (0..180_000).filter(|millis| said.may_say(start + Duration::from_millis(*millis))).count();
        assert_eq!(lines, 3);
    }
}
