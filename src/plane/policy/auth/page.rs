//! Pages of other origins (SEMANTICS 4.8). Browsers send cookies, certificates and passwords of `Basic` by themselves, whatever
//! page asks: neither for a websocket, which no preflight asks for, nor to change something may another origin's page use them.
//!
//! An origin is a scheme, a host and a port. Ours is the one that the client used: behind a trusted peer it is what that says.

use http::header::{HOST, ORIGIN, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method};

use super::Visitor;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::route::canonical_host;

/// Refuses what a page of another origin must not do with what browsers send by themselves.
pub fn check(visitor: &Visitor) -> Result<(), Refusal> {
    let Parts { headers, method, .. } = visitor.request;
    let harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if harmless && !headers.contains_key(UPGRADE) {
        return Ok(());
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    if is_ours(origin, visitor) || visitor.cors.is_some_and(|cors| cors.trusts(origin)) {
        return Ok(());
    }
    let detail = "a page of another origin may not use a cookie or certificate here";
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or("unreadable").to_owned());
    let cause = format!(
        "the origin is {:?}, the request is for {:?} by {}, and CORS with credentials does not allow the origin",
        text(origin).unwrap_or("unreadable"),
        host.unwrap_or_else(|| visitor.request.uri.authority().map(ToString::to_string).unwrap_or_default()),
        if visitor.tls { "https" } else { "http" },
    );
    Err(Refusal::new(Kind::ORIGIN_DENIED, detail).because(cause))
}

fn is_ours(origin: &HeaderValue, visitor: &Visitor) -> bool {
    let Some((scheme, authority)) = text(origin).and_then(|origin| origin.split_once("://")) else { return false };
    let Parts { headers, uri, .. } = visitor.request;
    // Of several in a row, the first is the one that the client's own peer said.
    let first = |list| text(list)?.split(',').next().map(str::trim_ascii);
    let said = |name: &str| headers.get(name).filter(|_| visitor.trusted).and_then(first);
    let host = said("x-forwarded-host").or_else(|| headers.get(HOST).and_then(text));
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let (own, usual_port) = match said("x-forwarded-proto").unwrap_or(if visitor.tls { "https" } else { "http" }) {
        "https" | "wss" => ("https", 443),
        "http" | "ws" => ("http", 80),
        _ => return false,
    };
    let end = |authority| end(authority, usual_port);
    scheme == own && host.and_then(end).is_some_and(|ours| end(authority) == Some(ours))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// The canonical host and the port of an authority.
fn end(authority: &str, usual_port: u16) -> Option<(String, u16)> {
    let host = canonical_host(authority).ok()?.into_owned();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual_port);
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;

    /// Whether a page of this origin may change something at this address.
    fn admitted(origin: &str, host: &str, tls: bool, said: &[(&str, &str)]) -> bool {
        let request = http::Request::post("/").header("origin", origin).header("host", host);
        let request = said.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).unwrap().into_parts().0;
        let now = (Instant::now(), SystemTime::now());
        let (address, certificate, cors) = (None, None, None);
        let trusted = !said.is_empty();
        check(&Visitor { request: &request, path: "/", address, certificate, tls, trusted, cors, now, until: None })
            .is_ok()
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (origin, host, tls, wanted) in [
            ("https://a.org", "a.org", true, true),
            ("https://a.org", "A.org.:443", true, true),
            ("https://a.org:443", "a.org", true, true),
            ("https://a.org:8443", "a.org:8443", true, true),
            ("http://a.org", "a.org:80", false, true),
            ("http://[::1]:8000", "[0::1]:8000", false, true),
            ("http://a.org", "a.org", true, false),
            ("https://a.org", "a.org", false, false),
            ("https://a.org:8443", "a.org", true, false),
            ("https://a.org", "a.org:8443", true, false),
            ("http://[::1]", "[::1]:81", false, false),
            ("https://b.org", "a.org", true, false),
            ("https://a.org.evil.test", "a.org", true, false),
            ("https://a.org https://b.org", "a.org", true, false),
            ("https://x@a.org", "a.org", true, false),
            ("null", "a.org", true, false),
            ("a.org", "a.org", true, false),
            ("", "a.org", true, false),
        ] {
            assert_eq!(admitted(origin, host, tls, &[]), wanted, "{origin:?} at {host}, TLS {tls}");
        }
    }

    #[test]
    fn behind_a_trusted_peer_ours_is_what_that_says() {
        let said = [("x-forwarded-proto", "https, http"), ("x-forwarded-host", "a.org , b.org")];
        assert!(!admitted("https://b.org", "internal:8000", false, &said));
        assert!(admitted("https://a.org", "internal:8000", false, &said));
        assert!(!admitted("http://a.org", "internal:8000", false, &said));
        assert!(!admitted("http://internal:8000", "internal:8000", false, &said));
    }
}
