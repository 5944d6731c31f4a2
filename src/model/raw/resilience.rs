//! What protects a service and its clients when targets fail, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::{Period, Setting};

/// When a service gets no requests for a while. Clients are answered 503 then; single requests find out whether it is back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// false: never.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// It opens after so many failed requests in a row (1 to 10000). Not beside `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// It opens when this part of the requests failed, instead of so many in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<FailureRatio>,
    /// It closes after so many good probes (1 to 10000).
    #[serde(default = "default_success_threshold")]
    pub success_threshold: u32,
    /// How long it stays open at first (1ms to 1d); twice as long each time that a probe fails.
    #[serde(default = "default_open")]
    pub timeout: Period,
    /// How long it stays open at most (7d at most).
    #[serde(default = "default_longest_open")]
    pub max_timeout: Period,
    /// After how long a probe that says nothing is given up for another (1ms to 1d). Make it longer than a request takes.
    #[serde(default = "default_open")]
    pub probe_timeout: Period,
    /// Statuses that count as failures: of the service, and of a target's ejection. 500 does not by default: it is what an
    /// application answers to one request.
    #[serde(default = "default_failure_statuses")]
    pub failure_statuses: Vec<u16>,
}

/// The part of a service's requests that must fail for its breaker to open.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureRatio {
    /// Which part: more than 0, at most 1.
    #[serde(default = "default_rate")]
    pub rate: f64,
    /// Of the requests of how long (1ms to 1h).
    #[serde(default = "default_window")]
    pub window: Period,
    /// How many requests there must have been in that time.
    #[serde(default = "default_min_requests")]
    pub min_requests: u32,
}

/// When a single target gets no requests for a while. Never more than half of a service's targets.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ejection {
    /// false: never.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// After so many failed attempts in a row (1 to 10000).
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// For this long the first time (1ms to 1d); as much longer each time that follows soon.
    #[serde(default = "default_ejection")]
    pub base: Period,
    /// For this long at most (7d at most).
    #[serde(default = "default_longest_ejection")]
    pub max: Period,
}

/// What all retries of a service's requests may cost. A retry after a failed connect costs nothing: no target has seen it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries for each request: 0 to 1.
    #[serde(default = "default_share")]
    pub share: f64,
    /// Retries for each second, however few requests there are (0 to 100000).
    #[serde(default = "default_floor")]
    pub per_second: u32,
    /// In how long (1ms to 1h) what was not spent fades to a third.
    #[serde(default = "default_saved")]
    pub saved: Period,
}

/// Where requests wait that find as many in flight as `max_in_flight` allows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// How many may wait; 0 for none (at most 1000000).
    #[serde(default = "default_length")]
    pub length: u32,
    /// How long each may wait (1ms to 1h).
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
