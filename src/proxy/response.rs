//! Header hygiene of responses: what the client may see of the upstream's, and what every answer has to tell.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::ctx::Ctx;
use super::request_id::{REQUEST_ID, X_REQUEST_ID};
use crate::listen::connection::Connection;
use crate::policy::auth::credential::{SUBPROTOCOL, TokenFrom, asks_for_subprotocol};

/// About as many fields are added.
pub(super) const OWN_FIELDS: usize = 14;

/// Makes a response what the client may see. As with requests, on the bare map: names come out in lower case, and the
/// status with its usual phrase.
pub fn to_client(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        choose_protocol(session, response, ctx)?;
        return response.insert_header(X_REQUEST_ID, ctx.id.clone());
    }
    let placeholder = http::Response::new(()).into_parts().0;
    let mut parts: http::response::Parts = std::mem::replace(response, placeholder.into()).into();
    remove_connection(&mut parts.headers);
    if !parts.status.is_informational() {
        parts.headers.reserve(OWN_FIELDS);
        if session.req_header().version == Version::HTTP_10 {
            unchunk(session, &mut parts.headers);
        }
        // The gateway may have begun to stop since the request came.
        if !ctx.shared.is_ready() {
            session.set_keepalive(None);
        }
        complete(session, &mut parts.headers, false, ctx);
    }
    *response = parts.into();
    Ok(())
}

/// Adds what every response has to tell: limits, which pages may read it, what browsers are to be careful with, the id.
pub fn complete(session: &Session, response: &mut HeaderMap, is_preflight: bool, ctx: &mut Ctx) {
    if let Some(limits) = ctx.limits.take() {
        limits.apply(response);
    }
    let plan = ctx.route.is_none().then(|| ctx.shared.live.plan());
    let edge = plan.as_ref().map(|plan| &plan.edge);
    let (cors, security) = match &ctx.route {
        Some(route) => (route.terms.cors.as_ref(), route.terms.security.as_ref()),
        None => (edge.and_then(|edge| edge.cors.as_ref()), edge.and_then(|edge| edge.security.as_ref())),
    };
    let request = &session.req_header().headers;
    match cors {
        Some(cors) if is_preflight => {
            cors.answer_preflight(request, response);
            count_preflight(response, ctx);
        }
        Some(cors) => cors.decorate(request, response),
        None => {}
    }
    if let Some(security) = security {
        security.apply(ctx.connection.as_deref().is_some_and(Connection::is_tls), response);
    }
    response.insert(REQUEST_ID, ctx.id.clone());
}

fn count_preflight(response: &HeaderMap, ctx: &Ctx) {
    let Some(route) = &ctx.route else { return };
    let metrics = &route.edge.preflights;
    let admitted = response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
    if admitted { metrics.accepted.inc() } else { metrics.refused.inc() }
}

/// What a handshake's answer is missing: a browser that asked for protocols wants one of them, and may have asked for nothing
/// but the one that its token came in.
fn choose_protocol(session: &Session, response: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    let auth = ctx.route.as_ref().and_then(|route| route.terms.auth.as_ref());
    let by_protocol = auth.is_some_and(|auth| auth.token_from == Some(TokenFrom::Subprotocol));
    if by_protocol
        && asks_for_subprotocol(&session.req_header().headers)
        && !response.headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
    {
        response.insert_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL))?;
    }
    Ok(())
}

/// Deletes the fields of the connection to the upstream, and what only we may say. Usually there are none.
fn remove_connection(response: &mut HeaderMap) {
    let unwanted = |name: &&HeaderName| {
        matches!(
            name.as_str(),
            "connection"
                | "keep-alive"
                | "proxy-connection"
                | "upgrade"
                | "x-gatekeeper-error"
                | "x-gatekeeper-attempt"
        )
    };
    let mut names: SmallVec<[HeaderName; 4]> = response.keys().filter(unwanted).cloned().collect();
    if names.contains(&CONNECTION) {
        let values = response.get_all(CONNECTION).iter();
        let nominated = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        names.extend(nominated.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()));
    }
    for name in names.iter().filter(|name| !FRAMING.contains(name)) {
        response.remove(name);
    }
}

/// Fields that say where a message ends: no `Connection` removes them.
const FRAMING: [HeaderName; 2] = [TRANSFER_ENCODING, http::header::CONTENT_LENGTH];

/// An HTTP/1.0 client knows no chunks: its response ends where the connection does.
fn unchunk(session: &mut Session, response: &mut HeaderMap) {
    if response.remove(TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::headers::tests::map;
    use super::*;

    #[test]
    fn a_response_keeps_its_framing_and_loses_its_connection() {
        let mut response = map(&[
            ("connection", "close, X-Drop, Content-Length"),
            ("x-drop", "1"),
            ("content-length", "2"),
            ("keep-alive", "timeout=5"),
            ("x-gatekeeper-error", "forged"),
            ("x-gatekeeper-attempt", "repeated"),
            ("server", "x"),
        ]);
        remove_connection(&mut response);
        let mut left: Vec<&str> = response.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "server"]);
    }
}
