//! The bytes of an HTTP/1 connection, judged before the framework's parser sees them (SEMANTICS 1.7, 1.8).
//!
//! That parser mends or forwards what RFC 9112 forbids, and answers some of it before any hook of ours. Here each head is
//! held back until it is complete and known to be good, and each body is followed to its end, so that both parsers
//! agree where the next head begins. What is refused, and which section says so, is the table in `fault`.
//!
//! Where the standards leave a choice, the strict one is taken:
//!
//! * Repeated `Content-Length`s are refused even if equal, and lengths above `i64::MAX`.
//! * A lower-case method is refused: somebody behind us may raise it and so get past a condition on the method.
//! * A query may hold what browsers leave in it unescaped (see `character`); else RFC 3986's characters are the rule.
//! * The `Host` beside an absolute-form target must repeat its authority byte by byte.
//! * A single `\r\n` before a request is passed over (RFC 9112 §2.2), and handed on with it.
//! * White space around a chunk's size is refused, though RFC 9112 §7.1.1 would have it before an extension.
//! * A faulty message is refused as soon as the fault is seen, also within its body.
//!
//! Not judged here: a path's escapes and dot segments (`route::path`); `Connection` and `Upgrade`.

mod character;
mod chunk;
mod fault;
mod field;
mod framing;
mod head;
mod line;
pub mod request;
mod request_line;
mod target;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;

use chunk::Chunked;
pub use fault::{Fault, HeadFault};
use framing::Body;
use head::Head;

/// What an HTTP/2 connection begins with.
pub const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a connection begins with HTTP/2's preface; `None` when too little has arrived to tell.
pub fn is_h2_preface(bytes: &[u8]) -> Option<bool> {
    match bytes.get(..H2_PREFACE.len()) {
        Some(begin) => Some(begin == H2_PREFACE),
        None if H2_PREFACE.starts_with(bytes) => None,
        None => Some(false),
    }
}

/// Whether a request that begins so is one for a head alone, and its answer has no body.
pub fn is_head(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\r\n").unwrap_or(bytes).starts_with(b"HEAD ")
}

/// How much a head may hold. Beyond the framework's own limits (256 fields, 1 MiB, a target of 65,534 bytes) it answers
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of a head, with its request line and the empty lines around it; those of trailers too. Else 431.
    pub head_bytes: usize,
    /// The fields of a head, and those of trailers. Else 431.
    pub fields: usize,
    /// The bytes of a request target. Else 414.
    pub uri_bytes: usize,
}

/// What to do with the bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first so many may be handed on; never zero, never of more than one message.
    Release(usize),
    /// Keep them until there are more.
    More,
    /// Hand nothing on, from now on.
    Refuse(Fault),
}

/// Where a connection stands, by what has been released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Between requests.
    Idle,
    /// A request has begun; nothing of it is released. A refusal is the only answer there will be.
    Head,
    /// A request's head is released, and its body follows.
    Body,
    /// Another protocol is spoken.
    Upgraded,
    /// A message was refused.
    Refused,
}

/// Follows what one client sends.
#[derive(Debug)]
pub struct Inspector {
    limits: Limits,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// A body of which so many bytes are to come, at least one.
    Sized(u64),
    Chunked(Chunked),
    Upgraded,
    Refused(Fault),
}

impl Inspector {
    /// At the beginning of a connection.
    pub fn new(limits: Limits) -> Self {
        Inspector { limits, state: State::Head(Head::default()) }
    }

    /// Judges the bytes that have arrived and are not yet released. After `More` they must come again, with those that
    /// follow them.
    pub fn inspect(&mut self, bytes: &[u8]) -> Step {
        match self.follow(bytes) {
            Ok(0) => Step::More,
            Ok(released) => Step::Release(released),
            Err(fault) => {
                self.state = State::Refused(fault);
                Step::Refuse(fault)
            }
        }
    }

    /// The connection speaks another protocol from now on: a 101 went out. What was refused stays refused.
    pub fn upgraded(&mut self) {
        if self.phase() != Phase::Refused {
            self.state = State::Upgraded;
        }
    }

    /// Where the connection stands.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Head(head) if !head.has_begun() => Phase::Idle,
            State::Head(_) => Phase::Head,
            State::Sized(_) | State::Chunked(_) => Phase::Body,
            State::Upgraded => Phase::Upgraded,
            State::Refused(_) => Phase::Refused,
        }
    }

    /// How many bytes may be released: a message to its end, or what of it is there.
    fn follow(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut released = 0;
        loop {
            let rest = bytes.get(released..).unwrap_or_default();
            match &mut self.state {
                State::Head(head) => {
                    let Some((length, body)) = head.follow(rest, &self.limits)? else { return Ok(released) };
                    released += length;
                    self.state = match body {
                        Body::Chunked => State::Chunked(Chunked::default()),
                        Body::Length(0) => return Ok(self.next_message(released)),
                        Body::Length(length) => State::Sized(length),
                    };
                }
                State::Sized(left) if *left > rest.len() as u64 => {
                    *left -= rest.len() as u64;
                    return Ok(bytes.len());
                }
                State::Sized(left) => {
                    released += *left as usize;
                    return Ok(self.next_message(released));
                }
                State::Chunked(body) => {
                    let (taken, has_ended) = body.follow(rest, &self.limits)?;
                    released += taken;
                    return Ok(if has_ended { self.next_message(released) } else { released });
                }
                State::Upgraded => return Ok(bytes.len()),
                State::Refused(fault) => return Err(fault),
            }
        }
    }

    fn next_message(&mut self, released: usize) -> usize {
        self.state = State::Head(Head::default());
        released
    }
}
