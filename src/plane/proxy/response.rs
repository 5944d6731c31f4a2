//! Header hygiene of responses: what the client may see of the upstream's, and what every answer has to tell.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::ctx::{Ctx, Forwarded};
use super::date;
use crate::compress::Compression;
use crate::observe::PolicyMetrics;
use crate::plan::Edge;
use crate::plan::route::Route;
use crate::policy::auth::credential::{SUBPROTOCOL, TokenFrom, asks_for_subprotocol};
use crate::policy::cors::Cors;
use crate::policy::security_headers::SecurityHeaders;
use gatekeeper_core::limit::LimitHeaders;
use gatekeeper_core::request_id::{REQUEST_ID, X_REQUEST_ID};

/// About as many fields are added.
pub(super) const OWN_FIELDS: usize = 14;

/// Makes a response what the client may see. As with requests, on the bare map: names come out in lower case, and the
/// status with its usual phrase.
pub fn to_client(session: &mut Session, response: &mut ResponseHeader, request: &mut Forwarded) -> Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return switch_protocols(session, response, request);
    }
    let placeholder = http::Response::new(()).into_parts().0;
    let mut parts: http::response::Parts = std::mem::replace(response, placeholder.into()).into();
    // Trailers pass from HTTP/2 to HTTP/2 alone.
    let trailers = parts.version == Version::HTTP_2 && session.is_http2();
    let unwanted = unwanted(&parts.headers, parts.status, trailers);
    remove(&mut parts.headers, &unwanted);
    // The version is that of the last who sent the message on (RFC 9112 2.3), which is us.
    parts.version = Version::HTTP_11;
    if !parts.status.is_informational() {
        parts.headers.reserve(OWN_FIELDS);
        if session.req_header().version == Version::HTTP_10 {
            unchunk(session, &mut parts.headers);
        }
        // The gateway may have begun to stop since the request came.
        if !request.course.plane.is_ready() {
            session.set_keepalive(None);
        }
        Told::of(request).complete(session, &mut parts.headers);
        date::keep(session, &mut parts.headers, Some(&request.arrival.connection));
    }
    *response = parts.into();
    Ok(())
}

/// The answer to a websocket's handshake: nothing of the connection to the upstream passes but the handshake itself.
fn switch_protocols(session: &Session, response: &mut ResponseHeader, request: &Forwarded) -> Result<()> {
    for name in unwanted(&response.headers, response.status, false).names {
        response.remove_header(&name);
    }
    response.insert_header(CONNECTION, HeaderValue::from_static("Upgrade"))?;
    response.insert_header(UPGRADE, HeaderValue::from_static("websocket"))?;
    choose_protocol(session, response, request.route)?;
    response.insert_header(X_REQUEST_ID, request.arrival.id.clone())
}

/// What every response has to tell: limits, which pages may read it, what browsers are to be careful with, the id.
pub struct Told<'a> {
    /// How the limits stand.
    limits: Option<LimitHeaders>,
    cors: Option<&'a Cors>,
    security: Option<&'a SecurityHeaders>,
    /// The request came over TLS.
    is_tls: bool,
    id: HeaderValue,
    /// It is the answer to a preflight, which is counted here.
    preflight: Option<&'a PolicyMetrics>,
}

impl<'a> Told<'a> {
    /// What the response of a service has to tell.
    fn of(request: &mut Forwarded<'a>) -> Self {
        let Forwarded { course, arrival, route, .. } = request;
        Told {
            limits: course.limits.take(),
            cors: route.terms.cors.as_ref(),
            security: route.terms.security.as_deref(),
            is_tls: arrival.connection.is_tls(),
            id: arrival.id.clone(),
            preflight: None,
        }
    }

