//! The CORS policy of the gateway over the administration API. There is one, or none.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use gatekeeper_model::object::Kind;

use crate::Control;
use crate::actor::Actor;
use crate::input::{At, Document, Parameters};
use crate::objects;
use crate::problem::Problem;
use crate::writes::Writing;

/// The policy.
pub async fn show(state: State<Arc<Control>>) -> Result<Response, Problem> {
    objects::show(Kind::Cors, state, At(Kind::Cors.as_str().into())).await
}

/// Makes the policy what is written.
pub async fn replace(
    state: State<Arc<Control>>,
    actor: Actor,
    writing: Parameters<Writing>,
    headers: HeaderMap,
    document: Document,
) -> Result<Response, Problem> {
    objects::replace(Kind::Cors, state, actor, Kind::Cors.as_str().into(), writing, headers, document).await
}

/// Removes the policy: pages of other origins read nothing any more.
pub async fn delete(
    state: State<Arc<Control>>,
    actor: Actor,
    writing: Parameters<Writing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    objects::delete(Kind::Cors, state, actor, Kind::Cors.as_str().into(), writing, headers).await
}
