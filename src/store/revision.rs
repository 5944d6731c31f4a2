//! The numbered states of the store, and what each changed.

use serde_json::Value;
use uuid::Uuid;

use crate::audit::{Author, Entry};
use crate::digest::Sum;
use crate::object::Kind;

/// What is to be changed, all of it or nothing.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision that the change is based on. Another head refuses it.
    pub parent: u64,
    /// Who wants it.
    pub author: Author,
    /// What it is, in a sentence.
    pub summary: String,
    /// What happens to each object; an object is named once at most.
    pub edits: Vec<Edit>,
    /// The hash of the files that the objects were merged with.
    pub file_hash: Option<String>,
    /// What the audit says of it. The revision is filled in.
    pub entries: Vec<Entry>,
}

/// What happens to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// It is made, or takes this name and this body.
    Put {
        /// Its id.
        id: Uuid,
        /// What it is. The kind of an object never changes.
        kind: Kind,
        /// Its name.
        name: String,
        /// What it says.
        body: Value,
    },
    /// It is removed.
    Remove {
        /// Its id.
        id: Uuid,
    },
}

impl Edit {
    /// The object's id.
    pub fn id(&self) -> Uuid {
        match self {
            Edit::Put { id, .. } | Edit::Remove { id } => *id,
        }
    }
}

/// A state of the store. The first one, which has no objects, has the number 0 and no author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number. There are no gaps.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub actor: String,
    /// What changed, in a sentence.
    pub summary: String,
    /// The hash of all objects.
    pub hash: String,
    /// The hash of the files that the objects were merged with.
    pub file_hash: Option<String>,
}

impl Revision {
    /// The state without objects.
    pub fn first() -> Revision {
        Revision {
            number: 0,
            created_at: 0,
            actor: String::new(),
            summary: "the empty state".into(),
            hash: Sum::default().text(),
            file_hash: None,
        }
    }
}

/// What a revision did to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The object's id.
    pub id: Uuid,
    /// What it is.
    pub kind: Kind,
    /// Its name before, if it was there.
    pub name_before: Option<String>,
    /// Its name after; the last it had if it was removed.
    pub name: String,
    /// What it said before, if it was there.
    pub before: Option<Value>,
    /// What it says after, unless it was removed.
    pub after: Option<Value>,
}
