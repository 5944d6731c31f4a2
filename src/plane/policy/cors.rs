//! Which web pages may read the answers: the CORS protocol of the Fetch standard (SEMANTICS 3).
//!
//! A preflight is answered here. Every other response loses what the upstream says of CORS and gains what the gateway says.
//! A page that is not admitted gets the same response without it, and its browser keeps it from the page.
//!
//! Where any origin is admitted, the answer is the same for all, also without an Origin, and caches may share it. Else every
//! response has `Vary: Origin`, or a cache would give one page's permission to another, or withhold it.
//!
//! Origins are compared byte by byte: browsers send them in lower case and without the port that is their scheme's own. Two
//! Origin fields are none: no browser sends them.

use std::fmt;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;

/// Which web pages may read the answers, and what they may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// Pages may send cookies.
    pub credentials: bool,
    /// Methods they may use.
    pub methods: Allowed,
    /// Request headers they may set.
    pub headers: Allowed,
    /// Response headers they may read.
    pub exposed: HeaderValue,
    /// For how many seconds a browser may remember a preflight's answer.
    pub max_age: HeaderValue,
}

/// Whose pages may read the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's. Not with credentials.
    Any,
    /// These.
    Listed(Box<[Origin]>),
}

/// An origin, or all those under a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `https://app.example.org`, or `null`.
    Exact(Box<str>),
    /// `https://*.example.org`: one level below the domain or more.
    Under {
        /// `https://`
        scheme: Box<str>,
        /// `.example.org`, with a port if it is not the scheme's own.
        domain: Box<str>,
    },
}

/// What a page may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// These; `*` for all, without credentials.
    Listed(HeaderValue),
    /// All: what was asked for is repeated, since `*` is a name like any other to a page that sends credentials.
    Asked,
    /// All but Authorization.
    AskedButAuthorization,
}

const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers");
const VARY_PREFLIGHT_AND_ORIGIN: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");

/// What the gateway itself says in headers, for pages to read.
pub const EXPOSED: [&str; 8] = [
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
    "X-Gatekeeper-Error",
];

/// The method that a preflight asks about. A request that is no preflight asks about none.
pub fn preflight_method(method: &Method, request: &HeaderMap) -> Option<Method> {
    if method != Method::OPTIONS || !request.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(request.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl Cors {
    /// Whether pages of this origin may read the answers.
    pub fn admits(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Listed(list) => list.iter().any(|listed| listed.fits(origin.as_bytes())),
        }
    }

    /// Whether pages of this origin may come with what browsers send by themselves.
    pub fn trusts(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.admits(origin)
    }

    /// Fills in the headers of a preflight's answer, 204. They are final: `decorate` is for all other responses.
    pub fn answer_preflight(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let vary = if self.varies() { VARY_PREFLIGHT_AND_ORIGIN } else { VARY_PREFLIGHT };
        response.insert(VARY, vary);
        if !self.admit(request, response) {
            return;
        }
        let methods = self.methods.of(request.get(ACCESS_CONTROL_REQUEST_METHOD));
        let headers = self.headers.of(request.get(ACCESS_CONTROL_REQUEST_HEADERS));
        methods.and_then(|methods| response.insert(ACCESS_CONTROL_ALLOW_METHODS, methods));
        headers.and_then(|headers| response.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers));
        response.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
    }

    /// Puts what the gateway says of CORS into a response, an upstream's or the gateway's own, instead of what is there.
    pub fn decorate(&self, request: &HeaderMap, response: &mut HeaderMap) {
        remove_foreign(response);
        if self.varies() {
            vary_by_origin(response);
        }
        if self.admit(request, response) {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }

    /// Whether the page that makes a request may read the answer, for people.
    pub fn told(&self, origin: &HeaderValue) -> String {
        let shown = String::from_utf8_lossy(origin.as_bytes());
        let credentials = if self.credentials { ", with credentials" } else { "" };
        match self.admits(origin) {
            true => format!("the origin {shown} is allowed{credentials}"),
            false => format!("the origin {shown} is not allowed; allowed: {}", self.origins),
        }
    }

    /// What a preflight asks for that it is not allowed, for people.
    pub fn missed(&self, request: &HeaderMap) -> Vec<String> {
        let asked = [
            ("method", &self.methods, ACCESS_CONTROL_REQUEST_METHOD),
            ("header", &self.headers, ACCESS_CONTROL_REQUEST_HEADERS),
        ];
        let wanted = asked.into_iter().flat_map(|(what, allowed, name)| {
            let wanted = request.get(name).into_iter().flat_map(names);
            wanted.filter(|wanted| !allowed.takes(wanted)).map(move |wanted| (what, wanted))
        });
        wanted.map(|(what, wanted)| format!("the {what} {} is not allowed", String::from_utf8_lossy(wanted))).collect()
    }

    /// Whether the answer depends on the origin.
    fn varies(&self) -> bool {
        self.origins != Origins::Any
    }

    /// Says whose pages may read the response; false if those of the request may not.
    fn admit(&self, request: &HeaderMap, response: &mut HeaderMap) -> bool {
        let admitted = match self.origins {
            Origins::Any => Some(ANY),
            Origins::Listed(_) => sole(request, ORIGIN).filter(|origin| self.admits(origin)).cloned(),
        };
        let Some(admitted) = admitted else { return false };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, admitted);
        if self.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        true
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origins::Any => f.write_str("*"),
            Origins::Listed(list) if list.is_empty() => f.write_str("none"),
            Origins::Listed(list) => {
                let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
                f.write_str(&shown.join(", "))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Exact(exact) => f.write_str(exact),
            Origin::Under { scheme, domain } => write!(f, "{scheme}*{domain}"),
        }
    }
}

