//! What has changed after a reload or an upgrade.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::revision::ObjectChange;

/// The gateway applied its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Reloaded {
    /// The revision that serves now.
    pub revision: u64,
    /// Warnings about the configuration.
    pub lints: Vec<String>,
    /// Changed settings that take effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// What a change of objects did, or would do.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Applied {
    /// The revision that serves now.
    pub revision: u64,
    /// What changed.
    pub changes: Vec<ObjectChange>,
    /// Warnings about what changed.
    pub warnings: Vec<String>,
}

/// A new process replaced the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Upgraded {
    /// The process that serves now.
    pub pid: u32,
}
