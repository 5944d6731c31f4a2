//! Compression of responses, by setting. The framework negotiates and encodes; what is decided here is when it may.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use pingora::http::ResponseHeader;
use pingora::modules::http::compression::ResponseCompression;
use pingora_proxy::Session;

use super::ctx::Ctx;

/// Switches compression on for a request whose route wants it.
pub fn prepare(session: &mut Session, ctx: &Ctx) {
    let level = ctx.route.as_ref().map_or(0, |route| route.compression);
    if level == 0 {
        return;
    }
    let request = session.downstream_session.req_header();
    if let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>() {
        module.adjust_level(level);
        module.request_filter(request);
    }
}

/// Switches it off for a response that is a stream of small messages, or must not be changed.
pub fn spare_streams(session: &mut Session, response: &ResponseHeader) {
    if response.status.is_informational() || !is_spared(response) {
        return;
    }
    let module = session.downstream_modules_ctx.get_mut::<ResponseCompression>();
    if let Some(module) = module.filter(|module| module.is_header_phase()) {
        module.adjust_level(0);
    }
}

fn is_spared(response: &ResponseHeader) -> bool {
    let content_type = response.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let no_transform = |value: &http::HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    };
    starts_with(content_type, b"text/event-stream")
        || starts_with(content_type, b"application/grpc")
        || response.headers.get_all(CACHE_CONTROL).iter().any(no_transform)
}

fn starts_with(value: &[u8], beginning: &[u8]) -> bool {
    value.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning))
}
