//! What clients may do with HTTP/2, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one client's HTTP/2 connection may take. What does too much is closed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http2 {
    /// Requests at once on one connection (1 to 1000). Needs a restart.
    #[serde(default = "default_concurrent_streams")]
    pub concurrent_streams: usize,
    /// Bytes of a request's decoded headers, 32 more counted for each (1024 to 1048576); more are answered with 431.
    /// Needs a restart.
    #[serde(default = "default_header_list_bytes")]
    pub header_list_bytes: usize,
    /// Requests cancelled per second (1 to 100000); ten seconds' worth at once.
    #[serde(default = "default_resets")]
    pub resets: usize,
    /// PING, SETTINGS, WINDOW_UPDATE, PRIORITY and empty frames per second, of each (1 to 100000); ten seconds' worth at
    /// once, and more as answers to what the gateway sends.
    #[serde(default = "default_control_frames")]
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
