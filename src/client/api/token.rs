//! Tokens of the API, and the audit of what was done with them.

use gatekeeper_model::value::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A token. Its secret is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Its name, which is unique.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// When it was made.
    pub created_at: String,
    /// When it ends, if it does.
    pub expires_at: Option<String>,
    /// When it was used last, to the minute, if it was.
    pub last_used_at: Option<String>,
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name, which is unique.
    pub name: String,
    /// `viewer` (read), `operator` (read, reset, drain, register) or `admin` (everything).
    pub role: String,
    /// How long it is valid. Without it, until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Period>,
}

/// A token that was made, with its secret: it is shown this once.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct TokenMade {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What a client shows as its bearer token.
    pub secret: String,
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenMade").field("token", &self.token).finish_non_exhaustive()
    }
}

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct AuditEntry {
    /// Its id. Later entries have greater ones.
    pub id: String,
    /// When.
    pub at: String,
    /// The name of the token or user.
    pub actor: String,
    /// Its role.
    pub role: String,
    /// From where; null on a unix socket.
    pub address: Option<String>,
    /// What was done: `create`, `change`, `delete`, `reset`, ….
    pub action: String,
    /// The kind of what it was done to.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it was, with the fingerprints of its secrets.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
    /// The revision that it made, if it made one.
    pub revision: Option<u64>,
}
