//! What requests say: parameters of the query, and JSON bodies.
//!
//! A body is read as a part of the configuration is, so that every fault is told with its place. No body at all is as
//! `{}`, whatever its type.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use gatekeeper_model::{Faults, understand};

/// A request's body.
pub struct Body<T>(pub T);

/// The parameters of a request's query.
pub struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, "bad_request", text);
        let Query(parameters) =
            Query::from_request_parts(parts, state).await.map_err(|refused| bad(refused.body_text()))?;
        Ok(Parameters(parameters))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(|refused| {
            let code =
                if refused.status() == StatusCode::PAYLOAD_TOO_LARGE { "payload_too_large" } else { "bad_request" };
            Problem::new(refused.status(), code, refused.body_text())
        })?;
        match bytes.is_empty() {
            true => read(b"{}").map(Body),
            false if is_json => read(&bytes).map(Body),
            false => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be application/json",
            )),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut faults = Faults::default();
    let understood = understand(bytes, &mut faults).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("the body is not valid JSON: {error}"))
    })?;
    understood.ok_or_else(|| Problem::invalid(&faults))
}
