//! How often a client may come, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::{Seconds, Setting};
use super::shadow::Mode;

/// A rate limit. It applies to the routes and API keys that name it. A rule that nothing names applies to its
/// `path_pattern`, or to everything.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitRule {
    /// Its name, unique.
    pub rule_name: String,
    /// What requests are counted by: `per_user` (the address if there is no user), `per_ip` (IPv6 by /64),
    /// `per_endpoint` (the route), `global`, `claim:NAME` or `header:NAME` (requests without it share one count).
    pub limit_type: String,
    /// The rule applies to these paths only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_pattern: Option<String>,
    /// The number of requests (1 to 1000000000).
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_requests: u32,
    /// The length of the window in seconds (1 to 31536000), or a time such as `1m`.
    pub window_seconds: Seconds,
    /// The algorithm.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// With `gcra`: how many requests may come at once; `max_requests` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<u32>,
    /// Whether the rule refuses requests or only reports what it would refuse.
    #[serde(default)]
    pub mode: Mode,
    /// How many subjects are counted exactly at a time (1000 to 100000000). Further subjects share counters and may be
    /// refused too early.
    #[serde(default = "default_max_subjects")]
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub max_subjects: u32,
    /// `false`: the rule has no effect.
    #[serde(default)]
    pub is_active: Setting<true>,
}

/// The algorithm of a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// An exact sliding window: no window of that length, wherever it begins, contains more requests.
    #[default]
    Window,
    /// A steady rate with a burst. A window may contain up to the burst and the rate together.
    Gcra,
}

/// The rate limit headers of responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitHeaders {
    /// Whether responses have rate limit headers.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// The unit of `X-RateLimit-Reset`.
    #[serde(default)]
    pub reset: Reset,
}

/// The unit of `X-RateLimit-Reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reset {
    /// Seconds from now.
    #[default]
    Delta,
    /// Seconds since 1970.
    Epoch,
}

fn default_max_subjects() -> u32 {
    1_000_000
}
