//! A finished request, as every [`Sink`](crate::sink::Sink) is told of it. Its texts are borrowed from whoever served it.
//!
//! [`Event::of`] is the only way to make one. It takes what is known of a request in the order in which it becomes
//! known: its arrival, its head, its way through the gateway, its outcome. What is not known is absent, and nothing is put
//! in its place: a head that was refused has no method, and a request whose task was dropped has no count of bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::header::{HOST, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};

/// What is known of a finished request beside its texts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When its first byte came.
    pub started: SystemTime,
    /// Until the response's last byte.
    pub duration: Duration,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The protocol the client spoke.
    pub version: Option<Version>,
    /// The response's status; absent when the client went before there was one.
    pub status: Option<StatusCode>,
    /// From its head to the head of the service's response, if there was one: the body is not in it.
    pub upstream_time: Option<Duration>,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// The address that was tried last, if it was not a unix socket.
    pub upstream: Option<SocketAddr>,
    /// Bytes of the request's body.
    pub bytes_in: Option<u64>,
    /// Bytes of the response's body.
    pub bytes_out: Option<u64>,
    /// The code of what went wrong.
    pub error_code: Option<&'static str>,
    /// The response ended before it was complete.
    pub truncated: bool,
}

/// A finished request; its texts are borrowed from whoever served it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Numbers and times.
    pub facts: Facts,
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// The request's method.
    pub method: Option<&'a Method>,
    /// The canonical path, or what was sent if it has none.
    pub path: Option<&'a str>,
    /// The query as it was sent, without its `?`.
    pub query: Option<&'a str>,
    /// The host that was asked for.
    pub host: Option<&'a str>,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The service the request was for.
    pub service: Option<&'a str>,
    /// The unix socket that was tried last, by its URL.
    pub upstream_socket: Option<&'a str>,
    /// The user, and who says so.
    pub user: Option<(&'a str, &'a str)>,
    /// The cause of an error, for the log only.
    pub error_message: Option<&'a str>,
    /// What policies in shadow mode would have refused it for.
    pub would_refuse: Option<&'a str>,
    /// The request's headers.
    pub headers: Option<&'a HeaderMap>,
    /// Which of them are logged, beside User-Agent and Referer.
    pub logged_headers: &'a [HeaderName],
}

/// What is known as soon as a request comes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The request's id.
    pub request_id: Option<&'a str>,
    /// When its first byte came.
    pub started: SystemTime,
    /// The client's address.
    pub client: Option<IpAddr>,
}

/// What a request's head says.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The protocol.
    pub version: Version,
    /// The headers; absent if they were lost with the request.
    pub headers: Option<&'a HeaderMap>,
    /// Which of them are logged, beside User-Agent and Referer.
    pub logged_headers: &'a [HeaderName],
}

/// What the gateway found out about a request on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way<'a> {
    /// The canonical path, if it differs from the path as sent.
    pub canonical_path: Option<&'a str>,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The service the request was for.
    pub service: Option<&'a str>,
    /// The user, and who says so.
    pub user: Option<(&'a str, &'a str)>,
    /// What policies in shadow mode would have refused it for.
    pub would_refuse: Option<&'a str>,
    /// From its head to the head of the service's response, if there was one: the body is not in it.
    pub upstream_time: Option<Duration>,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// The address that was tried last, if it was not a unix socket.
    pub upstream: Option<SocketAddr>,
    /// The unix socket that was tried last, by its URL.
    pub upstream_socket: Option<&'a str>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// From the request's first byte to the response's last.
    pub duration: Duration,
    /// The response's status.
    pub status: Option<StatusCode>,
    /// Bytes of the request's body.
    pub bytes_in: Option<u64>,
    /// Bytes of the response's body.
    pub bytes_out: Option<u64>,
    /// The code of what went wrong.
    pub error_code: Option<&'static str>,
    /// The cause of an error, for the log only.
    pub error_message: Option<&'a str>,
    /// The response ended before it was complete.
    pub truncated: bool,
}

