//! Compression as the framework's response filters want it: head, body in pieces, and whichever end comes.
//!
//! What comes from a service is encoded ahead of the framework's own filters (`begin`, `encode`), which take several pieces
//! in one go: between pieces there, others have their turn. An encoder takes memory, and a client that reads nothing makes
//! it last: there is room for some (`listen::ledger`), and responses beyond them are sent as they are.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    TRAILER, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora::{Error, ErrorType, Result};
use smallvec::SmallVec;

use super::encoder::Encoder;
use super::negotiate::{Coding, choose};
use crate::listen::ledger::{EncoderRoom, Ledger};

/// Shorter bodies gain nothing.
const SHORTEST: u64 = 256;

/// So many bytes are encoded until others have their turn.
const IN_A_ROW: usize = 32 * 1024;

/// Makes the module for each request.
pub struct Builder;

/// What is known of one response. Nothing is done unless it was asked for.
#[derive(Default)]
pub struct Compression {
    wanted: Option<Wanted>,
    encoder: Option<Box<Encoder>>,
    /// The response's length is not known: it may be a stream, whose every piece is awaited.
    streams: bool,
    /// Pieces are encoded before they come to the framework's filter.
    ahead: bool,
    room: Option<EncoderRoom>,
    /// What was encoded since others had their turn.
    in_a_row: usize,
}

#[derive(Clone, Copy)]
struct Wanted {
    level: u32,
    coding: Option<Coding>,
    /// The request is a HEAD: its answer is that of a GET, without the body.
    head: bool,
}

impl Compression {
    /// Asks for the response to this request to be compressed.
    pub fn ask(&mut self, request: &RequestHeader, level: u32) {
        let accepted: SmallVec<[&[u8]; 2]> =
            request.headers.get_all(ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
        let coding = choose(&accepted).filter(|_| request.version >= Version::HTTP_11);
        self.wanted = Some(Wanted { level, coding, head: request.method == Method::HEAD });
    }

    /// Readies the encoder for a response of a service, if it is one that gains by it and there is room.
    pub fn begin(&mut self, response: &ResponseHeader, ledger: &Arc<Ledger>) -> Result<()> {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| !wanted.head && gains(response)) else { return Ok(()) };
        let Some(coding) = wanted.coding else { return Ok(()) };
        self.room = ledger.encoder(coding.memory());
        if self.room.is_none() {
            wanted.coding = None;
            return Ok(());
        }
        self.ahead = true;
        self.streams = !response.headers.contains_key(CONTENT_LENGTH);
        self.encoder = Some(Box::new(Encoder::new(coding, wanted.level).map_err(failed)?));
        Ok(())
    }

    /// Encodes a piece of a service's response. Whether others should have their turn now.
    pub fn encode_ahead(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<bool> {
        if !self.ahead || self.encoder.is_none() {
            return Ok(false);
        }
        self.in_a_row += body.as_ref().map_or(0, Bytes::len);
        self.encode(body, end)?;
        let long = self.in_a_row >= IN_A_ROW;
        if long {
            self.in_a_row = 0;
        }
        Ok(long)
    }

    /// The response of the service is not sent, but another.
    pub fn give_up(&mut self) {
        if std::mem::take(&mut self.ahead) {
            (self.encoder, self.room) = (None, None);
        }
    }

    fn encode(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let encoded = encoder.write(body.as_deref().unwrap_or_default(), self.streams && !end).map_err(failed)?;
        *body = Some(encoded).filter(|bytes| !bytes.is_empty());
        let rest = if end { self.finish()? } else { None };
        if let Some(rest) = rest {
            *body = Some(match body.take() {
                Some(begun) => [begun, rest].concat().into(),
                None => rest,
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        self.room = None;
        self.encoder.take().map(|encoder| encoder.finish()).transpose().map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::InternalError, "a response could not be compressed", error)
}

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Compression::default())
    }
}

#[async_trait]
impl HttpModule for Compression {
    async fn response_header_filter(&mut self, response: &mut ResponseHeader, end: bool) -> Result<()> {
        let Some(wanted) = self.wanted.filter(|_| !response.status.is_informational()) else { return Ok(()) };
        self.wanted = None;
        if response.status == StatusCode::NOT_MODIFIED && wanted.coding.is_some() {
            // It speaks of the response that was compressed.
            add_vary(response)?;
            forget_bytes(response);
            return weaken_etag(response);
        }
        if !gains(response) {
            return Ok(());
        }
        add_vary(response)?;
        let Some(coding) = wanted.coding.filter(|_| wanted.head || !end) else {
            self.give_up();
            return Ok(());
        };
        if wanted.head {
            return rewrite(response, coding);
        }
        if !self.ahead {
            self.streams = !response.headers.contains_key(CONTENT_LENGTH);
            self.encoder = Some(Box::new(Encoder::new(coding, wanted.level).map_err(failed)?));
        }
        rewrite(response, coding)
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        if self.ahead { Ok(()) } else { self.encode(body, end) }
    }

