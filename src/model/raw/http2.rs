//! What clients may do with HTTP/2, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits of a client's HTTP/2 connection. A connection that exceeds them is closed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http2 {
    /// Requests in progress on one connection (1 to 1000). A change needs a restart.
    #[serde(default = "default_concurrent_streams")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrent_streams: usize,
    /// Bytes of a request's decoded headers, plus 32 for each header (1024 to 1048576). More is answered with 431. A
    /// change needs a restart.
    #[serde(default = "default_header_list_bytes")]
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub header_list_bytes: usize,
    /// Cancelled requests per second (1 to 100000), with a burst of ten seconds' worth.
    #[serde(default = "default_resets")]
    #[schemars(range(min = 1, max = 100_000))]
    pub resets: usize,
    /// PING, SETTINGS, WINDOW_UPDATE, PRIORITY and empty frames per second, of each kind (1 to 100000), with a burst of
    /// ten seconds' worth. Answers to what the gateway sends are allowed beyond that.
    #[serde(default = "default_control_frames")]
    #[schemars(range(min = 1, max = 100_000))]
    pub control_frames: usize,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 {
            concurrent_streams: default_concurrent_streams(),
            header_list_bytes: default_header_list_bytes(),
            resets: default_resets(),
            control_frames: default_control_frames(),
        }
    }
}

fn default_concurrent_streams() -> usize {
    100
}

fn default_header_list_bytes() -> usize {
    64 * 1024
}

fn default_resets() -> usize {
    100
}

fn default_control_frames() -> usize {
    100
}
