//! Settling: the ONE place where every request ends, and is measured and logged, once.

use std::time::Instant;

use http::StatusCode;
use http::request::Parts;
use pingora::Error;
use pingora_proxy::Session;

use super::ctx::{Arrived, Course, Ctx};
use super::forward::Forward;
use super::{reply, verdict};
use crate::listen::deadline::{self, Watch};
use crate::observe::refusals::Keeping;
use crate::upstream::endpoint::Endpoint;
use gatekeeper_core::event::{Arrival, Event, Head, Outcome, Way};
use gatekeeper_core::refusal::Kind;

/// Settles a request.
pub fn settle(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let now = Instant::now();
    end(ctx, None, now);
    let Course { plane, failure, answered, began, .. } = &ctx.course;
    let sent = reply::status_sent(session);
    let failure = failure.as_deref();
    let refusal = failure.map(|failure| failure.refusal.kind);
    let own = refusal.filter(|_| *answered);
    if let Some(kind) = own {
        plane.observers.metrics.refused(kind.code);
    }
    let request: &Parts = session.downstream_session.req_header();
    let cause = failure.and_then(|failure| failure.cause.as_deref());
    let unforeseen = error.filter(|_| failure.is_none()).map(ToString::to_string);
    let edge = ctx.edge();
    let head = Head::of(request, &edge.logged_headers);
    let outcome = Outcome {
        duration: now.saturating_duration_since(began.instant),
        // What gRPC's clients are sent is 200, whatever it says: what it says is what counts.
        status: own.and_then(|kind| StatusCode::from_u16(kind.status).ok()).or(sent),
        bytes_in: Some(session.body_bytes_read() as u64),
        bytes_out: Some(session.body_bytes_sent() as u64),
        error_code: refusal.map(|kind| kind.code),
        error_message: cause.or(unforeseen.as_deref()),
        truncated: error.is_some() && sent.is_some() && !answered,
    };
    let left = ctx.forward().and_then(Forward::left_endpoint);
    tell(ctx, &Event::of(arrival(ctx), Some(head), way(ctx, left.as_deref()), outcome));
    verdict::leave(ctx);
}

fn end(ctx: &mut Ctx, late: Option<Kind>, now: Instant) {
    ctx.course.settled = true;
    verdict::conclude(ctx, late, now);
    deadline::watch(Watch::forget);
    ctx.course.plane.observers.metrics.end_request();
    if let Some(arrival) = ctx.arrival() {
        arrival.connection.settle();
    }
}

/// Settles a request that nobody settled: its task panicked, or the runtime was shut down, or it was given up because its
/// time was over. Its session is gone, and with it what only the session knew.
pub fn settle_lost(ctx: &mut Ctx) {
    let late = deadline::watch(Watch::late);
    let now = Instant::now();
    let head = ctx.arrival().map(|Arrived { line, .. }| Head {
        method: &line.method,
        uri: &line.uri,
        version: line.version,
        headers: None,
        logged_headers: &[],
    });
    let outcome = Outcome {
        status: ctx.forward().and_then(|forward| forward.status),
        error_code: Some(late.map_or("lost", |late| late.kind.code)),
        error_message: Some(late.map_or("the request's task ended before the request did", |late| late.cause)),
        truncated: true,
        ..Outcome::after(now.saturating_duration_since(ctx.course.began.instant))
    };
    let left = ctx.forward().and_then(Forward::left_endpoint);
    tell(ctx, &Event::of(arrival(ctx), head, way(ctx, left.as_deref()), outcome));
    if let Some(stream) = ctx.forward().and_then(|forward| forward.attempt.as_ref()?.stream.as_ref()) {
        stream.abandon();
    }
    // Last: a gateway that ends waits for it, and then closes the log.
    end(ctx, Some(late.map_or(Kind::INTERNAL, |late| late.kind)), now);
    verdict::leave(ctx);
}

fn arrival(ctx: &Ctx) -> Arrival<'_> {
    let client = ctx.arrival().and_then(Arrived::address);
    Arrival { request_id: Some(ctx.id()), started: ctx.course.began.time, client }
}

/// The way of a request; `left` is the endpoint that it tried last, if it holds no room there any more.
fn way<'a>(ctx: &'a Ctx, left: Option<&'a Endpoint>) -> Way<'a> {
    let forward = ctx.forward();
    let tried = forward.and_then(|forward| forward.endpoint(left));
    let upstream = tried.and_then(|endpoint| endpoint.peer._address.as_inet().copied());
    Way {
        canonical_path: ctx.arrival().and_then(|arrival| arrival.canonical_path.as_deref()),
        route: ctx.route().map(|route| &*route.name),
        service: forward.map(|forward| &*forward.service.name),
        user: ctx.user().map(|user| (&*user.identity.subject, &*user.identity.issuer)),
        would_refuse: ctx.course.trials.told(),
        upstream_time: forward.and_then(|forward| forward.upstream_time),
        attempts: forward.map_or(0, |forward| forward.attempts),
        upstream,
        upstream_socket: tried.filter(|_| upstream.is_none()).map(|endpoint| &*endpoint.url),
    }
}

fn tell(ctx: &Ctx, event: &Event) {
    if ctx.arrival().is_some_and(|arrival| arrival.connection.is_probe()) {
        return;
    }
    let Course { plane, failure, trials, .. } = &ctx.course;
    let observers = &plane.observers;
    let route = ctx.route().map_or(&observers.unrouted, |route| &route.metrics);
    let counting = observers.metrics.counting(route, ctx.forward().map(|forward| &forward.service.metrics));
    let refusal = failure.as_ref().map(|failure| &failure.refusal);
    let is_kept = refusal.is_some() || trials.told().is_some();
    // Where the access log hides addresses, they are not shown elsewhere.
    let shows_client = || ctx.edge().shows_clients;
    let keeping = is_kept.then(|| Keeping { refusals: &observers.refusals, refusal, shows_client: shows_client() });
    observers.tell(event, &counting, keeping.as_ref());
}
