//! Shields: whom and what the gateway turns away by a look at the request's head (DESIGN 3, steps 4 and 6).
//!
//! Addresses: the client's, behind trusted proxies the one they tell (SEMANTICS 2.4). `deny` wins over `allow`; an
//! empty `allow` lets everyone pass. A peer on a unix socket that says of no client has no address: it passes unless
//! `deny` names `unix`, or `allow` names others only.
//!
//! Media types: those of requests that have a body. A body without a type counts as application/octet-stream (RFC 9110
//! 8.3); parameters are ignored. An HTTP/2 request whose end is not told with its head counts as one with a body.
//!
//! Length: what the head tells is judged here; `proxy` counts what a head does not tell.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::flood::Flood;
use gatekeeper_core::net::Networks;
use gatekeeper_core::refusal::{Kind, Refusal};

/// What stands before the choice of a route.
#[derive(Default)]
pub struct Front {
    /// Whose requests are taken.
    pub addresses: Addresses,
    /// Which methods are taken; all when absent.
    pub methods: Option<Methods>,
    /// How many of them.
    pub flood: Option<Arc<Flood>>,
    /// What is wrong is told and passes.
    pub shadow: bool,
}

/// Methods that are taken.
#[derive(Debug)]
pub struct Methods {
    methods: Box<[Method]>,
    allow: HeaderValue,
}

impl Methods {
    /// These; the value is their list.
    pub fn new(methods: Vec<Method>) -> Option<Self> {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        let allow = HeaderValue::from_str(&names.join(", ")).ok()?;
        Some(Methods { methods: methods.into(), allow })
    }

    /// Refuses another method.
    pub fn admit(&self, method: &Method) -> Result<(), Refusal> {
        if self.methods.contains(method) {
            return Ok(());
        }
        let refusal = Refusal::new(Kind::METHOD_NOT_ALLOWED, "this method is not accepted");
        Err(refusal.with_header(ALLOW, self.allow.clone()))
    }
}

/// What stands before a route.
#[derive(Default, PartialEq)]
pub struct Shield {
    /// Whose requests are taken.
    pub addresses: Addresses,
    /// Which bodies are taken; all when absent.
    pub types: Option<MediaTypes>,
    /// The longest body.
    pub max_body: Option<u64>,
    /// What is wrong is told and passes, but for a body that turns out to be too long.
    pub shadow: bool,
}

/// Whose requests are taken.
#[derive(Default, PartialEq)]
pub struct Addresses {
    /// These; all when absent.
    pub allow: Option<Networks>,
    /// Not these.
    pub deny: Networks,
}

impl Addresses {
    /// Refuses a client whose requests are not taken.
    pub fn admit(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        let allowed = self.allow.as_ref().is_none_or(|allow| allow.contains(client));
        if allowed && !self.deny.contains(client) {
            return Ok(());
        }
        let refusal = Refusal::new(Kind::ADDRESS_DENIED, "requests from this address are not accepted");
        Err(refusal.and_close())
    }

    /// Whether nobody's requests are taken, peers on unix sockets aside.
    pub fn is_closed(&self) -> bool {
        match &self.allow {
            Some(allow) => self.deny.includes(allow),
            None => self.deny.includes(&Networks::every_address()),
        }
    }
}

impl Shield {
    /// Refuses a body that is not taken, as far as the request's head tells of it.
    pub fn admit_body(&self, headers: &HeaderMap, has_body: bool) -> Result<(), Refusal> {
        if let Some(types) = self.types.as_ref().filter(|_| has_body) {
            types.admit(headers)?;
        }
        let Some(max) = self.max_body else { return Ok(()) };
        match headers.get(CONTENT_LENGTH) {
            Some(length) if told(length).is_none_or(|length| length > max) => Err(too_long(max)),
            _ => Ok(()),
        }
    }
}

/// Whether a head of HTTP/1.1 announces a body.
pub fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| told(length) != Some(0))
}

/// What Content-Length says; `None` for more than can be counted.
fn told(length: &HeaderValue) -> Option<u64> {
    length.to_str().ok()?.parse().ok()
}

/// The refusal of a body that is too long.
pub fn too_long(max: u64) -> Refusal {
    Refusal::new(Kind::BODY_TOO_LARGE, format!("the body may have at most {max} bytes"))
}

/// Media types a body may have.
#[derive(PartialEq)]
pub struct MediaTypes {
    ranges: Box<[Range]>,
    /// All of them, for those who brought another one.
    accept: HeaderValue,
}

/// `type/subtype`; or `type/*` and `*/*` by what stands before the `*`.
#[derive(PartialEq)]
enum Range {
    Exact(Box<[u8]>),
    Beginning(Box<[u8]>),
}

/// The forms a media type may have, for error texts.
pub const MEDIA_TYPES: &str = "a media type without parameters, such as application/json, image/* or */*";

impl MediaTypes {
    /// Understands the texts; the error holds the index of each one that is none.
    pub fn parse(texts: &[String]) -> Result<Self, Vec<usize>> {
        let ranges: Vec<_> = texts.iter().map(|text| Range::parse(text)).collect();
        let wrong = |(index, range): (usize, &Option<Range>)| range.is_none().then_some(index);
        let wrong: Vec<_> = ranges.iter().enumerate().filter_map(wrong).collect();
        match HeaderValue::from_str(&texts.join(", ")) {
            Ok(accept) if wrong.is_empty() => Ok(MediaTypes { ranges: ranges.into_iter().flatten().collect(), accept }),
            _ => Err(wrong),
        }
    }

