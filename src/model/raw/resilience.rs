//! What protects a service and its clients when targets fail, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::{Period, Setting};

/// The circuit breaker of a service. While it is open, requests are answered with 503; then single requests find out
/// whether the service works again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// `false`: never.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// The number of failed requests in a row after which it opens (1 to 10000; 5 if absent). Not together with
    /// `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub failure_threshold: Option<u32>,
    /// It opens when this part of the requests failed, instead of after failures in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<FailureRatio>,
    /// The number of good probes after which it closes (1 to 10000).
    #[serde(default = "default_success_threshold")]
    #[schemars(range(min = 1, max = 10_000))]
    pub success_threshold: u32,
    /// How long it stays open at first (1ms to 1d). The time doubles with each failed probe.
    #[serde(default = "default_open")]
    pub timeout: Period,
    /// How long it stays open at most (up to 7d).
    #[serde(default = "default_longest_open")]
    pub max_timeout: Period,
    /// After how long a probe without a result is replaced by another one (1ms to 1d). Make it longer than a request
    /// takes.
    #[serde(default = "default_open")]
    pub probe_timeout: Period,
    /// The statuses that count as failures, of the service and of a target (for ejection). 500 is not included by
    /// default, because applications use it for single requests.
    #[serde(default = "default_failure_statuses")]
    #[schemars(inner(range(min = 400, max = 599)))]
    pub failure_statuses: Vec<u16>,
}

/// The part of a service's requests that must fail before the circuit breaker opens.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureRatio {
    /// The part: more than 0, at most 1.
    #[serde(default = "default_rate")]
    pub rate: f64,
    /// The window of time whose requests are counted (1ms to 1h).
    #[serde(default = "default_window")]
    pub window: Period,
    /// The least number of requests in that window.
    #[serde(default = "default_min_requests")]
    #[schemars(range(min = 1))]
    pub min_requests: u32,
}

/// Ejection of a single target that fails. At most half of a service's targets are ejected.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// `false`: never.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// The number of failed attempts in a row after which a target is ejected (1 to 10000).
    #[serde(default = "default_failures")]
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: u32,
    /// The length of the first ejection (1ms to 1d). Each ejection that follows soon is longer by the same time.
    #[serde(default = "default_ejection")]
    pub base: Period,
    /// The length of an ejection at most (up to 7d).
    #[serde(default = "default_longest_ejection")]
    pub max: Period,
}

/// The budget for retries of a service. A retry after a failed connect is free, because no target has seen the request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries per request: 0 to 1.
    #[serde(default = "default_share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Retries per second, however few requests there are (0 to 100000).
    #[serde(default = "default_floor")]
    #[schemars(range(min = 0, max = 100_000))]
    pub per_second: u32,
    /// The time in which the unspent budget fades to about a third (1ms to 1h).
    #[serde(default = "default_saved")]
    pub saved: Period,
}

/// The queue of requests that exceed `max_in_flight`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// How many requests may wait (at most 1000000); 0 for none.
    #[serde(default = "default_length")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub length: u32,
    /// How long a request may wait (1ms to 1h).
    #[serde(default = "default_wait")]
    pub timeout: Period,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        CircuitBreaker {
            enabled: Setting::default(),
            failure_threshold: None,
            ratio: None,
            success_threshold: default_success_threshold(),
            timeout: default_open(),
            max_timeout: default_longest_open(),
            probe_timeout: default_open(),
            failure_statuses: default_failure_statuses(),
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection {
            enabled: Setting::default(),
            failures: default_failures(),
            base: default_ejection(),
            max: default_longest_ejection(),
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget { share: default_share(), per_second: default_floor(), saved: default_saved() }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue { length: default_length(), timeout: default_wait() }
    }
}

fn default_success_threshold() -> u32 {
    2
}

fn default_open() -> Period {
    Period::from_secs(60)
}

fn default_longest_open() -> Period {
    Period::from_secs(600)
}

fn default_failure_statuses() -> Vec<u16> {
    vec![502, 503, 504]
}

fn default_rate() -> f64 {
    0.5
}

fn default_window() -> Period {
    Period::from_secs(10)
}

fn default_min_requests() -> u32 {
    20
}

fn default_failures() -> u32 {
    5
}

fn default_ejection() -> Period {
    Period::from_secs(30)
}

fn default_longest_ejection() -> Period {
    Period::from_secs(300)
}

fn default_share() -> f64 {
    0.2
}

fn default_floor() -> u32 {
    10
}

fn default_saved() -> Period {
    Period::from_secs(5)
}

fn default_length() -> u32 {
    100
}

fn default_wait() -> Period {
    Period::from_secs(1)
}
