//! Chunked bodies (RFC 9112 §7.1), followed to their end.
//!
//! Known inaccuracy: an extension is bounded and free of control characters, but its grammar is not judged; nobody
//! downstream sees it.

use super::Limits;
use super::character::is_control;
use super::fault::{BARE_CR, BARE_LF, CHUNK_END, CHUNK_EXTENSION, CHUNK_SIZE, Fault, TRAILER_FORBIDDEN};
use super::field::{Next, Section};
use super::framing::LONGEST;

/// The longest extension of one chunk.
const EXTENSION_LONGEST: u32 = 256;
/// The most digits of a size.
const SIZE_LONGEST: u32 = 16;

/// Where in a chunked body the client is.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// Bytes of data that are to come.
    left: u64,
    /// The length of the size or extension so far.
    length: u32,
    trailers: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    /// LF after the size and extension.
    SizeEnd,
    Data,
    /// CR after the data.
    DataCr,
    /// LF after the data.
    DataEnd,
    Trailers,
}

impl Chunked {
    /// How many of the bytes belong to the body, and whether it has ended. Trailers are taken as a whole.
    pub fn follow(&mut self, bytes: &[u8], limits: &Limits) -> Result<(usize, bool), Fault> {
        let mut taken = 0;
        while self.at != At::Trailers {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(byte) = rest.first() else { return Ok((taken, false)) };
            taken += match self.at {
                At::Data => self.data(rest.len()),
                _ => self.framing(*byte)?,
            };
        }
        let trailers = self.trailers(bytes.get(taken..).unwrap_or_default(), limits)?;
        Ok((taken + trailers.unwrap_or(0), trailers.is_some()))
    }

    /// Passes over as much of the chunk's data as is there.
    fn data(&mut self, there: usize) -> usize {
        let passed = usize::try_from(self.left).map_or(there, |left| left.min(there));
        self.left -= passed as u64;
        if self.left == 0 {
            self.at = At::DataCr;
        }
        passed
    }

    /// Passes over a byte that is not data.
    fn framing(&mut self, byte: u8) -> Result<usize, Fault> {
        self.at = match (self.at, byte) {
            (At::Size, b';') if self.length > 0 => {
                self.length = 0;
                At::Extension
            }
            (At::Size, b'\r') if self.length > 0 => At::SizeEnd,
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Size | At::Extension, b'\n') => return Err(BARE_LF),
            (At::Size, _) => self.size_digit(byte)?,
            (At::Extension, _) => self.extension(byte)?,
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailers,
            (At::SizeEnd, b'\n') => At::Data,
            (At::SizeEnd, _) => return Err(BARE_CR),
            (At::DataCr, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => {
                self.length = 0;
                At::Size
            }
            _ => return Err(CHUNK_END),
        };
        Ok(1)
    }

    fn size_digit(&mut self, byte: u8) -> Result<At, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(CHUNK_SIZE)?;
        self.length += 1;
        self.left = self.left << 4 | u64::from(digit);
        if self.length > SIZE_LONGEST || self.left > LONGEST { Err(CHUNK_SIZE) } else { Ok(At::Size) }
    }

    fn extension(&mut self, byte: u8) -> Result<At, Fault> {
        self.length += 1;
        let is_good = self.length <= EXTENSION_LONGEST && !is_control(byte);
        if is_good { Ok(At::Extension) } else { Err(CHUNK_EXTENSION) }
    }

    /// The trailers' length, when they are there.
    fn trailers(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Fault> {
        loop {
            match self.trailers.next(bytes, limits)? {
                Next::Field(field) if field.known().is_some() => return Err(TRAILER_FORBIDDEN),
                Next::Field(_) => {}
                Next::End(length) => return Ok(Some(length)),
                Next::Partial => return Ok(None),
            }
        }
    }
}
