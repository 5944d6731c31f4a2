//! What requests say: parameters of the query, and JSON bodies.
//!
//! A body is read as a part of the configuration is, so that every fault is told with its place. No body at all is as
//! `{}`, whatever its type.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;
use gatekeeper_model::{Faults, read_json, understand};

/// A request's body.
pub struct Body<T>(pub T);

/// A request's body as JSON, whatever it says.
pub struct Document(pub Value);

/// A request's body as a text of YAML or JSON.
pub struct Text(pub String);

/// What a request's path says.
pub struct At<T>(pub T);

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

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, "bad_request", text);
        let Path(found) = Path::from_request_parts(parts, state).await.map_err(|refused| bad(refused.body_text()))?;
        Ok(At(found))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = whole(request, state).await?;
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

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = whole(request, state).await?;
        if !is_json {
            let text = "the body must be application/json or application/merge-patch+json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text));
        }
        let mut faults = Faults::default();
        let read = read_json(&bytes, &mut faults).map_err(not_json)?;
        if faults.is_empty() { Ok(Document(read)) } else { Err(Problem::invalid(&faults)) }
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = whole(request, state).await?;
        let text = String::from_utf8(bytes.into());
        text.map(Text).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad_request", "the body is not UTF-8 text"))
    }
}

async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|refused| {
        let is_large = refused.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if is_large { "payload_too_large" } else { "bad_request" };
        Problem::new(refused.status(), code, refused.body_text())
    })
}

fn not_json(error: serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", format!("the body is not valid JSON: {error}"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
        || media_type.eq_ignore_ascii_case("application/merge-patch+json")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut faults = Faults::default();
    let understood = understand(bytes, &mut faults).map_err(not_json)?;
    understood.ok_or_else(|| Problem::invalid(&faults))
}
