//! The gateways that share a store.

use uuid::Uuid;

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, which it keeps in its state directory.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Where its administration answers.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The revision that it serves.
    pub revision: u64,
    /// The hash of the plan that it serves.
    pub hash: String,
    /// Why it does not serve the newest revision, if it can't.
    pub fault: Option<String>,
    /// When it reported last, in milliseconds since 1970.
    pub seen_at: i64,
}
