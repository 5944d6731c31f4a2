//! Parameters of requests.

use gatekeeper_model::value::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// The most entries: 1 to [`Page::LONGEST`].
    pub limit: usize,
    /// The number of entries before the page.
    pub offset: usize,
}

impl Page {
    /// The longest page.
    pub const LONGEST: usize = 1000;
}

impl Default for Page {
    fn default() -> Self {
        Page { limit: 100, offset: 0 }
    }
}

/// A target of a service; the whole service if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// The target's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A registered instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its URL, as it was registered.
    pub service_url: String,
}

/// The subject of a query for used rate limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// A client address or a user.
    pub subject: String,
    /// The authority for the user: an issuer, or the authentication method (`api_key`, `certificate`, …). If absent, the answer
    /// has the state for each authority that the configuration has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// The parameters of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Upgrading {
    /// How long the new process may take to start.
    pub timeout: Period,
}
