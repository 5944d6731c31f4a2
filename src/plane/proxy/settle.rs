//! Settling: the ONE place where every request ends, and is measured and logged, once.

use std::time::Instant;

use http::StatusCode;
use http::request::Parts;
use pingora::Error;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::{reply, verdict};
use crate::listen::deadline::{self, Watch};
use crate::observe::refusals::Keeping;
use gatekeeper_core::event::{Arrival, Event, Head, Outcome, Way};
use gatekeeper_core::refusal::Kind;

/// Settles a request.
pub fn settle(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let now = Instant::now();
    end(ctx, None, now);
    let plane = &ctx.plane;
    let sent = reply::status_sent(session);
    let failure = ctx.failure.as_deref();
    let refusal = failure.map(|failure| failure.refusal.kind);
    let own = refusal.filter(|_| ctx.answered);
    if let Some(kind) = own {
        plane.observers.metrics.refused(kind.code);
    }
    let request: &Parts = session.downstream_session.req_header();
    let cause = failure.and_then(|failure| failure.cause.as_deref());
    let unforeseen = error.filter(|_| failure.is_none()).map(ToString::to_string);
    let unrouted = ctx.route.is_none().then(|| plane.live.plan());
    let edge = ctx.route.as_ref().map(|route| &route.edge).or(unrouted.as_ref().map(|plan| &plan.edge));
    let head = Head::of(request, edge.map_or(&[], |edge| &edge.logged_headers));
    let outcome = Outcome {
        duration: now.saturating_duration_since(ctx.began.instant),
        // What gRPC's clients are sent is 200, whatever it says: what it says is what counts.
        status: own.and_then(|kind| StatusCode::from_u16(kind.status).ok()).or(sent),
        bytes_in: Some(session.body_bytes_read() as u64),
        bytes_out: Some(session.body_bytes_sent() as u64),
        error_code: refusal.map(|kind| kind.code),
        error_message: cause.or(unforeseen.as_deref()),
        truncated: error.is_some() && sent.is_some() && !ctx.answered,
    };
    tell(ctx, &Event::of(arrival(ctx), Some(head), way(ctx), outcome));
}

fn end(ctx: &mut Ctx, late: Option<Kind>, now: Instant) {
    ctx.settled = true;
    verdict::conclude(ctx, late, now);
    deadline::watch(Watch::forget);
    ctx.plane.observers.metrics.end_request();
    if let Some(connection) = &ctx.connection {
        connection.settle();
    }
}

/// Settles a request that nobody settled: its task panicked, or the runtime was shut down, or it was given up because its
/// time was over. Its session is gone, and with it what only the session knew.
pub fn settle_lost(ctx: &mut Ctx) {
    let late = deadline::watch(Watch::late);
    let now = Instant::now();
    let head = ctx.line.as_ref().map(|line| Head {
        method: &line.method,
        uri: &line.uri,
        version: line.version,
        headers: None,
        logged_headers: &[],
    });
    let outcome = Outcome {
        status: ctx.forward.as_ref().and_then(|forward| forward.status),
        error_code: Some(late.map_or("lost", |late| late.kind.code)),
        error_message: Some(late.map_or("the request's task ended before the request did", |late| late.cause)),
        truncated: true,
        ..Outcome::after(now.saturating_duration_since(ctx.began.instant))
    };
    tell(ctx, &Event::of(arrival(ctx), head, way(ctx), outcome));
    if let Some(stream) = ctx.forward.as_ref().and_then(|forward| forward.attempt.as_ref()?.stream.as_ref()) {
        stream.abandon();
    }
    // Last: a gateway that ends waits for it, and then closes the log.
    end(ctx, Some(late.map_or(Kind::INTERNAL, |late| late.kind)), now);
}

fn arrival(ctx: &Ctx) -> Arrival<'_> {
    Arrival { request_id: ctx.id.to_str().ok(), started: ctx.began.time, client: ctx.client.address }
}

fn way(ctx: &Ctx) -> Way<'_> {
    let forward = ctx.forward.as_ref();
    Way {
        canonical_path: ctx.canonical_path.as_deref(),
        route: ctx.route.as_ref().map(|route| &*route.name),
        service: forward.map(|forward| &*forward.service.name),
        user: ctx.user.as_ref().map(|user| (&*user.identity.subject, &*user.identity.issuer)),
        would_refuse: ctx.trials.told(),
        upstream_time: forward.and_then(|forward| forward.upstream_time),
        attempts: forward.map_or(0, |forward| forward.attempts),
    }
}

fn tell(ctx: &Ctx, event: &Event) {
    if ctx.connection.as_ref().is_some_and(|connection| connection.is_probe()) {
        return;
    }
    let plane = &ctx.plane;
    let route = ctx.route.as_ref().map_or(&plane.observers.unrouted, |route| &route.metrics);
    let counting =
        plane.observers.metrics.counting(route, ctx.forward.as_ref().map(|forward| &forward.service.metrics));
    let refusal = ctx.failure.as_ref().map(|failure| &failure.refusal);
    let is_kept = refusal.is_some() || ctx.trials.told().is_some();
    let keeping =
        is_kept.then(|| Keeping { refusals: &plane.observers.refusals, refusal, shows_client: shows_clients(ctx) });
    plane.observers.tell(event, &counting, keeping.as_ref());
}

/// Whether the access log shows whole addresses: what it hides is not shown elsewhere.
fn shows_clients(ctx: &Ctx) -> bool {
    ctx.route.as_ref().map_or_else(|| ctx.plane.live.plan().edge.shows_clients, |route| route.edge.shows_clients)
}
