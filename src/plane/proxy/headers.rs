//! Header hygiene of requests (SEMANTICS 2).
//!
//! Headers change only on the upstream's copy: the framework decides a request's framing lazily from the original. Its
//! own sanitiser is switched off (`upstream::target`): it walks the fields a dozen times, and lets a client's `Connection`
//! remove what the client was authenticated by. Our own fields are set last.

use std::collections::HashSet;

use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, MAX_FORWARDS, TE, UPGRADE, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use pingora::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora::http::{RequestHeader, header_value_from_slice};
use pingora::{ErrorType, OrErr, Result};
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::ctx::{Arrived, Forwarded};
use super::forward::Forward;
use super::trace;
use crate::listen::connection::{Connection, address_value};
use crate::plan::present::is_websocket;
use crate::plan::route::{HostSent, Route};
use crate::plan::{Edge, grpc, hops};
use crate::policy::auth::credential::{TokenFrom, is_bearer, remove_cookie, remove_subprotocol};
use crate::policy::auth::{Method, RouteAuth};
use crate::policy::via;
use gatekeeper_core::net::{Client, is_origin};
use gatekeeper_core::request_id::REQUEST_ID;

/// The client behind a connection.
pub fn client(edge: &Edge, connection: &Connection, session: &Session) -> Client {
    let peer = connection.source.map(|source| source.ip());
    edge.trusted.client(peer, &session.req_header().headers)
}

/// Takes the host of a request of HTTP/1.0 without a Host from its target, if that has one: the framework keeps it in the
/// target's bytes alone (RFC 9112 3.2.2).
pub fn name_host(session: &mut Session) -> Result<()> {
    let request = session.req_header();
    if request.version != Version::HTTP_10 || request.headers.contains_key(HOST) {
        return Ok(());
    }
    match raw_target_authority(request.raw_path()) {
        RawTargetAuthority::Absolute { authority, .. } => {
            let host = header_value_from_slice(authority);
            session.req_header_mut().insert_header(HOST, host)
        }
        _ => Ok(()),
    }
}

