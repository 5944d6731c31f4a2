//! The walk of a request up to its service, on compiled data alone: inspect, canonicalise, route, choose.
//!
//! The proxy, `explain` and the route tests all go through these functions, so what they tell is what is served.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ALLOW, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Version};

use super::route::Route;
use super::{OwnPath, Plan};
use crate::policy::refusal::{Kind, Refusal};
use crate::route::path::{canonicalise, has_encoded_reserved};
use crate::route::{Found, Lookup, canonical_host};

/// What a request asks for, in canonical form.
pub struct Asked<'a> {
    /// The host, lower-cased, without port and trailing dot. An HTTP/1.0 request may have none.
    pub host: Option<Cow<'a, str>>,
    /// The path: the one value that is matched, logged and sent.
    pub path: Cow<'a, str>,
    /// The query, as it came.
    pub query: Option<&'a str>,
}

impl Plan {
    /// Refuses what is malformed and brings the rest into canonical form (SEMANTICS 1.1 to 1.3, 1.6).
    pub fn inspect<'a>(&self, request: &'a Parts) -> Result<Asked<'a>, Refusal> {
        let host = host(request)?;
        let path = request.uri.path();
        if path == "*" && request.method == Method::OPTIONS {
            return Err(Refusal::new(Kind::NO_ROUTE, "the gateway as a whole has no options"));
        }
        let path = canonicalise(path.as_bytes(), self.edge.merge_slashes)
            .map_err(|fault| Refusal::malformed(fault.to_string()))?;
        let query = request.uri.query();
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Refusal::malformed("the query holds a character that must be percent-encoded"));
        }
        Ok(Asked { host, path, query })
    }

    /// The gateway's own path that is asked for, if it is one.
    pub fn own_path(&self, asked: &Asked) -> Option<OwnPath> {
        self.edge.own_paths.iter().find(|(path, _)| *path == *asked.path).map(|(_, own)| *own)
    }

    /// The route a request takes (SEMANTICS 1.5, 1.6).
    pub fn route(&self, asked: &Asked, request: &Parts) -> Result<&Arc<Route>, Refusal> {
        let route = match self.table.find(&lookup(asked, request)) {
            Found::Route(index) => self.routes.get(index),
            Found::MethodNotAllowed(allowed) => return Err(method_not_allowed(&allowed.to_string())),
            Found::NotFound => None,
        };
        let route = route.ok_or(Refusal::new(Kind::NO_ROUTE, "no route matches this host, path and headers"))?;
        if route.rejects_encoded && has_encoded_reserved(&asked.path) {
            return Err(Refusal::malformed("this route takes no encoded reserved characters in its path"));
        }
        Ok(route)
    }
}

/// A request as the table wants to see it.
pub fn lookup<'a>(asked: &'a Asked, request: &'a Parts) -> Lookup<'a> {
    Lookup {
        host: asked.host.as_deref(),
        path: &asked.path,
        method: &request.method,
        headers: &request.headers,
        query: asked.query,
    }
}

fn host(request: &Parts) -> Result<Option<Cow<'_, str>>, Refusal> {
    let mut fields = request.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return Err(Refusal::malformed("more than one Host")),
        (Some(field), None) => Some(field.to_str().map_err(|_| Refusal::malformed("Host is not a host name"))?),
        (None, None) => request.uri.authority().map(|authority| authority.as_str()),
    };
    match field {
        Some(host) => match canonical_host(host) {
            Ok(host) => Ok(Some(host)),
            Err(fault) => Err(Refusal::malformed(fault.to_string())),
        },
        None if request.version < Version::HTTP_11 => Ok(None),
        None => Err(Refusal::malformed("Host is missing")),
    }
}

fn method_not_allowed(allowed: &str) -> Refusal {
    let refusal = Refusal::new(Kind::METHOD_NOT_ALLOWED, format!("allowed here: {allowed}"));
    match HeaderValue::from_str(allowed) {
        Ok(value) => refusal.with_header(ALLOW, value),
        Err(_) => refusal,
    }
}
