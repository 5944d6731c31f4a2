//! What a gateway serves by: the objects that were made through the API, in the vocabulary of the configuration.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::failure::Failure;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A route.
    Route,
    /// A rule that limits rates.
    RateLimit,
    /// A service.
    Service,
    /// The settings of CORS. There is one object of this kind at most.
    Cors,
}

/// All kinds, in the order in which a state is exported.
pub const KINDS: [Kind; 4] = [Kind::Service, Kind::Route, Kind::RateLimit, Kind::Cors];

impl Kind {
    /// Its name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Route => "route",
            Kind::RateLimit => "rate_limit",
            Kind::Service => "service",
            Kind::Cors => "cors",
        }
    }

    pub(crate) fn read(text: &str) -> Result<Kind, Failure> {
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| Failure::Damaged(format!("an object of the unknown kind {text:?}")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
