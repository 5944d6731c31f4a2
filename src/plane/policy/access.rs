//! What a user must be to take a route: scopes, roles and claims, combined with all and any.
//!
//! A claim is compared as a text; numbers and truth values as they are written. A claim that is a list equals nothing: it may
//! contain something. What the path captured is compared with its percent-encoding undone. A claim that is missing, or a capture that the path does not have, fulfils no condition.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::auth::identity::{Claims, Identity, claim, text};

/// What a user must be: all of it must hold.
#[derive(Debug, Default)]
pub struct Access {
    conditions: Box<[Condition]>,
}

/// One condition.
#[derive(Debug)]
pub enum Condition {
    /// The user has this scope.
    Scope(Box<str>),
    /// The user has one of these roles.
    Roles(Box<[Box<str>]>),
    /// A claim is what it must be.
    Claim(Box<str>, Wanted),
    /// One of these holds.
    Any(Box<[Access]>),
}

/// What a claim must be.
#[derive(Debug)]
pub enum Wanted {
    /// One of these.
    OneOf(Box<[Box<str>]>),
    /// A list with this in it.
    Contains(Box<str>),
    /// What the path captured under this name.
    Captured(Box<str>),
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing<'a> {
    /// A scope.
    Scope(&'a str),
    /// A role.
    Role,
    /// A claim's value.
    Claim(&'a str),
    /// None of several ways holds.
    Any,
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Scope(scope) => write!(f, "the scope {scope} is missing"),
            Missing::Role => f.write_str("a role that may do this is missing"),
            Missing::Claim(name) => write!(f, "the claim {name} is not what it must be here"),
            Missing::Any => f.write_str("nothing that may do this is there"),
        }
    }
}

impl Access {
    /// All of these conditions.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Access { conditions: conditions.into() }
    }

    /// The conditions.
    pub fn into_conditions(self) -> Vec<Condition> {
        self.conditions.into()
    }

    /// Every scope that is asked for in any case.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::Scope(scope) => Some(&**scope),
            _ => None,
        })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// The first condition that does not hold. `captured` tells what the path captured under a name.
    pub fn check<'c>(&self, user: &Identity, captured: &dyn Fn(&str) -> Option<&'c str>) -> Result<(), Missing<'_>> {
        self.conditions.iter().try_for_each(|condition| condition.check(user, captured))
    }

    /// Every name that conditions on captures use.
    pub fn captures(&self) -> Vec<&str> {
        let names = self.conditions.iter().flat_map(|condition| match condition {
            Condition::Claim(_, Wanted::Captured(name)) => vec![&**name],
            Condition::Any(any) => any.iter().flat_map(Access::captures).collect(),
            _ => Vec::new(),
        });
        names.collect()
    }
}

impl Condition {
    fn check<'c>(&self, user: &Identity, captured: &dyn Fn(&str) -> Option<&'c str>) -> Result<(), Missing<'_>> {
        let (holds, missing) = match self {
            Condition::Scope(scope) => (user.scopes.contains(scope), Missing::Scope(scope)),
            Condition::Roles(roles) => (roles.iter().any(|role| user.roles.contains(role)), Missing::Role),
            Condition::Claim(name, wanted) => (wanted.is(&user.claims, name, captured), Missing::Claim(name)),
            Condition::Any(any) => (any.iter().any(|access| access.check(user, captured).is_ok()), Missing::Any),
        };
        if holds { Ok(()) } else { Err(missing) }
    }
}

impl Wanted {
    fn is<'c>(&self, claims: &Claims, name: &str, captured: &dyn Fn(&str) -> Option<&'c str>) -> bool {
        let Some(value) = claim(claims, name) else { return false };
        match (self, value) {
            (Wanted::OneOf(texts), _) => text(value).is_some_and(|value| texts.iter().any(|text| **text == *value)),
            (Wanted::Contains(wanted), Value::Array(list)) => list.iter().filter_map(text).any(|text| text == **wanted),
            (Wanted::Contains(_), _) => false,
            (Wanted::Captured(name), _) => text(value).is_some_and(|value| {
                captured(name).is_some_and(|captured| percent_decode_str(captured).eq(value.bytes()))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn boxed(texts: &[&str]) -> Box<[Box<str>]> {
        texts.iter().map(|text| Box::from(*text)).collect()
    }

    fn user() -> Identity {
        let claims = json!({ "sub": "u-1", "tenant": "acme", "level": 3, "staff": true, "groups": ["a", 7], "org": { "id": "o" }, "none": null });
        let claims = claims.as_object().unwrap().clone();
        let (roles, scopes) = (boxed(&["editor"]), boxed(&["read", "write"]));
        Identity { issuer: "i".into(), subject: "u-1".into(), roles, scopes, claims, ..Identity::default() }
    }

    fn holds(condition: Condition) -> bool {
        let captured = |name: &str| Some("u-1").filter(|_| name == "id");
        Access::new(vec![condition]).check(&user(), &captured).is_ok()
    }

    fn is(name: &str, wanted: Wanted) -> bool {
        holds(Condition::Claim(name.into(), wanted))
    }

    #[test]
    fn conditions_on_claims() {
        let one_of = |texts: &[&str]| Wanted::OneOf(boxed(texts));
        assert!(
            is("tenant", one_of(&["acme"])) && is("tenant", one_of(&["x", "acme"])) && is("org.id", one_of(&["o"]))
        );
        assert!(is("level", one_of(&["3"])) && is("staff", one_of(&["true"])));
        assert!(!is("tenant", one_of(&["Acme"])) && !is("tenant", one_of(&[])) && !is("level", one_of(&["3.0"])));
        assert!(!is("groups", one_of(&["a"])) && !is("missing", one_of(&[""])) && !is("none", one_of(&["", "null"])));
        assert!(is("groups", Wanted::Contains("a".into())) && is("groups", Wanted::Contains("7".into())));
        assert!(!is("groups", Wanted::Contains("b".into())) && !is("tenant", Wanted::Contains("acme".into())));
        assert!(is("sub", Wanted::Captured("id".into())));
        assert!(!is("tenant", Wanted::Captured("id".into())) && !is("sub", Wanted::Captured("other".into())));
        assert!(!is("missing", Wanted::Captured("other".into())));
    }

    #[test]
    fn all_scopes_one_role() {
        assert!(holds(Condition::Scope("read".into())) && !holds(Condition::Scope("rea".into())));
        assert!(holds(Condition::Roles(boxed(&["admin", "editor"]))) && !holds(Condition::Roles(boxed(&["admin"]))));
        let both = Access::new(vec![Condition::Scope("read".into()), Condition::Scope("delete".into())]);
        assert_eq!(both.check(&user(), &|_| None), Err(Missing::Scope("delete")));
    }

    #[test]
    fn any_needs_one_whose_all_holds() {
        let scope = |text: &str| Condition::Scope(text.into());
        let any = |ways: Vec<Vec<Condition>>| Condition::Any(ways.into_iter().map(Access::new).collect());
        assert!(holds(any(vec![vec![scope("delete")], vec![scope("read"), scope("write")]])));
        assert!(!holds(any(vec![vec![scope("read"), scope("delete")], vec![scope("delete")]])));
        assert!(!holds(any(vec![])));
        assert!(holds(any(vec![vec![]])));
    }
}
