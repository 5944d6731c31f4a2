//! The inspector of HTTP/1: its verdict does not depend on how the bytes are cut, and what it releases is what a strict
//! reader and httparse take for whole messages.

use gatekeeper_core::wire::{HeadFault, Inspector, Limits, Phase, Step};

use super::Verdict;
use super::runner::outcome;
use crate::demand;
use crate::malformed::cases;
use crate::support::recorder::read_request;

const LIMITS: Limits = Limits { head_bytes: cases::LIMITS.0, fields: cases::LIMITS.1, uri_bytes: cases::LIMITS.2 };
/// What is longer is not sent byte by byte.
const SHORT: usize = 600;

pub const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "GET ",
    "POST ",
    "OPTIONS * ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a\r\n",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "gzip, ",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "1;a=b\r\n",
    "ffffffffffffffff",
    "Expect: 100-continue\r\n",
    "http://a/",
    "GET / HTTP/1.1\r\n",
    "Connection: close\r\n",
    "X: y\r\n",
    "\0",
    "+5",
    "0x5",
    "hello",
];

/// The cases of `tests/data`, and pairs of good ones.
pub fn cases() -> Vec<Vec<u8>> {
    let unusual = cases::unusual();
    let pairs = unusual.windows(2).map(|pair| [&pair[0].bytes[..], &pair[1].bytes].concat()).collect::<Vec<_>>();
    let all = cases::malformed().into_iter().chain(unusual).map(|case| case.bytes);
    all.chain(pairs).collect()
}

/// What came of bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Outcome {
    /// Where messages ended.
    ends: Vec<usize>,
    fault: Option<(u16, &'static str)>,
    phase: u8,
}

/// Sends pieces, as a tap would; what came of them, and how many bytes were released.
fn send<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<(Outcome, usize), String> {
    let mut inspector = Inspector::new(LIMITS);
    let (mut held, mut released, mut ends, mut fault) = (Vec::new(), 0, Vec::new(), None::<&HeadFault>);
    for piece in pieces {
        held.extend_from_slice(piece);
        while fault.is_none() && !held.is_empty() {
            match inspector.inspect(&held) {
                Step::Release(0) => return Err("nothing is released".into()),
                Step::Release(length) => {
                    demand!(length <= held.len(), "more is released than there is");
                    held.drain(..length);
                    released += length;
                    if inspector.phase() == Phase::Idle {
                        ends.push(released);
                    }
                }
                Step::More => break,
                Step::Refuse(found) => fault = Some(found),
            }
        }
    }
    let outcome =
        Outcome { ends, fault: fault.map(|fault| (fault.status, fault.code)), phase: inspector.phase() as u8 };
    Ok((outcome, released))
}

pub fn check(input: &[u8]) -> Verdict {
    let (whole, released) = send([input])?;
    let mut random = fastrand::Rng::with_seed(input.len() as u64);
    if input.len() <= SHORT {
        let (cut, _) = send(input.chunks(1))?;
        demand!(cut == whole, "byte by byte: {cut:?}, whole: {whole:?}");
    }
    let mut pieces = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(100)));
        pieces.push(piece);
        rest = after;
    }
    let (cut, _) = send(pieces)?;
    demand!(cut == whole, "in pieces: {cut:?}, whole: {whole:?}");
    let mut start = 0;
    for end in &whole.ends {
        let message = &input[start..*end];
        let read = read_request(message).ok_or("what httparse does not read was released")?;
        demand!(read.complete && read.length == message.len(), "{message:?} ends elsewhere: {read:?}");
        start = *end;
    }
    if released > start {
        let read = read_request(&input[start..released]).ok_or("a part of a head was released")?;
        demand!(!read.complete, "it had ended before: {read:?}");
    }
    Ok(outcome((whole.fault, whole.phase, whole.ends.len().min(3), released > start)))
}