    fn response_trailer_filter(&mut self, _trailers: &mut Option<Box<HeaderMap>>) -> Result<Option<Bytes>> {
        self.finish()
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.finish()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Whether a response gains by compression, and may be changed: a whole one, of text or the like, not encoded yet, not too
/// short, and not of server-sent events.
fn gains(response: &ResponseHeader) -> bool {
    let headers = &response.headers;
    let whole = !matches!(
        response.status,
        StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT
    ) && !headers.contains_key(CONTENT_RANGE);
    let short = || {
        let length =
            headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        length.is_some_and(|length: u64| length < SHORTEST)
    };
    whole && !headers.contains_key(CONTENT_ENCODING) && is_compressible(headers) && !short() && !no_transform(headers)
}

fn is_compressible(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    match kind {
        "text" => subtype != "event-stream",
        "application" | "image" | "font" | "model" => {
            COMPRESSIBLE.contains(&subtype) || subtype.ends_with("+json") || subtype.ends_with("+xml")
        }
        _ => false,
    }
}

const COMPRESSIBLE: [&str; 11] =
    ["json", "javascript", "ecmascript", "xml", "yaml", "graphql", "wasm", "x-javascript", "x-ndjson", "ttf", "otf"];

fn no_transform(headers: &HeaderMap) -> bool {
    let mut directives =
        headers.get_all(CACHE_CONTROL).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// The answer depends on what the client accepts, also where this client got it as it is.
fn add_vary(response: &mut ResponseHeader) -> Result<()> {
    let mut names =
        response.headers.get_all(VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named = names.any(|name| {
        let name = name.trim_ascii();
        name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str().as_bytes())
    });
    if named {
        return Ok(());
    }
    response.append_header(VARY, HeaderValue::from_static("Accept-Encoding")).map(|_| ())
}

/// What no longer holds once the bytes are others: their length, parts of them, and digests of them (RFC 9530). Trailers
/// give way to the end of the encoding.
const OF_THE_BYTES: [HeaderName; 7] = [
    CONTENT_LENGTH,
    ACCEPT_RANGES,
    TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

fn forget_bytes(response: &mut ResponseHeader) {
    for name in &OF_THE_BYTES {
        response.remove_header(name);
    }
}

fn rewrite(response: &mut ResponseHeader, coding: Coding) -> Result<()> {
    forget_bytes(response);
    response.insert_header(CONTENT_ENCODING, HeaderValue::from_static(coding.name()))?;
    weaken_etag(response)?;
    response.insert_header(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))
}

/// Other bytes need another strong validator; a weak one says they mean the same (RFC 9110 8.8.1).
fn weaken_etag(response: &mut ResponseHeader) -> Result<()> {
    let etag = response.headers.get(ETAG).map(|etag| (etag.as_bytes().starts_with(b"\""), etag.clone()));
    match etag {
        Some((true, strong)) => {
            let weak = [b"W/", strong.as_bytes()].concat();
            response.insert_header(ETAG, HeaderValue::from_bytes(&weak).unwrap_or(strong))?;
        }
        Some((false, other)) if !other.as_bytes().starts_with(b"W/") => {
            response.remove_header(&ETAG);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    #[test]
    fn only_what_gains_is_compressed() {
        let text = ("content-type", "text/plain; charset=utf-8");
        assert!(gains(&response(200, &[text])));
        assert!(gains(&response(404, &[("content-type", "Application/Problem+JSON")])));
        assert!(gains(&response(200, &[text, ("content-length", "256")])));
        let not: &[&[(&str, &str)]] = &[
            &[],
            &[text, ("content-length", "255")],
            &[text, ("content-encoding", "gzip")],
            &[text, ("cache-control", "private, No-Transform")],
            &[text, ("content-range", "bytes 0-1/2")],
            &[("content-type", "text/event-stream")],
            &[("content-type", "application/grpc+proto")],
            &[("content-type", "image/png")],
        ];
        for fields in not {
            assert!(!gains(&response(200, &fields.iter().map(|(n, v)| (*n, *v)).collect::<Vec<_>>())), "{fields:?}");
        }
        assert!(!gains(&response(206, &[text])));
    }

    #[test]
    fn every_encoding_comes_to_its_end() {
        use std::io::Read;
        let text = "all work and no play ".repeat(1000);
        for coding in [Coding::Br, Coding::Zstd, Coding::Gzip] {
            let mut module =
                Compression { encoder: Encoder::new(coding, 5).ok().map(Box::new), ..Compression::default() };
            let mut encoded = Vec::new();
            for piece in text.as_bytes().chunks(777) {
                let mut body = Some(Bytes::copy_from_slice(piece));
                module.encode(&mut body, false).unwrap();
                encoded.extend_from_slice(&body.unwrap_or_default());
            }
            encoded.extend_from_slice(&module.finish().unwrap().unwrap());
            let mut decoded = String::new();
            let read = match coding {
                Coding::Br => brotli::Decompressor::new(&encoded[..], 4096).read_to_string(&mut decoded),
                Coding::Zstd => zstd::Decoder::new(&encoded[..]).unwrap().read_to_string(&mut decoded),
                Coding::Gzip => flate2::read::GzDecoder::new(&encoded[..]).read_to_string(&mut decoded),
            };
            assert_eq!((read.unwrap(), decoded == text), (text.len(), true), "{coding:?}");
            assert!(encoded.len() < text.len() / 10 && module.finish().unwrap().is_none());
        }
    }

    #[test]
    fn vary_is_named_once() {
        let mut varied = response(200, &[("vary", "Origin, accept-encoding")]);
        add_vary(&mut varied).unwrap();
        assert_eq!(varied.headers.get_all(VARY).iter().count(), 1);
        let mut other = response(200, &[("vary", "Origin")]);
        add_vary(&mut other).unwrap();
        assert_eq!(other.headers.get_all(VARY).iter().count(), 2);
    }
}
