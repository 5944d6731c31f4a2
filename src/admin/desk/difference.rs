//! What a change does, in terms of fields: `route orders: timeout 30s -> 10s`. Dry runs, revisions, the audit and the command line
//! all show this.

use gatekeeper_client::{Action, FieldChange, ObjectChange};
use gatekeeper_model::object::Kind;
use serde_json::Value;

/// What an object was and what it is, as it may be shown; whether its secrets changed.
pub struct Difference<'d> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'d str,
    /// What it was.
    pub before: Option<&'d Value>,
    /// What it is.
    pub after: Option<&'d Value>,
}

impl Difference<'_> {
    /// The change, field by field. An object that is added or removed has no fields.
    pub fn told(&self) -> ObjectChange {
        let mut fields = Vec::new();
        let action = match (self.before, self.after) {
            (None, _) => Action::Add,
            (_, None) => Action::Remove,
            (Some(before), Some(after)) => {
                compare(String::new(), before, after, &mut fields);
                Action::Change
            }
        };
        ObjectChange { kind: self.kind.as_str().to_owned(), name: self.name.to_owned(), action, fields }
    }
}

fn compare(at: String, before: &Value, after: &Value, fields: &mut Vec<FieldChange>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            let mut keys: Vec<&String> = before.keys().chain(added).collect();
            keys.sort();
            for key in keys {
                let below = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let nothing = Value::Null;
                let (before, after) = (before.get(key).unwrap_or(&nothing), after.get(key).unwrap_or(&nothing));
                compare(below, before, after, fields);
            }
        }
        (before, after) => fields.push(FieldChange { field: at, before: before.clone(), after: after.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Option<Value>, after: Option<Value>) -> ObjectChange {
        Difference { kind: Kind::Route, name: "orders", before: before.as_ref(), after: after.as_ref() }.told()
    }

    #[test]
    fn a_change_is_told_field_by_field() {
        let before = json!({"timeout": "30s", "retry": {"on": ["reset"], "backoff": {"base": "1s"}}, "hosts": ["a"]});
        let after = json!({"timeout": "10s", "retry": {"on": ["reset"], "backoff": {"base": "2s"}}, "is_public": true});
        let change = told(Some(before.clone()), Some(after));
        let fields: Vec<_> = change.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(fields, ["hosts", "is_public", "retry.backoff.base", "timeout"]);
        assert_eq!(
            change.to_string(),
            "route orders: hosts [\"a\"] -> nothing, is_public nothing -> true, retry.backoff.base 1s -> 2s and 1 more"
        );
        assert_eq!(told(None, Some(before.clone())).to_string(), "route orders added");
        assert_eq!(told(Some(before.clone()), None).to_string(), "route orders removed");
        assert!(told(Some(before.clone()), Some(before)).fields.is_empty());
    }
}
