//! What is required of a request, whichever way it came: ONE list, applied to the bytes of HTTP/1 as they arrive (`head`)
//! and to requests that a parser has read already, those of HTTP/2 among them (SEMANTICS 1.7).
//!
//! Framing is not part of it, and differs: lines and chunks are HTTP/1's, frames are the HTTP/2 library's.

use http::Version;
use http::request::Parts;
use http::uri::PathAndQuery;

use super::character::is_token;
use super::fault::{
    CONNECT, EXPECT, FIELD_NAME, Fault, HOST_DIFFERS, HOST_MALFORMED, HOST_MISSING, HOST_REPEATED, METHOD, METHOD_CASE,
    METHOD_TOO_LONG, TARGET_CHARACTER, TARGET_SCHEME, TARGET_TOO_LONG, TOO_MANY_FIELDS, VALUE_SPACE,
};
use super::field::Known;
use super::framing::{Body, Framing};
use super::{Limits, target};

/// The longest method. The longest registered one has 17 letters.
pub(super) const METHOD_LONGEST: usize = 32;

/// A target has a fragment. No parser but our own leaves it there to be seen.
pub const FRAGMENT: Fault = TARGET_CHARACTER;

/// Judges a request that a parser has read.
pub fn judge(request: &Parts, limits: &Limits) -> Result<(), Fault> {
    let method = request.method.as_str().as_bytes();
    judge_method(method)?;
    let path = request.uri.path_and_query().map_or("", PathAndQuery::as_str).as_bytes();
    judge_length(path, limits.uri_bytes)?;
    target::judge_origin(method, path)?;
    request.uri.scheme().map_or(Ok(()), |scheme| judge_scheme(scheme.as_str().as_bytes()))?;
    judge_fields(request, limits)
}

/// A token in capitals, of a length that a method may have.
pub(super) fn judge_method(method: &[u8]) -> Result<(), Fault> {
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        Err(METHOD)
    } else if method.len() > METHOD_LONGEST {
        Err(METHOD_TOO_LONG)
    } else if method.iter().any(u8::is_ascii_lowercase) {
        Err(METHOD_CASE)
    } else if method == b"CONNECT" {
        Err(CONNECT)
    } else {
        Ok(())
    }
}

/// The target's length.
pub(super) fn judge_length(target: &[u8], most: usize) -> Result<(), Fault> {
    if target.len() > most { Err(TARGET_TOO_LONG) } else { Ok(()) }
}

/// The target's scheme.
pub(super) fn judge_scheme(scheme: &[u8]) -> Result<(), Fault> {
    let is_known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    if is_known { Ok(()) } else { Err(TARGET_SCHEME) }
}

fn judge_fields(request: &Parts, limits: &Limits) -> Result<(), Fault> {
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes());
    if authority.is_some_and(|authority| !target::is_authority(authority)) {
        return Err(HOST_MALFORMED);
    }
    let is_h2 = request.version == Version::HTTP_2;
    let (mut demands, mut count) = (Demands::default(), usize::from(authority.is_some()));
    for (name, value) in &request.headers {
        // HTTP/2 sends a cookie in as many pieces as it likes.
        count += usize::from(name != http::header::COOKIE);
        // The one character that the library takes for a token's (RFC 9110 5.6.2).
        if memchr::memchr(b'"', name.as_str().as_bytes()).is_some() {
            return Err(FIELD_NAME);
        }
        // HTTP/1 has white space around its values, HTTP/2 has none (RFC 9113 8.2.1).
        if let (true, [b' ' | b'\t', ..] | [.., b' ' | b'\t']) = (is_h2, value.as_bytes()) {
            return Err(VALUE_SPACE);
        }
        if let Some(known) = Known::of(name.as_str().as_bytes()) {
            demands.take(known, value.as_bytes(), authority)?;
        }
    }
    if count > limits.fields {
        return Err(TOO_MANY_FIELDS);
    }
    let needs_host = request.version >= Version::HTTP_11 && authority.is_none();
    demands.body(needs_host, request.version < Version::HTTP_11).map(|_| ())
}

