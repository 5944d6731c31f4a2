//! A refusal: the gateway's own "no" to a request, as data (RFC 9457 tells how it is said).
//!
//! A client reads the status, the code and the detail of a refusal. Its cause, which may hold addresses of upstreams and what a
//! token says, goes to the log. It is turned into a response in one place, `proxy::reply`.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

/// The gateway's own "no": a status, a stable code and a sentence for the client.
///
/// Boxed: what is handed from step to step is mostly no refusal, and shall not carry the room for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Box<Said>);

/// What a refusal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The kind of refusal.
    pub kind: Kind,
    /// What a client may read about this one.
    pub detail: Cow<'static, str>,
    /// What only the log, `why` and `explain` may read: what was expected, and what was there instead.
    pub cause: Option<Box<str>>,
    /// Headers the answer needs (`Allow`, `Retry-After`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The rules it is for, by name, where a policy has several.
    pub rules: Vec<Arc<str>>,
    /// The connection can't be trusted with another request.
    pub close: bool,
}

/// A kind of refusal: what all refusals of one code have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The HTTP status.
    pub status: u16,
    /// The stable name: `code` in the body, `X-Gatekeeper-Error`, the metrics' label, the log's `error_code`.
    pub code: &'static str,
    /// The sentence that is the same for all of its kind.
    pub title: &'static str,
    /// The gRPC status (RFC-less; grpc/doc/statuscodes.md).
    pub grpc_status: u8,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $title:literal grpc $grpc:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Kind =
                Kind { status: $status, code: $code, title: $title, grpc_status: $grpc };)*

            /// Every kind there is.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    /// The request's target or Host is not what RFC 9110 allows.
    BAD_REQUEST = 400 "bad_request" "Malformed request" grpc 3;
    /// A protected route, and nothing that shows who the client is.
    CREDENTIALS_MISSING = 401 "credentials_missing" "Authentication required" grpc 16;
    /// A credential that is not good, or no longer.
    CREDENTIALS_INVALID = 401 "credentials_invalid" "Invalid credentials" grpc 16;
    /// The user is not what the route asks for.
    ACCESS_DENIED = 403 "access_denied" "Access denied" grpc 7;
    /// A page of another origin tries to use a credential that browsers send by themselves.
    ORIGIN_DENIED = 403 "origin_denied" "Cross-origin request denied" grpc 7;
    /// Requests from the client's address are not taken.
    ADDRESS_DENIED = 403 "address_denied" "Client address denied" grpc 7;
    /// No route matches.
    NO_ROUTE = 404 "no_route" "No matching route" grpc 12;
    /// Routes match, but none for this method.
    METHOD_NOT_ALLOWED = 405 "method_not_allowed" "Method not allowed" grpc 12;
    /// The client took too long.
    REQUEST_TIMEOUT = 408 "request_timeout" "Request timeout" grpc 4;
    /// The connection was made under another rule of its listener.
    CONNECTION_OUTDATED = 421 "connection_outdated" "Connection outdated" grpc 14;
    /// The request's body is longer than the gateway or the route takes.
    BODY_TOO_LARGE = 413 "body_too_large" "Request body too large" grpc 8;
    /// The path a rewrite makes of the request's is longer than a path can be.
    URI_TOO_LONG = 414 "uri_too_long" "Request target too long" grpc 3;
    /// The route takes no body of this media type.
    MEDIA_TYPE = 415 "media_type" "Unsupported media type" grpc 3;
    /// A limit is used up.
    RATE_LIMITED = 429 "rate_limited" "Too many requests" grpc 8;
    /// Too many failed authentications came from the client's address.
    AUTH_FAILURES = 429 "auth_failures" "Too many failed authentications" grpc 8;
    /// The client made too many requests in a short time.
    FLOOD = 429 "flood" "Request flood" grpc 8;
    /// The client went away before it had its answer: nobody is told, the log says so.
    CLIENT_GONE = 499 "client_gone" "Client closed the connection" grpc 1;
    /// The upstream sent nothing sensible, or closed.
    UPSTREAM_FAILED = 502 "upstream_failed" "Service failed" grpc 14;
    /// No connection to the service can be made.
    UPSTREAM_UNREACHABLE = 502 "upstream_unreachable" "Service unreachable" grpc 14;
    /// Who could tell whether the credentials are good does not answer.
    AUTH_UNAVAILABLE = 503 "auth_unavailable" "Authentication unavailable" grpc 14;
    /// The service fails, and its circuit breaker is open.
    CIRCUIT_OPEN = 503 "circuit_open" "Service unavailable" grpc 14;
    /// As many requests as may are in the service or wait for it.
    SERVICE_BUSY = 503 "service_busy" "Service busy" grpc 14;
    /// The service has no target that could be tried.
    NO_TARGET = 503 "no_target" "No healthy target" grpc 14;
    /// The service takes too long.
    UPSTREAM_TIMEOUT = 504 "upstream_timeout" "Service timeout" grpc 4;
    /// The request went round in circles.
    LOOP_DETECTED = 508 "loop_detected" "Loop detected" grpc 13;
    /// Our own fault.
    INTERNAL = 500 "internal_error" "Internal error" grpc 13;
}

impl Refusal {
    /// A refusal of a kind, with what a client may read about this one.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (headers, rules) = (Vec::new(), Vec::new());
        Refusal(Box::new(Said { kind, detail: detail.into(), cause: None, headers, rules, close: false }))
    }

    /// A malformed request, with the reason as its code: what follows it on the connection can't be trusted.
    pub fn malformed(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Kind { code, ..Kind::BAD_REQUEST }, detail).and_close()
    }

    /// The same with what the log may read.
    pub fn because(mut self, cause: impl Into<Box<str>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The same, and the connection is not trusted with another request.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same for these rules.
    pub fn for_rules(mut self, rules: Vec<Arc<str>>) -> Self {
        self.rules = rules;
        self
    }

    /// Its code, and the rules it is for: `rate_limited:login,users`.
    pub fn name(&self) -> Cow<'static, str> {
        match self.rules.as_slice() {
            [] => self.kind.code.into(),
            rules => format!("{}:{}", self.kind.code, rules.join(",")).into(),
        }
    }

    /// The same with a header its answer needs.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Deref for Refusal {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Said {
        &mut self.0
    }
}

impl From<Kind> for Refusal {
    fn from(kind: Kind) -> Self {
        Refusal::new(kind, kind.sentence())
    }
}

impl Kind {
    /// What is said of a refusal of which nothing more is known.
    fn sentence(self) -> &'static str {
        match self {
            Kind::REQUEST_TIMEOUT => "the client did not send its request in time",
            Kind::CONNECTION_OUTDATED => "the settings of the listener have changed: use a new connection",
            Kind::UPSTREAM_UNREACHABLE => "the service cannot be reached",
            Kind::UPSTREAM_FAILED => "the service closed the connection or sent an invalid response",
            Kind::UPSTREAM_TIMEOUT => "the service did not respond in time",
            Kind::AUTH_UNAVAILABLE => "credentials cannot be checked at the moment",
            Kind::LOOP_DETECTED => "the request passed this gateway more than five times",
            Kind::INTERNAL => "the gateway failed to serve the request",
            _ => self.title,
        }
    }
}