    /// Each Content-Type there is must be one of ours: a service may read any of them.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut types = headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes).peekable();
        let untyped = types.peek().is_none().then_some(&b"application/octet-stream"[..]);
        if types.chain(untyped).all(|text| self.contain(text)) {
            return Ok(());
        }
        let refusal = Refusal::new(Kind::MEDIA_TYPE, "this media type is not accepted");
        Err(refusal.with_header(ACCEPT, self.accept.clone()))
    }

    fn contain(&self, text: &[u8]) -> bool {
        let essence = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.ranges.iter().any(|range| match range {
            Range::Exact(exact) => essence.eq_ignore_ascii_case(exact),
            Range::Beginning(beginning) => {
                essence.get(..beginning.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(beginning))
            }
        })
    }
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let (family, subtype) = text.split_once('/')?;
        // Tokens, as the names of fields are.
        let is_name = |name: &str| !name.contains('*') && HeaderName::from_bytes(name.as_bytes()).is_ok();
        match (family, subtype) {
            ("*", "*") => Some(Range::Beginning(Box::default())),
            (family, "*") if is_name(family) => Some(Range::Beginning(format!("{family}/").into_bytes().into())),
            _ => (is_name(family) && is_name(subtype)).then(|| Range::Exact(text.as_bytes().into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    #[test]
    fn deny_wins_and_an_empty_allow_lets_pass() {
        let networks = |list: &[&str]| Networks::parse(&texts(list)).unwrap();
        let passes = |allow: &[&str], deny: &[&str], client: &str| {
            let allow = Some(networks(allow)).filter(|_| !allow.is_empty());
            Addresses { allow, deny: networks(deny) }.admit(client.parse().ok()).is_ok()
        };
        let cases: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &[], "192.0.2.1", true),
            (&[], &["192.0.2.0/24"], "192.0.2.1", false),
            (&[], &["192.0.2.0/24"], "192.0.3.1", true),
            (&["192.0.2.0/24"], &[], "192.0.2.1", true),
            (&["192.0.2.0/24"], &[], "2001:db8::1", false),
            (&["192.0.2.0/24"], &["192.0.2.1"], "192.0.2.1", false),
            (&[], &[], "unix", true),
            (&[], &["0.0.0.0/0"], "unix", true),
            (&[], &["unix"], "unix", false),
            (&["192.0.2.0/24"], &[], "unix", false),
            (&["192.0.2.0/24", "unix"], &[], "unix", true),
        ];
        for (allow, deny, client, wanted) in cases {
            assert_eq!(passes(allow, deny, client), *wanted, "{client}: allow {allow:?}, deny {deny:?}");
        }
    }

    #[test]
    fn a_media_type_is_compared_without_parameters_and_case() {
        let types = MediaTypes::parse(&texts(&["application/json", "Image/*"])).unwrap();
        let cases: &[(&[&'static str], bool)] = &[
            (&["application/json"], true),
            (&["Application/JSON ; charset=utf-8"], true),
            (&["image/svg+xml"], true),
            (&["application/vnd.api+json"], false),
            (&["application/jsonx"], false),
            (&["imagex/png"], false),
            (&["application/json, text/html"], false),
            (&["application/json", "text/html"], false),
            (&[""], false),
            (&[], false),
        ];
        for (found, wanted) in cases {
            let fields: Vec<_> = found.iter().map(|value| ("content-type", *value)).collect();
            assert_eq!(types.admit(&headers(&fields)).is_ok(), *wanted, "{found:?}");
        }
        let refusal = types.admit(&headers(&[])).unwrap_err();
        assert_eq!(refusal.headers, [(ACCEPT, HeaderValue::from_static("application/json, Image/*"))]);
        let untyped = |text| MediaTypes::parse(&texts(&[text])).unwrap().admit(&headers(&[])).is_ok();
        assert!(untyped("*/*") && untyped("application/*") && untyped("application/octet-stream"));
    }

    #[test]
    fn every_wrong_media_type_is_told() {
        let texts = texts(&["a/b", "a", "*/json", "a/*b", "a/b; c=d", "a/", "/b", "a/b/c", "*", "application/*"]);
        assert_eq!(MediaTypes::parse(&texts).err(), Some((1..9).collect()));
    }

    #[test]
    fn a_head_tells_of_its_body() {
        let judged = |max_body: u64, fields: &[(&'static str, &'static str)]| {
            let types = MediaTypes::parse(&texts(&["text/plain"])).ok();
            let headers = headers(fields);
            let judged = Shield { max_body: Some(max_body), types, ..Shield::default() };
            judged.admit_body(&headers, announces_body(&headers)).err().map_or(200, |refusal| refusal.kind.status)
        };
        let (plain, length) = (("content-type", "text/plain"), |text| ("content-length", text));
        assert_eq!(judged(0, &[]), 200);
        assert_eq!(judged(0, &[length("0")]), 200);
        assert_eq!(judged(9, &[length("1")]), 415);
        assert_eq!(judged(9, &[("transfer-encoding", "chunked")]), 415);
        assert_eq!(judged(9, &[plain, ("transfer-encoding", "chunked")]), 200);
        assert_eq!(judged(9, &[plain, length("9")]), 200);
        assert_eq!(judged(9, &[plain, length("10")]), 413);
        assert_eq!(judged(u64::MAX, &[plain, length("99999999999999999999")]), 413);
    }
}
