//! Which way a request takes: to a path of the gateway's own, to a route, or, for a preflight, to the route that it asks about
//! (SEMANTICS 1.5, 1.6, 2.5, 3.1).

use std::sync::Arc;

use http::header::{ALLOW, VIA};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use super::asked::Asked;
use super::route::Route;
use super::{Edge, OwnPath, Plan};
use crate::policy::cors::preflight_method;
use crate::policy::via::PSEUDONYM;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::route::path::has_reserved;
use gatekeeper_core::route::{Found, Lookup};

/// What becomes of a request.
pub enum Decision<'p> {
    /// The gateway answers for itself.
    Own(OwnPath),
    /// It asks whether a request to this route may be sent.
    Preflight(&'p Arc<Route>),
    /// It takes this route.
    Route(&'p Arc<Route>),
}

impl Plan {
    /// What becomes of a request, which asks for one of the gateway's own paths or not.
    pub fn decide(&self, asked: &Asked, own_path: Option<OwnPath>, request: &Parts) -> Result<Decision<'_>, Refusal> {
        if asked.present.via {
            check_loop(&request.headers)?;
        }
        if let Some(own) = own_path {
            return only_read(&request.method).map(|()| Decision::Own(own));
        }
        if let Some(route) = self.preflight(asked, request) {
            return Ok(Decision::Preflight(route));
        }
        let route = match self.table.find(&asked.lookup(request)) {
            Found::Route(index) => self.routes.get(index),
            Found::MethodNotAllowed(allowed) => return Err(method_not_allowed(&allowed.to_string())),
            Found::NotFound => None,
        };
        let route =
            route.ok_or_else(|| Refusal::new(Kind::NO_ROUTE, "no route matches this host, path and headers"))?;
        if route.terms.rejects_reserved && has_reserved(&asked.path) {
            let detail = "this route rejects `;` and encoded reserved characters in the path";
            return Err(Refusal::malformed("path_encoded_reserved", detail));
        }
        Ok(Decision::Route(route))
    }

    /// The route that a preflight asks about, if the gateway speaks for it.
    pub(super) fn preflight(&self, asked: &Asked, request: &Parts) -> Option<&Arc<Route>> {
        let method = preflight_method(&request.method, &request.headers)?;
        match self.table.find(&Lookup { method: &method, ..asked.lookup(request) }) {
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

/// Refuses what does more than read.
pub fn only_read(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(method_not_allowed("GET, HEAD")),
    }
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

fn method_not_allowed(allowed: &str) -> Refusal {
    let refusal = Refusal::new(Kind::METHOD_NOT_ALLOWED, format!("allowed methods: {allowed}"));
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
}
