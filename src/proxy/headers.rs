//! Header hygiene in both directions (SEMANTICS 2).
//!
//! Headers change only on the upstream's copy: the framework decides a request's framing lazily from the original. Its
//! own sanitiser has run on the copy before us (hop-by-hop fields, what `Connection` names); what it removed although
//! a client may not remove it is put back, and our own fields are set last.

use std::net::IpAddr;

use http::header::{CONNECTION, HOST, TE, UPGRADE, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader, header_value_from_slice};
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::ctx::Ctx;
use super::request_id::X_REQUEST_ID;
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
pub fn to_upstream(edge: &Edge, session: &Session, upstream: &mut RequestHeader, ctx: &mut Ctx) -> Result<()> {
    let request = session.req_header();
    restore_protected(request, upstream)?;
    remove_unwanted(&edge.identity, ctx.client.trusted, upstream);
    set_path(upstream, ctx)?;
    set_origin(session, request, upstream, ctx)?;
    set_host(upstream, ctx)?;
    trace::repair(upstream)?;
    if upstream.version == Version::HTTP_2 && wants_trailers(&request.headers) {
        upstream.insert_header(TE, "trailers")?;
    }
    append(upstream, VIA, via(request.version))?;
    upstream.insert_header(X_REQUEST_ID, ctx.id.clone())
}

/// Fields that a client's `Connection` cannot remove, beside those whose nomination the framework refuses.
const PROTECTED: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::COOKIE];

fn restore_protected(request: &RequestHeader, upstream: &mut RequestHeader) -> Result<()> {
    if !request.headers.contains_key(CONNECTION) {
        return Ok(());
    }
    for name in PROTECTED {
        if upstream.headers.contains_key(&name) {
            continue;
        }
        for value in request.headers.get_all(&name) {
            upstream.append_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// Deletes who the user is said to be, names that some upstreams confuse (`X_User_Id`), and, from strangers, where the
/// request is said to come from.
fn remove_unwanted(identity: &HeaderNames, trusted: bool, upstream: &mut RequestHeader) {
    let unwanted = |name: &&HeaderName| {
        let name = name.as_str();
        let origin = !trusted && (name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip");
        origin || name.as_bytes().contains(&b'_') || identity.contains(name)
    };
    let names: SmallVec<[HeaderName; 4]> = upstream.headers.keys().filter(unwanted).cloned().collect();
    for name in &names {
        upstream.remove_header(name);
    }
}

/// Sends the path that was matched, and nothing else: the bytes the client sent may say it differently (an absolute-form
/// target, or characters the framework's parser mended).
fn set_path(upstream: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let changed = ctx.forward.as_ref().and_then(|forward| forward.path.as_deref());
    let path = changed.unwrap_or(upstream.uri.path());
    let query = upstream.uri.query();
    let rest = upstream.raw_path().strip_prefix(path.as_bytes());
    let same = match query {
        Some(query) => rest.and_then(|rest| rest.strip_prefix(b"?")) == Some(query.as_bytes()),
        None => rest.is_some_and(|rest| rest.is_empty() || rest == b"?"),
    };
    if same {
        return Ok(());
    }
    let target = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
    if upstream.version != Version::HTTP_2 {
        return upstream.set_raw_path(target.as_bytes());
    }
    let mut parts = upstream.uri.clone().into_parts();
    parts.path_and_query = target.parse().ok();
    if let Ok(uri) = http::Uri::from_parts(parts) {
        upstream.set_uri(uri);
    }
    Ok(())
}

/// Tells where the request came from (SEMANTICS 2.5). What a trusted peer said stands; the peer itself is added.
fn set_origin(session: &Session, request: &RequestHeader, upstream: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let peer_value = ctx.client.peer.map(address_value);
    let client_value = match &peer_value {
        Some(value) if ctx.client.address == ctx.client.peer => Some(value.clone()),
        _ => ctx.client.address.map(address_value),
    };
    if let Some(value) = peer_value {
        append(upstream, HeaderName::from_static("x-forwarded-for"), value)?;
    }
    if let Some(value) = client_value {
        upstream.insert_header("x-real-ip", value)?;
    }
    let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let said = |name: &str| ctx.client.trusted && request.headers.contains_key(name);
    if !said("x-forwarded-proto") {
        upstream.insert_header("x-forwarded-proto", HeaderValue::from_static(if tls { "https" } else { "http" }))?;
    }
    if let Some(host) = host_as_sent(request).filter(|_| !said("x-forwarded-host")) {
        upstream.insert_header("x-forwarded-host", host)?;
    }
    let port = session.server_addr().and_then(|address| address.as_inet()).map(|address| address.port());
    if let Some(port) = port.filter(|_| !said("x-forwarded-port")) {
        upstream.insert_header("x-forwarded-port", HeaderValue::from(port))?;
    }
    Ok(())
}

fn host_as_sent(request: &RequestHeader) -> Option<HeaderValue> {
    let authority = || request.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    request.headers.get(HOST).cloned().or_else(authority)
}

fn set_host(upstream: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let (Some(route), Some(forward)) = (&ctx.route, &ctx.forward) else { return Ok(()) };
    let host = match &route.host {
        HostSent::Kept => return Ok(()),
        HostSent::Fixed(name) => Some(name),
        HostSent::Target => forward.service.targets.get(forward.target).map(|target| &target.authority),
    };
    match host {
        Some(host) => upstream.insert_header(HOST, host.clone()),
        None => Ok(()),
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

/// Appends to a list: to the last line of it if there is one, so that its order can't be mistaken.
fn append(upstream: &mut RequestHeader, name: HeaderName, value: HeaderValue) -> Result<()> {
    let lines = upstream.headers.get_all(&name);
    let mut list = Vec::new();
    for line in lines {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        return upstream.insert_header(name, value);
    }
    list.extend_from_slice(value.as_bytes());
    upstream.insert_header(name, header_value_from_slice(&list))
}

fn address_value(address: IpAddr) -> HeaderValue {
    header_value_from_slice(address.to_string().as_bytes())
}

/// Makes a response what the client may see.
pub fn to_client(session: &mut Session, response: &mut ResponseHeader, ctx: &Ctx) -> Result<()> {
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        remove_hop_by_hop(response);
    }
    response.remove_header("x-gatekeeper-error");
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
    response.remove_header("keep-alive");
    response.remove_header("proxy-connection");
}

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

    #[test]
    fn identity_and_origin_of_strangers_go() {
        let identity = HeaderNames::parse(&["X-User-*".into()]).unwrap();
        let mut upstream = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X-User-Id", "X_User_Id", "X-Forwarded-For", "Forwarded", "X-Real-IP", "Accept"] {
            upstream.insert_header(name, "1").unwrap();
        }
        let mut trusted = upstream.clone();
        remove_unwanted(&identity, false, &mut upstream);
        assert_eq!(upstream.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        remove_unwanted(&identity, true, &mut trusted);
        assert_eq!(trusted.headers.len(), 4);
    }

    #[test]
    fn a_list_grows_at_its_end() {
        let mut upstream = RequestHeader::build("GET", b"/", None).unwrap();
        append(&mut upstream, VIA, via(Version::HTTP_2)).unwrap();
        upstream.append_header("via", "1.1 b").unwrap();
        append(&mut upstream, VIA, via(Version::HTTP_11)).unwrap();
        assert_eq!(upstream.headers["via"], "2.0 gatekeeper, 1.1 b, 1.1 gatekeeper");
        assert_eq!(upstream.headers.get_all("via").iter().count(), 1);
    }
}
