//! How the names of targets become addresses, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::Period;

/// How the names of targets become addresses, in the background: requests never wait for it. `/etc/hosts` comes first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The servers to ask, in this order: `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:5353`; the port is 53 when
    /// absent. Names are then complete as they are written. When empty, `/etc/resolv.conf` says whom to ask and which
    /// domains to search.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// How long one server may take for one question (10ms to 1m). Each is asked twice.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// Addresses are believed at least so long (100ms to 1h), whatever their TTL says.
    #[serde(default = "default_min_ttl")]
    pub min_ttl: Period,
    /// Addresses are believed at most so long (100ms to 1d).
    #[serde(default = "default_max_ttl")]
    pub max_ttl: Period,
}

impl Default for Dns {
    fn default() -> Self {
        Dns { servers: Vec::new(), timeout: default_timeout(), min_ttl: default_min_ttl(), max_ttl: default_max_ttl() }
    }
}

fn default_timeout() -> Period {
    Period::from_secs(2)
}

fn default_min_ttl() -> Period {
    Period::from_secs(1)
}

fn default_max_ttl() -> Period {
    Period::from_secs(300)
}
