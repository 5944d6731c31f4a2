//! The access log, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `off` or a file. The signal USR1 reopens the file.
    #[serde(default = "default_log_to")]
    #[schemars(extend("format" = "path"))]
    pub to: String,
    /// The format: JSON lines, or the combined format of Apache and nginx. In JSON, `upstream_time` ends with the head of
    /// the service's response, and `response_time` with the last byte of its body.
    #[serde(default)]
    pub format: LogFormat,
    /// How many records may wait for the writer. Further records are dropped and counted. A change needs a restart.
    #[serde(default = "default_log_queue")]
    #[schemars(range(min = 16, max = 10_000_000))]
    pub queue: usize,
    /// How client addresses are written.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Request headers that are written. Credentials are not allowed here.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// Query parameters whose values are written. Other values are masked.
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
    /// The whole address.
    #[default]
    Full,
    /// The network: /24 for IPv4, /48 for IPv6.
    Truncated,
    /// A keyed hash. The key lives as long as the process.
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
