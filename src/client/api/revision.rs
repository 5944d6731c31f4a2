//! Revisions: the numbered states of what was made through the API, and what each changed.

use std::fmt;

use gatekeeper_model::object::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A revision.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub created_at: String,
    /// Who made it.
    pub actor: String,
    /// What it changed, in a sentence.
    pub summary: String,
    /// The hash of all objects.
    pub hash: String,
    /// The fingerprint of the configuration files that it served with.
    pub file_hash: Option<String>,
    /// What it changed; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ObjectChange>>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Add,
    /// It is changed.
    Change,
    /// It is removed.
    Remove,
}

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ObjectChange {
    /// `service`, `route`, `rate_limit` or `cors`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// The fields that change, if it was there before and still is.
    pub fields: Vec<FieldChange>,
}

/// A change of a field. What is secret is masked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct FieldChange {
    /// The path of the field: `retry.backoff.base`.
    pub field: String,
    /// Its value before; null if there was none.
    pub before: Value,
    /// Its value after; null if there is none.
    pub after: Value,
}

/// How many fields of a change are told in a line.
const TOLD: usize = 3;

/// The change in a line: `route orders: timeout 30s -> 10s`.
impl fmt::Display for ObjectChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = Kind::of_name(&self.kind);
        let what = kind.map_or(self.kind.as_str(), |kind| kind.noun());
        write!(f, "{what} {}", self.name)?;
        match self.action {
            Action::Add => return f.write_str(" added"),
            Action::Remove => return f.write_str(" removed"),
            Action::Change => f.write_str(": ")?,
        }
        let fields: Vec<String> = self.fields.iter().take(TOLD).map(ToString::to_string).collect();
        f.write_str(&fields.join(", "))?;
        match self.fields.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// `timeout 30s -> 10s`.
impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Value| match value {
            Value::Null => "nothing".to_owned(),
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        write!(f, "{} {} -> {}", self.field, shown(&self.before), shown(&self.after))
    }
}
