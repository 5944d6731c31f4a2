//! What a request asks for, in canonical form: malformed requests are refused here, and everything after sees one host, one path
//! and one query (SEMANTICS 1.1 to 1.3, 1.6).

use std::borrow::Cow;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};

use super::present::Present;
use crate::policy::auth::credential;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::route::path::canonicalise;
use gatekeeper_core::route::{ListenerId, Lookup, canonical_host};

/// What a request asks for, in canonical form.
pub struct Asked<'a> {
    /// The host, lower-cased, without port and trailing dot. An HTTP/1.0 request may have none.
    pub host: Option<Cow<'a, str>>,
    /// The path: the one value that is matched, logged and sent.
    pub path: Cow<'a, str>,
    /// The query, as it came.
    pub query: Option<&'a str>,
    /// Which fields the request has.
    pub present: Present,
    /// The listener it came by.
    pub listener: ListenerId,
}

impl<'a> Asked<'a> {
    /// Refuses what is malformed and brings the rest into canonical form. `//` counts as `/` if slashes are merged.
    pub fn of(request: &'a Parts, listener: ListenerId, merge_slashes: bool) -> Result<Self, Refusal> {
        let present = Present::of(&request.headers);
        if present.connection {
            check_connection(&request.headers)?;
        }
        if present.transfer_encoding || present.content_length {
            check_framing(&request.headers)?;
        }
        if present.origin && request.headers.get_all(ORIGIN).iter().nth(1).is_some() {
            return Err(Refusal::malformed("origin_repeated", "more than one Origin"));
        }
        credential::only(&request.headers, &AUTHORIZATION)?;
        let host = host(request)?;
        let path = request.uri.path();
        if path == "*" && request.method == Method::OPTIONS {
            return Err(Refusal::new(Kind::NO_ROUTE, "OPTIONS * is not supported"));
        }
        let path = canonicalise(path.as_bytes(), merge_slashes)
            .map_err(|fault| Refusal::malformed(fault.code(), fault.to_string()))?;
        let query = request.uri.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Refusal::malformed(
                "query_character",
                "the query contains a character that must be percent-encoded",
            ));
        }
        Ok(Asked { host, path, query, present, listener })
    }

    /// The same place under https.
    pub fn under_https(&self, port: u16) -> Result<HeaderValue, Refusal> {
        let host = self.host.as_deref().ok_or_else(|| Refusal::malformed("host_missing", "Host is missing"))?;
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let query = self.query.map(|query| format!("?{query}")).unwrap_or_default();
        let place = HeaderValue::from_str(&format!("https://{host}{port}{}{query}", self.path));
        place.map_err(|_| Refusal::new(Kind::INTERNAL, "the redirect has no valid Location"))
    }

    /// The request as the table wants to see it.
    pub fn lookup(&'a self, request: &'a Parts) -> Lookup<'a> {
        Lookup {
            host: self.host.as_deref(),
            path: &self.path,
            listener: self.listener,
            method: &request.method,
            headers: &request.headers,
            query: self.query,
        }
    }
}

/// One way to say where a body ends, and no transfer coding that is lost when the body is framed anew (RFC 9112 6.1, 6.3).
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let chunked = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err(Refusal::malformed("te_unknown", "Transfer-Encoding must be a single `chunked`"));
    }
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && coding.is_some()) {
        return Err(Refusal::malformed("cl_repeated", "the body's length is given twice"));
    }
    Ok(())
}

/// Names in `Connection` beyond which nobody means well.
const MAX_NOMINATIONS: usize = 16;

fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    let fields = headers.get_all(CONNECTION).iter();
    let names = fields.map(|value| 1 + value.as_bytes().iter().filter(|byte| **byte == b',').count());
    if names.sum::<usize>() > MAX_NOMINATIONS {
        return Err(Refusal::malformed("connection_names", "Connection names too many fields"));
    }
    Ok(())
}

fn host(request: &Parts) -> Result<Option<Cow<'_, str>>, Refusal> {
    let mut fields = request.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(Refusal::malformed("host_repeated", "more than one Host")),
        (Some(field), None) => {
            Some(field.to_str().map_err(|_| Refusal::malformed("host_character", "Host is not a host name"))?)
        }
        (None, None) => request.uri.authority().map(|authority| authority.as_str()),
    };
    match field {
        Some(host) => match canonical_host(host) {
            Ok(host) => Ok(Some(host)),
            Err(fault) => Err(Refusal::malformed(fault.code(), fault.to_string())),
        },
        None if request.version < Version::HTTP_11 => Ok(None),
        None => Err(Refusal::malformed("host_missing", "Host is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_in_one_way() {
        let judged = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            fields.iter().for_each(|(name, value)| {
                headers.append(*name, HeaderValue::from_static(value));
            });
            check_framing(&headers).is_ok()
        };
        let (te, cl) = ("transfer-encoding", "content-length");
        assert!(judged(&[]) && judged(&[(te, "Chunked")]) && judged(&[(cl, "5")]));
        assert!(!judged(&[(te, "gzip, chunked")]) && !judged(&[(te, "chunked"), (te, "chunked")]));
        assert!(
            !judged(&[(te, "identity")]) && !judged(&[(cl, "5"), (cl, "5")]) && !judged(&[(te, "chunked"), (cl, "5")])
        );
    }

    #[test]
    fn connection_may_name_a_few_fields() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, "a,".repeat(15).parse().unwrap());
        assert!(check_connection(&headers).is_ok());
        headers.append(CONNECTION, "b".parse().unwrap());
        assert!(check_connection(&headers).is_err());
    }
}
