//! The access log, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `off` or a file; USR1 reopens the file.
    #[serde(default = "default_log_to")]
    #[schemars(extend("format" = "path"))]
    pub to: String,
    /// JSON lines or the combined format.
    #[serde(default)]
    pub format: LogFormat,
    /// Records that may wait for the writer; more are dropped and counted.
    #[serde(default = "default_log_queue")]
    pub queue: usize,
    /// How client addresses are written.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Request headers that are written. Credentials are refused here.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// Query parameters whose values are written; those of others are masked.
    #[serde(default)]
    pub query_parameters: Vec<String>,
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Json,
    Combined,
}

/// How client addresses are written to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// As it is.
    #[default]
    Full,
    /// IPv4 by /24, IPv6 by /48.
    Truncated,
    /// A keyed hash; the key lives as long as the process.
    Hashed,
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            to: default_log_to(),
            format: LogFormat::default(),
            queue: default_log_queue(),
            client_address: ClientAddress::default(),
            request_headers: Vec::new(),
            query_parameters: Vec::new(),
        }
    }
}

fn default_log_to() -> String {
    "stdout".into()
}

fn default_log_queue() -> usize {
    16_384
}
