//! Errors of the administration API, as problem documents (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use gatekeeper_model::fault::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error, as the gateway reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Problem {
    /// `urn:gatekeeper:error:` and the code.
    pub r#type: String,
    /// The name of the status.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, in a sentence.
    pub detail: String,
    /// The stable code of the error.
    pub code: Cow<'static, str>,
    /// The faults of the request body or of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FaultAt>,
}

/// A fault, and its place in the request body or in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct FaultAt {
    /// Where it is, such as `gatekeeper.yaml: routes[3].path_pattern`.
    pub place: String,
    /// The file, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in the file, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The place without its file: `routes[3].path_pattern`.
    pub path: String,
    /// The name of the route, service, rate limit, test or listener that it belongs to, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was found; a complete sentence if `allowed` is empty.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// A hint, such as the name that was probably meant.
    pub hint: String,
}

impl From<&Fault> for FaultAt {
    fn from(fault: &Fault) -> Self {
        FaultAt {
            place: fault.place.to_string(),
            file: fault.file().map(String::from),
            line: fault.line(),
            path: fault.place.path(),
            name: fault.name().map(String::from),
            found: fault.found.clone(),
            allowed: fault.allowed.clone(),
            hint: fault.hint.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.detail.trim_end() {
            "" => "the gateway refused the request",
            detail => detail,
        })
    }
}

impl std::error::Error for Problem {}
