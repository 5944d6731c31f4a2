//! Configuration over the administration API: reload.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::actor::Actor;
use super::problem::Problem;
use crate::Control;

/// Reads the file again. The answer comes when the new plan serves, or says why it does not.
pub async fn reload(State(control): State<Arc<Control>>, actor: Actor) -> Response {
    if !control.process.may_reload() {
        return Problem::upgrading().into_response();
    }
    log::info!("reload requested by {actor}");
    control.record(&actor, "reload", "configuration", "files").await;
    let (plane, control) = (control.plane.clone(), control.clone());
    match tokio::task::spawn_blocking(move || control.process.reload()).await {
        Ok(Ok(report)) => Json(report).into_response(),
        Ok(Err(faults)) => Problem::refused(&faults, plane.live.plan().revision).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string()).into_response()
        }
    }
}
