//! What browsers are told to be careful with, where a response does not say it itself.
//!
//! Strict-Transport-Security is said over TLS only (RFC 6797 7.2). Whether the client is on TLS with a proxy before the gateway
//! is that proxy's to say.

use http::header::{REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use gatekeeper_model::{Faults, Place, raw};

/// Headers that make browsers careful.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityHeaders {
    always: Box<[(HeaderName, HeaderValue)]>,
    transport: Option<HeaderValue>,
}

const FRAME: [&str; 3] = ["DENY", "SAMEORIGIN", ""];
const REFERRER: [&str; 9] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "same-origin",
    "origin",
    "strict-origin",
    "origin-when-cross-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
    "",
];
const HSTS: &str = "max-age=SECONDS, then ; includeSubDomains and ; preload as needed; or an empty text";

impl SecurityHeaders {
    /// Understands what is said at `place`; `None` has faults.
    pub fn compile(raw: &raw::SecurityHeaders, place: &Place, faults: &mut Faults) -> Option<Self> {
        let mut check = |key: &str, text: &str, is_good: bool, allowed: &str| {
            if !is_good {
                faults.push(place.key(key), format!("{text:?}"), allowed);
            }
            is_good
        };
        let frame = check("frame", &raw.frame, FRAME.contains(&&*raw.frame), "DENY or SAMEORIGIN, or an empty text");
        let referrer = REFERRER.contains(&&*raw.referrer);
        let referrer = check("referrer", &raw.referrer, referrer, &format!("{} or an empty text", REFERRER.join(", ")));
        let hsts = check("hsts", &raw.hsts, raw.hsts.is_empty() || is_hsts(&raw.hsts), HSTS);
        if !(frame && referrer && hsts) {
            return None;
        }
        let nosniff = if raw.nosniff.0 { "nosniff" } else { "" };
        let texts =
            [(X_CONTENT_TYPE_OPTIONS, nosniff), (X_FRAME_OPTIONS, &raw.frame), (REFERRER_POLICY, &raw.referrer)];
        let always = texts.into_iter().filter_map(|(name, text)| Some((name, value(text)?))).collect();
        Some(SecurityHeaders { always, transport: value(&raw.hsts) })
    }

    /// Adds what a response that goes out over TLS, or not, does not say itself.
    pub fn apply(&self, tls: bool, response: &mut HeaderMap) {
        for (name, value) in &self.always {
            response.entry(name).or_insert_with(|| value.clone());
        }
        if let Some(transport) = self.transport.as_ref().filter(|_| tls) {
            response.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| transport.clone());
        }
    }
}

/// A header's value, unless it is left out.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|value| !value.is_empty())
}

/// The known directives, each at most once, max-age always (RFC 6797 6.1).
fn is_hsts(text: &str) -> bool {
    let directives: Vec<_> = text.split(';').map(|directive| directive.trim().to_ascii_lowercase()).collect();
    let count = |is_it: &dyn Fn(&str) -> bool| directives.iter().filter(|directive| is_it(directive)).count();
    let ages = count(&|directive| directive.strip_prefix("max-age=").is_some_and(is_number));
    let (subdomains, preload) =
        (count(&|directive| directive == "includesubdomains"), count(&|directive| directive == "preload"));
    ages == 1 && subdomains <= 1 && preload <= 1 && ages + subdomains + preload == directives.len()
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(hsts: &str, nosniff: bool, frame: &str, referrer: &str) -> raw::SecurityHeaders {
        let said = serde_json::json!({ "hsts": hsts, "nosniff": nosniff, "frame": frame, "referrer": referrer });
        serde_json::from_value(said).unwrap()
    }

    fn compile(raw: &raw::SecurityHeaders) -> (Option<SecurityHeaders>, String) {
        let mut faults = Faults::default();
        let compiled = SecurityHeaders::compile(raw, &Place::new("security_headers"), &mut faults);
        assert_eq!(compiled.is_some(), faults.is_empty());
        (compiled, faults.to_string())
    }

    fn applied(raw: &raw::SecurityHeaders, tls: bool, there: &[(HeaderName, &'static str)]) -> Vec<String> {
        let mut response: HeaderMap =
            there.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        compile(raw).0.unwrap().apply(tls, &mut response);
        let mut lines: Vec<_> =
            response.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_is_absent_is_added() {
        let defaults: raw::SecurityHeaders = serde_json::from_str("{}").unwrap();
        let all = [
            "referrer-policy: strict-origin-when-cross-origin",
            "strict-transport-security: max-age=31536000",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ];
        assert_eq!(applied(&defaults, true, &[]), all);
        assert_eq!(applied(&defaults, false, &[]), [all[0], all[2], all[3]]);
        let own = [(X_FRAME_OPTIONS, "SAMEORIGIN"), (STRICT_TRANSPORT_SECURITY, "max-age=0")];
        let kept = [all[0], "strict-transport-security: max-age=0", all[2], "x-frame-options: SAMEORIGIN"];
        assert_eq!(applied(&defaults, true, &own), kept);
        assert!(applied(&raw("", false, "", ""), true, &[]).is_empty());
    }

    #[test]
    fn only_known_values_are_taken() {
        let (_, faults) = compile(&raw("1y", true, "deny", "never"));
        let told: Vec<_> = faults.lines().map(|line| line.split(',').next().unwrap()).collect();
        assert_eq!(
            told,
            [
                "security_headers.frame: found \"deny\"",
                "security_headers.hsts: found \"1y\"",
                "security_headers.referrer: found \"never\"",
            ]
        );
        for (text, good) in [
            ("max-age=0", true),
            ("max-age=31536000; includeSubDomains; preload", true),
            ("includesubdomains ;Max-Age=1", true),
            ("max-age", false),
            ("max-age=", false),
            ("max-age=+1", false),
            ("max-age=1y", false),
            ("max-age=99999999999999999999", false),
            ("max-age=1;", false),
            ("max-age=1; max-age=2", false),
            ("max-age=1; preload; preload", false),
            ("max-age=1; includeSubdomain", false),
            ("includeSubDomains", false),
        ] {
            assert_eq!(is_hsts(text), good, "{text}");
        }
    }
}