/// What a request's fields have to be, one by one and together.
#[derive(Debug, Default)]
pub(super) struct Demands {
    has_host: bool,
    framing: Framing,
}

impl Demands {
    /// Takes one of the fields that matter; the authority is that of the request's target, if it has one.
    pub fn take(&mut self, known: Known, value: &[u8], authority: Option<&[u8]>) -> Result<(), Fault> {
        match known {
            Known::Host => self.host(value, authority),
            Known::Expect if !value.eq_ignore_ascii_case(b"100-continue") => Err(EXPECT),
            Known::Expect => Ok(()),
            Known::ContentLength => self.framing.content_length(value),
            Known::TransferEncoding => self.framing.transfer_encoding(value),
        }
    }

    /// One Host, well-formed, and the very bytes of the target's authority, if it has one (the framework's rule).
    fn host(&mut self, value: &[u8], authority: Option<&[u8]>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(HOST_REPEATED);
        }
        if !target::is_authority(value) {
            return Err(HOST_MALFORMED);
        }
        if authority.is_some_and(|authority| authority != value) { Err(HOST_DIFFERS) } else { Ok(()) }
    }

    /// What all fields together say of the body.
    pub fn body(&self, needs_host: bool, is_http10: bool) -> Result<Body, Fault> {
        if needs_host && !self.has_host {
            return Err(HOST_MISSING);
        }
        self.framing.body(is_http10)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;

    const LIMITS: Limits = Limits { head_bytes: 1024, fields: 8, uri_bytes: 64 };

    fn judged(method: &str, uri: &str, version: Version, fields: &[(&str, &str)]) -> &'static str {
        let mut request = Request::builder().method(method).uri(uri).version(version).body(()).unwrap();
        for (name, value) in fields {
            request
                .headers_mut()
                .append(HeaderName::from_lowercase(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        judge(&request.into_parts().0, &LIMITS).map_or_else(|fault| fault.code, |()| "good")
    }

    #[test]
    fn a_request_that_was_read_is_judged_by_the_same_rules() {
        let h2 = |method: &str, uri: &str, fields: &[(&str, &str)]| judged(method, uri, Version::HTTP_2, fields);
        assert_eq!(h2("GET", "http://a/b?c", &[("host", "a"), ("te", "trailers")]), "good");
        assert_eq!(h2("delete", "http://a/", &[]), "method_case");
        assert_eq!(h2(&"A".repeat(33), "http://a/", &[]), "method_too_long");
        assert_eq!(h2("GET", &format!("http://a/{}", "b".repeat(64)), &[]), "target_too_long");
        assert_eq!(h2("GET", "http://a/\"", &[]), "target_character");
        assert_eq!(h2("GET", "ftp://a/", &[]), "target_scheme");
        assert_eq!(h2("GET", "http://a..b/", &[]), "host_malformed");
        assert_eq!(h2("GET", "http://a/", &[("host", "b")]), "host_differs");
        assert_eq!(h2("GET", "http://a/", &[("expect", "x")]), "expect");
        assert_eq!(h2("GET", "http://a/", &[("x", "y ")]), "value_space");
        assert_eq!(h2("GET", "http://a/", &[("\"x\"", "y")]), "field_name");
        assert_eq!(h2("GET", "http://a/", &[("content-length", "1"), ("content-length", "1")]), "cl_repeated");
        assert_eq!(h2("GET", "http://a/", &[("x", "y"); 9]), "too_many_fields");
        assert_eq!(h2("GET", "http://a/", &[("cookie", "a=b"); 50]), "good");
    }

    #[test]
    fn without_a_target_s_authority_the_host_is_needed_since_http11() {
        assert_eq!(judged("GET", "/", Version::HTTP_10, &[]), "good");
        assert_eq!(judged("GET", "/", Version::HTTP_11, &[]), "host_missing");
        assert_eq!(judged("GET", "/", Version::HTTP_11, &[("host", "a"), ("x", " y")]), "good");
        assert_eq!(judged("OPTIONS", "*", Version::HTTP_11, &[("host", "a")]), "good");
        assert_eq!(judged("GET", "*", Version::HTTP_11, &[("host", "a")]), "target_form");
    }
}
