//! A finished request, as the access log keeps it until it is written: a copy of the event, with all texts in one
//! allocation. They are copied rather than shared because a shared header value keeps the connection's whole header
//! buffer alive until the record is written, and because counting references to one route's name from all threads costs
//! more than copying its twenty bytes.
//!
//! A text is cut after [`LONGEST_TEXT`] bytes, so the queue's memory is bounded whatever clients send: its length times
//! about 20 KiB at worst, under 1 KiB usually. Of a logged header that comes several times, the first is kept. An
//! absent text is kept as an empty one: both formats show them alike.

use gatekeeper_core::event::{Event, Facts};
use http::Method;
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
    UpstreamSocket,
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
        bytes_of(event.request_id),
        bytes_of(event.method.map(Method::as_str)),
        bytes_of(event.path),
        bytes_of(event.query),
        bytes_of(event.host),
        bytes_of(event.route),
        bytes_of(event.service),
        bytes_of(event.upstream_socket),
        bytes_of(event.user.map(|(user, _)| user)),
        bytes_of(event.user.map(|(_, issuer)| issuer)),
        bytes_of(event.error_message),
        bytes_of(event.would_refuse),
        header(event, &USER_AGENT),
        header(event, &REFERER),
    ];
    let mut texts: SmallVec<_> = fixed.into_iter().map(shortened).collect();
    let Some(headers) = event.headers else { return texts };
    for name in event.logged_headers.iter().filter(|name| headers.contains_key(*name)) {
        texts.extend([name.as_str().as_bytes(), header(event, name)].map(shortened));
    }
    texts
}

fn header<'a>(event: &Event<'a>, name: &HeaderName) -> &'a [u8] {
    event.headers.and_then(|headers| headers.get(name)).map(|value| value.as_bytes()).unwrap_or_default()
}

fn bytes_of(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

fn shortened(text: &[u8]) -> &[u8] {
    text.get(..LONGEST_TEXT).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::samples::{event, headers};
    use super::*;

    #[test]
    fn keeps_every_text_apart() {
        let headers = headers(&[("user-agent", b"curl/8"), ("x-b", b"2"), ("x-a", b"\xff1")]);
        let logged = ["x-a", "x-missing", "x-b"].map(HeaderName::from_static);
        let mut event = event(&headers);
        (event.route, event.logged_headers) = (None, &logged);
        let record = Record::of(&event);
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
        let mut event = event(&none);
        event.path = Some(&long);
        let record = Record::of(&event);
        assert_eq!(record.text(Text::Path).len(), LONGEST_TEXT);
        assert_eq!(record.text(Text::Host), b"api.example");
    }
}
