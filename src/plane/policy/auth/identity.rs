//! Who a request's user is: an issuer and a subject, and what is known of them.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::told::Told;

/// A token's claims, or what stands for them.
pub type Claims = Map<String, Value>;

/// Who a request's user is. Two are the same user if issuer and subject are.
#[derive(Debug, Default)]
pub struct Identity {
    /// Who says so.
    pub issuer: Arc<str>,
    /// The user.
    pub subject: Box<str>,
    /// What the user is.
    pub roles: Box<[Box<str>]>,
    /// What the user may do.
    pub scopes: Box<[Box<str>]>,
    /// All that is known.
    pub claims: Claims,
    /// When that ends.
    pub expires: Option<SystemTime>,
    /// What upstreams are told, as soon as one was.
    pub told: OnceLock<Told>,
}

impl Identity {
    /// What tells the user from all others; nobody who has no name.
    pub fn name(&self) -> Option<(&[u8], &[u8])> {
        (!self.subject.is_empty()).then_some((self.issuer.as_bytes(), self.subject.as_bytes()))
    }
}

/// The value a dotted name leads to: `org.id` is the member `id` of the member `org`, if there is no member `org.id`.
pub fn claim<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// A claim that is a text, or a number or a truth value as it is written.
pub fn text(value: &Value) -> Option<std::borrow::Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A claim that is a list of texts; a single text is split at its spaces (RFC 8693 4.2).
pub fn texts(value: Option<&Value>) -> Box<[Box<str>]> {
    match value {
        Some(Value::String(text)) => text.split_ascii_whitespace().map(Box::from).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(Box::from).collect(),
        _ => Box::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dotted_name_leads_into_objects() {
        let claims =
            json!({ "sub": "u", "realm_access": { "roles": ["a", "b"] }, "x.y": 1, "x": { "y": 2, "z": true } });
        let claims = claims.as_object().unwrap();
        let found = |name: &str| claim(claims, name).cloned().unwrap_or_default();
        assert_eq!(found("sub"), json!("u"));
        assert_eq!(found("realm_access.roles"), json!(["a", "b"]));
        assert_eq!(found("x.y"), json!(1));
        assert_eq!(found("x.z"), json!(true));
        for missing in ["", ".", "x.", ".x", "sub.x", "realm_access.roles.0", "x.y.z"] {
            assert_eq!(found(missing), Value::Null, "{missing:?}");
        }
    }

    #[test]
    fn lists_are_lists_or_words() {
        let read = |value: Value| texts(Some(&value)).join("|");
        assert_eq!(read(json!("read  write")), "read|write");
        assert_eq!(read(json!(["read write", 1, "x"])), "read write|x");
        assert_eq!(read(json!({ "a": 1 })), "");
        assert_eq!(texts(None).len(), 0);
    }
}
