//! Compiles what a user must be.

use crate::policy::access::{Access, Condition, Wanted};
use gatekeeper_core::route::PathPattern;
use gatekeeper_model::raw::{self, ClaimCondition, ClaimForm};
use gatekeeper_model::{Faults, Place};

/// Alternatives within alternatives: what goes deeper is hardly meant.
const DEEPEST: usize = 4;

const CONDITIONS: &str = "scopes, roles, claims, all or any";

/// Compiles what a user must be to take a route whose path looks like this.
pub fn compile(raw: &raw::Access, pattern: Option<&PathPattern>, place: &Place, faults: &mut Faults) -> Access {
    let access = compile_level(raw, 0, place, faults);
    if access.is_empty() {
        faults.push(place.clone(), "no condition", CONDITIONS);
    }
    let Some(pattern) = pattern else { return access };
    for name in access.captures().into_iter().filter(|name| !pattern.offers(name)) {
        let offered: Vec<&str> = pattern.names().collect();
        let allowed =
            if offered.is_empty() { "nothing: path_pattern captures nothing".into() } else { offered.join(", ") };
        faults.push(place.clone(), format!("captured: {name:?}, which path_pattern does not capture"), allowed);
    }
    access
}

fn compile_level(raw: &raw::Access, depth: usize, place: &Place, faults: &mut Faults) -> Access {
    let mut conditions = Vec::new();
    for (index, scope) in raw.scopes.iter().enumerate() {
        // RFC 6749 3.3.
        if scope.is_empty() || !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            faults.push(place.key("scopes").index(index), format!("{scope:?}"), "a scope, without spaces and quotes");
        }
        conditions.push(Condition::Scope(scope.as_str().into()));
    }
    if !raw.roles.is_empty() {
        conditions.push(Condition::Roles(boxed(&raw.roles)));
    }
    for (name, condition) in &raw.claims {
        conditions.push(Condition::Claim(name.as_str().into(), wanted(condition)));
    }
    let mut levels = |key: &str, list: &[raw::Access]| -> Vec<Access> {
        let places = list.iter().enumerate().map(|(index, raw)| (place.key(key).index(index), raw));
        let mut level = |(place, raw): (Place, &raw::Access)| {
            if depth >= DEEPEST {
                faults.push(place, "alternatives that deep", format!("{DEEPEST} levels"));
                return Access::default();
            }
            let level = compile_level(raw, depth + 1, &place, faults);
            if level.is_empty() {
                faults.push(place, "no condition", CONDITIONS);
            }
            level
        };
        places.map(&mut level).collect()
    };
    conditions.extend(levels("all", &raw.all).into_iter().flat_map(Access::into_conditions));
    let any = levels("any", &raw.any);
    if !any.is_empty() {
        conditions.push(Condition::Any(any.into()));
    }
    Access::new(conditions)
}

fn wanted(condition: &ClaimCondition) -> Wanted {
    match condition {
        ClaimCondition::Equals(text) => Wanted::OneOf(boxed(std::slice::from_ref(text))),
        ClaimCondition::Form(ClaimForm::OneOf(texts)) => Wanted::OneOf(boxed(texts)),
        ClaimCondition::Form(ClaimForm::Contains(text)) => Wanted::Contains(text.as_str().into()),
        ClaimCondition::Form(ClaimForm::Captured(name)) => Wanted::Captured(name.as_str().into()),
    }
}

fn boxed(texts: &[String]) -> Box<[Box<str>]> {
    texts.iter().map(|text| text.as_str().into()).collect()
}
