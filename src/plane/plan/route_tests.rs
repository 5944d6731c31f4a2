//! The route tests of a configuration: requests, and what must become of them. A test that fails is a fault, so a
//! configuration that breaks what its author relies on is never applied.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use futures::FutureExt;
use http::request::Parts;

use super::Plan;
use super::asked::Asked;
use super::route::RouteAccess;
use super::walk::{End, Routed, Witness, walk};
use crate::listen::entrance::Entrance;
use crate::policy::auth::{User, fetch};
use crate::policy::flood::Flood;
use crate::policy::shield::{Addresses, announces_body};
use crate::upstream::service::Service;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_model::raw::{Config, Expectation, ExpectedAuth, RouteTest};
use gatekeeper_model::{Fault, Faults, Place};

/// Runs the tests of a configuration against its plan.
pub fn run(config: &Config, plan: &Plan, faults: &mut Faults) {
    for (index, test) in config.tests.iter().enumerate() {
        let place = Place::new("tests").index(index);
        let headers = test.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match (parse_request(&test.request, headers), test.from.as_deref().map(str::parse).transpose()) {
            (Ok(request), Ok(from)) => match plan.entrance(test.listener.as_deref(), &request) {
                Ok(entrance) => compare(test, &outcome(plan, &request, entrance, from), &place, faults),
                Err(unknown) => {
                    faults.add(Fault::saying(place.key("listener"), unknown.text).with_hint(unknown.hint));
                }
            },
            (Err(fault), _) => faults.push(place.key("request"), format!("{:?} ({fault})", test.request), FORMS),
            (_, Err(_)) => {
                let found = format!("{:?}", test.from.as_deref().unwrap_or_default());
                faults.push(place.key("from"), found, "an IP address");
            }
        }
    }
}

/// The forms a described request may have, for error texts.
pub const FORMS: &str = "METHOD /path or METHOD http://host/path";

/// A request as people describe it: `GET /path?query` or `GET https://host/path`, and headers.
pub fn parse_request<'a>(
    text: &str,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Parts, &'static str> {
    let (method, target) = text.split_once(' ').ok_or("no path")?;
    let uri: http::Uri = target.trim().parse().map_err(|_| "not a URL")?;
    if uri.path_and_query().is_none() {
        return Err("neither a path nor a URL");
    }
    let mut request = http::Request::builder().method(method).uri(&uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let (mut request, ()) = request.body(()).map_err(|_| "not a method, or not a header")?.into_parts();
    let host = uri.authority().map_or("localhost", |authority| authority.as_str());
    if !request.headers.contains_key(http::header::HOST) {
        request.headers.insert(http::header::HOST, host.parse().map_err(|_| "not a host")?);
    }
    Ok(request)
}

/// What becomes of a request.
#[derive(Debug, Default)]
struct Outcome {
    route: Option<String>,
    services: Vec<String>,
    path: Option<String>,
    status: Option<u16>,
    auth: Option<ExpectedAuth>,
    limits: Vec<String>,
}

fn outcome(plan: &Plan, request: &Parts, entrance: &Entrance, from: Option<IpAddr>) -> Outcome {
    let mut tester = Tester { entrance, from, outcome: Outcome::default() };
    // It waits for nobody.
    let walked = walk(plan, request, &mut tester).now_or_never().unwrap_or_else(|| Err(Kind::INTERNAL.into()));
    let refused = walked.err().map(|refusal| refusal.kind.status);
    Outcome { status: refused.or(tester.outcome.status), ..tester.outcome }
}

/// The witness that tests: it knows the configuration alone, so that a test never fails because of what happened before.
struct Tester<'a> {
    entrance: &'a Entrance,
    /// The client's address, if the test says it.
    from: Option<IpAddr>,
    outcome: Outcome,
}

