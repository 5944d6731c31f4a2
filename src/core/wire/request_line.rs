//! The request line (RFC 9112 §3).

use std::ops::Range;

use super::fault::{Fault, METHOD_TOO_LONG, REQUEST_LINE, TARGET_TOO_LONG, VERSION, VERSION_SYNTAX};
use super::request::{METHOD_LONGEST, judge_length, judge_method};
use super::target;

/// What of a request line matters later.
#[derive(Debug)]
pub(super) struct RequestLine {
    /// It ends in HTTP/1.0.
    pub is_http10: bool,
    /// Where the target's authority stands, if the target is in absolute form.
    pub authority: Option<Range<usize>>,
}

impl RequestLine {
    /// Judges a whole line.
    pub fn judge(line: &[u8], uri_bytes: usize) -> Result<Self, Fault> {
        let mut words = line.split(|byte| *byte == b' ');
        let method = words.next().unwrap_or_default();
        judge_method(method)?;
        let (Some(target), Some(version), None) = (words.next(), words.next(), words.next()) else {
            return Err(REQUEST_LINE);
        };
        judge_length(target, uri_bytes)?;
        let is_http10 = is_http10(version)?;
        let authority = target::judge(method, target)?;
        Ok(RequestLine { is_http10, authority }.shifted(method.len() + 1))
    }

    /// The same line, so many bytes further on.
    pub fn shifted(mut self, by: usize) -> Self {
        self.authority = self.authority.map(|range| range.start + by..range.end + by);
        self
    }

    /// The most bytes a line with its end may have.
    pub fn longest(uri_bytes: usize) -> usize {
        METHOD_LONGEST + " ".len() + uri_bytes + " HTTP/1.1\r\n".len()
    }

    /// What is wrong with a line that exceeds them.
    pub fn too_long(line: &[u8]) -> Fault {
        match memchr::memchr(b' ', line) {
            Some(end) if end <= METHOD_LONGEST => TARGET_TOO_LONG,
            _ => METHOD_TOO_LONG,
        }
    }
}

fn is_http10(version: &[u8]) -> Result<bool, Fault> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(VERSION),
        _ => Err(VERSION_SYNTAX),
    }
}