impl<'a> Event<'a> {
    /// Puts an event together from what is known of a request.
    pub fn of(arrival: Arrival<'a>, head: Option<Head<'a>>, way: Way<'a>, outcome: Outcome<'a>) -> Event<'a> {
        Event {
            facts: Facts {
                started: arrival.started,
                duration: outcome.duration,
                client: arrival.client,
                version: head.map(|head| head.version),
                status: outcome.status,
                upstream_time: way.upstream_time,
                attempts: way.attempts,
                upstream: way.upstream,
                bytes_in: outcome.bytes_in,
                bytes_out: outcome.bytes_out,
                error_code: outcome.error_code,
                truncated: outcome.truncated,
            },
            request_id: arrival.request_id.filter(|id| !id.is_empty()),
            method: head.map(|head| head.method),
            path: way.canonical_path.or(head.and_then(|head| head.path())),
            query: head.and_then(|head| head.uri.query()),
            host: head.and_then(|head| head.host()),
            route: way.route,
            service: way.service,
            upstream_socket: way.upstream_socket,
            user: way.user,
            error_message: outcome.error_message,
            would_refuse: way.would_refuse,
            headers: head.and_then(|head| head.headers),
            logged_headers: head.map_or(&[], |head| head.logged_headers),
        }
    }
}

impl<'a> Head<'a> {
    /// A head that is known to its last header.
    pub fn of(request: &'a Parts, logged_headers: &'a [HeaderName]) -> Head<'a> {
        Head {
            method: &request.method,
            uri: &request.uri,
            version: request.version,
            headers: Some(&request.headers),
            logged_headers,
        }
    }

    /// The target of CONNECT has no path.
    fn path(&self) -> Option<&'a str> {
        Some(self.uri.path()).filter(|path| !path.is_empty())
    }

    fn host(&self) -> Option<&'a str> {
        let field = self.headers.and_then(|headers| headers.get(HOST)?.to_str().ok());
        field.or(self.uri.authority().map(|authority| authority.as_str()))
    }
}

impl Outcome<'_> {
    /// The outcome of a request of which only the duration is known.
    pub fn after(duration: Duration) -> Self {
        Outcome {
            duration,
            status: None,
            bytes_in: None,
            bytes_out: None,
            error_code: None,
            error_message: None,
            truncated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVAL: Arrival<'static> = Arrival { request_id: Some("id"), started: SystemTime::UNIX_EPOCH, client: None };

    fn request(uri: &str, host: Option<&str>) -> Parts {
        let mut request = http::Request::put(uri).version(Version::HTTP_2);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn event<'a>(head: Option<Head<'a>>, way: Way<'a>) -> Event<'a> {
        Event::of(ARRIVAL, head, way, Outcome::after(Duration::ZERO))
    }

    #[test]
    fn without_a_head_nothing_is_known_of_it() {
        let event = event(None, Way::default());
        assert_eq!((event.method, event.path, event.query, event.host), (None, None, None, None));
        assert_eq!((event.facts.version, event.headers), (None, None));
        let facts = event.facts;
        assert_eq!((facts.status, facts.bytes_in, facts.bytes_out, facts.error_code), (None, None, None, None));
    }

    #[test]
    fn a_request_before_its_id_has_none() {
        let arrival = Arrival { request_id: Some(""), ..ARRIVAL };
        assert_eq!(Event::of(arrival, None, Way::default(), Outcome::after(Duration::ZERO)).request_id, None);
    }

    #[test]
    fn the_host_is_the_field_or_the_targets() {
        for (uri, field, host) in [
            ("/a?b", Some("field.example"), Some("field.example")),
            ("http://target.example/a?b", Some("field.example"), Some("field.example")),
            ("http://target.example/a?b", None, Some("target.example")),
            ("/a?b", None, None),
        ] {
            let request = request(uri, field);
            let event = event(Some(Head::of(&request, &[])), Way::default());
            assert_eq!(event.host, host, "{uri} {field:?}");
            assert_eq!((event.path, event.query), (Some("/a"), Some("b")), "{uri}");
            assert_eq!((event.method, event.facts.version), (Some(&Method::PUT), Some(Version::HTTP_2)));
        }
    }

    #[test]
    fn the_target_of_connect_has_no_path() {
        let request = request("target.example:443", None);
        let event = event(Some(Head::of(&request, &[])), Way::default());
        assert_eq!((event.path, event.host), (None, Some("target.example:443")));
    }

    #[test]
    fn the_canonical_path_comes_first() {
        let request = request("/a/../b", None);
        let way = Way { canonical_path: Some("/b"), ..Way::default() };
        assert_eq!(event(Some(Head::of(&request, &[])), way).path, Some("/b"));
    }
}
