//! What the gateway says of itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::Control;

/// The state of a running gateway.
#[derive(Debug, Deserialize, Serialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// It takes new requests.
    pub ready: bool,
    /// The plan that serves.
    pub revision: u64,
    /// Why the last change was refused; the plan before it serves.
    pub last_fault: Option<String>,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Routes that take part.
    pub routes: usize,
    /// Services.
    pub services: usize,
    /// Requests in flight.
    pub requests_in_flight: i64,
    /// Records of the access log that were dropped.
    pub access_log_dropped: u64,
}

/// A listener.
#[derive(Debug, Deserialize, Serialize)]
pub struct Listener {
    /// Its address; port 0 is a real one here.
    pub address: String,
}

/// Tells the state.
pub async fn show(State(control): State<Arc<Control>>) -> Json<Status> {
    let plan = control.plane.live.plan();
    let listeners = control.listeners.iter().map(|address| Listener { address: address.clone() });
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: control.started.elapsed().as_secs(),
        ready: control.plane.is_ready(),
        revision: plan.revision,
        last_fault: control.plane.live.last_fault(),
        listeners: listeners.collect(),
        routes: plan.routes.len(),
        services: plan.services.len(),
        requests_in_flight: control.plane.metrics.requests_in_flight(),
        access_log_dropped: control.plane.log.dropped(),
    })
}
