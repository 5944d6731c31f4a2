//! How long a message's body is (RFC 9112 §6).

use super::fault::{CL_REPEATED, CONTENT_LENGTH, Fault, TE_AND_CL, TE_HTTP10, TE_REPEATED, TRANSFER_ENCODING};

/// More than any body has, and what every peer can hold: many keep lengths in signed numbers.
pub(super) const LONGEST: u64 = i64::MAX as u64;

/// What a head's fields say of its body.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    is_chunked: bool,
}

/// A message's body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
}

impl Framing {
    /// Takes a Content-Length: one, of digits only. Equal ones are no better than others: two parsers may see them apart.
    pub fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.replace(parse_length(value).ok_or(CONTENT_LENGTH)?).is_some() {
            return Err(CL_REPEATED);
        }
        Ok(())
    }

    /// Takes a Transfer-Encoding: `chunked`, once.
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(TRANSFER_ENCODING);
        }
        if std::mem::replace(&mut self.is_chunked, true) {
            return Err(TE_REPEATED);
        }
        Ok(())
    }

    /// The body, when all fields are known.
    pub fn body(&self, is_http10: bool) -> Result<Body, Fault> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(TE_AND_CL),
            (true, None) if is_http10 => Err(TE_HTTP10),
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let mut length = value.first().map(|_| 0_u64)?;
    for byte in value {
        let digit = char::from(*byte).to_digit(10)?;
        length = length.checked_mul(10)?.checked_add(digit.into())?;
    }
    (length <= LONGEST).then_some(length)
}
