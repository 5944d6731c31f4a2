//! An HTTP/2 client frame by frame, for requests that no library would send. Its header blocks are literals, so that each
//! stands on the wire as the test wrote it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::soon;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals that are in no table (RFC 7541 6.2.2).
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

/// A string as it is (RFC 7541 5.2).
fn string(block: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length if length < 127 => block.push(length as u8),
        length => {
            block.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                block.push(rest as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(text);
}

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The response's header block.
    pub block: Vec<u8>,
    pub body: Vec<u8>,
    /// The response is whole.
    pub complete: bool,
    /// The stream was reset, with this code.
    pub reset: Option<u32>,
    /// The connection ended before the stream did.
    pub closed: bool,
}

impl Outcome {
    /// The gateway's own refusal: its status and its code.
    pub fn problem(&self) -> Option<(u16, String)> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some((u16::try_from(problem["status"].as_u64()?).ok()?, problem["code"].as_str()?.to_owned()))
    }

    /// The library or the framework refused the stream: by a reset, a bare 400 or the connection's end.
    pub fn is_refused_below(&self) -> bool {
        self.reset.is_some() || self.closed || self.block.contains(&0x8c) && self.body.is_empty() && self.complete
    }
}

/// A client's end of a connection.
pub struct Framed<S> {
    stream: S,
    last: Option<u32>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// A client that has said what it must.
    pub async fn over(stream: S) -> Framed<S> {
        let mut framed = Framed { stream, last: None };
        framed.send(PREFACE).await;
        framed.send(&frame(SETTINGS, 0, 0, &[])).await;
        framed
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = soon("writing", self.stream.write_all(bytes)).await;
        let _ = self.stream.flush().await;
    }

    /// The number of the next stream.
    pub fn next(&mut self) -> u32 {
        *self.last.insert(self.last.map_or(1, |last| last + 2))
    }

    /// A request of one header block and, if there is one, one piece of a body.
    pub async fn ask(&mut self, block: &[u8], body: &[u8]) -> Outcome {
        let (stream, flags) = (self.next(), if body.is_empty() { END_STREAM } else { 0 });
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, block)).await;
        if !body.is_empty() {
            self.send(&frame(DATA, END_STREAM, stream, body)).await;
        }
        self.outcome(stream).await
    }

    /// What comes of a stream; frames of others are passed over.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome::default();
        while !outcome.complete && outcome.reset.is_none() {
            let Some((kind, flags, of, payload)) = self.frame().await else {
                outcome.closed = true;
                break;
            };
            match kind {
                HEADERS | CONTINUATION if of == stream => outcome.block.extend(&payload),
                DATA if of == stream => outcome.body.extend(&payload),
                RST_STREAM if of == stream => outcome.reset = payload.try_into().ok().map(u32::from_be_bytes),
                _ => continue,
            }
            outcome.complete |= matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        }
        outcome
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        soon("a frame", self.stream.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, s @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        soon("a frame's payload", self.stream.read_exact(&mut payload)).await.ok()?;
        if kind == SETTINGS && flags & ACK == 0 {
            self.send(&frame(SETTINGS, ACK, 0, &[])).await;
        }
        Some((kind, flags, u32::from_be_bytes(s), payload))
    }
}
