//! Settling: the ONE place where every request ends, and is measured and logged, once.

use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, Method, Version};
use pingora::Error;
use pingora_proxy::Session;

use super::ctx::Ctx;
use super::deadline::{self, Watch};
use super::{reply, verdict};
use gatekeeper_core::event::{Event, Facts};
use gatekeeper_core::refusal::Kind;

/// Settles a request.
pub fn settle(session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
    let now = Instant::now();
    end(ctx, None, now);
    let plane = &ctx.plane;
    let sent = reply::status_sent(session);
    let failure = ctx.failure.as_deref();
    let refusal = failure.map(|failure| failure.refusal.kind);
    let own = refusal.filter(|_| ctx.answered).map(|kind| kind.status);
    if let Some(kind) = refusal.filter(|_| ctx.answered) {
        plane.metrics.refused(kind.code);
    }
    let request: &Parts = session.downstream_session.req_header();
    let forward = ctx.forward.as_ref();
    let cause = failure.and_then(|failure| failure.cause.as_deref());
    let unforeseen = error.filter(|_| failure.is_none()).map(ToString::to_string);
    let unrouted = ctx.route.is_none().then(|| plane.live.plan());
    let edge = ctx.route.as_ref().map(|route| &route.edge).or(unrouted.as_ref().map(|plan| &plan.edge));
    let event = Event {
        facts: Facts {
            started: ctx.began.time,
            duration: now.saturating_duration_since(ctx.began.instant),
            client: ctx.client.address,
            version: request.version,
            // What gRPC's clients are sent is 200, whatever it says: what it says is what counts.
            status: own.or(sent.map(|status| status.as_u16())).unwrap_or(0),
            upstream_time: forward.and_then(|forward| forward.upstream_time),
            attempts: forward.map_or(0, |forward| forward.attempts),
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64,
            error_code: refusal.map(|kind| kind.code),
            truncated: error.is_some() && sent.is_some() && !ctx.answered,
        },
        request_id: ctx.id.to_str().unwrap_or_default(),
        method: &request.method,
        path: ctx.canonical_path.as_deref().unwrap_or(request.uri.path()),
        query: request.uri.query(),
        host: host(request),
        route: ctx.route.as_ref().map(|route| &*route.name),
        service: forward.map(|forward| &*forward.service.name),
        user: user(ctx),
        error_message: cause.or(unforeseen.as_deref()),
        would_refuse: ctx.trials.told(),
        headers: &request.headers,
        logged_headers: edge.map_or(&[], |edge| &edge.logged_headers),
    };
    record(ctx, &event);
}

fn end(ctx: &mut Ctx, late: Option<Kind>, now: Instant) {
    ctx.settled = true;
    verdict::conclude(ctx, late, now);
    deadline::watch(Watch::forget);
    ctx.plane.metrics.end_request();
    if let Some(connection) = &ctx.connection {
        connection.settle();
    }
}

/// Settles a request that nobody settled: its task panicked, or the runtime was shut down, or it was given up because its
/// time was over. Its session is gone, and with it what only the session knew.
pub fn settle_lost(ctx: &mut Ctx) {
    let late = deadline::watch(Watch::late);
    let now = Instant::now();
    let (line, forward) = (ctx.line.as_ref(), ctx.forward.as_ref());
    let event = Event {
        facts: Facts {
            started: ctx.began.time,
            duration: now.saturating_duration_since(ctx.began.instant),
            client: ctx.client.address,
            version: line.map_or(Version::HTTP_11, |line| line.version),
            status: forward.and_then(|forward| forward.status).map_or(0, |status| status.as_u16()),
            upstream_time: forward.and_then(|forward| forward.upstream_time),
            attempts: forward.map_or(0, |forward| forward.attempts),
            bytes_in: 0,
            bytes_out: 0,
            error_code: Some(late.map_or("lost", |late| late.kind.code)),
            truncated: true,
        },
        request_id: ctx.id.to_str().unwrap_or_default(),
        method: line.map_or(&Method::GET, |line| &line.method),
        path: ctx.canonical_path.as_deref().or(line.map(|line| line.uri.path())).unwrap_or_default(),
        query: line.and_then(|line| line.uri.query()),
        host: "",
        route: ctx.route.as_ref().map(|route| &*route.name),
        service: forward.map(|forward| &*forward.service.name),
        user: user(ctx),
        would_refuse: ctx.trials.told(),
        error_message: Some(late.map_or("the request's task ended before the request did", |late| late.cause)),
        headers: &HeaderMap::new(),
        logged_headers: &[],
    };
    record(ctx, &event);
    if let Some(stream) = forward.and_then(|forward| forward.attempt.as_ref()?.stream.as_ref()) {
        stream.abandon();
    }
    // Last: a gateway that ends waits for it, and then closes the log.
    end(ctx, Some(late.map_or(Kind::INTERNAL, |late| late.kind)), now);
}

fn record(ctx: &Ctx, event: &Event) {
    if ctx.connection.as_ref().is_some_and(|connection| connection.is_probe()) {
        return;
    }
    let metrics = &ctx.plane.metrics;
    let route = ctx.route.as_ref().map_or(&ctx.plane.unrouted, |route| &route.metrics);
    metrics.record(event, route, ctx.forward.as_ref().map(|forward| &forward.service.metrics));
    ctx.plane.log.push(event);
    if ctx.failure.is_some() || ctx.trials.told().is_some() {
        let refusal = ctx.failure.as_ref().map(|failure| &failure.refusal);
        ctx.plane.refusals.keep(event, refusal, event.facts.client.filter(|_| shows_clients(ctx)));
    }
}

fn user(ctx: &Ctx) -> Option<(&str, &str)> {
    ctx.user.as_ref().map(|user| (&*user.identity.subject, &*user.identity.issuer))
}

/// Whether the access log shows whole addresses: what it hides is not shown elsewhere.
fn shows_clients(ctx: &Ctx) -> bool {
    ctx.route.as_ref().map_or_else(|| ctx.plane.live.plan().edge.shows_clients, |route| route.edge.shows_clients)
}

fn host(request: &Parts) -> &str {
    let field = request.headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
    field.or(request.uri.authority().map(|authority| authority.as_str())).unwrap_or_default()
}
