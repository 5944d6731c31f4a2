//! Bodies of any size whose every byte is known, so that loss, doubling and reordering are seen.
//!
//! The block's length is prime: no power-of-two buffer can slip by a whole block unnoticed.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::Body;

const BLOCK: usize = 65_521;

fn block() -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(BLOCK).collect()
}

/// A body of `total` bytes of the pattern, made as it is read.
pub fn body(total: u64) -> Body {
    let block = block();
    let mut left = total;
    let frames = std::iter::from_fn(move || {
        let length = left.min(BLOCK as u64) as usize;
        left -= length as u64;
        (length > 0).then(|| Ok::<_, Infallible>(Frame::data(block.slice(..length))))
    });
    BodyExt::map_err(StreamBody::new(stream::iter(frames)), |never| match never {}).boxed_unsync()
}

/// Compares what arrives with the pattern.
pub struct Checker {
    block: Bytes,
    /// How many bytes have arrived.
    pub bytes: u64,
    /// Whether each of them was the right one.
    pub intact: bool,
}

impl Checker {
    pub fn new() -> Self {
        Checker { block: block(), bytes: 0, intact: true }
    }

    pub fn take(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let expected = &self.block[(self.bytes % BLOCK as u64) as usize..];
            let length = expected.len().min(chunk.len());
            self.intact &= expected[..length] == chunk[..length];
            self.bytes += length as u64;
            chunk = &chunk[length..];
        }
    }
}

/// FNV-1a, 64 bits: enough to tell two small bodies apart.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
