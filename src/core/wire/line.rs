//! Lines, found in bytes that arrive in pieces. None is looked at twice.

use std::ops::Range;

use super::fault::{BARE_CR, BARE_LF, Fault};

/// How far the lines of a section are known.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where the line begins that comes next.
    pub start: usize,
    /// No line ends before this.
    pub scanned: usize,
}

/// The next line, as far as it has arrived.
pub(super) enum Line {
    /// Where it stands, without its end.
    Whole(Range<usize>),
    /// Its end has not arrived.
    Partial,
    /// Its end does not come in time.
    TooLong,
}

impl Lines {
    /// The next line of a section that has `bytes` so far and may have `most`. A line ends in CR LF and holds neither.
    pub fn next(&mut self, bytes: &[u8], most: usize) -> Result<Line, Fault> {
        let (bytes, is_full) = bytes.get(..most).map_or((bytes, false), |bytes| (bytes, true));
        let rest = bytes.get(self.scanned..).unwrap_or_default();
        let before = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        self.scanned += before;
        match rest.get(before..).unwrap_or_default() {
            [] | [b'\r'] if is_full => Ok(Line::TooLong),
            [] | [b'\r'] => Ok(Line::Partial),
            [b'\r', b'\n', ..] => Ok(Line::Whole(self.pass())),
            [b'\r', ..] => Err(BARE_CR),
            _ => Err(BARE_LF),
        }
    }

    /// Goes on behind the line whose end was found.
    fn pass(&mut self) -> Range<usize> {
        let line = self.start..self.scanned;
        self.scanned += 2;
        self.start = self.scanned;
        line
    }
}