    /// What an answer of the gateway's own has to tell, wherever the request has come to.
    pub fn of_own(ctx: &'a Ctx, edge: &'a Edge, limits: Option<LimitHeaders>, is_preflight: bool) -> Self {
        let (cors, security) = match ctx.route() {
            Some(route) => (&route.terms.cors, &route.terms.security),
            None => (&edge.cors, &edge.security),
        };
        Told {
            limits,
            cors: cors.as_ref(),
            security: security.as_deref(),
            is_tls: ctx.arrival().is_some_and(|arrival| arrival.connection.is_tls()),
            id: ctx.arrival().map_or(HeaderValue::from_static(""), |arrival| arrival.id.clone()),
            preflight: is_preflight.then_some(&edge.preflights),
        }
    }

    /// Adds it to a response.
    pub fn complete(self, session: &Session, response: &mut HeaderMap) {
        if let Some(limits) = self.limits {
            limits.apply(response);
        }
        let request = &session.req_header().headers;
        match (self.cors, self.preflight) {
            (Some(cors), Some(metrics)) => {
                cors.answer_preflight(request, response);
                let admitted = response.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
                if admitted { metrics.accepted.inc() } else { metrics.refused.inc() }
            }
            (Some(cors), None) => cors.decorate(request, response),
            (None, _) => {}
        }
        if let Some(security) = self.security {
            security.apply(self.is_tls, response);
        }
        response.insert(REQUEST_ID, self.id);
    }
}

/// Readies the encoder of a response that comes from a service.
pub fn begin_encoding(session: &mut Session, response: &ResponseHeader, request: &Forwarded) -> Result<()> {
    let informational = response.status.is_informational();
    compression(session, Some(request.route))
        .filter(|_| !informational)
        .map_or(Ok(()), |module| module.begin(response, &request.course.plane.reception.ledger))
}

/// Encodes a piece of it; whether that took so long that others should have their turn.
pub fn encode(session: &mut Session, body: &mut Option<Bytes>, end: bool, route: &Route) -> Result<bool> {
    compression(session, Some(route)).map_or(Ok(false), |module| module.encode_ahead(body, end))
}

/// What a service said is not sent, but another answer.
pub fn give_up_encoding(session: &mut Session, route: Option<&Route>) {
    if let Some(module) = compression(session, route) {
        module.give_up();
    }
}

fn compression<'a>(session: &'a mut Session, route: Option<&Route>) -> Option<&'a mut Compression> {
    let level = route.map_or(0, |route| route.terms.compression);
    if level > 0 { session.downstream_modules_ctx.get_mut() } else { None }
}

/// What a handshake's answer is missing: a browser that asked for protocols wants one of them, and may have asked for nothing
/// but the one that its token came in.
fn choose_protocol(session: &Session, response: &mut ResponseHeader, route: &Route) -> Result<()> {
    let auth = &route.terms.auth;
    let by_protocol = auth.as_ref().is_some_and(|auth| auth.token_from == Some(TokenFrom::Subprotocol));
    if by_protocol
        && asks_for_subprotocol(&session.req_header().headers)
        && !response.headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
    {
        response.insert_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL))?;
    }
    Ok(())
}

/// What is to be changed about a response's fields.
#[derive(Default)]
struct Unwanted {
    names: SmallVec<[HeaderName; 4]>,
    /// How often the body's length is told.
    lengths: usize,
    /// How many transfer codings are told.
    codings: usize,
}

/// Finds, in one pass, the fields of the connection to the upstream, those that only we may say, and those that say where a
/// body ends that there is not (RFC 9110 8.6, RFC 9112 6.1). Usually there are none.
fn unwanted(response: &HeaderMap, status: StatusCode, trailers: bool) -> Unwanted {
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
    let mut unwanted = Unwanted::default();
    for (name, value) in response {
        match name.as_str() {
            "content-length" if !bodiless => unwanted.lengths += members(value),
            "transfer-encoding" if !bodiless => unwanted.codings += members(value),
            "connection" => {
                let nominated = value.as_bytes().split(|byte| *byte == b',');
                let nominated = nominated.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
                unwanted.names.extend(nominated.filter(|name| !FRAMING.contains(name)));
                unwanted.names.push(CONNECTION);
            }
            "trailer" if trailers => {}
            "content-length"
            | "transfer-encoding"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "x-gatekeeper-error"
            | "x-gatekeeper-attempt" => unwanted.names.push(name.clone()),
            _ => {}
        }
    }
    unwanted
}

