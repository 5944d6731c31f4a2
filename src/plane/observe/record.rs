//! A finished request, as the access log keeps it until it is written: a copy of the event, with all texts in one
//! allocation. They are copied rather than shared because a shared header value keeps the connection's whole header
//! buffer alive until the record is written, and because counting references to one route's name from all threads costs
//! more than copying its twenty bytes.
//!
//! A text is cut after [`LONGEST_TEXT`] bytes, so the queue's memory is bounded whatever clients send: its length times
//! about 20 KiB at worst, under 1 KiB usually. Of a logged header that comes several times, the first is kept. An
//! empty text is as good as an absent one.

use gatekeeper_core::event::{Event, Facts};
use http::header::{HeaderName, REFERER, USER_AGENT};
use smallvec::SmallVec;

/// The bytes of a text that are kept.
const LONGEST_TEXT: usize = 2048;

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

/// An event that owns its texts.
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
        let texts = texts(event);
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

fn texts<'a>(event: &Event<'a>) -> SmallVec<[&'a [u8]; TEXTS + 6]> {
    let fixed: [&[u8]; TEXTS] = [
        event.request_id.as_bytes(),
        event.method.as_str().as_bytes(),
        event.path.as_bytes(),
        bytes_of(event.query),
        event.host.as_bytes(),
        bytes_of(event.route),
        bytes_of(event.service),
        bytes_of(event.user.map(|(user, _)| user)),
        bytes_of(event.user.map(|(_, issuer)| issuer)),
        bytes_of(event.error_message),
        bytes_of(event.would_refuse),
        header(event, &USER_AGENT),
        header(event, &REFERER),
    ];
    let mut texts: SmallVec<_> = fixed.into_iter().map(shortened).collect();
    for name in event.logged_headers.iter().filter(|name| event.headers.contains_key(*name)) {
        texts.extend([name.as_str().as_bytes(), header(event, name)].map(shortened));
    }
    texts
}

fn header<'a>(event: &Event<'a>, name: &HeaderName) -> &'a [u8] {
    event.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default()
}

fn bytes_of(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

fn shortened(text: &[u8]) -> &[u8] {
    text.get(..LONGEST_TEXT).unwrap_or(text)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime};

    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;

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
