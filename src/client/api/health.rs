//! The health of services and their targets.

use gatekeeper_core::{breaker, health};
use serde::{Deserialize, Serialize};

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ServiceHealth {
    /// Its name.
    pub service_name: String,
    /// Its first target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    /// What it is.
    pub status: health::State,
    /// When one of its targets was last checked.
    pub last_check_at: Option<String>,
    /// The mean of its targets' latest response times, in milliseconds.
    pub response_time: Option<f64>,
    /// Bad checks.
    pub error_count: u64,
    /// Good checks.
    pub success_count: u64,
    /// Its requests are refused.
    pub circuit_open: bool,
    /// Where its breaker stands, if it has one.
    pub circuit_state: Option<breaker::State>,
    /// It gets no new requests, by hand.
    pub draining: bool,
    /// Requests in flight to its targets.
    pub in_flight: u64,
    /// Requests that wait for room.
    pub waiting: u64,
    /// Instances of it may register.
    pub registered: bool,
    /// Where it was declared.
    pub source: String,
    /// Its targets, an entry for each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetHealth>>,
}

/// How one address of a target stands.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TargetHealth {
    /// The target's URL.
    pub url: String,
    /// The address; none if its name has none, or its weight is 0.
    pub address: Option<String>,
    /// Its share beside the others'.
    pub weight: u32,
    /// What its checks found.
    pub status: health::State,
    /// It gets requests.
    pub available: bool,
    /// It gets no new requests, by hand.
    pub drained: bool,
    /// For how many seconds more it gets none because it failed.
    pub ejected_for: Option<f64>,
    /// Why it gets no requests, in words; none if it gets some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_because: Option<String>,
    /// Requests in flight.
    pub in_flight: u32,
    /// When it was last checked.
    pub last_check_at: Option<String>,
    /// How long its latest good answer took, in milliseconds.
    pub response_time: Option<f64>,
    /// Bad checks.
    pub error_count: u64,
    /// Good checks.
    pub success_count: u64,
    /// It registered itself.
    pub registered: bool,
    /// After how many seconds it goes unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many of them are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<f64>,
}

/// How all services stand together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AggregatedHealth {
    /// What they are.
    pub status: health::State,
    /// The gateway's version.
    pub version: String,
    /// The plan that serves.
    pub revision: u64,
    /// Seconds since the gateway started.
    pub uptime_seconds: u64,
    /// Each of them.
    pub services: Vec<ServiceHealth>,
}
