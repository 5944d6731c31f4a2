//! The `grpc` check: `grpc.health.v1.Health/Check` over HTTP/2, whatever the service's protocol is.
//!
//! The two messages are small enough to be written and read here. What is asked is `{ string service = 1 }`, what is
//! answered `{ enum status = 1 }`; fields we do not know are passed over. An answer is read to its end (one message, then
//! the call's status), but no further than `LONGEST_ANSWER`.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v2::client::Http2Session;
use pingora::upstreams::peer::{ALPN, HttpPeer};

use super::Dialler;
use super::http::addressed;
use crate::upstream::sentence::sentence;
use gatekeeper_model::quoted;

const LONGEST_ANSWER: usize = 1024;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub head: Parts,
    pub message: Bytes,
}

impl Question {
    pub async fn ask(&self, dialler: &Dialler, peer: &HttpPeer, authority: &HeaderValue) -> Result<(), String> {
        let mut peer = peer.clone();
        peer.options.alpn = ALPN::H2;
        let HttpSession::H2(mut session) = dialler.open(peer).await? else {
            return Err("the target does not speak HTTP/2".into());
        };
        session.write_request_header(addressed(&self.head, authority), false).map_err(|error| sentence(&error))?;
        // This fails when the answer came first, and then that counts.
        drop(session.write_request_body(self.message.clone(), true).await);
        session.read_response_header().await.map_err(|error| sentence(&error))?;
        judge_head(&session)?;
        let message = read_message(&mut session).await?;
        let trailers = session.read_trailers().await.map_err(|error| sentence(&error))?;
        judge_status(&trailers.unwrap_or_default())?;
        judge_message(&message)
    }
}

/// An answer without a message has the call's status in its head.
fn judge_head(session: &Http2Session) -> Result<(), String> {
    let Some(head) = session.response_header() else { return Err("the target sent no answer".into()) };
    if head.status != 200 {
        return Err(format!("the answer has status {}", head.status.as_u16()));
    }
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !kind.starts_with(b"application/grpc") {
        return Err("the target does not speak gRPC".into());
    }
    if head.headers.contains_key(GRPC_STATUS) {
        judge_status(&head.headers)?;
        return Err("the answer contains no message".into());
    }
    Ok(())
}

const GRPC_STATUS: &str = "grpc-status";

fn judge_status(fields: &HeaderMap) -> Result<(), String> {
    let text = |name| fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text(GRPC_STATUS).as_deref() {
        Some("0") => Ok(()),
        Some("5") => Err("the target does not know the service".into()),
        Some("12") => Err("the target has no health service".into()),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(format!("the answer has gRPC status {}, {}", quoted(status), quoted(&message)))
        }
        None => Err("the answer ended without a gRPC status".into()),
    }
}

async fn read_message(session: &mut Http2Session) -> Result<Vec<u8>, String> {
    let mut message = Vec::new();
    while let Some(part) = session.read_response_body().await.map_err(|error| sentence(&error))? {
        if message.len() + part.len() > LONGEST_ANSWER {
            return Err("the answer is too long".into());
        }
        message.extend_from_slice(&part);
    }
    Ok(message)
}

fn judge_message(message: &[u8]) -> Result<(), String> {
    match unframed(message).and_then(status) {
        Some(0) => Err("the target answered UNKNOWN".into()),
        Some(1) => Ok(()),
        Some(2) => Err("the target answered NOT_SERVING".into()),
        Some(3) => Err("the target answered SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("the target answered with the unknown state {other}")),
        None => Err("invalid response".into()),
    }
}

/// The framed message that asks after `service`.
pub(super) fn message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(TEXT_OF_FIELD_1);
        write_varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

const TEXT_OF_FIELD_1: u8 = 1 << 3 | 2;

fn write_varint(mut value: usize, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// The only message of an answer, which is not compressed, as we accept no compression.
fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let ([0, length @ ..], message) = bytes.split_first_chunk::<5>()? else { return None };
    (u32::from_be_bytes(*length) as usize == message.len()).then_some(message)
}

fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let skipped = match (key >> 3, key & 7) {
            (0, _) => return None,
            (1, 0) => {
                status = varint(&mut message)?;
                0
            }
            (_, 0) => varint(&mut message).map(|_| 0)?,
            (_, 1) => 8,
            (_, 2) => varint(&mut message)?.try_into().ok()?,
            (_, 5) => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    struct Asked {
        #[prost(string, tag = "1")]
        service: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Answered {
        #[prost(uint64, tag = "1")]
        status: u64,
        #[prost(fixed64, optional, tag = "2")]
        eight: Option<u64>,
        #[prost(fixed32, optional, tag = "3")]
        four: Option<u32>,
        #[prost(bytes, optional, tag = "4")]
        text: Option<Vec<u8>>,
        #[prost(uint64, optional, tag = "500")]
        number: Option<u64>,
    }

    proptest! {
        #[test]
        fn what_is_asked_is_what_protobuf_says(service in "[a-z./]{0,300}") {
            let framed = message(&service);
            prop_assert_eq!(Asked::decode(unframed(&framed).unwrap()), Ok(Asked { service }));
        }

        #[test]
        fn what_is_answered_is_what_protobuf_says(
            status: u64, eight: Option<u64>, four: Option<u32>, text: Option<Vec<u8>>, number: Option<u64>, cut: prop::sample::Index
        ) {
            let answered = Answered { status, eight, four, text, number };
            let bytes = answered.encode_to_vec();
            prop_assert_eq!(super::status(&bytes), Some(status));
            let part = &bytes[..cut.index(bytes.len() + 1)];
            prop_assert_eq!(super::status(part), Answered::decode(part).ok().map(|part| part.status));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (judge_message(&bytes), super::status(&bytes));
        }
    }

    #[test]
    fn only_serving_is_good() {
        let cases: [(&[u8], &str); 10] = [
            (&[0, 0, 0, 0, 2, 8, 2], "NOT_SERVING"),
            (&[0, 0, 0, 0, 2, 8, 3], "SERVICE_UNKNOWN"),
            (&[0, 0, 0, 0, 2, 8, 0], "the target answered UNKNOWN"),
            (&[0, 0, 0, 0, 0], "the target answered UNKNOWN"),
            (&[0, 0, 0, 0, 2, 8, 9], "state 9"),
            (&[1, 0, 0, 0, 2, 8, 1], "invalid response"),
            (&[0, 0, 0, 0, 3, 8, 1], "invalid response"),
            (&[0, 0, 0, 0, 2, 8, 1, 0], "invalid response"),
            (&[0, 0, 0, 0, 2, 8], "invalid response"),
            (&[], "invalid response"),
        ];
        for (bytes, fault) in cases {
            let found = judge_message(bytes).unwrap_err();
            assert!(found.contains(fault), "{bytes:?}: {found}");
        }
        assert_eq!(judge_message(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
    }
}
