//! Upgrade over the administration API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::actor::Actor;
use super::problem::Problem;
use crate::Control;
use crate::process::NoUpgrade;
use gatekeeper_client::{Upgraded, Upgrading};

/// Starts the successor. The answer comes when it serves, or says why it does not. Who asked may go; it goes on.
pub async fn upgrade(State(control): State<Arc<Control>>, actor: Actor, Query(asked): Query<Upgrading>) -> Response {
    log::info!("upgrade requested by {actor}");
    let upgrade = tokio::spawn(control.process.clone().upgrade(asked.timeout.0));
    let conflict = |text: &str| Problem::new(StatusCode::CONFLICT, "upgrade_refused", text).into_response();
    let failed = |text| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "upgrade_failed", text).into_response();
    match upgrade.await {
        Ok(Ok(pid)) => Json(Upgraded { pid }).into_response(),
        Ok(Err(NoUpgrade::Busy)) => conflict("an upgrade is in progress"),
        Ok(Err(NoUpgrade::Impossible)) => {
            conflict("this gateway cannot be upgraded: it is a demo or `proxy`, or it is stopping")
        }
        Ok(Err(NoUpgrade::Failed(reason))) => {
            failed(format!("the upgrade failed, and the running process keeps serving: {reason}"))
        }
        Err(error) => failed(error.to_string()),
    }
}