/// How many members the value of a list has.
fn members(value: &HeaderValue) -> usize {
    1 + value.as_bytes().iter().filter(|byte| **byte == b',').count()
}

/// Deletes what is unwanted, and says once where the body ends: lengths that are told more than once are equal, and
/// codings are all `chunked`, or the response would not have come here.
fn remove(response: &mut HeaderMap, unwanted: &Unwanted) {
    for name in &unwanted.names {
        response.remove(name);
    }
    if unwanted.lengths > 1
        && let Some(length) =
            response.get(CONTENT_LENGTH).and_then(|value| value.as_bytes().split(|byte| *byte == b',').next())
        && let Ok(length) = HeaderValue::from_bytes(length.trim_ascii())
    {
        response.insert(CONTENT_LENGTH, length);
    }
    if unwanted.codings > 1 {
        response.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Deletes the same of an answer that is sent anew, and of trailers (RFC 9110 6.5.1): what they said of a body goes too.
pub(super) fn strip(response: &mut HeaderMap) {
    let unwanted = unwanted(response, StatusCode::NO_CONTENT, false);
    remove(response, &unwanted);
}

/// Fields that say where a message ends: no `Connection` removes them.
const FRAMING: [HeaderName; 2] = [TRANSFER_ENCODING, CONTENT_LENGTH];

/// Whether a response has no transfer coding but `chunked`, which alone the framework takes off and puts on again: what is
/// coded otherwise would reach a client that can't know it.
pub fn is_framed(response: &HeaderMap) -> bool {
    let codings =
        response.get_all(TRANSFER_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.map(<[u8]>::trim_ascii).all(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

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

    fn cleaned(status: StatusCode, trailers: bool, fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut response = map(fields);
        let unwanted = unwanted(&response, status, trailers);
        remove(&mut response, &unwanted);
        response
    }

    fn names(response: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = response.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_response_keeps_its_framing_and_loses_its_connection() {
        let fields = [
            ("connection", "close, X-Drop, Content-Length"),
            ("x-drop", "1"),
            ("content-length", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip"),
            ("trailer", "x-sum"),
            ("x-gatekeeper-error", "forged"),
            ("x-gatekeeper-attempt", "repeated"),
            ("server", "x"),
        ];
        assert_eq!(names(&cleaned(StatusCode::OK, false, &fields)), ["content-length", "server"]);
        assert_eq!(names(&cleaned(StatusCode::OK, true, &fields)), ["content-length", "server", "trailer"]);
        for bodiless in [StatusCode::NO_CONTENT, StatusCode::from_u16(103).unwrap()] {
            assert_eq!(names(&cleaned(bodiless, false, &fields)), ["server"]);
        }
    }

    #[test]
    fn a_body_ends_in_one_place() {
        for fields in
            [[("content-length", "5"), ("content-length", "5")], [("content-length", "5, 5"), ("server", "x")]]
        {
            let cleaned = cleaned(StatusCode::OK, false, &fields);
            assert_eq!(cleaned.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["5"]);
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "Chunked")];
        let cleaned = cleaned(StatusCode::OK, false, &twice);
        assert_eq!(cleaned.get_all(TRANSFER_ENCODING).iter().collect::<Vec<_>>(), ["chunked"]);
        for (codings, wanted) in
            [("chunked, chunked", true), ("gzip, chunked", false), ("identity", false), ("", false)]
        {
            assert_eq!(is_framed(&map(&[("transfer-encoding", codings)])), wanted, "{codings}");
        }
        assert!(is_framed(&map(&[("content-length", "1")])));
    }
}
