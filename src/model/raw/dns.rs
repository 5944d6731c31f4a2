//! How the names of targets become addresses, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::Period;

/// How host names of targets are resolved. This happens in the background: requests never wait for it. `/etc/hosts`
/// comes first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The DNS servers, in this order: `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:5353`; the default port is
    /// 53. Names are then used as they are written, without search domains. If empty, the servers and search domains of
    /// `/etc/resolv.conf` are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// How long to wait for one server's answer (10ms to 1m). Each server is asked twice.
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// Addresses are used for at least this time (100ms to 1h), whatever their TTL.
    #[serde(default = "default_min_ttl")]
    pub min_ttl: Period,
    /// Addresses are used for at most this time (100ms to 1d).
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
