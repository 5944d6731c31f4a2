//! Registration: instances of a service that come and go at run time, beside the targets that are written.
//!
//! Only a service with `registered: true` takes them. An instance is known by its URL as it registered it. With
//! `ttl_seconds` it goes unless it says within that time that it is there; without, it stays until it is taken back.
//! A registration outlives reloads and upgrades and, with a store, restarts.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::actor::{Actor, Role};
use super::input::{At, Body, Parameters};
use super::objects;
use super::problem::Problem;
use super::services::{find, unknown_service};
use super::writes::Writing;
use crate::Control;
use crate::desk::objects::Manager;
use crate::desk::proposal::Proposal;
use crate::desk::{Held, now};
use crate::entry;
use gatekeeper_client::{Instance, Registration};
use gatekeeper_model::object::{Kind, Written};
use gatekeeper_model::{Faults, Place, quoted};
use gatekeeper_plane::upstream::memory::Registering;
use gatekeeper_plane::upstream::service::Service;
use gatekeeper_store::registration;
use serde::Deserialize;
use serde_json::{Value, json};

/// The most that an instance says about itself, as JSON.
const LARGEST_METADATA: usize = 4096;

/// Adds an instance, or renews it. A name that is new makes a service, if the actor may.
pub async fn register(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Body(registration): Body<Registration>,
) -> Result<(StatusCode, Json<Registration>), Problem> {
    let name = registration.service_name.clone();
    let is_known = control.plane.live.plan().services.contains_key(&*name);
    if !is_known && actor.role >= Role::Admin && control.kept().is_ok() {
        make_service(&control, actor.clone(), &name).await?;
    }
    let is_new = take_in(&control, &actor, &registration)?;
    if let Some(keeping) = control.desk.keeping()
        && let Err(failure) = keeping.store.register(kept(&registration)).await
    {
        log::warn!("service {name}: the store does not know of {}: {failure}", quoted(&registration.service_url));
    }
    if is_new {
        control.record(&actor, "register", "instance", &format!("{name} {}", registration.service_url)).await;
    }
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(registration)))
}

/// A service that has no targets but those that register.
async fn make_service(control: &Arc<Control>, actor: Actor, name: &str) -> Result<(), Problem> {
    let name = name.to_owned();
    let propose = move |held: &Held| {
        if entry::find(held, Kind::Service, &name)?.is_some() {
            return Ok(Proposal::default());
        }
        let (mut faults, text) = (Faults::default(), json!({"targets": [], "registered": true}));
        let written = Written::read(Kind::Service, Some(&name), text, &mut faults);
        let written = written.ok_or_else(|| Problem::invalid(&faults))?;
        Ok(Proposal { edits: vec![objects::made_by(Manager::Api, written)], ..Proposal::default() })
    };
    control.write(actor, &Writing::default(), propose).await.map(drop)
}

/// Whether the instance is new.
fn take_in(control: &Control, actor: &Actor, registration: &Registration) -> Result<bool, Problem> {
    let _change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let Registration { service_name: name, service_url: url, weight, ttl_seconds, metadata } = registration;
    let plan = control.plane.live.plan();
    let taking = plan.services.values().filter(|service| service.takes_registrations());
    let service = plan.services.get(&**name).ok_or_else(|| unknown_service(name, taking))?;
    may_register(service, url)?;
    let mut faults = Faults::default();
    let registering = Registering::compile(url, *weight, *ttl_seconds, &mut faults);
    if Value::Object(metadata.clone()).to_string().len() > LARGEST_METADATA {
        faults.push(Place::new("metadata"), "a map of more than 4 KiB", "at most 4 KiB as JSON");
    }
    let registering = registering.filter(|_| faults.is_empty()).ok_or_else(|| Problem::invalid(&faults))?;
    let is_new = service.memory.register(registering, Instant::now());
    match is_new {
        true => log::info!("service {name}: {} registered by {actor}", quoted(url)),
        false => log::debug!("service {name}: {} renewed by {actor}", quoted(url)),
    }
    Ok(is_new)
}

/// The same in the words of the store.
fn kept(registration: &Registration) -> registration::Registration {
    let now = now();
    registration::Registration {
        service: registration.service_name.clone(),
        target: registration.service_url.clone(),
        weight: registration.weight,
        metadata: registration.metadata.clone(),
        ttl_ms: registration.ttl_seconds.map(|ttl| ttl.saturating_mul(1000)),
        created_at: now,
        seen_at: now,
    }
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
    At(name): At<String>,
    Body(instance): Body<Instance>,
) -> Result<StatusCode, Problem> {
    let change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let service = find(&control, &name)?;
    let is_known = service.memory.heartbeat(&instance.service_url, Instant::now());
    drop(change);
    if !is_known {
        return Err(unknown_instance(&service, &instance));
    }
    log::debug!("service {name}: {} renewed by {actor}", quoted(&instance.service_url));
    if let Some(keeping) = control.desk.keeping() {
        let keeping = keeping.clone();
        // A heartbeat does not wait for the store.
        tokio::spawn(async move { keeping.store.renew(&name, &instance.service_url, now()).await });
    }
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
    At(name): At<String>,
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
    let change = control.plane.deed.change().ok_or_else(Problem::handing_over)?;
    let service = find(&control, &name)?;
    let was_known = service.memory.deregister(&instance.service_url);
    drop(change);
    if !was_known {
        return Err(unknown_instance(&service, &instance));
    }
    log::info!("service {name}: {} deregistered by {actor}", quoted(&instance.service_url));
    if let Some(keeping) = control.desk.keeping() {
        keeping.store.deregister(&name, &instance.service_url).await.map_err(Problem::of_store)?;
    }
    control.record(&actor, "deregister", "instance", &format!("{name} {}", instance.service_url)).await;
    Ok(StatusCode::NO_CONTENT)
}

fn unknown_instance(service: &Service, instance: &Instance) -> Problem {
    let text = format!("{} is not registered at {}", quoted(&instance.service_url), quoted(&service.name));
    Problem::new(StatusCode::NOT_FOUND, "not_registered", text)
}
