//! The encoders, one interface over three libraries.
//!
//! Their windows are small, so that each takes at most four megabytes at any level: a response that its client does not
//! take keeps its encoder. Larger windows gain a few per cent on long texts.

use std::io::{self, Write};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use zstd::zstd_safe::CParameter;

use super::negotiate::Coding;

/// An encoder under way.
pub enum Encoder {
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

const BROTLI_BUFFER: usize = 4096;
/// 256 KiB.
const BROTLI_WINDOW_BITS: u32 = 18;
/// Beyond this quality each step doubles the tables, up to 32 MiB.
const BROTLI_MOST: u32 = 5;
/// 256 KiB.
const ZSTD_WINDOW_BITS: u32 = 18;
/// Entries of four bytes.
const ZSTD_TABLE_BITS: u32 = 16;

impl Encoder {
    /// An encoder at a level of 1 to 9.
    pub fn new(coding: Coding, level: u32) -> io::Result<Self> {
        Ok(match coding {
            Coding::Br => {
                let quality = level.min(BROTLI_MOST);
                Encoder::Br(Box::new(CompressorWriter::new(Vec::new(), BROTLI_BUFFER, quality, BROTLI_WINDOW_BITS)))
            }
            Coding::Zstd => Encoder::Zstd(small_zstd(level)?),
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
        })
    }

    /// Encodes some bytes. What comes out may be nothing yet, unless all is wanted now.
    pub fn write(&mut self, bytes: &[u8], flush: bool) -> io::Result<Bytes> {
        fn through(to: &mut impl Write, bytes: &[u8], flush: bool) -> io::Result<()> {
            to.write_all(bytes)?;
            if flush && !bytes.is_empty() { to.flush() } else { Ok(()) }
        }
        let out = match self {
            Encoder::Br(encoder) => through(encoder, bytes, flush).map(|()| encoder.get_mut()),
            Encoder::Zstd(encoder) => through(encoder, bytes, flush).map(|()| encoder.get_mut()),
            Encoder::Gzip(encoder) => through(encoder, bytes, flush).map(|()| encoder.get_mut()),
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

fn small_zstd(level: u32) -> io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level as i32)?;
    encoder.window_log(ZSTD_WINDOW_BITS)?;
    encoder.set_parameter(CParameter::HashLog(ZSTD_TABLE_BITS))?;
    encoder.set_parameter(CParameter::ChainLog(ZSTD_TABLE_BITS))?;
    Ok(encoder)
}
