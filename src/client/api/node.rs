//! The gateways that share a store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// The name of its host.
    pub name: String,
    /// Where its administration answers.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The revision that it serves.
    pub revision: u64,
    /// The hash of the objects and of the files that it serves: the same for gateways that serve the same.
    pub hash: String,
    /// `live`; `behind` if it cannot serve the newest revision; `away` if it was not heard of for 10 s.
    pub status: String,
    /// Why it does not serve the newest revision, if so.
    pub fault: Option<String>,
    /// When it was heard of last.
    pub seen_at: String,
}
