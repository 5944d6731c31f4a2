//! Refusals over the administration API, found again by the request's id.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::input::At;
use super::problem::Problem;
use crate::Control;
use gatekeeper_client::Refused;

/// Why a request was refused.
pub async fn show(State(control): State<Arc<Control>>, At(id): At<String>) -> Result<Json<Refused>, Problem> {
    let missing = "no refusal with this request id is remembered: the request was served, or the refusal is too old";
    control
        .plane
        .observers
        .refusals
        .find(&id)
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "not_found", missing))
}
