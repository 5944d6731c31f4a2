//! The administration listener: health, readiness, metrics, status, services, reload, upgrade.
//!
//! It runs on a runtime of its own, so that it answers while the data plane is busy. Its connections are few (`listener`)
//! and strictly read (`stream`); who may ask what is said in `guard`.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::gateway::Shared;
use crate::listen::socket::Socket;
use crate::plan;
use crate::upstream::gauges::gauges;

mod config;
pub mod explain;
pub mod guard;
pub mod health;
mod input;
pub mod limits;
mod listener;
mod problem;
mod registration;
mod services;
pub mod status;
mod stream;
pub mod upgrade;
mod why;

use listener::{Caller, Listener};
use problem::Problem;

/// The base of the administration API.
pub const BASE: &str = "/api/v1/gateway";

/// The largest body that is read.
const LARGEST_BODY: usize = 64 << 10;

/// The administration service on its bound socket.
pub struct Service {
    bound: Mutex<Option<(Socket, ShutdownWatch)>>,
    shared: Arc<Shared>,
}

impl Service {
    /// The service, ready to be started once. When it is to leave, it finishes what it has begun.
    pub fn new(socket: Socket, shared: Arc<Shared>, leave: ShutdownWatch) -> Self {
        Service { bound: Mutex::new(Some((socket, leave))), shared }
    }
}

#[async_trait]
impl BackgroundService for Service {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let Some((socket, leave)) = self.bound.lock().take() else { return };
        let serve = async {
            self.shared.opening().await;
            if let Err(error) = serve(socket, self.shared.clone(), leave).await {
                log::error!("administration ended: {error}");
            }
        };
        tokio::select! {
            () = serve => {}
            _ = shutdown.changed() => {}
        }
    }
}

async fn serve(socket: Socket, shared: Arc<Shared>, mut leave: ShutdownWatch) -> std::io::Result<()> {
    let left = async move {
        if leave.wait_for(|leave| *leave).await.is_err() {
            std::future::pending().await
        }
    };
    let listener = Listener::new(socket.fd, socket.address.starts_with("unix:"), shared.clone())?;
    let app = router(shared).into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, app).with_graceful_shutdown(left).await
}

fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/status", get(status::show))
        .route("/config/reload", post(config::reload))
        .route("/upgrade", post(upgrade::upgrade))
        .route("/explain", post(explain::explain))
        .route("/why/{request_id}", get(why::show))
        .route("/rate-limits", get(limits::list))
        .route("/rate-limits/status", get(limits::status))
        .route("/services", get(services::list).post(registration::register))
        .route("/services/{name}", get(services::show).delete(registration::deregister))
        .route("/services/{name}/health", get(services::show))
        .route("/services/{name}/reset", post(services::reset))
        .route("/services/{name}/drain", post(services::drain))
        .route("/services/{name}/undrain", post(services::undrain))
        .route("/services/{name}/heartbeat", post(registration::heartbeat))
        .route_layer(middleware::from_fn_with_state(shared.clone(), guard::require_token));
    Router::new()
        .nest(BASE, guarded.route("/health", get(services::health)))
        .route("/health", get(|| async { good() }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this resource has no such method")
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::receive))
        .with_state(shared)
}

fn good() -> Response {
    axum::Json(serde_json::json!({"status": "ok"})).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_ready() {
        return good();
    }
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(serde_json::json!({"status": "stopping"}))).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let plan = shared.live.plan();
    let mut families = gauges(plan.services.values(), Instant::now());
    families.extend(plan::gauges::gauges(&plan.edge));
    match shared.metrics.render(families) {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string()).into_response()
        }
    }
}
