//! An instance of a service that comes at run time.

use serde::{Deserialize, Serialize};

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The service, which must have `registered: true`.
    pub service_name: String,
    /// The instance's URL, by which it is known from now on.
    pub service_url: String,
    /// Its share beside the other targets.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// It goes unless it is renewed within so many seconds; without, it stays until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

impl Registration {
    /// An instance with weight 1 that stays until it is taken back.
    pub fn new(service_name: impl Into<String>, service_url: impl Into<String>) -> Self {
        let (service_name, service_url) = (service_name.into(), service_url.into());
        Registration { service_name, service_url, weight: default_weight(), ttl_seconds: None }
    }
}

fn default_weight() -> u32 {
    1
}
