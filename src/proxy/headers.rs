//! Header hygiene in both directions (SEMANTICS 2).
//!
//! Headers change only on the upstream's copy: the framework decides a request's framing lazily from the original. Its
//! own sanitiser has run on the copy before us (hop-by-hop fields, what `Connection` names); what it removed although
//! a client may not remove it is put back, and our own fields are set last.

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, TE, UPGRADE, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader, header_value_from_slice};
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::ctx::Ctx;
use super::reply::ERROR_CODE;
use super::request_id::{REQUEST_ID, X_REQUEST_ID};
use super::trace;
use crate::plan::Edge;
use crate::plan::address::Client;
use crate::plan::names::HeaderNames;
use crate::plan::route::HostSent;
use crate::policy::refusal::{Kind, Refusal};

/// Our name in `Via`.
const PSEUDONYM: &str = "gatekeeper";
/// How often our name may stand in `Via` before the request is taken to go round in circles.
const MAX_PASSES: usize = 5;

/// The client behind a connection.
pub fn client(edge: &Edge, session: &Session) -> Client {
    let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
    edge.trusted.client(peer, &session.req_header().headers)
}

/// Refuses a request that passed this gateway too often.
pub fn check_loop(headers: &HeaderMap) -> Result<(), Refusal> {
    let received = headers.get_all(VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let ours = received.filter(|entry| {
        let mut words = entry.trim_ascii().split(u8::is_ascii_whitespace);
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(PSEUDONYM.as_bytes()))
    });
    if ours.count() > MAX_PASSES {
        return Err(Refusal::new(Kind::LOOP_DETECTED, Kind::LOOP_DETECTED.title));
    }
    Ok(())
}

/// Makes the upstream's copy of a request what the upstream may see.
///
/// The fields are changed on the bare map and not through the framework's type, which keeps a second map of how names
/// were written and can't make room ahead: that halves the cost, and upstreams see names in lower case. The bytes of the
/// client's request target are dropped on the way: what is sent is the path that was matched, and nothing else.
pub fn to_upstream(edge: &Edge, session: &Session, upstream: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let request = session.req_header();
    let ends = upstream.send_end_stream();
    let mut parts: Parts = std::mem::replace(upstream, RequestHeader::build_no_case(Method::GET, b"/", None)?).into();
    parts.headers.reserve(OWN_FIELDS);
    restore_protected(request, &mut parts.headers);
    remove_unwanted(&edge.identity, ctx.client.trusted, &mut parts.headers);
    set_path(&mut parts, ctx);
    set_origin(session, request, &mut parts.headers, ctx);
    set_host(&mut parts.headers, ctx);
    trace::repair(&mut parts.headers);
    if parts.version == Version::HTTP_2 && wants_trailers(&request.headers) {
        parts.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    append(&mut parts.headers, VIA, via(request.version));
    parts.headers.insert(REQUEST_ID, ctx.id.clone());
    *upstream = parts.into();
    upstream.set_send_end_stream(ends.unwrap_or(true));
    Ok(())
}

/// About as many fields are added.
const OWN_FIELDS: usize = 8;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Fields that a client's `Connection` cannot remove, beside those whose nomination the framework refuses.
const PROTECTED: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::COOKIE];

fn restore_protected(request: &RequestHeader, upstream: &mut HeaderMap) {
    if !request.headers.contains_key(CONNECTION) {
        return;
    }
    for name in PROTECTED {
        if upstream.contains_key(&name) {
            continue;
        }
        for value in request.headers.get_all(&name) {
            upstream.append(name.clone(), value.clone());
        }
    }
}

