//! What a token must say to be taken (RFC 7519 4.1, RFC 8725 3.8 to 3.12).
//!
//! * `exp` is demanded; it, `nbf` and `iat` are numbers from 0 to the year 9999, fractions allowed. A token holds up to
//!   `exp` plus the leeway, exclusive, and from `nbf` and `iat` less the leeway on.
//! * The subject is a text without control characters and without space at its ends, or a whole number. (A number with a
//!   fraction or of more than 64 bits would not survive as it is written: two users could become one.)

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::identity::{Claims, Identity, claim, text, texts};
use super::rejection::{Reason, Rejection};
use crate::policy::access::shortened;

/// What a token must say.
pub struct Demands {
    /// Who must have issued it.
    pub issuer: Option<Arc<str>>,
    /// For whom it must be.
    pub audience: Option<Box<str>>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Claims it must have.
    pub required: Box<[Box<str>]>,
    /// The claim that says who the user is.
    pub subject: Box<str>,
    /// The claim with the user's roles.
    pub roles: Box<str>,
}

/// What a good token says of its bearer.
#[derive(Debug)]
pub struct Holder {
    /// The user.
    pub subject: Box<str>,
    /// Until when it is taken.
    pub until: SystemTime,
}

/// The end of the year 9999.
const LATEST: f64 = 253_402_300_800.0;

impl Demands {
    /// Whether the claims of a token are what they must be.
    pub fn check(&self, claims: &Claims, now: SystemTime) -> Result<Holder, Rejection> {
        let expires = date(claims, "exp")?.ok_or_else(|| missing("exp"))?;
        let named = claim(claims, &self.subject).ok_or_else(|| missing(&self.subject))?;
        let subject = subject(named)
            .ok_or_else(|| wrong(&self.subject, named, "a text without control characters, or a whole number"))?;
        let is_there = |name: &str| claim(claims, name).is_some_and(|value| !value.is_null());
        if let Some(name) = self.required.iter().find(|name| !is_there(name)) {
            return Err(missing(name));
        }
        if let Some(ours) = self.audience.as_deref().filter(|ours| !is_for(claims.get("aud"), ours)) {
            let found = claims.get("aud").map_or_else(|| "missing".into(), shortened);
            return Err(Rejection::because(
                Reason::Audience,
                format!("expected the audience {ours:?}, `aud` is {found}"),
            ));
        }
        for begin in ["nbf", "iat"] {
            if let Some(begins) = date(claims, begin)?.filter(|begins| now + self.leeway < *begins) {
                let cause = format!("`{begin}` is {} ahead of this host's clock", apart(now, begins));
                return Err(Rejection::because(Reason::NotYetValid, cause));
            }
        }
        let until = expires + self.leeway;
        if now >= until {
            let cause = format!("`exp` was {} ago, the leeway is {} s", apart(expires, now), self.leeway.as_secs());
            return Err(Rejection::because(Reason::Expired, cause));
        }
        Ok(Holder { subject, until })
    }

    /// Who the bearer is.
    pub fn identity(&self, subject: Box<str>, until: Option<SystemTime>, issuer: Arc<str>, claims: Claims) -> Identity {
        Identity {
            issuer,
            subject,
            roles: texts(claim(&claims, &self.roles)),
            scopes: texts(claims.get("scope").or_else(|| claims.get("scp"))),
            claims,
            expires: until,
            ..Identity::default()
        }
    }
}

fn missing(name: &str) -> Rejection {
    let rejection = Rejection::because(Reason::Claim, format!("the claim {name} is missing"));
    if is_plain(name) { rejection.saying(format!("claim `{name}` is missing")) } else { rejection }
}

/// A claim that is not what it must be.
pub(super) fn wrong(name: &str, found: &Value, wanted: &str) -> Rejection {
    let cause = format!("the claim {name} must be {wanted}, it is {}", shortened(found));
    let rejection = Rejection::because(Reason::Claim, cause);
    if is_plain(name) { rejection.saying(format!("claim `{name}` is malformed")) } else { rejection }
}

/// Whether a header may quote this.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b':' | b'/'))
}

/// The time between two moments, in whole seconds.
fn apart(from: SystemTime, to: SystemTime) -> String {
    format!("{} s", to.duration_since(from).unwrap_or_default().as_secs())
}

fn date(claims: &Claims, name: &str) -> Result<Option<SystemTime>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds));
    let seconds = seconds.ok_or_else(|| wrong(name, value, "a number of seconds since 1970"))?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

fn subject(value: &Value) -> Option<Box<str>> {
    let is_whole = value.is_string() || value.is_i64() || value.is_u64();
    let text = text(value).filter(|_| is_whole)?;
    let is_subject = !text.is_empty() && text.trim() == text && !text.contains(char::is_control);
    is_subject.then(|| text.into())
}

