//! Objects of the API: routes, services, rate limits, the CORS policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::revision::ObjectChange;

/// An object, with the fields of the configuration beside those that the gateway adds.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Object {
    /// Its id.
    pub id: String,
    /// The fields of the configuration, with their defaults and without secrets.
    #[serde(flatten)]
    pub body: Map<String, Value>,
    /// Who owns it: `api`, or `file:` and the name of the file that declares it.
    pub managed_by: String,
    /// The version of the object, for `If-Match`.
    pub etag: String,
    /// When it was made; null if a file declares it.
    pub created_at: Option<String>,
    /// When it was changed last; null if a file declares it.
    pub updated_at: Option<String>,
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Changed<T> {
    /// What was written.
    #[serde(flatten)]
    pub subject: T,
    /// Warnings about it.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// For a dry run: what the write would change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ObjectChange>>,
}
