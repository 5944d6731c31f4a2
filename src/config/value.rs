//! Values with a meaning of their own: a period of time, a switch with its default.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A period of time: seconds, or a text such as "250ms", "30s", "5m", "1h", "30d".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[schemars(with = "String")]
pub struct Period(pub Duration);

impl Period {
    /// A period of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Period(Duration::from_secs(seconds))
    }
}

/// A switch whose value is `DEFAULT` when nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Setting<const DEFAULT: bool>(pub bool);

impl<const DEFAULT: bool> Default for Setting<DEFAULT> {
    fn default() -> Self {
        Setting(DEFAULT)
    }
}
