//! What clients may do with HTTP/2, compiled.
//!
//! What a connection can make the library hold is at most, with the defaults, about 14 MiB: for each of its 100 streams
//! a header list (64 KiB) and what is to be sent (64 KiB); for all of them together what was uploaded and not yet taken
//! (1 MiB), the frame being read (16 KiB). Pieces of responses that the framework has read and nobody takes, up to ten of
//! 64 KiB for a stream, are bounded by `ledger`.

use std::num::NonZeroU32;

use pingora::protocols::http::v2::server::{H2Options, default_h2_options};

use gatekeeper_core::frames::{Budgets, MAX_FRAME};
use gatekeeper_model::{Faults, Place, raw};

/// What a stream may upload before it is taken.
const STREAM_WINDOW: u32 = 256 * 1024;
/// What all streams of a connection may.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be sent on a stream. Kept small: a client may open every window and read nothing.
const SEND_BUFFER: usize = 64 * 1024;

/// What clients may do with HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Requests at once on one connection.
    pub concurrent_streams: u32,
    /// How much of each kind of frame a client may send.
    pub budgets: Budgets,
}

impl Http2 {
    /// Compiles it; what lies outside sensible bounds is a fault.
    pub fn compile(raw: &raw::Http2, faults: &mut Faults) -> Http2 {
        let mut number = |key: &str, found: usize, most: u32, least: u32| {
            let number = u32::try_from(found).ok().filter(|number| (least..=most).contains(number));
            if number.is_none() {
                faults.push(Place::new("http2").key(key), found.to_string(), format!("{least} to {most}"));
            }
            number.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
        };
        Http2 {
            concurrent_streams: number("concurrent_streams", raw.concurrent_streams, 1000, 1).get(),
            budgets: Budgets {
                header_list_bytes: number("header_list_bytes", raw.header_list_bytes, 1024 * 1024, 1024),
                resets: number("resets", raw.resets, 100_000, 1),
                control_frames: number("control_frames", raw.control_frames, 100_000, 1),
            },
        }
    }

    /// The same for the framework.
    pub fn options(&self) -> H2Options {
        let mut options = default_h2_options();
        options
            .max_concurrent_streams(self.concurrent_streams)
            .max_header_list_size(self.budgets.header_list_bytes.get())
            .max_frame_size(MAX_FRAME)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_compile_and_what_lies_outside_is_named() {
        let mut faults = Faults::default();
        let compiled = Http2::compile(&raw::Http2::default(), &mut faults);
        assert!(faults.is_empty());
        assert_eq!((compiled.concurrent_streams, compiled.budgets.header_list_bytes.get()), (100, 65536));
        let wrong =
            raw::Http2 { concurrent_streams: 1001, header_list_bytes: 1023, resets: 0, control_frames: 1 << 40 };
        Http2::compile(&wrong, &mut faults);
        let text = faults.to_string();
        for line in [
            "http2.concurrent_streams: found 1001, allowed: 1 to 1000",
            "http2.header_list_bytes: found 1023, allowed: 1024 to 1048576",
            "http2.resets: found 0, allowed: 1 to 100000",
            "http2.control_frames: found 1099511627776, allowed: 1 to 100000",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
