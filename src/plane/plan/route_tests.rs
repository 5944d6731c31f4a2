//! The route tests of a configuration: requests, and what must become of them. A test that fails is a fault, so a
//! configuration that breaks what its author relies on is never applied.

use std::collections::BTreeSet;
use std::net::IpAddr;

use http::request::Parts;

use super::route::Action;
use super::walk::Decision;
use super::{Plan, hops};
use crate::policy::shield::{Addresses, announces_body};
use gatekeeper_core::route::ListenerId;
use gatekeeper_model::raw::{Config, Expectation, ExpectedAuth, RouteTest};
use gatekeeper_model::{Fault, Faults, Place};

/// Runs the tests of a configuration against its plan.
pub fn run(config: &Config, plan: &Plan, faults: &mut Faults) {
    for (index, test) in config.tests.iter().enumerate() {
        let place = Place::new("tests").index(index);
        let headers = test.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match (parse_request(&test.request, headers), test.from.as_deref().map(str::parse).transpose()) {
            (Ok(request), Ok(from)) => match plan.entrance(test.listener.as_deref()) {
                Ok(entrance) => compare(test, &outcome(plan, &request, entrance.id, from), &place, faults),
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

fn outcome(plan: &Plan, request: &Parts, listener: ListenerId, from: Option<IpAddr>) -> Outcome {
    let admit = |addresses: &Addresses, shadow: bool| match from.map_or(Ok(()), |_| addresses.admit(from)) {
        Err(refusal) if !shadow => Err(refusal),
        _ => Ok(()),
    };
    let mut outcome = Outcome::default();
    let walked = plan.require(request).and_then(|()| plan.inspect(request, listener)).and_then(|asked| {
        let front = &plan.edge.shields;
        admit(&front.addresses, front.shadow)?;
        if let Some(methods) = front.methods.as_ref().filter(|_| !front.shadow) {
            methods.admit(&request.method)?;
        }
        let route = match plan.decide(&asked, request)? {
            Decision::Route(route) => route,
            Decision::Own(_) => {
                outcome.status = Some(200);
                return Ok(());
            }
            Decision::Preflight(route) => {
                admit(&route.terms.shield.addresses, route.terms.shield.shadow)?;
                (outcome.route, outcome.status) = (Some(route.name.to_string()), Some(204));
                return Ok(());
            }
        };
        outcome.route = Some(route.name.to_string());
        outcome.auth = Some(if route.terms.auth.is_some() { ExpectedAuth::Required } else { ExpectedAuth::Public });
        outcome.limits =
            route.terms.limits.holding(&asked.path, None).iter().map(|limit| limit.name.to_string()).collect();
        admit(&route.terms.shield.addresses, route.terms.shield.shadow)?;
        if !route.terms.shield.shadow {
            route.terms.shield.admit_body(&request.headers, announces_body(&request.headers))?;
        }
        match &route.action {
            Action::Forward(_) | Action::Split(_) if hops::left(request, asked.present)? == Some(0) => {
                outcome.status = Some(200);
                return Ok(());
            }
            Action::Forward(service) => outcome.services.push(service.name.to_string()),
            Action::Split(split) => outcome.services.extend(split.services.iter().map(|s| s.name.to_string())),
            Action::Redirect(status, _) => outcome.status = Some(status.as_u16()),
            Action::Respond(fixed) => outcome.status = Some(fixed.status.as_u16()),
        }
        outcome.path = Some(route.upstream_path(&asked, plan.edge.merge_slashes)?.into_owned());
        Ok(())
    });
    if let Err(refusal) = walked {
        outcome.status = Some(refusal.kind.status);
    }
    outcome
}

fn compare(test: &RouteTest, outcome: &Outcome, place: &Place, faults: &mut Faults) {
    let Expectation { route, service, path, status, auth, limits } = &test.expect;
    let mut differ = |key: &str, wanted: String, found: Option<String>| {
        let found = found.unwrap_or("none".into());
        let text = format!("{}: expected {key} {wanted}, it is {found}", test.request);
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
