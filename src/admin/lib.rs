//! The administration listener: health, readiness, metrics, status, services, reload, upgrade.
//!
//! It runs on a runtime of its own, so that it answers while the data plane is busy. Its connections are few (`listener`)
//! and strictly read (`stream`); who may ask what is said in `guard`.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::watch;

use gatekeeper_client::BASE;
use gatekeeper_model::secret::Secret;
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::socket::Socket;
use gatekeeper_plane::policy::auth::failures::Failures;
use gatekeeper_plane::upstream::gauges::gauges;
use gatekeeper_plane::{listen, plan};

pub mod actor;
mod config;
mod connection;
pub mod explain;
mod guard;
mod health;
mod input;
mod limits;
mod listener;
mod problem;
pub mod process;
mod registration;
mod services;
mod status;
mod stream;
mod upgrade;
mod why;

use connection::Caller;
use listener::Listener;
use problem::Problem;
use process::Process;

/// The largest body that is read.
const LARGEST_BODY: usize = 64 << 10;

/// What administration has.
pub struct Control {
    /// What is administered.
    plane: Arc<Plane>,
    /// What opens the API.
    token: Secret,
    /// How many wrong ones an address may show.
    wrong_tokens: Failures,
    /// Where clients connect, as it came to be.
    listeners: Vec<String>,
    /// When the process started.
    started: Instant,
    process: Arc<dyn Process>,
}

impl Control {
    /// Control of a plane and its process.
    pub fn new(plane: Arc<Plane>, token: Secret, listeners: Vec<String>, process: Arc<dyn Process>) -> Control {
        Control { plane, token, wrong_tokens: guard::budget(), listeners, started: Instant::now(), process }
    }

    /// Serves the API on a bound socket, as soon as connections are accepted. When it is to leave, it finishes what it has
    /// begun.
    pub async fn serve(self: Arc<Self>, socket: Socket, leave: watch::Receiver<bool>) {
        self.plane.opening().await;
        if let Err(error) = serve(socket, self, leave).await {
            log::error!("the administration listener failed: {error}");
        }
    }
}

async fn serve(socket: Socket, control: Arc<Control>, mut leave: watch::Receiver<bool>) -> std::io::Result<()> {
    let left = async move {
        if leave.wait_for(|leave| *leave).await.is_err() {
            std::future::pending().await
        }
    };
    let listener = Listener::new(socket.fd, socket.address.starts_with("unix:"), control.plane.clone())?;
    let app = router(control).into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, app).with_graceful_shutdown(left).await
}

fn router(control: Arc<Control>) -> Router {
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
        .route_layer(middleware::from_fn_with_state(control.clone(), guard::require_token));
    Router::new()
        .nest(BASE, guarded.route("/health", get(services::health)))
        .route("/health", get(|| async { good() }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such resource") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this resource does not support this method",
            )
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(control.clone(), guard::receive))
        .with_state(control)
}

fn good() -> Response {
    axum::Json(serde_json::json!({"status": "ok"})).into_response()
}

async fn ready(State(control): State<Arc<Control>>) -> Response {
    if control.plane.is_ready() {
        return good();
    }
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(serde_json::json!({"status": "stopping"}))).into_response()
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    let plan = control.plane.live.plan();
    let mut families = gauges(plan.services.values(), Instant::now());
    families.extend(plan::gauges::gauges(&plan.edge));
    families.extend(listen::gauges::gauges(control.plane.reception.entrances()));
    families.extend(control.plane.observers.dropped_records());
    match control.plane.observers.metrics.render(families) {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", error.to_string()).into_response()
        }
    }
}
