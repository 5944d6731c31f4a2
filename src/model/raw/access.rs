//! What a user must be to take a route, as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The conditions that a user must fulfil. All of the keys must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The user has all of these scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The user has one of these roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Conditions on claims, all of which must hold. A name such as `org.id` leads into objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, ClaimCondition>,
    /// All of these conditions hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Access>,
    /// One of these conditions holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Access>,
}

/// A condition on a claim: a text that it must equal, or one of the forms below. Numbers, `true` and `false` are
/// compared as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ClaimCondition {
    /// The claim equals this text.
    Equals(String),
    /// Another form.
    Form(ClaimForm),
}

/// The forms of a condition on a claim.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClaimForm {
    /// The claim is one of these.
    OneOf(Vec<String>),
    /// The claim is a list with this element.
    Contains(String),
    /// The claim equals what the path captured under this name.
    Captured(String),
}
