//! A request for the gateway to explain.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A request to explain.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inquiry {
    /// `GET /path` or `GET https://host/path`.
    pub request: String,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The listener that the request comes by, by name or address. If absent: the first one that speaks the scheme of the request's
    /// URL; for a path without a URL, the first one that does more than redirect to https.
    #[serde(default)]
    pub listener: Option<String>,
    /// The client's address.
    #[serde(default)]
    pub from: Option<IpAddr>,
    /// The user. The request counts as authenticated as this user, without a credential.
    #[serde(default)]
    pub user: Option<String>,
    /// The roles of that user, whatever the claim is called that has them.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The claims of that user.
    #[serde(default)]
    pub claims: Map<String, Value>,
}
