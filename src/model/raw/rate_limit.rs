//! How often a client may come, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::Setting;
use super::shadow::Mode;

/// A limit. Where routes name it, it holds for them; one that neither a
/// route nor a key names holds for its path_pattern, or for everything.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitRule {
    /// Its name, unique.
    pub rule_name: String,
    /// Who is counted by: `per_user` (the address where nobody is known), `per_ip` (IPv6 by /64), `per_endpoint` (the route),
    /// `global`, `claim:NAME` or `header:NAME` (who lacks it shares one count with all that do).
    pub limit_type: String,
    /// Holds for these paths only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_pattern: Option<String>,
    /// So many requests (1 to 1000000000).
    pub max_requests: u32,
    /// In any time of this length (1 to 31536000).
    pub window_seconds: u32,
    /// How it is counted.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// With gcra: how many may come at once; max_requests when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Whether it refuses, or only tells that it would.
    #[serde(default)]
    pub mode: Mode,
    /// Subjects that are counted exactly at a time (1000 to 100000000); those beyond share counters, and may be refused too
    /// early.
    #[serde(default = "default_max_subjects")]
    pub max_subjects: u32,
    /// false: the rule is kept but holds for nothing.
    #[serde(default)]
    pub is_active: Setting<true>,
}

/// How a limit is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// No window of that length, wherever it begins, ever holds more.
    #[default]
    Window,
    /// A steady rate with a burst: a window may hold up to the burst and the rate together.
    Gcra,
}

/// What responses tell of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitHeaders {
    /// Tell of limits at all.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// How X-RateLimit-Reset says when.
    #[serde(default)]
    pub reset: Reset,
}

/// How X-RateLimit-Reset says when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reset {
    /// In seconds from now.
    #[default]
    Delta,
    /// In seconds since 1970.
    Epoch,
}

fn default_max_subjects() -> u32 {
    1_000_000
}
