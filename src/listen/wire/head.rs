//! A request's head, judged line by line as it arrives; so its verdict does not depend on how it was cut in pieces.

use std::ops::Range;

use super::Limits;
use super::character::is_token;
use super::fault::{EMPTY_LINES, EXPECT, Fault, HOST_DIFFERS, HOST_MALFORMED, HOST_MISSING, HOST_REPEATED, METHOD};
use super::field::{Field, Known, Next, Section};
use super::framing::{Body, Framing};
use super::line::Line;
use super::request_line::RequestLine;
use super::target::is_authority;

/// A head, as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Head {
    request_line: Option<RequestLine>,
    section: Section,
    has_host: bool,
    framing: Framing,
}

impl Head {
    /// Whether anything of the request has been seen; an empty line before it is nothing.
    pub fn has_begun(&self) -> bool {
        self.request_line.is_some() || self.section.lines.scanned > self.section.lines.start
    }

    /// The head's length and its body, when it is complete in `bytes`, which begin with it.
    pub fn follow(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<(usize, Body)>, Fault> {
        while self.request_line.is_none() {
            if !self.first_line(bytes, limits)? {
                return Ok(None);
            }
        }
        loop {
            match self.section.next(bytes, limits)? {
                Next::Field(field) => self.take(&field, bytes)?,
                Next::End(length) => return Ok(Some((length, self.body()?))),
                Next::Partial => return Ok(None),
            }
        }
    }

    /// Takes the request line, or the one empty line before it; false when it has not arrived.
    fn first_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Fault> {
        let lines = &mut self.section.lines;
        let start = lines.start;
        // What is no HTTP (TLS, for one) may never send a line's end: its first byte is enough.
        if bytes.get(start).is_some_and(|byte| !is_token(*byte) && !matches!(byte, b'\r' | b'\n')) {
            return Err(METHOD);
        }
        let most = limits.head_bytes.min(start + RequestLine::longest(limits.uri_bytes));
        let range = match lines.next(bytes, most)? {
            Line::Whole(range) => range,
            Line::Partial => return Ok(false),
            Line::TooLong => return Err(RequestLine::too_long(bytes.get(start..most).unwrap_or_default())),
        };
        if !range.is_empty() {
            let line = RequestLine::judge(bytes.get(range).unwrap_or_default(), limits.uri_bytes)?;
            self.request_line = Some(line.shifted(start));
        } else if start > 0 {
            return Err(EMPTY_LINES);
        }
        Ok(true)
    }

    fn take(&mut self, field: &Field, bytes: &[u8]) -> Result<(), Fault> {
        match field.known() {
            Some(Known::Host) => self.host(field.value, bytes),
            Some(Known::Expect) if !field.value.eq_ignore_ascii_case(b"100-continue") => Err(EXPECT),
            Some(Known::ContentLength) => self.framing.content_length(field.value),
            Some(Known::TransferEncoding) => self.framing.transfer_encoding(field.value),
            _ => Ok(()),
        }
    }

    /// One Host, well-formed, and the very bytes of the target's authority, if it has one (the framework's rule).
    fn host(&mut self, value: &[u8], bytes: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(HOST_REPEATED);
        }
        if !is_authority(value) {
            return Err(HOST_MALFORMED);
        }
        match self.authority().and_then(|range| bytes.get(range)) {
            Some(authority) if authority != value => Err(HOST_DIFFERS),
            _ => Ok(()),
        }
    }

    fn authority(&self) -> Option<Range<usize>> {
        self.request_line.as_ref()?.authority.clone()
    }

    /// What the whole head says.
    fn body(&self) -> Result<Body, Fault> {
        let is_http10 = self.request_line.as_ref().is_some_and(|line| line.is_http10);
        if !self.has_host && !is_http10 {
            return Err(HOST_MISSING);
        }
        self.framing.body(is_http10)
    }
}