/// Makes the upstream's copy of a request what the upstream may see.
///
/// The fields are changed on the bare map and not through the framework's type, which keeps a second map of how names
/// were written and can't make room ahead: that halves the cost, and upstreams see names in lower case. The bytes of the
/// client's request target are dropped on the way: what is sent is the path that was matched, and nothing else.
pub fn to_upstream(session: &Session, upstream: &mut RequestHeader, of: &Forwarded) -> Result<()> {
    let request = session.req_header();
    let ends = upstream.send_end_stream();
    let placeholder = http::Request::new(()).into_parts().0;
    let mut parts: Parts = std::mem::replace(upstream, placeholder.into()).into();
    parts.headers.reserve(OWN_FIELDS);
    let Forwarded { arrival, route, present, forward, .. } = of;
    let present = *present;
    let websocket = parts.version == Version::HTTP_11 && is_websocket(request, present);
    let nominated = match present.connection {
        true => nominated(&request.headers, &route.edge.protected),
        false => SmallVec::new(),
    };
    remove_unwanted(&route.edge, arrival.client.trusted, &nominated, &mut parts.headers);
    if websocket {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    set_path(&mut parts, forward)?;
    if present.cookie {
        join_cookies(&mut parts);
    }
    set_origin(request, &mut parts.headers, arrival);
    set_host(&mut parts, route, forward);
    if present.traceparent {
        trace::repair(&mut parts.headers);
    }
    if parts.version == Version::HTTP_2 && present.te && wants_trailers(&request.headers) {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if present.max_forwards
        && let Ok(Some(left)) = hops::left(request, present)
    {
        parts.headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    append(&mut parts.headers, &VIA, via::ours(request.version));
    grpc::tell(request, present, forward.end, &mut parts.headers);
    introduce(&mut parts.headers, of);
    parts.headers.insert(REQUEST_ID, arrival.id.clone());
    parts.headers.insert(ATTEMPT, number(forward.attempts));
    *upstream = parts.into();
    upstream.set_send_end_stream(ends.unwrap_or(true));
    Ok(())
}

/// About as many fields are added.
const OWN_FIELDS: usize = 12;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const CLIENT_SUBJECT: HeaderName = HeaderName::from_static("x-gatekeeper-client-subject");
const CLIENT_FINGERPRINT: HeaderName = HeaderName::from_static("x-gatekeeper-client-fingerprint");

/// Tells which attempt a target sees.
const ATTEMPT: HeaderName = HeaderName::from_static("x-gatekeeper-attempt");

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");
/// Tells the upstream who the user is (SEMANTICS 2.8), and keeps what only the gateway has to see.
fn introduce(upstream: &mut HeaderMap, of: &Forwarded) {
    let Some(auth) = &of.route.terms.auth else { return };
    if auth.token_from == Some(TokenFrom::Subprotocol) {
        remove_subprotocol(upstream);
    }
    let Some(user) = of.user else { return };
    if auth.auth.hides {
        hide(upstream, auth, user.by);
    }
    auth.auth.telling.tell(&user.identity, upstream);
    for (name, value) in &user.told {
        upstream.insert(name, value.clone());
    }
}

fn hide(upstream: &mut HeaderMap, auth: &RouteAuth, by: Method) {
    match by {
        Method::Jwt | Method::Introspection => {
            if upstream.get(AUTHORIZATION).is_some_and(|field| is_bearer(field.as_bytes())) {
                upstream.remove(AUTHORIZATION);
            }
            if let Some(TokenFrom::Cookie(name)) = &auth.token_from {
                remove_cookie(upstream, name);
            }
        }
        Method::ApiKey => {
            auth.auth.api_keys.as_ref().and_then(|keys| upstream.remove(&keys.header));
        }
        Method::Certificate | Method::Forward => {}
    }
}

/// Fields of the connection to the client, which say nothing on another (RFC 9110 7.6.1, RFC 9112 6.1). The framework
/// frames the body anew.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Deletes the fields of the connection, those that `Connection` names, who the user is said to be, names that some
/// upstreams confuse (`X_User_Id`), and, from strangers, where the request is said to come from.
fn remove_unwanted(edge: &Edge, trusted: bool, nominated: &[HeaderName], upstream: &mut HeaderMap) {
    let unwanted = |name: &&HeaderName| {
        let text = name.as_str();
        let origin = !trusted && is_origin(text);
        is_hop_by_hop(text)
            || origin
            || text.as_bytes().contains(&b'_')
            || edge.identity.contains(text)
            || text.starts_with("x-gatekeeper-client-")
            || nominated.contains(name)
    };
    let names: SmallVec<[HeaderName; 4]> = upstream.keys().filter(unwanted).cloned().collect();
    for name in &names {
        upstream.remove(name);
    }
}

/// What `Connection` names and a client may have removed. What routes, authenticates or frames a request, or says where it
/// came from, it may not: a request must not lose on the way what it was judged by.
fn nominated(headers: &HeaderMap, protected: &HashSet<HeaderName>) -> SmallVec<[HeaderName; 2]> {
    let names = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named = names.map(<[u8]>::trim_ascii).filter(|name| !is_usual(name));
    let names = named.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !protected.contains(name) && !is_origin(name.as_str())).collect()
}

/// What nearly every `Connection` says: it names no field, or one that does not pass anyway.
fn is_usual(name: &[u8]) -> bool {
    const USUAL: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    USUAL.iter().any(|usual| usual.eq_ignore_ascii_case(name))
}

fn set_path(parts: &mut Parts, forward: &Forward) -> Result<()> {
    let Some(path) = forward.path.as_deref() else { return Ok(()) };
    let target = parts.uri.query().map_or(path.to_owned(), |query| format!("{path}?{query}"));
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    // It was made canonical and its length was looked at; a request that had no target all the same must not go to `/`.
    uri.path_and_query = Some(target.parse().or_err(ErrorType::InternalError, "a path cannot be sent")?);
    parts.uri = Uri::from_parts(uri).or_err(ErrorType::InternalError, "a target cannot be sent")?;
    Ok(())
}

/// HTTP/2 may send a cookie in pieces, which HTTP/1.1 must not see (RFC 9113 8.2.3).
fn join_cookies(parts: &mut Parts) {
    if parts.version != Version::HTTP_2 && parts.headers.get_all(COOKIE).iter().nth(1).is_some() {
        join(&mut parts.headers, &COOKIE, b"; ");
    }
}

/// Tells where the request came from (SEMANTICS 2.5). What a trusted peer said stands; the peer itself is added.
fn set_origin(request: &RequestHeader, upstream: &mut HeaderMap, arrival: &Arrived) {
    let Arrived { connection, client, .. } = arrival;
    let peer_value = connection.source_value();
    let client_value = match peer_value {
        Some(value) if client.address == client.peer => Some(value.clone()),
        _ => client.address.map(address_value),
    };
    if let Some(value) = peer_value {
        append(upstream, &X_FORWARDED_FOR, value.clone());
    }
    if let Some(value) = client_value {
        upstream.insert(X_REAL_IP, value);
    }
    let said = |name: &HeaderName| client.trusted && request.headers.contains_key(name);
    if !said(&X_FORWARDED_PROTO) {
        upstream.insert(X_FORWARDED_PROTO, if connection.is_tls() { HTTPS } else { HTTP });
    }
    if let Some(host) = host_as_sent(request).filter(|_| !said(&X_FORWARDED_HOST)) {
        upstream.insert(X_FORWARDED_HOST, host);
    }
    if let Some(port) = connection.port_value().filter(|_| !said(&X_FORWARDED_PORT)) {
        upstream.insert(X_FORWARDED_PORT, port.clone());
    }
    if let Some(certificate) = &connection.certificate {
        upstream.insert(CLIENT_SUBJECT, certificate.subject.clone());
        upstream.insert(CLIENT_FINGERPRINT, certificate.fingerprint.clone());
    }
}

/// A small number as a field's value, without formatting it.
fn number(number: u32) -> HeaderValue {
    const NUMBERS: [&str; 11] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let place = (number as usize).saturating_sub(1);
    NUMBERS.get(place).map_or_else(|| HeaderValue::from(number), |text| HeaderValue::from_static(text))
}

fn host_as_sent(request: &RequestHeader) -> Option<HeaderValue> {
    let authority = || request.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    request.headers.get(HOST).cloned().or_else(authority)
}

fn set_host(parts: &mut Parts, route: &Route, forward: &Forward) {
    let of_target = || forward.attempt.as_ref().map(|slot| &slot.endpoint.authority);
    let host = match &route.terms.host {
        // HTTP/1.0 knows requests without a Host, HTTP/1.1 does not.
        HostSent::Kept => of_target().filter(|_| parts.uri.authority().is_none() && !parts.headers.contains_key(HOST)),
        HostSent::Fixed(name) => Some(name),
        HostSent::Target => of_target(),
    };
    if let Some(host) = host {
        parts.headers.insert(HOST, host.clone());
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Appends to a list, and makes one line of it, so that its order can't be mistaken.
fn append(upstream: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if upstream.append(name, value) {
        join(upstream, name, b", ");
    }
}

/// Makes one line of all that a field has.
fn join(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let line = header_value_from_slice(&lines.join(separator));
    headers.insert(name, line);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::present::Present;

    pub fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn connection_names_what_goes_but_not_what_a_request_is_judged_by() {
        let headers = map(&[
            ("connection", "X-Drop, close, Authorization, Cookie"),
            ("connection", "host,Content-Length,, x-forwarded-for"),
        ]);
        let protected = ["authorization", "cookie", "host", "content-length"].map(HeaderName::from_static);
        let nominated = nominated(&headers, &protected.into());
        let names: Vec<&str> = nominated.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-drop"]);
    }

    #[test]
    fn pieces_of_a_cookie_are_joined_for_http1() {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut parts);
        assert_eq!(parts.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn only_a_whole_websocket_handshake_is_one() {
        let is_one = |fields: &[(&'static str, &str)], version| {
            let mut parts = http::Request::new(()).into_parts().0;
            (parts.headers, parts.version) = (map(fields), version);
            is_websocket(&parts, Present::of(&parts.headers))
        };
        let whole: &[(&str, &str)] = &[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
        assert!(is_one(whole, Version::HTTP_11));
        assert!(!is_one(whole, Version::HTTP_10));
        assert!(!is_one(&[("upgrade", "websocket")], Version::HTTP_11));
        assert!(!is_one(&[("upgrade", "h2c"), ("connection", "upgrade")], Version::HTTP_11));
        assert!(!is_one(&[("connection", "upgrade")], Version::HTTP_11));
    }

    #[test]
    fn a_list_grows_at_its_end() {
        let mut upstream = HeaderMap::new();
        append(&mut upstream, &VIA, via::ours(Version::HTTP_2));
        upstream.append(VIA, "1.1 b".parse().unwrap());
        append(&mut upstream, &VIA, via::ours(Version::HTTP_11));
        assert_eq!(upstream[VIA], "2.0 gatekeeper, 1.1 b, 1.1 gatekeeper");
        assert_eq!(upstream.get_all(VIA).iter().count(), 1);
    }
}
