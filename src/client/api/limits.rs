//! The rate limits of a gateway.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rule and its state.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct RuleState {
    /// Its name.
    pub rule_name: String,
    /// What requests are counted by.
    pub limit_type: String,
    /// The number of requests.
    pub max_requests: u32,
    /// The length of the window in seconds.
    pub window_seconds: u64,
    /// `enforce` or `shadow`.
    pub mode: String,
    /// The number of subjects that are counted exactly.
    pub subjects: usize,
    /// Requests of subjects beyond `max_subjects`.
    pub overflowed: u64,
    /// The memory of the counts in bytes, approximately.
    pub memory: usize,
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that the rule would have refused in shadow mode.
    pub would_refuse: u64,
}
