//! What an attempt says of its endpoint, and what a request came to says of its service (SEMANTICS 7.1).
//!
//! A failure is a connect or TLS error, a timeout, a reset, a malformed or truncated response, a status that the service
//! counts as one, or a `grpc-status` that means one of those. The client's abort and our own refusals say nothing, and a
//! clock that ran out only what is fair (`fairness`). What an endpoint loses at one moment (its own death, that of a
//! connection) is one failure of its service, and none while another endpoint answers: that is ejection's business. An
//! endpoint is judged by each attempt, by a failure at once and by a success when its response is whole; the service by what
//! its request came to after all attempts, at the end, or, if the request was a probe, as soon as the response's head is
//! there.

use std::time::Instant;

use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::forward::Forward;
use crate::listen::deadline::{self, Blame, Watch};
use crate::upstream::endpoint::Slot;
use gatekeeper_core::breaker::Verdict;
use gatekeeper_core::refusal::Kind;
use gatekeeper_core::retry::Failure;

/// Judges the endpoint of an attempt that found no connection. One that had less time than it needs is not to blame.
pub fn note_failed_connect(forward: &mut Forward, failure: Failure, hurried: bool) {
    let blames = failure == Failure::Connect && !hurried;
    note(forward, failure, Blame { target: blames, service: blames });
}

/// Judges the endpoint of an attempt that came to nothing on its connection.
pub fn note_failure(forward: &mut Forward, failure: Failure) {
    let blame = match failure {
        // Nobody is to blame for what was not processed.
        Failure::Refused => Blame::default(),
        Failure::Timeout => deadline::watch(Watch::blame),
        _ => Blame { target: true, service: true },
    };
    note(forward, failure, blame);
}

fn note(forward: &mut Forward, failure: Failure, blame: Blame) {
    forward.noted = true;
    forward.blamed |= blame.service && forward.attempt.as_ref().is_none_or(|slot| suffers(forward, slot, failure));
    if blame.target {
        judge(forward, false);
    }
}

/// Whether the service suffers from what its endpoint lost. Each clock that ran out is a loss of its own.
fn suffers(forward: &Forward, slot: &Slot, failure: Failure) -> bool {
    let now = Instant::now();
    let is_news = failure == Failure::Timeout || slot.endpoint.standing.lose(forward.began, now);
    is_news && forward.service.suffers(&slot.endpoint, now)
}

/// Judges an endpoint by its response's head.
pub fn note_head(session: &Session, response: &ResponseHeader, forward: &mut Forward) {
    let grpc = response.version == Version::HTTP_2 && says_failed(session, forward, &response.headers);
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
pub fn note_trailers(session: &Session, trailers: &HeaderMap, forward: &mut Forward) {
    if says_failed(session, forward, trailers) {
        forward.failed = true;
        judge(forward, false);
    }
}

/// Gives back what a request holds of its service, but for the room at its endpoint, and says what it came to. `late` is why
/// its time was over, if nobody could be told.
pub fn conclude(ctx: &mut Ctx, late: Option<Kind>, now: Instant) {
    let kind = ctx.course.failure.as_ref().map(|failure| failure.refusal.kind).or(late);
    let Some(forward) = ctx.forward_mut() else { return };
    match (kind, forward.status) {
        (None, Some(_)) if !forward.failed => judge(forward, true),
        // Where the framework could not be told that time was over, it did not tell of a failure either.
        (Some(Kind::UPSTREAM_TIMEOUT), None) if !forward.noted && forward.attempts > 0 => {
            note(forward, Failure::Timeout, deadline::watch(Watch::blame));
        }
        _ => {}
    }
    if let (None, Some(_), Some(slot)) = (kind, forward.status, &mut forward.attempt) {
        slot.ended();
    }
    (forward.next, forward.pass) = (None, None);
    if let Some(permit) = forward.permit.take() {
        permit.settle(verdict(kind, forward), now);
    }
}

/// Gives back the room at its endpoint, as soon as the log knows which one it was.
pub fn leave(ctx: &mut Ctx) {
    if let Some(forward) = ctx.forward_mut() {
        forward.attempt = None;
    }
}

fn verdict(kind: Option<Kind>, forward: &Forward) -> Verdict {
    match (kind, forward.status) {
        // However a websocket ends, it had begun.
        (_, Some(StatusCode::SWITCHING_PROTOCOLS)) => Verdict::Success,
        (Some(Kind::UPSTREAM_FAILED | Kind::UPSTREAM_UNREACHABLE | Kind::UPSTREAM_TIMEOUT), _) if forward.blamed => {
            Verdict::Failure
        }
        (Some(_), _) | (None, None) => Verdict::Neutral,
        (None, Some(_)) if forward.failed => Verdict::Failure,
        (None, Some(_)) => Verdict::Success,
    }
}

fn judge(forward: &Forward, succeeded: bool) {
    if let Some(slot) = &forward.attempt {
        forward.service.judge(&slot.endpoint, succeeded);
    }
}

/// Whether a `grpc-status` stands for an HTTP status that is a failure. A deadline that the client itself has set says
/// something only where it left a fair time.
fn says_failed(session: &Session, forward: &Forward, headers: &HeaderMap) -> bool {
    let fair = || !session.req_header().headers.contains_key("grpc-timeout") || deadline::watch(Watch::blame).service;
    let status = match headers.get("grpc-status").map(|value| value.as_bytes()) {
        // Unknown, internal, data loss.
        Some(b"2" | b"13" | b"15") => StatusCode::INTERNAL_SERVER_ERROR,
        Some(b"4") if fair() => StatusCode::GATEWAY_TIMEOUT,
        Some(b"14") => StatusCode::SERVICE_UNAVAILABLE,
        _ => return false,
    };
    forward.service.settings.is_failure(status)
}
