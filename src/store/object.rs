//! What a gateway serves by: the objects that were made through the API, in the vocabulary of the configuration.

pub use gatekeeper_model::object::Kind;
use serde_json::Value;
use uuid::Uuid;

/// An object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its id.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Its name, unique within its kind.
    pub name: String,
    /// What it says.
    pub body: Value,
    /// The revision that changed it last.
    pub revision: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was changed last.
    pub updated_at: i64,
}