impl Witness for Tester<'_> {
    type Outcome = ();

    fn entrance(&self) -> &Entrance {
        self.entrance
    }

    fn understood(&mut self, _asked: &Asked, _request: &Parts) {}

    fn admit(&self, addresses: &Addresses) -> Result<(), Refusal> {
        self.from.map_or(Ok(()), |from| addresses.admit(Some(from)))
    }

    fn guard(&self, _flood: &Flood) -> Result<(), Refusal> {
        Ok(())
    }

    fn routed(&mut self, at: &Routed) {
        let terms = &at.route.terms;
        self.outcome.route = Some(at.route.name.to_string());
        self.outcome.auth = Some(if terms.auth.is_some() { ExpectedAuth::Required } else { ExpectedAuth::Public });
        let limits = terms.limits.holding(&at.asked.path, None);
        self.outcome.limits = limits.iter().map(|limit| limit.name.to_string()).collect();
    }

    fn admit_body(&self, at: &Routed) -> Result<(), Refusal> {
        at.route.terms.shield.admit_body(&at.request.headers, announces_body(&at.request.headers))
    }

    async fn authenticate(&mut self, _at: &Routed<'_>) -> Result<Option<Box<fetch::Answer>>, Refusal> {
        Ok(None)
    }

    fn user(&self) -> Option<&User> {
        None
    }

    fn authorise(&mut self, _access: &RouteAccess, _judged: Result<(), Refusal>) -> Result<(), Refusal> {
        Ok(())
    }

    async fn charge(&mut self, _at: &Routed<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Any of a split's will do: the test may name each of them.
    fn service<'r>(&self, at: &Routed<'r>) -> Option<&'r Arc<Service>> {
        at.route.services().first()
    }

    fn end(&mut self, end: End<'_>) {
        self.outcome.status = match end {
            End::Own(_) | End::Challenge(_) | End::LastHop(_) => Some(200),
            End::Preflight => Some(204),
            End::Others(reply) => Some(reply.status.as_u16()),
            End::Redirect(status, _) => Some(status.as_u16()),
            End::Respond(fixed) => Some(fixed.status.as_u16()),
            End::Forward(onward) => {
                let services = onward.at.route.services().iter();
                self.outcome.services = services.map(|service| service.name.to_string()).collect();
                self.outcome.path = Some(onward.path.into_owned());
                None
            }
        };
    }
}

fn compare(test: &RouteTest, outcome: &Outcome, place: &Place, faults: &mut Faults) {
    let Expectation { route, service, path, status, auth, limits } = &test.expect;
    let mut differ = |key: &str, wanted: String, found: Option<String>| {
        let found = found.unwrap_or("none".into());
        let text = format!("expected {key} {wanted}, found {found}");
        faults.add(Fault::saying(place.key("expect").key(key), text));
    };
    if route.is_some() && *route != outcome.route {
        differ("route", route.clone().unwrap_or_default(), outcome.route.clone().or(outcome.status.map(said)));
    }
    if let Some(service) = service.as_ref().filter(|service| !outcome.services.contains(service)) {
        differ("service", service.clone(), Some(outcome.services.join(" or ")).filter(|names| !names.is_empty()));
    }
    if path.is_some() && *path != outcome.path {
        differ("path", path.clone().unwrap_or_default(), outcome.path.clone());
    }
    if auth.is_some() && *auth != outcome.auth {
        let word = |auth: &Option<ExpectedAuth>| match auth {
            Some(ExpectedAuth::Required) => "required",
            Some(ExpectedAuth::Public) => "public",
            None => "none",
        };
        differ("auth", word(auth).into(), Some(word(&outcome.auth).into()));
    }
    let sorted = |names: &Vec<String>| names.iter().cloned().collect::<BTreeSet<_>>();
    if limits.as_ref().is_some_and(|limits| sorted(limits) != sorted(&outcome.limits)) {
        let found = Some(outcome.limits.join(", ")).filter(|names| !names.is_empty());
        differ("limits", limits.iter().flatten().cloned().collect::<Vec<_>>().join(", "), found);
    }
    if status.is_some() && *status != outcome.status {
        differ("status", status.unwrap_or_default().to_string(), outcome.status.map(|status| status.to_string()));
    }
}

fn said(status: u16) -> String {
    format!("none ({status})")
}
