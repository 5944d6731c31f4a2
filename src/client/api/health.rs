//! The health of services and their targets.

use gatekeeper_core::{breaker, health};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The health of a service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ServiceHealth {
    /// Its name.
    pub service_name: String,
    /// Its first target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    /// Its status.
    #[schemars(with = "String")]
    pub status: health::State,
    /// When one of its targets was last checked.
    pub last_check_at: Option<String>,
    /// The mean of its targets' latest response times, in milliseconds.
    pub response_time: Option<f64>,
    /// The number of failed health checks.
    pub error_count: u64,
    /// The number of good health checks.
    pub success_count: u64,
    /// Whether the circuit breaker is open, so that requests are refused.
    pub circuit_open: bool,
    /// The state of its circuit breaker, if it has one.
    #[schemars(with = "Option<String>")]
    pub circuit_state: Option<breaker::State>,
    /// Whether it is drained, so that it gets no new requests.
    pub draining: bool,
    /// Requests in flight to its targets.
    pub in_flight: u64,
    /// Requests in the queue.
    pub waiting: u64,
    /// Whether instances may register.
    pub registered: bool,
    /// Where it was declared.
    pub source: String,
    /// Its targets, an entry for each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetHealth>>,
}

/// The health of one address of a target.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct TargetHealth {
    /// The target's URL.
    pub url: String,
    /// The address. Absent if the host name has no address, or the weight is 0.
    pub address: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Its status by its health checks.
    #[schemars(with = "String")]
    pub status: health::State,
    /// Whether it gets requests.
    pub available: bool,
    /// Whether it is drained, so that it gets no new requests.
    pub drained: bool,
    /// How many seconds its ejection still lasts.
    pub ejected_for: Option<f64>,
    /// Why it gets no requests, in words; none if it gets some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_because: Option<String>,
    /// Requests in flight.
    pub in_flight: u32,
    /// When it was last checked.
    pub last_check_at: Option<String>,
    /// The duration of its latest good health check, in milliseconds.
    pub response_time: Option<f64>,
    /// The number of failed health checks.
    pub error_count: u64,
    /// The number of good health checks.
    pub success_count: u64,
    /// Whether it registered itself at run time.
    pub registered: bool,
    /// The lifetime of its registration in seconds. A heartbeat renews it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many seconds of the lifetime are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<f64>,
}

/// The health of all services together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct AggregatedHealth {
    /// Their status together: unhealthy if all of them are, degraded if some are.
    #[schemars(with = "String")]
    pub status: health::State,
    /// The gateway's version.
    pub version: String,
    /// The revision of the running configuration.
    pub revision: u64,
    /// Seconds since the gateway started.
    pub uptime_seconds: u64,
    /// The health of each service.
    pub services: Vec<ServiceHealth>,
}
