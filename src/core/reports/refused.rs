//! A refused request, as `why` finds it again.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A request that was refused, or would have been.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The request's id.
    pub request_id: String,
    /// When it came.
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
    /// The service it was for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_service: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_ip: Option<IpAddr>,
    /// Who the user is, and who says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<String>,
    /// The status of the answer; absent if the client went before there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status_code: Option<u16>,
    /// Why it was refused; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_code: Option<String>,
    /// What the client was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// What the client was not told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// The rules it was refused by.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub violated_policies: Vec<String>,
    /// After how many seconds it may be tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<u64>,
    /// What policies on trial would have refused it for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_refuse: Option<String>,
}

/// A moment as text, which nobody makes of it before it is asked for.
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
