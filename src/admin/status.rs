//! What the gateway says of itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::Control;
use gatekeeper_client::{Listener, Status};

/// The state of the gateway.
pub async fn show(State(control): State<Arc<Control>>) -> Json<Status> {
    let plan = control.plane.live.plan();
    let listeners = control.listeners.iter().map(|address| Listener { address: address.clone() });
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        config_file: control.process.configuration().to_string_lossy().into_owned(),
        uptime_seconds: control.started.elapsed().as_secs(),
        ready: control.plane.is_ready(),
        revision: plan.revision,
        last_fault: control.plane.live.last_fault(),
        listeners: listeners.collect(),
        routes: plan.routes.len(),
        services: plan.services.len(),
        requests_in_flight: control.plane.observers.metrics.requests_in_flight(),
        access_log_dropped: control.plane.observers.log.dropped(),
    })
}
