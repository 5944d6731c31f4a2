//! What an attempt says of its endpoint, and what a request came to says of its service (SEMANTICS 7.1).
//!
//! A failure is a connect or TLS error, a timeout, a reset, a malformed or truncated response, a status that the service
//! counts as one, or a `grpc-status` that means one of those. The client's abort and our own refusals say nothing. An
//! endpoint is judged by each attempt, by a failure at once and by a success when its response is whole; the service by what
//! its request came to after all attempts, at the end, or, if the request was a probe, as soon as the response's head is
//! there.

use std::time::Instant;

use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;

use super::ctx::{Ctx, Forward};
use crate::policy::refusal::Kind;
use crate::upstream::breaker::Verdict;

/// Judges the endpoint of an attempt that came to nothing.
pub fn note_failure(ctx: &mut Ctx) {
    if let Some(forward) = &mut ctx.forward {
        judge(forward, false);
    }
}

/// Takes note that an attempt came to nothing because the endpoint declared it unprocessed: nobody is to blame for that.
pub fn note_refusal(ctx: &mut Ctx) {
    if let Some(forward) = &mut ctx.forward {
        forward.refused = true;
    }
}

/// Judges an endpoint by its response's head.
pub fn note_head(response: &ResponseHeader, forward: &mut Forward) {
    let grpc = response.version == Version::HTTP_2 && says_failed(forward, &response.headers);
    forward.failed = grpc || forward.service.settings.is_failure(response.status);
    match response.status {
        StatusCode::SWITCHING_PROTOCOLS => judge(forward, true),
        _ if forward.failed => judge(forward, false),
        // What breaks off later is no success.
        _ => {}
    }
}

/// Tells the breaker at once what a probe found: its response goes to the client.
pub fn tell_early(forward: &mut Forward) {
    let verdict = if forward.failed { Verdict::Failure } else { Verdict::Success };
    if let Some(permit) = forward.permit.as_mut().filter(|permit| permit.is_probe()) {
        permit.tell_early(verdict, Instant::now());
    }
}

/// Judges an endpoint by what its response's trailers say.
pub fn note_trailers(trailers: &HeaderMap, ctx: &mut Ctx) {
    if let Some(forward) = ctx.forward.as_mut().filter(|forward| says_failed(forward, trailers)) {
        forward.failed = true;
        judge(forward, false);
    }
}

/// Gives back what a request holds of its service, and says what it came to. `late` is why its time was over, if nobody
/// could be told.
pub fn conclude(ctx: &mut Ctx, late: Option<Kind>, now: Instant) {
    let kind = ctx.failure.as_ref().map(|failure| failure.refusal.kind).or(late);
    let Some(forward) = &mut ctx.forward else { return };
    match (kind, forward.status) {
        (None, Some(_)) if !forward.failed => judge(forward, true),
        // Where the framework could not be told that time was over, it did not tell of a failure either.
        (Some(Kind::UPSTREAM_TIMEOUT), None) if !forward.judged => judge(forward, false),
        _ => {}
    }
    if let (None, Some(_), Some(slot)) = (kind, forward.status, &mut forward.attempt) {
        slot.ended();
    }
    (forward.attempt, forward.next, forward.pass) = (None, None, None);
    if let Some(permit) = forward.permit.take() {
        permit.settle(verdict(kind, forward), now);
    }
}

fn verdict(kind: Option<Kind>, forward: &Forward) -> Verdict {
    match (kind, forward.status) {
        // However a websocket ends, it had begun.
        (_, Some(StatusCode::SWITCHING_PROTOCOLS)) => Verdict::Success,
        _ if forward.attempts == 0 || forward.refused => Verdict::Neutral,
        (Some(Kind::UPSTREAM_FAILED | Kind::UPSTREAM_UNREACHABLE | Kind::UPSTREAM_TIMEOUT), _) => Verdict::Failure,
        (Some(_), _) | (None, None) => Verdict::Neutral,
        (None, Some(_)) if forward.failed => Verdict::Failure,
        (None, Some(_)) => Verdict::Success,
    }
}

fn judge(forward: &mut Forward, succeeded: bool) {
    forward.judged = !succeeded;
    if let Some(slot) = &forward.attempt {
        forward.service.judge(&slot.endpoint, succeeded);
    }
}

/// Whether a `grpc-status` stands for an HTTP status that is a failure.
fn says_failed(forward: &Forward, headers: &HeaderMap) -> bool {
    let status = match headers.get("grpc-status").map(|value| value.as_bytes()) {
        // Unknown, internal, data loss.
        Some(b"2" | b"13" | b"15") => StatusCode::INTERNAL_SERVER_ERROR,
        Some(b"4") => StatusCode::GATEWAY_TIMEOUT,
        Some(b"14") => StatusCode::SERVICE_UNAVAILABLE,
        _ => return false,
    };
    forward.service.settings.is_failure(status)
}
