//! Repeated writes: a POST with an `Idempotency-Key` that was answered well gets the same answer again, for a day and over
//! restarts. The same key with another request is a mistake of the client. Tokens are made anew each time: their answers hold
//! secrets.
//!
//! Known inaccuracy: of two such requests at the same time both are carried out; the second one finds what the first one made.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gatekeeper_store::answer::Answer;
use ring::digest::{SHA256, digest};

use crate::actor::Actor;
use crate::desk::now;
use crate::problem::Problem;
use crate::{Control, LARGEST_BODY, LARGEST_FILE};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Tells that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;
/// The largest answer that is remembered.
const LARGEST_ANSWER: usize = 1 << 20;
/// The path of the one write whose body may be large.
const APPLY: &str = "/config/apply";

/// Answers a request that was answered before as it was then.
pub async fn remember(State(control): State<Arc<Control>>, actor: Actor, request: Request, next: Next) -> Response {
    let key = request.headers().get(KEY).cloned();
    // Answers with secrets are not kept.
    let is_secret = request.uri().path().starts_with("/tokens");
    let (Some(key), &Method::POST, Ok(keeping), false) = (key, request.method(), control.kept(), is_secret) else {
        return next.run(request).await;
    };
    let key = match checked(&key) {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let (parts, body) = request.into_parts();
    let most = if parts.uri.path() == APPLY { LARGEST_FILE } else { LARGEST_BODY };
    let Ok(body) = to_bytes(body, most).await else {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
            .into_response();
    };
    let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0).to_string();
    let digest = digest_of(&uri, &body);
    match keeping.store.answer(&actor.name, &key).await {
        Ok(Some(answer)) if answer.digest == digest => return again(answer),
        Ok(Some(_)) => return Problem::key_reused().into_response(),
        Ok(None) => {}
        Err(failure) => return Problem::of_store(failure).into_response(),
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    if !response.status().is_success() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Problem::internal("an answer cannot be read").into_response();
    };
    if body.len() <= LARGEST_ANSWER
        && let Ok(text) = String::from_utf8(body.to_vec())
    {
        let answer = Answer { digest, status: parts.status.as_u16(), body: text, at: now() };
        if let Err(failure) = keeping.store.remember(&actor.name, &key, answer).await {
            log::warn!("a write with an Idempotency-Key is not remembered: {failure}");
        }
    }
    Response::from_parts(parts, Body::from(body))
}

fn checked(key: &HeaderValue) -> Result<String, Problem> {
    let key = key.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
    key.map(String::from).ok_or_else(|| {
        let text = format!("Idempotency-Key: found something else than 1 to {LONGEST_KEY} visible characters");
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", text)
    })
}

fn again(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    (status, [(CONTENT_TYPE, "application/json"), (REPLAYED, "true")], answer.body).into_response()
}

fn digest_of(uri: &str, body: &Bytes) -> String {
    let mut text = format!("{uri}\0").into_bytes();
    text.extend_from_slice(body);
    digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
