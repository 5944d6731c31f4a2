//! The rate limits of a gateway.

use serde::{Deserialize, Serialize};

/// A rule and its state.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct RuleState {
    /// Its name.
    pub rule_name: String,
    /// Whom it counts by.
    pub limit_type: String,
    /// So many requests.
    pub max_requests: u32,
    /// In so many seconds.
    pub window_seconds: u64,
    /// `enforce` or `shadow`.
    pub mode: String,
    /// Subjects that are counted.
    pub subjects: usize,
    /// Requests of subjects there was no room for.
    pub overflowed: u64,
    /// About how many bytes all that takes.
    pub memory: usize,
    /// Requests that passed.
    pub accepted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that would have been.
    pub would_refuse: u64,
}
