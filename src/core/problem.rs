//! The document an error is told in (RFC 9457). It is written by hand: a flood of refusals makes many.

use http::header::RETRY_AFTER;

use super::refusal::Refusal;
use crate::json::{digits, escaped, quoted};

/// Its media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Most are shorter.
const USUAL_LENGTH: usize = 512;

/// The document of a refusal; the instance is the path that was asked for, where there is one.
pub fn document(refusal: &Refusal, instance: Option<&str>, request_id: &str) -> Vec<u8> {
    let kind = refusal.kind;
    let mut out = Vec::with_capacity(USUAL_LENGTH);
    out.extend_from_slice(b"{\"type\":\"urn:gatekeeper:error:");
    escaped(&mut out, kind.code.as_bytes());
    text(&mut out, b"\",\"title\":", kind.title);
    number(&mut out, b",\"status\":", kind.status.into());
    text(&mut out, b",\"detail\":", &refusal.detail);
    if let Some(instance) = instance {
        text(&mut out, b",\"instance\":", instance);
    }
    text(&mut out, b",\"code\":", kind.code);
    text(&mut out, b",\"request_id\":", request_id);
    rules(&mut out, refusal);
    if let Some(seconds) = retry_after(refusal) {
        number(&mut out, b",\"retry_after\":", seconds);
    }
    out.push(b'}');
    out
}

fn rules(out: &mut Vec<u8>, refusal: &Refusal) {
    let mut before: &[u8] = b",\"violated_policies\":[";
    for rule in &refusal.rules {
        text(out, before, rule);
        before = b",";
    }
    if !refusal.rules.is_empty() {
        out.push(b']');
    }
}

fn text(out: &mut Vec<u8>, before: &[u8], value: &str) {
    out.extend_from_slice(before);
    quoted(out, value.as_bytes());
}

fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    digits(out, value);
}

/// The seconds after which it may be tried again.
pub fn retry_after(refusal: &Refusal) -> Option<u64> {
    let (_, value) = refusal.headers.iter().find(|(name, _)| name == RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::refusal::Kind;

    const HOSTILE: &str = "\"}\\\",\\u0041 \0\u{8}\t\n\u{c}\r\u{1b}\u{1f}\u{7f}\u{85} ä \u{2028}\u{2029}\u{feff} 𝄞\\";

    fn limited(detail: &'static str, rules: &[&str]) -> Refusal {
        let rules = rules.iter().map(|rule| (*rule).into()).collect();
        let refusal = Refusal::new(Kind::RATE_LIMITED, detail).for_rules(rules);
        refusal.with_header(RETRY_AFTER, HeaderValue::from_static("42"))
    }

    #[test]
    fn members_stand_in_their_order() {
        let text =
            |refusal: Refusal, instance: Option<&str>| String::from_utf8(document(&refusal, instance, "id-1")).unwrap();
        assert_eq!(
            text(limited("used up", &["login", "users"]), Some("/a")),
            "{\"type\":\"urn:gatekeeper:error:rate_limited\",\"title\":\"Too many requests\",\"status\":429,\
             \"detail\":\"used up\",\"instance\":\"/a\",\"code\":\"rate_limited\",\"request_id\":\"id-1\",\
             \"violated_policies\":[\"login\",\"users\"],\"retry_after\":42}"
        );
        assert_eq!(
            text(Refusal::new(Kind::NO_ROUTE, "nothing"), None),
            "{\"type\":\"urn:gatekeeper:error:no_route\",\"title\":\"No matching route\",\"status\":404,\
             \"detail\":\"nothing\",\"code\":\"no_route\",\"request_id\":\"id-1\"}"
        );
    }

    #[test]
    fn hostile_texts_stay_inside_their_strings() {
        let parsed = |document: Vec<u8>| serde_json::from_slice::<Value>(&document).unwrap();
        let wanted = json!({
            "type": "urn:gatekeeper:error:rate_limited", "title": "Too many requests", "status": 429, "detail": HOSTILE,
            "instance": HOSTILE, "code": "rate_limited", "request_id": HOSTILE, "violated_policies": [HOSTILE, "b"],
            "retry_after": 42,
        });
        assert_eq!(parsed(document(&limited(HOSTILE, &[HOSTILE, "b"]), Some(HOSTILE), HOSTILE)), wanted);
        let kind = Kind { code: HOSTILE, title: HOSTILE, ..Kind::NO_ROUTE };
        let wanted = json!({
            "type": format!("urn:gatekeeper:error:{HOSTILE}"), "title": HOSTILE, "status": 404, "detail": "",
            "code": HOSTILE, "request_id": "",
        });
        assert_eq!(parsed(document(&Refusal::new(kind, ""), None, "")), wanted);
    }
}
