//! How the gateway ends, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::Period;

/// How the gateway shuts down, after TERM or an upgrade.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// After TERM, `/ready` fails but everything is served for this time, so that load balancers notice before the
    /// gateway stops accepting connections (1ms to 1h). Not at all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lame_duck: Option<Period>,
    /// How long a stopping gateway waits for requests in flight (1ms to 1d).
    #[serde(default = "default_grace")]
    pub grace: Period,
    /// How long the old process waits for requests in flight after an upgrade (1ms to 7d).
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
