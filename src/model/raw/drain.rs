//! How the gateway ends, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::Period;

/// How the gateway ends: after TERM, or when an upgrade has brought its successor.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// After TERM the gateway is not ready, but serves on for this time, so that load balancers send nothing more before
    /// it stops accepting (1ms to 1h). None when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lame_duck: Option<Period>,
    /// How long a stopping gateway waits for requests in flight (1ms to 1d).
    #[serde(default = "default_grace")]
    pub grace: Period,
    /// How long a gateway waits for them when its successor serves already (1ms to 7d).
    #[serde(default = "default_upgrade_grace")]
    pub upgrade_grace: Period,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { lame_duck: None, grace: default_grace(), upgrade_grace: default_upgrade_grace() }
    }
}

fn default_grace() -> Period {
    Period::from_secs(30)
}

fn default_upgrade_grace() -> Period {
    Period::from_secs(600)
}
