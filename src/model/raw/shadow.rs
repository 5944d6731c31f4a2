//! Policies that are tried before they hold, as they may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a policy refuses requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The policy refuses requests.
    #[default]
    Enforce,
    /// Shadow mode: metrics and the access log report what the policy would refuse, and it refuses nothing.
    Shadow,
}

/// The policies of a route that can be in shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Address lists, media types, and the length of the body by its `Content-Length`.
    Shields,
    /// Authentication.
    Auth,
    /// Authorisation.
    Access,
    /// All rate limits.
    Limits,
}
