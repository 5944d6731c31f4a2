//! Services over the administration API: how they stand, and what is done to them by hand.
//!
//! What is done by hand is a line in the log that says who did it. A drained service or target gets no new
//! requests, those in flight finish. To undrain a service does not undrain targets that were drained one by one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};

use super::actor::Actor;
use super::connection::Caller;
use super::guard::identify;
use super::health::{Clock, hide_addresses, of_all, of_service};
use super::input::{At, Body, Parameters};
use super::problem::Problem;
use crate::Control;
use gatekeeper_client::{AggregatedHealth, HealthState, Page, Part, ServiceHealth, TOTAL_COUNT};
use gatekeeper_model::{Faults, Place, did_you_mean, quoted};
use gatekeeper_plane::upstream::service::Service;

const TOTAL: HeaderName = HeaderName::from_static(TOTAL_COUNT);

/// All services, in the order of their names.
pub async fn list(
    State(control): State<Arc<Control>>,
    Parameters(page): Parameters<Page>,
) -> Result<([(HeaderName, String); 1], Json<Vec<ServiceHealth>>), Problem> {
    if !(1..=Page::LONGEST).contains(&page.limit) {
        let (mut faults, longest) = (Faults::default(), Page::LONGEST);
        faults.push(Place::new("limit"), page.limit.to_string(), format!("1 to {longest}"));
        return Err(Problem::invalid(&faults));
    }
    let all = all(&control);
    let clock = Clock::now();
    let shown = all.iter().skip(page.offset).take(page.limit);
    let shown = shown.map(|service| of_service(service, clock)).collect();
    Ok(([(TOTAL, all.len().to_string())], Json(shown)))
}

/// One service.
pub async fn show(State(control): State<Arc<Control>>, At(name): At<String>) -> Result<Json<ServiceHealth>, Problem> {
    find(&control, &name).map(|service| shown(&service))
}

/// Closes a service's breaker and ends the ejections of its targets; or, if one of them is named, the ejections of that one.
pub async fn reset(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(name): At<String>,
    Parameters(asked): Parameters<Part>,
    Body(part): Body<Part>,
) -> Result<Json<ServiceHealth>, Problem> {
    let service = find(&control, &name)?;
    let target = asked.target.or(part.target);
    if let Some(url) = &target
        && !service.all_targets().iter().any(|known| *known.url == **url)
    {
        return Err(unknown_target(&service, url));
    }
    if let Some(breaker) = service.breaker.as_ref().filter(|_| target.is_none()) {
        log::warn!("service {name}: circuit breaker reset by {actor}");
        breaker.reset();
    }
    for address in service.readmit(target.as_deref(), Instant::now()) {
        log::warn!("service {name}: the ejection of {address} was ended by {actor}");
    }
    control.record(&actor, "reset", "service", &named(&name, target.as_deref())).await;
    Ok(shown(&service))
}

/// No new requests for a service, or for one of its targets.
pub async fn drain(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(name): At<String>,
    Parameters(asked): Parameters<Part>,
    Body(part): Body<Part>,
) -> Result<Json<ServiceHealth>, Problem> {
    let target = asked.target.or(part.target);
    let drained = set_drained(&control, &actor, &name, target.clone(), true)?;
    control.record(&actor, "drain", "service", &named(&name, target.as_deref())).await;
    Ok(drained)
}

/// Requests again.
pub async fn undrain(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(name): At<String>,
    Parameters(asked): Parameters<Part>,
    Body(part): Body<Part>,
) -> Result<Json<ServiceHealth>, Problem> {
    let target = asked.target.or(part.target);
    let undrained = set_drained(&control, &actor, &name, target.clone(), false)?;
    control.record(&actor, "undrain", "service", &named(&name, target.as_deref())).await;
    Ok(undrained)
}

/// A service, or one of its targets, as the audit names it.
fn named(service: &str, target: Option<&str>) -> String {
    target.map_or_else(|| service.to_owned(), |target| format!("{service} {target}"))
}

fn set_drained(
    control: &Control,
    actor: &Actor,
    name: &str,
    target: Option<String>,
    drained: bool,
) -> Result<Json<ServiceHealth>, Problem> {
    let _change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let service = find(control, name)?;
    let act = if drained { "drained" } else { "undrained" };
    match target {
        None => {
            service.memory.drain(drained);
            log::warn!("service {name}: {act} by {actor}");
        }
        Some(url) if service.drain_target(&url, drained, Instant::now()) => {
            log::warn!("service {name}: {url} {act} by {actor}");
        }
        Some(url) => return Err(unknown_target(&service, &url)),
    }
    Ok(shown(&service))
}

/// How all services stand together; without the token no addresses are told.
pub async fn health(
    State(control): State<Arc<Control>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Parameters(query): Parameters<HashMap<String, String>>,
    headers: HeaderMap,
) -> (StatusCode, Json<AggregatedHealth>) {
    let is_known = identify(&control, &caller, &headers).await.is_ok_and(|actor| actor.is_some());
    let clock = Clock::now();
    let services = all(&control).iter().map(|service| of_service(service, clock)).collect();
    let mut health = of_all(&control, services);
    if !is_known {
        hide_addresses(&mut health);
    }
    let strict = query.get("strict").is_some_and(|value| value != "false");
    let fails = health.status == HealthState::Unhealthy || strict && health.status == HealthState::Degraded;
    (if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, Json(health))
}

fn shown(service: &Service) -> Json<ServiceHealth> {
    Json(of_service(service, Clock::now()))
}

fn all(control: &Control) -> Vec<Arc<Service>> {
    let mut all: Vec<_> = control.plane.live.plan().services.values().cloned().collect();
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The service of this name.
pub(super) fn find(control: &Control, name: &str) -> Result<Arc<Service>, Problem> {
    let plan = control.plane.live.plan();
    plan.services.get(name).cloned().ok_or_else(|| unknown_service(name, plan.services.values()))
}

/// There is no such service; these are those that might be meant.
pub(super) fn unknown_service<'a>(name: &str, known: impl Iterator<Item = &'a Arc<Service>>) -> Problem {
    unknown("unknown_service", "service", name, known.map(|service| service.name.clone()))
}

fn unknown_target(service: &Service, url: &str) -> Problem {
    unknown("unknown_target", "target", url, service.all_targets().into_iter().map(|target| target.url))
}

fn unknown(code: &'static str, what: &str, name: &str, known: impl Iterator<Item = Arc<str>>) -> Problem {
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    let names = || known.iter().map(|name| &**name);
    let hint = did_you_mean(name, names()).unwrap_or_else(|| match known.is_empty() {
        true => format!("there is no {what}"),
        false => format!("known: {}", names().take(20).collect::<Vec<_>>().join(", ")),
    });
    Problem::new(StatusCode::NOT_FOUND, code, format!("there is no {what} {}; {hint}", quoted(name)))
}
