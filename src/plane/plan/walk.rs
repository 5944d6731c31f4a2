//! The walk of a request up to its service, on compiled data alone: inspect, canonicalise, route, choose.
//!
//! The proxy, `explain` and the route tests all go through these functions, so what they tell is what is served.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ALLOW, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};

use super::present::Present;
use super::route::Route;
use super::{Edge, OwnPath, Plan};
use crate::listen::refuse::refusal;
use crate::policy::auth::credential;
use crate::policy::cors::preflight_method;
use crate::policy::via::PSEUDONYM;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::route::path::{canonicalise, has_reserved};
use gatekeeper_core::route::{Found, ListenerId, Lookup, canonical_host};
use gatekeeper_core::wire::request::judge;

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

impl Plan {
    /// Refuses what no request may be, whichever way it came (SEMANTICS 1.7).
    pub fn require(&self, request: &Parts) -> Result<(), Refusal> {
        judge(request, &self.edge.limits.wire).map_err(refusal)
    }

    /// Refuses what is malformed and brings the rest into canonical form (SEMANTICS 1.1 to 1.3, 1.6).
    pub fn inspect<'a>(&self, request: &'a Parts, listener: ListenerId) -> Result<Asked<'a>, Refusal> {
        // Requests over HTTP/1 have met these rules when their bytes were inspected (`listen::wire`).
        if request.version == Version::HTTP_2 {
            self.require(request)?;
        }
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
            return Err(Refusal::new(Kind::NO_ROUTE, "the gateway as a whole has no options"));
        }
        let path = canonicalise(path.as_bytes(), self.edge.merge_slashes)
            .map_err(|fault| Refusal::malformed(fault.code(), fault.to_string()))?;
        let query = request.uri.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Refusal::malformed(
                "query_character",
                "the query holds a character that must be percent-encoded",
            ));
        }
        Ok(Asked { host, path, query, present, listener })
    }

    /// What becomes of a request (SEMANTICS 1.5, 1.6, 2.5).
    pub fn decide(&self, asked: &Asked, request: &Parts) -> Result<Decision<'_>, Refusal> {
        if asked.present.via {
            check_loop(&request.headers)?;
        }
        if let Some(own) = self.edge.own_path(asked) {
            return match request.method {
                Method::GET | Method::HEAD => Ok(Decision::Own(own)),
                _ => Err(method_not_allowed("GET, HEAD")),
            };
        }
        if let Some(route) = self.preflight(asked, request) {
            return Ok(Decision::Preflight(route));
        }
        let route = match self.table.find(&lookup(asked, request)) {
            Found::Route(index) => self.routes.get(index),
            Found::MethodNotAllowed(allowed) => return Err(method_not_allowed(&allowed.to_string())),
            Found::NotFound => None,
        };
        let route =
            route.ok_or_else(|| Refusal::new(Kind::NO_ROUTE, "no route matches this host, path and headers"))?;
        if route.terms.rejects_reserved && has_reserved(&asked.path) {
            let detail = "this route takes no `;` and no encoded reserved characters in its path";
            return Err(Refusal::malformed("path_encoded_reserved", detail));
        }
        Ok(Decision::Route(route))
    }
}

impl Plan {
    /// The route that a preflight asks about, if the gateway speaks for it (SEMANTICS 3.1).
    fn preflight(&self, asked: &Asked, request: &Parts) -> Option<&Arc<Route>> {
        let method = preflight_method(&request.method, &request.headers)?;
        match self.table.find(&Lookup { method: &method, ..lookup(asked, request) }) {
            Found::Route(index) => self.routes.get(index).filter(|route| route.terms.cors.is_some()),
            _ => None,
        }
    }
}

impl Edge {
    /// Which of the gateway's own paths is asked for.
    pub fn own_path(&self, asked: &Asked) -> Option<OwnPath> {
        self.own_paths.iter().find(|(path, _)| *path == *asked.path).map(|(_, own)| *own)
    }
}

/// What becomes of a request.
pub enum Decision<'p> {
    /// The gateway answers for itself.
    Own(OwnPath),
    /// It asks whether a request to this route may be sent.
    Preflight(&'p Arc<Route>),
    /// It takes this route.
    Route(&'p Arc<Route>),
}

/// How often our name may stand in `Via` before the request is taken to go round in circles.
const MAX_PASSES: usize = 5;

fn check_loop(headers: &HeaderMap) -> Result<(), Refusal> {
    let received = headers.get_all(VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let ours = received.filter(|entry| {
        let mut words = entry.trim_ascii().split(u8::is_ascii_whitespace);
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(PSEUDONYM))
    });
    if ours.count() > MAX_PASSES {
        return Err(Refusal::new(Kind::LOOP_DETECTED, Kind::LOOP_DETECTED.title));
    }
    Ok(())
}

/// One way to say where a body ends, and no transfer coding that is lost when the body is framed anew (RFC 9112 6.1, 6.3).
fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let chunked = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !chunked || codings.next().is_some() {
        return Err(Refusal::malformed("te_unknown", "Transfer-Encoding is not a single chunked"));
    }
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    if lengths > 1 || (lengths == 1 && coding.is_some()) {
        return Err(Refusal::malformed("cl_repeated", "the body's length is told twice"));
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

/// A request as the table wants to see it.
pub fn lookup<'a>(asked: &'a Asked, request: &'a Parts) -> Lookup<'a> {
    Lookup {
        host: asked.host.as_deref(),
        path: &asked.path,
        listener: asked.listener,
        method: &request.method,
        headers: &request.headers,
        query: asked.query,
    }
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

fn method_not_allowed(allowed: &str) -> Refusal {
    let refusal = Refusal::new(Kind::METHOD_NOT_ALLOWED, format!("allowed here: {allowed}"));
    match HeaderValue::from_str(allowed) {
        Ok(value) => refusal.with_header(ALLOW, value),
        Err(_) => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_seen_by_our_name_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(VIA, "1.1 gatekeeper, 1.1 gatekeeperx, 2.0 Gatekeeper (comment)".parse().unwrap());
        for _ in 0..3 {
            headers.append(VIA, "1.0 gatekeeper".parse().unwrap());
            assert!(check_loop(&headers).is_ok());
        }
        headers.append(VIA, "1.0 gatekeeper".parse().unwrap());
        assert_eq!(check_loop(&headers).unwrap_err().kind, Kind::LOOP_DETECTED);
    }

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
