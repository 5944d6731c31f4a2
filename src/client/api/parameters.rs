//! Parameters of queries.

use gatekeeper_model::value::Period;
use serde::{Deserialize, Serialize};

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// At most so many entries, 1 to [`Page::LONGEST`].
    pub limit: usize,
    /// After so many entries.
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

/// Which target of a service is meant; the whole service if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// The target's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Which registered instance of a service is meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its URL, as it was registered.
    pub service_url: String,
}

/// The subject whose standing with the rate limits is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// An address, or a user.
    pub subject: String,
    /// Who vouches for the user: an issuer, or the method by which the user is known (`api_key`, `certificate`, …). Absent, the
    /// answer has the standing under each of them that the configuration has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// How an upgrade is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Upgrading {
    /// How long the new process may take to start.
    pub timeout: Period,
}
