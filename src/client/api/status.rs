//! The state of a gateway.

use serde::{Deserialize, Serialize};

/// The state of a running gateway.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// It takes new requests.
    pub ready: bool,
    /// The plan that serves.
    pub revision: u64,
    /// Why the last change was refused; the plan before it serves.
    pub last_fault: Option<String>,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Routes that take part.
    pub routes: usize,
    /// Services.
    pub services: usize,
    /// Requests in flight.
    pub requests_in_flight: i64,
    /// Records of the access log that were dropped.
    pub access_log_dropped: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Listener {
    /// Its address; port 0 is a real one here.
    pub address: String,
}
