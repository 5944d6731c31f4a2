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

/// A condition that does not hold, and the user who does not fulfil it.
pub struct Missing<'a> {
    condition: &'a Condition,
    user: &'a Identity,
}

impl fmt::Display for Missing<'_> {
    /// What the client may read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.condition {
            Condition::Scope(scope) => write!(f, "the required scope {scope} is missing"),
            Condition::Roles(_) => f.write_str("a required role is missing"),
            Condition::Claim(name, _) if claim(&self.user.claims, name).is_none() => {
                write!(f, "the required claim {name} is missing")
            }
            Condition::Claim(name, _) => write!(f, "the claim {name} does not have the required value"),
            Condition::Any(_) => f.write_str("none of the alternatives that the route allows is fulfilled"),
        }
    }
}

impl Missing<'_> {
    /// What was expected and what was there, for the log. `captured` tells what the path captured under a name.
    pub fn cause<'c>(&self, captured: &dyn Fn(&str) -> Option<&'c str>) -> String {
        let user = self.user;
        match self.condition {
            Condition::Scope(scope) => {
                format!("needs the scope {scope}, the credential has [{}]", listed(&user.scopes))
            }
            Condition::Roles(roles) => {
                format!("needs one of the roles [{}], the credential has [{}]", listed(roles), listed(&user.roles))
            }
            Condition::Claim(name, wanted) => {
                let found = claim(&user.claims, name).map_or_else(|| "missing".into(), shortened);
                format!("the claim {name} must {}, it is {found}", wanted.told(captured))
            }
            Condition::Any(ways) => {
                let missing = ways.iter().filter_map(|way| way.check(user, captured).err());
                let causes: Vec<_> = missing.map(|missing| missing.cause(captured)).collect();
                if causes.is_empty() { "there is no alternative".into() } else { causes.join("; or ") }
            }
        }
    }
}

/// Texts of a token in a line of the log, which they may not break.
fn listed(texts: &[Box<str>]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| text.escape_debug().to_string()).collect();
    texts.join(", ")
}

/// A claim's value, in JSON. Tokens are long, lines of a log had better not be.
pub fn shortened(value: &Value) -> String {
    const LONGEST: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
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
    pub fn check<'a, 'c>(
        &'a self,
        user: &'a Identity,
        captured: &dyn Fn(&str) -> Option<&'c str>,
    ) -> Result<(), Missing<'a>> {
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
    fn check<'a, 'c>(
        &'a self,
        user: &'a Identity,
        captured: &dyn Fn(&str) -> Option<&'c str>,
    ) -> Result<(), Missing<'a>> {
        let holds = match self {
            Condition::Scope(scope) => user.scopes.contains(scope),
            Condition::Roles(roles) => roles.iter().any(|role| user.roles.contains(role)),
            Condition::Claim(name, wanted) => wanted.is(&user.claims, name, captured),
            Condition::Any(any) => any.iter().any(|access| access.check(user, captured).is_ok()),
        };
        if holds { Ok(()) } else { Err(Missing { condition: self, user }) }
    }
}

impl Wanted {
    fn told<'c>(&self, captured: &dyn Fn(&str) -> Option<&'c str>) -> String {
        match self {
            Wanted::OneOf(texts) => format!("be one of [{}]", texts.join(", ")),
            Wanted::Contains(text) => format!("contain {text:?}"),
            Wanted::Captured(name) => match captured(name) {
                Some(text) => format!("equal {{{name}}} of the path, which is {text:?}"),
                None => format!("equal {{{name}}} of the path, which has no such part"),
            },
        }
    }

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
        let user = user();
        let missing = both.check(&user, &|_| None).err().unwrap();
        assert_eq!(missing.to_string(), "the required scope delete is missing");
    }

    #[test]
    fn what_was_expected_and_what_was_there_is_told_to_the_log_alone() {
        let claim = |name: &str, wanted| Condition::Claim(name.into(), wanted);
        let captured = |name: &str| Some("u-2").filter(|_| name == "id");
        let any = Condition::Any(Box::new([
            Access::new(vec![Condition::Roles(boxed(&["admin"]))]),
            Access::new(vec![claim("sub", Wanted::Captured("id".into()))]),
        ]));
        for (condition, told, cause) in [
            (
                Condition::Scope("delete".into()),
                "the required scope delete is missing",
                "needs the scope delete, the credential has [read, write]",
            ),
            (
                Condition::Roles(boxed(&["admin", "owner"])),
                "a required role is missing",
                "needs one of the roles [admin, owner], the credential has [editor]",
            ),
            (
                claim("tenant", Wanted::OneOf(boxed(&["other", "third"]))),
                "the claim tenant does not have the required value",
                "the claim tenant must be one of [other, third], it is \"acme\"",
            ),
            (
                claim("groups", Wanted::Contains("b".into())),
                "the claim groups does not have the required value",
                "the claim groups must contain \"b\", it is [\"a\",7]",
            ),
            (
                claim("plan", Wanted::OneOf(boxed(&["pro"]))),
                "the required claim plan is missing",
                "the claim plan must be one of [pro], it is missing",
            ),
            (
                any,
                "none of the alternatives that the route allows is fulfilled",
                "needs one of the roles [admin], the credential has [editor]; or the claim sub must equal {id} of the path, \
                 which is \"u-2\", it is \"u-1\"",
            ),
        ] {
            let (access, user) = (Access::new(vec![condition]), user());
            let missing = access.check(&user, &captured).err().unwrap();
            assert_eq!((missing.to_string().as_str(), missing.cause(&captured).as_str()), (told, cause));
        }
        assert!(shortened(&json!("x".repeat(5000))).len() < 210);
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