fn is_for(audience: Option<&Value>, ours: &str) -> bool {
    match audience {
        Some(Value::Array(list)) => list.iter().any(|one| one == ours),
        Some(one) => one == ours,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn demands() -> Demands {
        Demands {
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            required: Box::default(),
            subject: "sub".into(),
            roles: "roles".into(),
        }
    }

    fn check(demands: &Demands, changes: Value) -> Result<Holder, Reason> {
        let mut claims = json!({"sub": "u", "exp": NOW + 60, "aud": ["a", "b"]});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims = claims.as_object().unwrap().iter().filter(|(_, value)| *value != "absent");
        let claims: Claims = claims.map(|(name, value)| (name.clone(), value.clone())).collect();
        demands.check(&claims, UNIX_EPOCH + Duration::from_secs(NOW)).map_err(|rejection| rejection.reason)
    }

    #[test]
    fn dates_have_a_leeway() {
        let cases = [
            (json!({"exp": NOW - 29}), None),
            (json!({"exp": NOW as f64 - 29.9}), None),
            (json!({"exp": NOW - 30}), Some(Reason::Expired)),
            (json!({"exp": NOW as f64 - 30.1}), Some(Reason::Expired)),
            (json!({"exp": 0}), Some(Reason::Expired)),
            (json!({"exp": LATEST - 1.0}), None),
            (json!({"exp": LATEST}), Some(Reason::Claim)),
            (json!({"exp": 1e300}), Some(Reason::Claim)),
            (json!({"exp": -1}), Some(Reason::Claim)),
            (json!({"exp": "1800000060"}), Some(Reason::Claim)),
            (json!({"exp": null}), Some(Reason::Claim)),
            (json!({"exp": [NOW + 60]}), Some(Reason::Claim)),
            (json!({"exp": "absent"}), Some(Reason::Claim)),
            (json!({"nbf": NOW + 30}), None),
            (json!({"nbf": NOW as f64 + 30.5}), Some(Reason::NotYetValid)),
            (json!({"nbf": true}), Some(Reason::Claim)),
            (json!({"iat": NOW + 30}), None),
            (json!({"iat": NOW + 31}), Some(Reason::NotYetValid)),
            (json!({"iat": "x"}), Some(Reason::Claim)),
            (json!({"iat": 1}), None),
        ];
        for (changes, expected) in cases {
            assert_eq!(check(&demands(), changes.clone()).err(), expected, "{changes}");
        }
    }

    #[test]
    fn the_subject_is_a_text_or_a_whole_number() {
        let cases = [
            (json!("user@example.org"), Some("user@example.org")),
            (json!("Zoë"), Some("Zoë")),
            (json!(7), Some("7")),
            (json!(-7), Some("-7")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!(1.5), None),
            (json!(1e30), None),
            (json!(""), None),
            (json!(" u"), None),
            (json!("u\u{a0}"), None),
            (json!("a\nb"), None),
            (json!("a\u{0}"), None),
            (json!("a\u{85}b"), None),
            (json!(true), None),
            (json!(null), None),
            (json!(["u"]), None),
            (json!("absent"), None),
        ];
        for (subject, expected) in cases {
            let found = check(&demands(), json!({"sub": subject.clone()}));
            assert_eq!(found.as_ref().ok().map(|holder| &*holder.subject), expected, "{subject}");
            assert!(found.is_ok() || found.is_err_and(|why| why == Reason::Claim));
        }
        let by_mail = Demands { subject: "user.mail".into(), ..demands() };
        assert_eq!(&*check(&by_mail, json!({"user": {"mail": "m"}})).unwrap().subject, "m");
        assert_eq!(check(&by_mail, json!({})).unwrap_err(), Reason::Claim);
    }

    #[test]
    fn audience_and_required_claims() {
        let ours = Demands { audience: Some("b".into()), required: ["org.id".into()].into(), ..demands() };
        let cases = [
            (json!({"org": {"id": 1}}), None),
            (json!({"org": {"id": 1}, "aud": "b"}), None),
            (json!({"org": {"id": 1}, "aud": "B"}), Some(Reason::Audience)),
            (json!({"org": {"id": 1}, "aud": "b b"}), Some(Reason::Audience)),
            (json!({"org": {"id": 1}, "aud": []}), Some(Reason::Audience)),
            (json!({"org": {"id": 1}, "aud": {"b": "b"}}), Some(Reason::Audience)),
            (json!({"org": {"id": 1}, "aud": [["b"]]}), Some(Reason::Audience)),
            (json!({"org": {"id": 1}, "aud": "absent"}), Some(Reason::Audience)),
            (json!({"org": {"id": null}}), Some(Reason::Claim)),
            (json!({"org": 1}), Some(Reason::Claim)),
        ];
        for (changes, expected) in cases {
            assert_eq!(check(&ours, changes.clone()).err(), expected, "{changes}");
        }
    }

    #[test]
    fn an_identity_has_roles_and_scopes() {
        let claims = json!({"sub": "u", "exp": NOW + 60, "scp": ["r"], "realm": {"roles": ["a", "b"]}});
        let claims = claims.as_object().unwrap().clone();
        let demands = Demands { roles: "realm.roles".into(), ..demands() };
        let holder = demands.check(&claims, UNIX_EPOCH + Duration::from_secs(NOW)).unwrap();
        assert_eq!(holder.until, UNIX_EPOCH + Duration::from_secs(NOW + 90));
        let identity = demands.identity(holder.subject, Some(holder.until), "i".into(), claims);
        assert_eq!((identity.roles.join(" "), identity.scopes.join(" ")), ("a b".into(), "r".into()));
        assert_eq!(identity.expires, Some(UNIX_EPOCH + Duration::from_secs(NOW + 90)));
    }
}
