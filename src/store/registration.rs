//! Instances that registered themselves with a service.

use serde_json::{Map, Value};

/// An instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The name of its service.
    pub service: String,
    /// Its URL.
    pub target: String,
    /// Its weight.
    pub weight: u32,
    /// What it says about itself.
    pub metadata: Map<String, Value>,
    /// How long it stays without a heartbeat, in milliseconds; for ever if absent.
    pub ttl_ms: Option<u64>,
    /// When it registered, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was heard of last.
    pub seen_at: i64,
}

impl Registration {
    /// Whether it has ended at this time.
    pub fn has_ended(&self, now: i64) -> bool {
        self.ttl_ms.is_some_and(|ttl| now.saturating_sub(self.seen_at) > i64::try_from(ttl).unwrap_or(i64::MAX))
    }
}
