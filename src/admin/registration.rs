//! Registration: instances of a service that come and go at run time, beside the targets that are written.
//!
//! Only a service with `registered: true` takes them. An instance is known by its URL as it registered it. With
//! `ttl_seconds` it goes unless it says within that time that it is there; without, it stays until it is taken back.
//! A registration outlives reloads and upgrades, but not a restart.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::actor::{Actor, Role};
use super::input::{Body, Parameters};
use super::objects;
use super::problem::Problem;
use super::services::{find, unknown_service};
use super::writes::Writing;
use crate::Control;
use gatekeeper_client::{Instance, Registration};
use gatekeeper_model::object::Kind;
use gatekeeper_model::{Faults, quoted};
use gatekeeper_plane::upstream::memory::Registering;
use gatekeeper_plane::upstream::service::Service;
use serde::Deserialize;

/// Adds an instance, or renews it.
pub async fn register(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Body(registration): Body<Registration>,
) -> Result<(StatusCode, Json<Registration>), Problem> {
    let _change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let Registration { service_name: name, service_url: url, weight, ttl_seconds } = &registration;
    let plan = control.plane.live.plan();
    let taking = plan.services.values().filter(|service| service.takes_registrations());
    let service = plan.services.get(&**name).ok_or_else(|| unknown_service(name, taking))?;
    may_register(service, url)?;
    let mut faults = Faults::default();
    let registering =
        Registering::compile(url, *weight, *ttl_seconds, &mut faults).ok_or_else(|| Problem::invalid(&faults))?;
    if !service.memory.register(registering, Instant::now()) {
        log::debug!("service {name}: {} renewed by {actor}", quoted(url));
        return Ok((StatusCode::OK, Json(registration)));
    }
    log::info!("service {name}: {} registered by {actor}", quoted(url));
    Ok((StatusCode::CREATED, Json(registration)))
}

fn may_register(service: &Service, url: &str) -> Result<(), Problem> {
    let conflict = |text: String| Err(Problem::new(StatusCode::CONFLICT, "registration_refused", text));
    if !service.takes_registrations() {
        let name = quoted(&service.name);
        return conflict(format!(
            "the service {name} does not accept registrations: set `registered: true` in its configuration"
        ));
    }
    if service.targets.iter().any(|target| *target.url == *url) {
        return conflict(format!("{} is already a target in the configuration", quoted(url)));
    }
    Ok(())
}

/// Renews an instance.
pub async fn heartbeat(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Path(name): Path<String>,
    Body(instance): Body<Instance>,
) -> Result<StatusCode, Problem> {
    let _change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let service = find(&control, &name)?;
    if !service.memory.heartbeat(&instance.service_url, Instant::now()) {
        return Err(unknown_instance(&service, &instance));
    }
    log::debug!("service {name}: {} renewed by {actor}", quoted(&instance.service_url));
    Ok(StatusCode::NO_CONTENT)
}

/// What is removed: an instance if one is named, else the service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Removing {
    service_url: Option<String>,
    dry_run: Option<String>,
}

/// Removes a service that was made through the API, or takes one of its instances back.
pub async fn remove(
    state: State<Arc<Control>>,
    actor: Actor,
    Path(name): Path<String>,
    Parameters(removing): Parameters<Removing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(service_url) = removing.service_url {
        let instance = Instance { service_url };
        return deregister(state, actor, name, instance).await.map(IntoResponse::into_response);
    }
    if actor.role < Role::Admin {
        return Err(Problem::forbidden("removing a service needs the role admin; name an instance with service_url"));
    }
    let writing = match removing.dry_run.as_deref() {
        None | Some("false" | "0") => Writing::default(),
        Some(_) => Writing::rehearsal(),
    };
    objects::delete(Kind::Service, state, actor, name, Parameters(writing), headers).await
}

/// Takes an instance back.
async fn deregister(
    State(control): State<Arc<Control>>,
    actor: Actor,
    name: String,
    instance: Instance,
) -> Result<StatusCode, Problem> {
    let _change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let service = find(&control, &name)?;
    if !service.memory.deregister(&instance.service_url) {
        return Err(unknown_instance(&service, &instance));
    }
    log::info!("service {name}: {} deregistered by {actor}", quoted(&instance.service_url));
    Ok(StatusCode::NO_CONTENT)
}

fn unknown_instance(service: &Service, instance: &Instance) -> Problem {
    let text = format!("{} is not registered at {}", quoted(&instance.service_url), quoted(&service.name));
    Problem::new(StatusCode::NOT_FOUND, "not_registered", text)
}
