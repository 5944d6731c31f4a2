//! Field lines (RFC 9112 §5), of heads and of trailers.

use super::Limits;
use super::character::{has_control, is_token};
use super::fault::{
    FIELD_COLON, FIELD_NAME, FIELD_NAME_EMPTY, FIELD_VALUE, Fault, HEAD_TOO_LARGE, LEADING_SPACE, OBS_FOLD,
    SPACE_BEFORE_COLON, TOO_MANY_FIELDS,
};
use super::line::{Line, Lines};

/// A section of fields, up to the empty line that ends it.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub lines: Lines,
    count: usize,
}

/// What a section holds next.
pub(super) enum Next<'b> {
    Field(Field<'b>),
    /// The section has ended: so long is it.
    End(usize),
    /// The rest has not arrived.
    Partial,
}

impl Section {
    /// The next field of a section that has `bytes` so far.
    pub fn next<'b>(&mut self, bytes: &'b [u8], limits: &Limits) -> Result<Next<'b>, Fault> {
        let line = match self.lines.next(bytes, limits.head_bytes)? {
            Line::Whole(line) => bytes.get(line).unwrap_or_default(),
            Line::Partial => return Ok(Next::Partial),
            Line::TooLong => return Err(HEAD_TOO_LARGE),
        };
        if line.is_empty() {
            return Ok(Next::End(self.lines.start));
        }
        if let [b' ' | b'\t', ..] = line {
            return Err(if self.count == 0 { LEADING_SPACE } else { OBS_FOLD });
        }
        self.count += 1;
        if self.count > limits.fields {
            return Err(TOO_MANY_FIELDS);
        }
        Field::judge(line).map(Next::Field)
    }
}

/// A field: a token, and a value without control characters or white space around it.
pub(super) struct Field<'b> {
    name: &'b [u8],
    pub value: &'b [u8],
}

/// The fields that say where a message ends, where it goes and what it waits for.
pub(super) enum Known {
    Host,
    Expect,
    ContentLength,
    TransferEncoding,
}

impl<'b> Field<'b> {
    fn judge(line: &'b [u8]) -> Result<Self, Fault> {
        let end = line.iter().position(|byte| !is_token(*byte)).ok_or(FIELD_COLON)?;
        let (name, rest) = line.split_at(end);
        match rest {
            [b':', ..] if name.is_empty() => Err(FIELD_NAME_EMPTY),
            [b':', value @ ..] if has_control(value) => Err(FIELD_VALUE),
            [b':', value @ ..] => Ok(Field { name, value: value.trim_ascii() }),
            _ if rest.trim_ascii_start().starts_with(b":") => Err(SPACE_BEFORE_COLON),
            _ => Err(FIELD_NAME),
        }
    }

    /// Which of the known fields it is.
    pub fn known(&self) -> Option<Known> {
        Known::of(self.name)
    }
}

impl Known {
    /// Which of the known fields has this name.
    pub fn of(name: &[u8]) -> Option<Known> {
        // Most fields are told from these by their length.
        let (text, known) = match name.len() {
            4 => ("host", Known::Host),
            6 => ("expect", Known::Expect),
            14 => ("content-length", Known::ContentLength),
            17 => ("transfer-encoding", Known::TransferEncoding),
            _ => return None,
        };
        name.eq_ignore_ascii_case(text.as_bytes()).then_some(known)
    }
}
