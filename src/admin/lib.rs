//! The administration listener: health, readiness, metrics, status, services, reload, upgrade.
//!
//! It runs on a runtime of its own, so that it answers while the data plane is busy. Its connections are few (`listener`)
//! and strictly read (`stream`); who may ask what is said in `guard`.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{delete, get, post, put};
use tokio::sync::{Semaphore, watch};

use gatekeeper_client::BASE;
use gatekeeper_model::object::Kind;
use gatekeeper_model::secret::Secret;
use gatekeeper_plane::Plane;
use gatekeeper_plane::listen::socket::Socket;
use gatekeeper_plane::policy::auth::failures::Failures;
use gatekeeper_plane::upstream::gauges::gauges;
use gatekeeper_plane::{listen, plan};

pub mod actor;
mod audit;
mod config;
mod connection;
mod cors;
mod declarative;
pub mod desk;
mod entry;
mod everywhere;
pub mod explain;
mod following;
mod guard;
mod health;
mod idempotency;
mod input;
mod limits;
mod listener;
mod listing;
mod nodes;
mod objects;
mod openapi;
mod problem;
pub mod process;
mod registration;
mod revisions;
mod services;
mod status;
mod stream;
mod tokens;
mod upgrade;
mod watching;
mod why;
mod writes;

use actor::Role;
use connection::Caller;
use desk::Desk;
use input::At;
use listener::Listener;
pub use nodes::Identity;
use problem::Problem;
use process::Process;

/// The largest body that is read.
const LARGEST_BODY: usize = 64 << 10;
/// The largest declarative file that is read.
const LARGEST_FILE: usize = 32 << 20;

/// What administration has.
pub struct Control {
    /// What is administered.
    plane: Arc<Plane>,
    /// What it is configured by.
    desk: Arc<Desk>,
    /// What opens the API.
    token: Secret,
    /// Tokens of the store that were shown lately.
    tokens: tokens::Remembered,
    /// How many wrong ones an address may show.
    wrong_tokens: Failures,
    /// Where clients connect, as it came to be.
    listeners: Vec<String>,
    /// When the process started.
    started: Instant,
    process: Arc<dyn Process>,
    /// How other gateways know this one.
    node: Identity,
    /// How many clients may still watch revisions.
    watchers: Arc<Semaphore>,
    /// The description of the API, once somebody asked for it.
    description: OnceLock<Bytes>,
}

impl Control {
    /// Control of what is configured at a desk, and its process.
    pub fn new(
        desk: Arc<Desk>,
        token: Secret,
        listeners: Vec<String>,
        process: Arc<dyn Process>,
        node: Identity,
    ) -> Control {
        let plane = desk.plane().clone();
        Control {
            plane,
            desk,
            token,
            tokens: Default::default(),
            wrong_tokens: guard::budget(),
            listeners,
            started: Instant::now(),
            process,
            node,
            watchers: Arc::new(Semaphore::new(watching::MOST)),
            description: OnceLock::new(),
        }
    }

