//! Who did what. Entries hold fingerprints of secrets, never the secrets: whoever writes an entry has masked it.

use std::net::IpAddr;

use serde_json::Value;
use uuid::Uuid;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The name of the token or of the user.
    pub name: String,
    /// The role.
    pub role: String,
    /// The caller's address; none on a unix socket.
    pub address: Option<IpAddr>,
}

/// An entry that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// `create`, `replace`, `delete`, `reset`, ….
    pub action: String,
    /// The kind of what was acted on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it was.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its id. Later entries have greater ones.
    pub id: Uuid,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Who.
    pub author: Author,
    /// What.
    pub entry: Entry,
    /// The revision that it made, if it made one.
    pub revision: Option<u64>,
}