/// Deletes who the user is said to be, names that some upstreams confuse (`X_User_Id`), and, from strangers, where the
/// request is said to come from.
fn remove_unwanted(identity: &HeaderNames, trusted: bool, upstream: &mut HeaderMap) {
    let unwanted = |name: &&HeaderName| {
        let name = name.as_str();
        let origin = !trusted && (name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip");
        origin || name.as_bytes().contains(&b'_') || identity.contains(name)
    };
    let names: SmallVec<[HeaderName; 4]> = upstream.keys().filter(unwanted).cloned().collect();
    for name in &names {
        upstream.remove(name);
    }
}

fn set_path(parts: &mut Parts, ctx: &Ctx) {
    let Some(path) = ctx.forward.as_ref().and_then(|forward| forward.path.as_deref()) else { return };
    let target = parts.uri.query().map_or(path.to_owned(), |query| format!("{path}?{query}"));
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    // Both are canonical by now: the path was made so, and the query was inspected.
    uri.path_and_query = target.parse().ok();
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// Tells where the request came from (SEMANTICS 2.5). What a trusted peer said stands; the peer itself is added.
fn set_origin(session: &Session, request: &RequestHeader, upstream: &mut HeaderMap, ctx: &Ctx) {
    let peer_value = ctx.client.peer.map(address_value);
    let client_value = match &peer_value {
        Some(value) if ctx.client.address == ctx.client.peer => Some(value.clone()),
        _ => ctx.client.address.map(address_value),
    };
    if let Some(value) = peer_value {
        append(upstream, X_FORWARDED_FOR, value);
    }
    if let Some(value) = client_value {
        upstream.insert(X_REAL_IP, value);
    }
    let said = |name: &HeaderName| ctx.client.trusted && request.headers.contains_key(name);
    if !said(&X_FORWARDED_PROTO) {
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        upstream.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
    }
    if let Some(host) = host_as_sent(request).filter(|_| !said(&X_FORWARDED_HOST)) {
        upstream.insert(X_FORWARDED_HOST, host);
    }
    let port = session.server_addr().and_then(|address| address.as_inet()).map(|address| address.port());
    if let Some(port) = port.filter(|_| !said(&X_FORWARDED_PORT)) {
        upstream.insert(X_FORWARDED_PORT, HeaderValue::from(port));
    }
}

fn host_as_sent(request: &RequestHeader) -> Option<HeaderValue> {
    let authority = || request.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    request.headers.get(HOST).cloned().or_else(authority)
}

fn set_host(upstream: &mut HeaderMap, ctx: &Ctx) {
    let (Some(route), Some(forward)) = (&ctx.route, &ctx.forward) else { return };
    let host = match &route.host {
        HostSent::Kept => None,
        HostSent::Fixed(name) => Some(name),
        HostSent::Target => forward.service.targets.get(forward.target).map(|target| &target.authority),
    };
    if let Some(host) = host {
        upstream.insert(HOST, host.clone());
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 gatekeeper",
        Version::HTTP_10 => "1.0 gatekeeper",
        _ => "1.1 gatekeeper",
    })
}

/// Appends to a list, and makes one line of it, so that its order can't be mistaken.
fn append(upstream: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let mut list = Vec::new();
    for line in upstream.get_all(&name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        upstream.insert(name, value);
        return;
    }
    list.extend_from_slice(value.as_bytes());
    upstream.insert(name, header_value_from_slice(&list));
}

/// An address as text. By far the most are IPv4, which the standard library's formatting takes ten times as long for.
fn address_value(address: IpAddr) -> HeaderValue {
    let IpAddr::V4(v4) = address else { return header_value_from_slice(address.to_string().as_bytes()) };
    let mut text = SmallVec::<[u8; 16]>::new();
    for octet in v4.octets() {
        if octet >= 100 {
            text.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            text.push(b'0' + octet / 10 % 10);
        }
        text.extend([b'0' + octet % 10, b'.']);
    }
    text.pop();
    header_value_from_slice(&text)
}

/// Makes a response what the client may see.
pub fn to_client(session: &mut Session, response: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(response);
    }
    response.remove_header(&ERROR_CODE);
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if session.req_header().version == Version::HTTP_10 {
        unchunk(session, response);
    }
    response.insert_header(X_REQUEST_ID, ctx.id.clone())
}

fn remove_hop_by_hop(response: &mut ResponseHeader) {
    let nominated = |value: &HeaderValue| -> SmallVec<[HeaderName; 2]> {
        let names = value.as_bytes().split(|byte| *byte == b',');
        names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
    };
    let names: SmallVec<[HeaderName; 2]> = response.headers.get_all(CONNECTION).iter().flat_map(nominated).collect();
    for name in names.iter().filter(|name| !FRAMING.contains(name)) {
        response.remove_header(name);
    }
    response.remove_header(&CONNECTION);
    response.remove_header(&UPGRADE);
    response.remove_header(&KEEP_ALIVE);
    response.remove_header(&PROXY_CONNECTION);
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that say where a message ends: no `Connection` removes them.
const FRAMING: [HeaderName; 2] = [http::header::TRANSFER_ENCODING, http::header::CONTENT_LENGTH];

/// An HTTP/1.0 client knows no chunks: its response ends where the connection does.
fn unchunk(session: &mut Session, response: &mut ResponseHeader) {
    if response.remove_header(&http::header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_seen_by_our_name_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(VIA, "1.1 gatekeeper, 1.1 gatekeeperx, 2.0 Gatekeeper (comment)".parse().unwrap());
        for _ in 0..3 {
            headers.append(VIA, "1.0 gatekeeper".parse().unwrap());
            assert!(check_loop(&headers).is_ok());
        }
        headers.append(VIA, "1.0 gatekeeper".parse().unwrap());
        assert_eq!(check_loop(&headers).unwrap_err().kind, Kind::LOOP_DETECTED);
    }

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn identity_and_origin_of_strangers_go() {
        let identity = HeaderNames::parse(&["X-User-*".into()]).unwrap();
        let names = ["x-user-id", "x_user_id", "x-forwarded-for", "forwarded", "x-real-ip", "accept"];
        let mut upstream = map(&names.map(|name| (name, "1")));
        let mut trusted = upstream.clone();
        remove_unwanted(&identity, false, &mut upstream);
        assert_eq!(upstream.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        remove_unwanted(&identity, true, &mut trusted);
        assert_eq!(trusted.len(), 4);
    }

    #[test]
    fn a_list_grows_at_its_end() {
        let mut upstream = HeaderMap::new();
        append(&mut upstream, VIA, via(Version::HTTP_2));
        upstream.append(VIA, "1.1 b".parse().unwrap());
        append(&mut upstream, VIA, via(Version::HTTP_11));
        assert_eq!(upstream[VIA], "2.0 gatekeeper, 1.1 b, 1.1 gatekeeper");
        assert_eq!(upstream.get_all(VIA).iter().count(), 1);
    }

    #[test]
    fn addresses_are_written_as_they_are() {
        for address in ["0.0.0.0", "1.20.99.100", "127.0.0.1", "255.199.9.10", "2001:db8::1"] {
            assert_eq!(address_value(address.parse().unwrap()), address);
        }
    }
}
