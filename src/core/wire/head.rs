//! A request's head, judged line by line as it arrives; so its verdict does not depend on how it was cut in pieces.

use super::Limits;
use super::character::is_token;
use super::fault::{EMPTY_LINES, Fault, METHOD};
use super::field::{Field, Next, Section};
use super::framing::Body;
use super::line::Line;
use super::request::Demands;
use super::request_line::RequestLine;

/// A head, as far as it has arrived.
#[derive(Debug, Default)]
pub(super) struct Head {
    request_line: Option<RequestLine>,
    section: Section,
    demands: Demands,
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
        let Some(known) = field.known() else { return Ok(()) };
        let authority = self.request_line.as_ref().and_then(|line| bytes.get(line.authority.clone()?));
        self.demands.take(known, field.value, authority)
    }

    /// What the whole head says.
    fn body(&self) -> Result<Body, Fault> {
        let is_http10 = self.request_line.as_ref().is_some_and(|line| line.is_http10);
        self.demands.body(!is_http10, is_http10)
    }
}
