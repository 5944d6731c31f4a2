//! The document an error is told in (RFC 9457).

use http::header::RETRY_AFTER;
use serde::Serialize;

use super::refusal::Refusal;

/// Its media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Most are shorter.
const USUAL_LENGTH: usize = 512;

#[derive(Serialize)]
struct Problem<'a> {
    r#type: std::fmt::Arguments<'a>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The document of a refusal; the instance is the path that was asked for, where there is one.
pub fn document(refusal: &Refusal, instance: Option<&str>, request_id: &str) -> Vec<u8> {
    let kind = refusal.kind;
    let problem = Problem {
        r#type: format_args!("urn:gatekeeper:error:{}", kind.code),
        title: kind.title,
        status: kind.status,
        detail: &refusal.detail,
        instance,
        code: kind.code,
        request_id,
        violated_policies: refusal.rules.iter().map(|rule| &**rule).collect(),
        retry_after: retry_after(refusal),
    };
    let mut text = Vec::with_capacity(USUAL_LENGTH);
    // It can always be written.
    let _ = serde_json::to_writer(&mut text, &problem);
    text
}

/// The seconds after which it may be tried again.
pub fn retry_after(refusal: &Refusal) -> Option<u64> {
    let (_, value) = refusal.headers.iter().find(|(name, _)| name == RETRY_AFTER)?;
    value.to_str().ok()?.parse().ok()
}