impl Origin {
    fn fits(&self, origin: &[u8]) -> bool {
        match self {
            Origin::Exact(exact) => exact.as_bytes() == origin,
            Origin::Under { scheme, domain } => {
                let host = origin.strip_prefix(scheme.as_bytes());
                host.and_then(|host| host.strip_suffix(domain.as_bytes())).is_some_and(is_below)
            }
        }
    }
}

/// Whether this may stand before `.example.org`: labels of a name, not the end of another URL.
fn is_below(labels: &[u8]) -> bool {
    let in_label = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    labels.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(in_label))
}

impl Allowed {
    /// Whether a page may ask for this one.
    fn takes(&self, wanted: &[u8]) -> bool {
        match self {
            Allowed::Listed(list) => names(list).any(|listed| listed == b"*" || listed.eq_ignore_ascii_case(wanted)),
            Allowed::Asked => true,
            Allowed::AskedButAuthorization => !is(wanted, "authorization"),
        }
    }

    fn of(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Allowed::Listed(list) => Some(list).filter(|list| !list.is_empty()),
            Allowed::Asked => asked,
            // A browser gives up when one of the headers is missing in the answer.
            Allowed::AskedButAuthorization => asked.filter(|asked| !names(asked).any(|name| is(name, "authorization"))),
        }
        .cloned()
    }
}

