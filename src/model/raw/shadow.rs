//! Policies that are tried before they hold, as they may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a policy refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It tells what it would refuse, in the metrics and the access log, and refuses nothing.
    Shadow,
}

/// The policies of a route that can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Address lists, media types, the body's length as the head tells it.
    Shields,
    /// Who the client is.
    Auth,
    /// What the user must be.
    Access,
    /// All limits.
    Limits,
}
