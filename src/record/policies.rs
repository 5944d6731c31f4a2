//! What policies decided, in counters that a plan holds ready.

use prometheus::{IntCounter, IntCounterVec, Opts};

/// Counts what a policy, or a rule of it, decided.
#[derive(Clone, Debug)]
pub struct PolicyMetrics {
    /// Requests that passed.
    pub accepted: IntCounter,
    /// Requests that were refused.
    pub refused: IntCounter,
    /// Requests that would have been refused, were the policy not on trial.
    pub would_refuse: IntCounter,
    /// Requests about which it could not be decided.
    pub unavailable: IntCounter,
}

pub(super) fn family() -> prometheus::Result<IntCounterVec> {
    let help = "What policies decided about requests: accepted, refused, would_refuse (on trial), unavailable.";
    IntCounterVec::new(Opts::new("gatekeeper_policy_decisions_total", help), &["policy", "rule", "outcome"])
}

impl PolicyMetrics {
    pub(super) fn of(family: &IntCounterVec, policy: &str, rule: &str) -> Self {
        let counter = |outcome| family.with_label_values(&[policy, rule, outcome]);
        PolicyMetrics {
            accepted: counter("accepted"),
            refused: counter("refused"),
            would_refuse: counter("would_refuse"),
            unavailable: counter("unavailable"),
        }
    }
}
