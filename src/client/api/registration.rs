//! The registration of an instance of a service at run time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An instance that registers itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The service, which must have `registered: true`. If there is none, an administrator's registration makes it.
    pub service_name: String,
    /// The URL of the instance, which identifies it.
    pub service_url: String,
    /// Its weight beside the other targets.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// The lifetime of the registration in seconds, unless it is renewed. Without it, the instance stays until it is deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What the instance says about itself, such as its version or its zone.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Registration {
    /// An instance with weight 1 that stays until it is deregistered.
    pub fn new(service_name: impl Into<String>, service_url: impl Into<String>) -> Self {
        let (service_name, service_url) = (service_name.into(), service_url.into());
        Registration { service_name, service_url, weight: default_weight(), ttl_seconds: None, metadata: Map::new() }
    }
}

fn default_weight() -> u32 {
    1
}
