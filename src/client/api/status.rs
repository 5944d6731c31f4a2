//! The state of a gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a running gateway.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The file of its configuration.
    pub config_file: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether it accepts new requests.
    pub ready: bool,
    /// The revision of the running configuration.
    pub revision: u64,
    /// Why the last change was rejected, if it was. The configuration before it is still running.
    pub last_fault: Option<String>,
    /// The listeners for clients.
    pub listeners: Vec<Listener>,
    /// The number of active routes.
    pub routes: usize,
    /// The number of services.
    pub services: usize,
    /// Requests in flight.
    pub requests_in_flight: i64,
    /// Records of the access log that were dropped.
    pub access_log_dropped: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Listener {
    /// Its address, with the real port if the configuration has port 0.
    pub address: String,
}
