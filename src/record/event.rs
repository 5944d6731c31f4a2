//! A finished request, as it is recorded.
//!
//! The proxy lends its texts in an [`Event`]; the access log keeps a copy, a [`Record`], with all texts in one
//! allocation. They are copied rather than shared because a shared header value keeps the connection's whole header
//! buffer alive until the record is written, and because counting references to one route's name from all threads costs
//! more than copying its twenty bytes.
//!
//! A text is cut after [`LONGEST_TEXT`] bytes, so the queue's memory is bounded whatever clients send: its length times
//! about 20 KiB at worst, under 1 KiB usually. Of a logged header that comes several times, the first is kept. An
//! empty text is as good as an absent one.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, REFERER, USER_AGENT};
use http::{Method, Version};
use smallvec::SmallVec;

/// The bytes of a text that are kept.
pub const LONGEST_TEXT: usize = 2048;

/// What is known of a finished request beside its texts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When its first byte came.
    pub started: SystemTime,
    /// Until the response's last byte.
    pub duration: Duration,
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The protocol the client spoke.
    pub version: Version,
    /// The response's status; 0 when the client went before there was one.
    pub status: u16,
    /// The time spent waiting for upstreams, if one was asked.
    pub upstream_time: Option<Duration>,
    /// How often an upstream was tried.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The code of what went wrong.
    pub error_code: Option<&'static str>,
    /// The response ended before it was complete.
    pub truncated: bool,
}

/// A finished request; its texts are borrowed from whoever served it.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Numbers and times.
    pub facts: Facts,
    /// The request's id.
    pub request_id: &'a str,
    /// The request's method.
    pub method: &'a Method,
    /// The canonical path, or what was sent if it has none.
    pub path: &'a str,
    /// The query as it was sent, without its `?`.
    pub query: Option<&'a str>,
    /// The host that was asked for.
    pub host: &'a str,
    /// The route that matched.
    pub route: Option<&'a str>,
    /// The service the request was for.
    pub service: Option<&'a str>,
    /// The user, if one is known, and who says so.
    pub user: Option<(&'a str, &'a str)>,
    /// The cause of an error, for the log only.
    pub error_message: Option<&'a str>,
    /// What policies on trial would have refused it for.
    pub would_refuse: Option<&'a str>,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Which of them are logged, beside User-Agent and Referer.
    pub logged_headers: &'a [HeaderName],
}

/// The texts of a record, in the order in which they are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    RequestId,
    Method,
    Path,
    Query,
    Host,
    Route,
    Service,
    User,
    Issuer,
    ErrorMessage,
    WouldRefuse,
    UserAgent,
    Referer,
}

const TEXTS: usize = Text::Referer as usize + 1;

/// An [`Event`] that owns its texts.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub facts: Facts,
    /// All texts, one after the other; behind them the logged headers' names and values in turn.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: SmallVec<[u32; TEXTS]>,
}

impl Record {
    pub fn of(event: &Event<'_>) -> Record {
        let texts = event.texts();
        let (mut bytes, mut ends) = (Vec::with_capacity(texts.iter().map(|text| text.len()).sum()), SmallVec::new());
        for text in texts {
            bytes.extend_from_slice(text);
            ends.push(bytes.len() as u32);
        }
        Record { facts: event.facts.clone(), bytes, ends }
    }

    pub fn text(&self, text: Text) -> &[u8] {
        self.span(text as usize)
    }

    /// The logged headers and their values.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (TEXTS..self.ends.len()).step_by(2).map(|at| (self.span(at), self.span(at + 1)))
    }

    fn span(&self, at: usize) -> &[u8] {
        let end_of = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let start = at.checked_sub(1).map_or(0, end_of);
        self.bytes.get(start..end_of(at)).unwrap_or_default()
    }
}

impl<'a> Event<'a> {
    fn texts(&self) -> SmallVec<[&'a [u8]; TEXTS + 6]> {
        let fixed: [&[u8]; TEXTS] = [
            self.request_id.as_bytes(),
            self.method.as_str().as_bytes(),
            self.path.as_bytes(),
            bytes_of(self.query),
            self.host.as_bytes(),
            bytes_of(self.route),
            bytes_of(self.service),
            bytes_of(self.user.map(|(user, _)| user)),
            bytes_of(self.user.map(|(_, issuer)| issuer)),
            bytes_of(self.error_message),
            bytes_of(self.would_refuse),
            self.header(&USER_AGENT),
            self.header(&REFERER),
        ];
        let mut texts: SmallVec<_> = fixed.into_iter().map(shortened).collect();
        for name in self.logged_headers.iter().filter(|name| self.headers.contains_key(*name)) {
            texts.extend([name.as_str().as_bytes(), self.header(name)].map(shortened));
        }
        texts
    }

    fn header(&self, name: &HeaderName) -> &'a [u8] {
        self.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default()
    }
}

fn bytes_of(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

fn shortened(text: &[u8]) -> &[u8] {
    text.get(..LONGEST_TEXT).unwrap_or(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use http::HeaderValue;

    /// A request's headers, and an event that borrows them.
    pub fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_bytes(v).unwrap())).collect()
    }

    pub fn event(headers: &HeaderMap) -> Event<'_> {
        Event {
            facts: Facts {
                started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
                duration: Duration::from_micros(12_345),
                client: "203.0.113.77".parse().ok(),
                version: Version::HTTP_11,
                status: 200,
                upstream_time: Some(Duration::from_micros(9_007)),
                attempts: 1,
                bytes_in: 0,
                bytes_out: 64,
                error_code: None,
                truncated: false,
            },
            request_id: "0190a1b2-0000-7000-8000-000000000001",
            method: &Method::GET,
            path: "/api/v1/content/1",
            query: Some("page=2&token=hush"),
            host: "api.example",
            route: Some("content"),
            service: Some("content"),
            user: None,
            error_message: None,
            would_refuse: None,
            headers,
            logged_headers: &[],
        }
    }

    #[test]
    fn keeps_every_text_apart() {
        let headers = headers(&[("user-agent", b"curl/8"), ("x-b", b"2"), ("x-a", b"\xff1")]);
        let logged = ["x-a", "x-missing", "x-b"].map(HeaderName::from_static);
        let record = Record::of(&Event { route: None, logged_headers: &logged, ..event(&headers) });
        assert_eq!(record.text(Text::RequestId), b"0190a1b2-0000-7000-8000-000000000001");
        assert_eq!(record.text(Text::Method), b"GET");
        assert_eq!(record.text(Text::Query), b"page=2&token=hush");
        assert_eq!(record.text(Text::Route), b"");
        assert_eq!(record.text(Text::Service), b"content");
        assert_eq!(record.text(Text::UserAgent), b"curl/8");
        assert_eq!(record.text(Text::Referer), b"");
        let logged: Vec<_> = record.headers().collect();
        assert_eq!(logged, [(&b"x-a"[..], &b"\xff1"[..]), (b"x-b", b"2")]);
    }

    #[test]
    fn cuts_what_is_too_long() {
        let long = "x".repeat(LONGEST_TEXT + 1);
        let none = HeaderMap::new();
        let record = Record::of(&Event { path: &long, ..event(&none) });
        assert_eq!(record.text(Text::Path).len(), LONGEST_TEXT);
        assert_eq!(record.text(Text::Host), b"api.example");
    }
}