/// A field that stands there once.
fn sole(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn remove_foreign(response: &mut HeaderMap) {
    let foreign = response.keys().filter(|name| name.as_str().starts_with("access-control-"));
    let foreign: SmallVec<[HeaderName; 4]> = foreign.cloned().collect();
    for name in &foreign {
        response.remove(name);
    }
}

/// As a field of its own, which is the same as another name in the one that is there (RFC 9110 5.3).
fn vary_by_origin(response: &mut HeaderMap) {
    let is_named = response.get_all(VARY).iter().flat_map(names).any(|name| name == b"*" || is(name, "origin"));
    if !is_named {
        response.append(VARY, VARY_ORIGIN);
    }
}

/// The names of a list (RFC 9110 5.6.1).
fn names(list: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn under(scheme: &str, domain: &str) -> Origin {
        Origin::Under { scheme: scheme.into(), domain: domain.into() }
    }

    fn cors() -> Cors {
        let exact =
            ["https://app.example.org", "http://localhost:3000", "null"].map(|origin| Origin::Exact(origin.into()));
        let under = [under("https://", ".example.com"), under("http://", ".dev.test:8080")];
        Cors {
            origins: Origins::Listed(exact.into_iter().chain(under).collect()),
            credentials: true,
            methods: Allowed::Listed(HeaderValue::from_static("GET, PUT")),
            headers: Allowed::Listed(HeaderValue::from_static("Content-Type")),
            exposed: HeaderValue::from_static("X-Request-Id"),
            max_age: HeaderValue::from_static("600"),
        }
    }

    fn open() -> Cors {
        Cors { origins: Origins::Any, credentials: false, methods: Allowed::Listed(ANY), ..cors() }
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    /// All fields, sorted, as lines.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn decorated(cors: &Cors, request: &[(&str, &str)], response: &[(&str, &str)]) -> Vec<String> {
        let mut response = headers(response);
        cors.decorate(&headers(request), &mut response);
        lines(&response)
    }

    fn preflight(cors: &Cors, request: &[(&str, &str)]) -> Vec<String> {
        let mut response = HeaderMap::new();
        cors.answer_preflight(&headers(request), &mut response);
        lines(&response)
    }

    #[test]
    fn origins_are_compared_to_the_letter() {
        let cases = [
            ("https://app.example.org", true),
            ("http://localhost:3000", true),
            ("null", true),
            ("https://a.example.com", true),
            ("https://a.b-c.x_1.example.com", true),
            ("http://a.dev.test:8080", true),
            ("", false),
            ("NULL", false),
            ("http://app.example.org", false),
            ("https://App.example.org", false),
            ("https://app.example.org:443", false),
            ("https://app.example.org:8443", false),
            ("https://app.example.org/", false),
            ("https://app.example.org.evil.test", false),
            ("https://xapp.example.org", false),
            ("https://sub.app.example.org", false),
            ("http://localhost", false),
            ("http://localhost:30000", false),
            ("https://example.com", false),
            ("https://.example.com", false),
            ("https://a..example.com", false),
            ("https://.a.example.com", false),
            ("https://evilexample.com", false),
            ("https://A.example.com", false),
            ("https://a.example.com:8443", false),
            ("http://a.example.com", false),
            ("https://evil.test/.example.com", false),
            ("https://evil.test:1.example.com", false),
            ("https://evil.test#.example.com", false),
            ("https://evil.test?.example.com", false),
            ("https://user@a.example.com", false),
            ("https://*.example.com", false),
            ("http://a.dev.test", false),
            ("https://a.example.com, https://b.example.com", false),
        ];
        for (origin, wanted) in cases {
            assert_eq!(cors().admits(&origin.parse().unwrap()), wanted, "{origin:?}");
        }
        assert!(!cors().admits(&HeaderValue::from_bytes(b"https://\xff.example.com").unwrap()));
        assert!(open().admits(&HeaderValue::from_static("https://anybody.test")));
    }

    #[test]
    fn a_preflight_is_options_with_an_origin_and_a_method() {
        let origin = ("origin", "https://app.example.org");
        let asked = ("access-control-request-method", "PUT");
        let found = |method: Method, fields: &[_]| preflight_method(&method, &headers(fields));
        assert_eq!(found(Method::OPTIONS, &[origin, asked]), Some(Method::PUT));
        assert_eq!(found(Method::OPTIONS, &[origin]), None);
        assert_eq!(found(Method::OPTIONS, &[asked]), None);
        assert_eq!(found(Method::GET, &[origin, asked]), None);
        assert_eq!(found(Method::OPTIONS, &[origin, ("access-control-request-method", "P T")]), None);
        assert_eq!(found(Method::OPTIONS, &[origin, ("access-control-request-method", "")]), None);
    }

    #[test]
    fn a_preflight_is_told_what_may_be_asked() {
        let asked = [("origin", "null"), ("access-control-request-method", "PUT")];
        let told = [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: Content-Type",
            "access-control-allow-methods: GET, PUT",
            "access-control-allow-origin: null",
            "access-control-max-age: 600",
            "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ];
        assert_eq!(preflight(&cors(), &asked), told);
        let told = [
            "access-control-allow-headers: Content-Type",
            "access-control-allow-methods: *",
            "access-control-allow-origin: *",
            "access-control-max-age: 600",
            "vary: Access-Control-Request-Method, Access-Control-Request-Headers",
        ];
        assert_eq!(preflight(&open(), &asked), told);
        let refused = [("origin", "https://evil.test"), asked[1]];
        assert_eq!(preflight(&cors(), &refused), [told[4].replace("vary: ", "vary: Origin, ")]);
        let nothing = Cors { headers: Allowed::Listed(HeaderValue::from_static("")), ..open() };
        assert_eq!(preflight(&nothing, &asked), told[1..]);
    }

    #[test]
    fn with_credentials_all_is_what_was_asked() {
        let answer = |allowed: Allowed, asked: &[(&str, &str)]| {
            let cors = Cors { methods: Allowed::Asked, headers: allowed, ..cors() };
            let request = [&[("origin", "null"), ("access-control-request-method", "PURGE")], asked].concat();
            let told = preflight(&cors, &request);
            assert!(told.contains(&"access-control-allow-methods: PURGE".to_owned()), "{told:?}");
            told.into_iter().find_map(|line| line.strip_prefix("access-control-allow-headers: ").map(str::to_owned))
        };
        let cases = [
            (None, None, None),
            (Some("x-a,x-b"), Some("x-a,x-b"), Some("x-a,x-b")),
            (Some("authorization"), Some("authorization"), None),
            (Some("x-a, Authorization ,x-b"), Some("x-a, Authorization ,x-b"), None),
            (Some("x-authorization"), Some("x-authorization"), Some("x-authorization")),
        ];
        for (asked, all, but_authorization) in cases {
            let asked: Vec<_> = asked.map(|asked| ("access-control-request-headers", asked)).into_iter().collect();
            assert_eq!(answer(Allowed::Asked, &asked).as_deref(), all, "{asked:?}");
            assert_eq!(answer(Allowed::AskedButAuthorization, &asked).as_deref(), but_authorization, "{asked:?}");
        }
    }

    #[test]
    fn what_an_upstream_says_is_replaced() {
        let foreign = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "https://evil.test"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "X-Secret"),
            ("access-control-allow-private-network", "true"),
            ("content-type", "text/plain"),
        ];
        let admitted = [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://a.example.com",
            "access-control-expose-headers: X-Request-Id",
            "content-type: text/plain",
            "vary: Origin",
        ];
        assert_eq!(decorated(&cors(), &[("origin", "https://a.example.com")], &foreign), admitted);
        let twice = [("origin", "https://a.example.com"), ("origin", "https://a.example.com")];
        for request in [&[][..], &[("origin", "https://evil.test")], &twice] {
            assert_eq!(decorated(&cors(), request, &foreign), admitted[3..]);
        }
        let open_to_all = [
            "access-control-allow-origin: *",
            "access-control-expose-headers: X-Request-Id",
            "content-type: text/plain",
        ];
        for request in [&[][..], &[("origin", "https://evil.test")], &twice] {
            assert_eq!(decorated(&open(), request, &foreign), open_to_all);
        }
    }

    #[test]
    fn vary_names_the_origin_once() {
        let cases: [(&[&str], &[&str]); 7] = [
            (&[], &["vary: Origin"]),
            (&["Accept-Encoding"], &["vary: Accept-Encoding", "vary: Origin"]),
            (&["accept, ORIGIN"], &["vary: accept, ORIGIN"]),
            (&["accept", "origin ,x"], &["vary: accept", "vary: origin ,x"]),
            (&["*"], &["vary: *"]),
            (&["accept, *"], &["vary: accept, *"]),
            (&["X-Origin"], &["vary: Origin", "vary: X-Origin"]),
        ];
        for (there, wanted) in cases {
            let there: Vec<_> = there.iter().map(|value| ("vary", *value)).collect();
            assert_eq!(decorated(&cors(), &[], &there), wanted);
        }
    }

    /// The rule once more, slowly: letters before a domain at a dot.
    fn is_subdomain(origin: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(origin) else { return false };
        let host = url.host_str().unwrap_or_default();
        let labels = host.strip_suffix(".example.com").unwrap_or_default();
        let named = labels.split('.').all(|label| !label.is_empty());
        url.origin().ascii_serialization() == origin && url.scheme() == "https" && named && url.port().is_none()
    }

    proptest! {
        #[test]
        fn no_trick_passes_for_a_subdomain(origin in "https?://[ab_.-]{0,4}[A:@/#?%]?\\.?example\\.com([.:/][0-9]{0,2})?") {
            let cors = Cors { origins: Origins::Listed(Box::new([under("https://", ".example.com")])), ..cors() };
            let origin_value: HeaderValue = origin.parse().unwrap();
            prop_assert_eq!(cors.admits(&origin_value), is_subdomain(&origin));
        }
    }
}
