//! A target: one place where a service runs, as a URL, and how it is reached.
//!
//! `http://host:port`, `https://host[:port]` or `unix:/path`. A URL has no path: what is sent is the request's own path,
//! or the route's `rewrite`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};

use super::lane::{CONNECTION_WINDOW, STREAM_WINDOW, STREAMS};
use super::tls::ClientTls;
use gatekeeper_model::raw::{self, Protocol};

/// A target as it was written, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// TLS is spoken with it.
    pub tls: bool,
    /// How to get there.
    pub way: Way,
    /// Its name in `Host`.
    pub authority: String,
}

/// How to get to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A host (a name or an address without brackets) and a port.
    Tcp(String, u16),
    /// A socket's path.
    Unix(String),
}

/// The forms a target may have, for error texts.
pub const ALLOWED: &str = "http://host:port, https://host[:port] or unix:/path";

impl Url {
    /// Understands a target's URL; the error says what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if let Some(path) = url.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Url { tls: false, way: Way::Unix(path.into()), authority: "localhost".into() }),
                false => Err("a unix target needs an absolute path"),
            };
        }
        let uri: Uri = url.parse().map_err(|_| "not a URL")?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("not an http or https URL"),
        };
        let authority = uri.authority().ok_or("a URL without a host")?;
        if authority.as_str().contains('@') {
            return Err("credentials in a target's URL are not sent anywhere");
        }
        if uri.path() != "/" || uri.query().is_some() || url.ends_with('?') {
            return Err("a target has no path; use a route's rewrite");
        }
        let host = authority.host().trim_matches(['[', ']']);
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => Some(if tls { 443 } else { 80 }),
            _ => authority.port_u16(),
        };
        let Some(port) = port.filter(|port| *port > 0 && !host.is_empty()) else {
            return Err("a URL without a host or with a wrong port");
        };
        Ok(Url { tls, way: Way::Tcp(host.to_ascii_lowercase(), port), authority: authority.to_string() })
    }

    /// The name that has to be looked up before the place can be reached.
    pub fn name(&self) -> Option<&str> {
        match &self.way {
            Way::Tcp(host, _) if host.parse::<IpAddr>().is_err() => Some(host),
            Way::Tcp(..) | Way::Unix(_) => None,
        }
    }
}

/// A target as a service has it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL, as written.
    pub url: Arc<str>,
    /// The URL, understood.
    pub place: Url,
    /// Its name in `Host`.
    pub authority: HeaderValue,
    /// The share of each of its addresses.
    pub weight: u32,
    /// The most requests in flight to each of them.
    pub most: Option<u32>,
}

impl Target {
    /// A target at a place that was understood.
    pub(super) fn new(raw: &raw::Target, place: Url) -> Self {
        let authority = HeaderValue::from_str(&place.authority).unwrap_or(HeaderValue::from_static("localhost"));
        Target { url: raw.url().into(), place, authority, weight: raw.weight(), most: raw.max_in_flight() }
    }

    /// The name that has to be looked up before the target can be reached.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

/// How the targets of a service are spoken with.
pub(super) struct Speech {
    pub protocol: Protocol,
    pub tls: ClientTls,
    pub idle_timeout: Duration,
}

impl Speech {
    /// The ways to a target: one for each address. Those of its name are given.
    pub fn peers(&self, place: &Url, addresses: &[IpAddr]) -> Vec<HttpPeer> {
        let tls_name = |host: &str| if place.tls { host.to_owned() } else { String::new() };
        let peer = |host: &str, port: u16, address: IpAddr| {
            self.peer(HttpPeer::new(SocketAddr::new(address, port), place.tls, tls_name(host)))
        };
        match &place.way {
            Way::Tcp(host, port) => match host.parse() {
                Ok(address) => vec![peer(host, *port, address)],
                Err(_) => addresses.iter().map(|address| peer(host, *port, *address)).collect(),
            },
            Way::Unix(path) => {
                HttpPeer::new_uds(path, false, String::new()).into_iter().map(|peer| self.peer(peer)).collect()
            }
        }
    }

    fn peer(&self, mut peer: HttpPeer) -> HttpPeer {
        peer.options.alpn = match (self.protocol, peer.is_tls()) {
            (Protocol::Http1, _) | (Protocol::Auto, false) => ALPN::H1,
            (Protocol::Auto, true) => ALPN::H2H1,
            (Protocol::H2, _) => ALPN::H2,
        };
        peer.options.max_h2_streams = STREAMS as usize;
        peer.options.h2_stream_window_size = Some(STREAM_WINDOW);
        peer.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        // `proxy::headers` does it all, in one pass.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
        peer.options.idle_timeout = Some(self.idle_timeout);
        if peer.is_tls() {
            self.tls.apply(&mut peer);
        }
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood() {
        let tcp = |host: &str, port| Way::Tcp(host.into(), port);
        let cases = [
            ("http://10.0.0.5:8003", false, tcp("10.0.0.5", 8003), "10.0.0.5:8003"),
            ("http://Content/", false, tcp("content", 80), "Content"),
            ("https://id.example", true, tcp("id.example", 443), "id.example"),
            ("https://[::1]:8443", true, tcp("::1", 8443), "[::1]:8443"),
            ("unix:/run/app.sock", false, Way::Unix("/run/app.sock".into()), "localhost"),
        ];
        for (url, tls, way, authority) in cases {
            assert_eq!(Url::parse(url), Ok(Url { tls, way, authority: authority.into() }), "{url}");
        }
    }

    #[test]
    fn wrong_urls_are_refused() {
        for url in [
            "",
            "content:8003",
            "ftp://x",
            "http://",
            "http://x:0",
            "http://x:99999",
            "http://u:p@x",
            "http://x/path",
            "http://x?q",
            "http://x/?",
            "unix:run/app.sock",
            "unix:",
            "http://x y",
            "http://x:",
        ] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
    }
}
