//! Tokens of the API. The store knows their digests alone.

use uuid::Uuid;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Its name, which is unique.
    pub name: String,
    /// What it permits.
    pub role: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it ends, if it does.
    pub expires_at: Option<i64>,
    /// When it was shown last, if it was.
    pub last_used_at: Option<i64>,
}