    /// Serves the API on a bound socket, as soon as connections are accepted. When it is to leave, it finishes what it has
    /// begun.
    pub async fn serve(self: Arc<Self>, socket: Socket, leave: watch::Receiver<bool>) {
        self.plane.opening().await;
        let following = tokio::spawn(following::follow(self.clone()));
        if let Err(error) = serve(socket, self, leave).await {
            log::error!("the administration listener failed: {error}");
        }
        following.abort();
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
        .merge(reading().route_layer(middleware::from_fn_with_state(Role::Viewer, guard::require)))
        .merge(operating().route_layer(middleware::from_fn_with_state(Role::Operator, guard::require)))
        .merge(
            administering()
                .route_layer(middleware::from_fn_with_state(control.clone(), everywhere::serve))
                .route_layer(middleware::from_fn_with_state(Role::Admin, guard::require)),
        )
        .route_layer(middleware::from_fn_with_state(control.clone(), idempotency::remember))
        .route_layer(middleware::from_fn_with_state(control.clone(), guard::authenticate));
    Router::new()
        .nest(BASE, guarded.route("/health", get(services::health)))
        .route("/health", get(|| async { good() }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/openapi.json", get(openapi::show))
        .route("/openapi.json", get(|| async { Redirect::permanent("/api/v1/openapi.json") }))
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

/// What a viewer may do: nothing of it changes anything.
fn reading() -> Router<Arc<Control>> {
    Router::new()
        .route("/status", get(status::show))
        .route("/explain", post(explain::explain))
        .route("/why/{request_id}", get(why::show))
        .route("/rate-limits", get(limits::list))
        .route("/rate-limits/status", get(limits::status))
        .route("/services", get(services::list))
        .route("/services/{name}", get(services::show))
        .route("/services/{name}/health", get(services::show))
        .route("/routes", get(|state, listing| objects::list(Kind::Route, state, listing)))
        .route("/routes/{id}", get(|state, key| objects::show(Kind::Route, state, key)))
        .route("/config/rate-limits", get(|state, listing| objects::list(Kind::RateLimit, state, listing)))
        .route("/config/rate-limits/{id}", get(|state, key| objects::show(Kind::RateLimit, state, key)))
        .route("/config/cors", get(cors::show))
        .route("/config/services", get(|state, listing| objects::list(Kind::Service, state, listing)))
        .route("/config/services/{id}", get(|state, key| objects::show(Kind::Service, state, key)))
        .route("/config/effective", get(declarative::effective))
        .route("/config/export", get(declarative::export))
        .route("/config/validate", post(declarative::validate).layer(DefaultBodyLimit::max(LARGEST_FILE)))
        .route("/config/revisions", get(revisions::list))
        .route("/config/revisions/{number}", get(revisions::show))
        .route("/config/revisions/{from}/diff/{to}", get(revisions::difference))
        .route("/config/watch", get(watching::watch))
        .route("/audit", get(audit::list))
        .route("/nodes", get(nodes::list))
}

/// What an operator may do beside: acting on what runs, without changing the configuration.
fn operating() -> Router<Arc<Control>> {
    Router::new()
        .route("/services", post(registration::register))
        .route("/services/{name}/reset", post(services::reset))
        .route("/services/{name}/drain", post(services::drain))
        .route("/services/{name}/undrain", post(services::undrain))
        .route("/services/{name}/heartbeat", post(registration::heartbeat))
        .route("/services/{name}", delete(registration::remove))
}

/// What only an administrator may do: changing the configuration, and who may do what.
fn administering() -> Router<Arc<Control>> {
    let route = Kind::Route;
    let rule = Kind::RateLimit;
    Router::new()
        .route("/config/reload", post(config::reload))
        .route("/upgrade", post(upgrade::upgrade))
        .route("/routes", post(move |s, a, w, d| objects::create(route, s, a, w, d)))
        .route(
            "/routes/{id}",
            put(move |s, a, At(key): At<String>, w, h, d| objects::replace(route, s, a, key, w, h, d))
                .patch(move |s, a, key, w, h, d| objects::patch(route, s, a, key, w, h, d))
                .delete(move |s, a, At(key): At<String>, w, h| objects::delete(route, s, a, key, w, h)),
        )
        .route("/config/rate-limits", post(move |s, a, w, d| objects::create(rule, s, a, w, d)))
        .route(
            "/config/rate-limits/{id}",
            put(move |s, a, At(key): At<String>, w, h, d| objects::replace(rule, s, a, key, w, h, d))
                .patch(move |s, a, key, w, h, d| objects::patch(rule, s, a, key, w, h, d))
                .delete(move |s, a, At(key): At<String>, w, h| objects::delete(rule, s, a, key, w, h)),
        )
        .route(
            "/services/{name}",
            put(|s, a, At(key): At<String>, w, h, d| objects::replace(Kind::Service, s, a, key, w, h, d))
                .patch(|s, a, key, w, h, d| objects::patch(Kind::Service, s, a, key, w, h, d)),
        )
        .route("/config/cors", put(cors::replace).delete(cors::delete))
        .route("/config/apply", post(declarative::apply).layer(DefaultBodyLimit::max(LARGEST_FILE)))
        .route("/config/revisions/{number}/rollback", post(revisions::roll_back))
        .route("/tokens", get(tokens::list).post(tokens::create))
        .route("/tokens/{id}", delete(tokens::revoke))
        .route("/tokens/{id}/rotate", post(tokens::rotate))
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
