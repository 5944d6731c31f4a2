//! The report of `why`: a refused request.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A request that was refused, or would have been without shadow mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The request's id.
    pub request_id: String,
    /// The time of the request.
    #[serde(with = "moment")]
    pub time: Timestamp,
    /// Its method.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub method: Option<String>,
    /// Its canonical path.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The route it took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<String>,
    /// The service of the route.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_service: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_ip: Option<IpAddr>,
    /// The user and its issuer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// The status of the answer; absent if the client went away before there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<u16>,
    /// The code of the refusal; absent if the request was not refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// What the client was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The internal cause, which the client does not see.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// The rules that refused it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub violated_policies: Vec<String>,
    /// After how many seconds the client may try again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u64>,
    /// What policies in shadow mode would have refused it for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_refuse: Option<String>,
}

/// A time as text, made only when it is serialized.
mod moment {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(moment)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
