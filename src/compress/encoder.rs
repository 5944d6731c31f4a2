//! The encoders, one interface over three libraries.

use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;

use super::negotiate::Coding;

/// An encoder under way.
pub enum Encoder {
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

const BROTLI_BUFFER: usize = 4096;
/// 512 KiB: a larger window costs more memory for each response than it gains.
const BROTLI_WINDOW_BITS: u32 = 19;

impl Encoder {
    /// An encoder at a level of 1 to 9.
    pub fn new(coding: Coding, level: u32) -> io::Result<Self> {
        Ok(match coding {
            Coding::Br => {
                Encoder::Br(Box::new(CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, BROTLI_WINDOW_BITS)))
            }
            Coding::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level as i32)?),
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
        })
    }

    /// Encodes some bytes; what comes out may be nothing yet.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        let out = match self {
            Encoder::Br(encoder) => encoder.write_all(bytes).map(|()| encoder.get_mut()),
            Encoder::Zstd(encoder) => encoder.write_all(bytes).map(|()| encoder.get_mut()),
            Encoder::Gzip(encoder) => encoder.write_all(bytes).map(|()| encoder.get_mut()),
        };
        out.map(|out| std::mem::take(out).into())
    }

    /// Ends the encoding.
    pub fn finish(self) -> io::Result<Bytes> {
        match self {
            Encoder::Br(encoder) => Ok(encoder.into_inner().into()),
            Encoder::Zstd(encoder) => encoder.finish().map(Bytes::from),
            Encoder::Gzip(encoder) => encoder.finish().map(Bytes::from),
        }
    }
}
