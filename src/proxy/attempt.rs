//! One attempt to have a request answered by a target, and whether another may follow.
//!
//! A connection that could not be made was nobody's request: any request may try the next address or target. A failure
//! after that is tried again only for idempotent methods, and only where a pooled connection turned out to be closed.
//! Every error leaves here with its retry decided: an undecided one panics in the framework.

use std::time::{Duration, Instant};

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::{ALPN, HttpPeer};
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::ctx::{Ctx, Forward};
use super::{fault, headers};
use crate::policy::refusal::Kind;

/// Attempts a request may take in all.
pub const MAX_ATTEMPTS: usize = 3;

/// The way to the next target to try.
pub fn next_peer(ctx: &mut Ctx, websocket: bool, has_body: bool) -> Result<Box<HttpPeer>> {
    let (Some(route), Some(forward)) = (&ctx.route, &mut ctx.forward) else {
        return Err(Error::explain(ErrorType::InternalError, "a request without a route came to be forwarded"));
    };
    let left = forward.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(fault::refused(ctx, Kind::UPSTREAM_TIMEOUT, "the request's time is over"));
    }
    let Some(mut peer) = choose(forward) else {
        return Err(fault::refused(ctx, Kind::NO_TARGET, "no target of the service has a known address"));
    };
    let within = |limit: Duration| left.map_or(limit, |left| left.min(limit));
    if websocket {
        // HTTP/2 has another way to begin one, which few upstreams know.
        peer.options.alpn = ALPN::H1;
    }
    peer.options.total_connection_timeout = Some(within(route.timeouts.connect));
    // An upgraded connection outlives the route's timeout, and its silence is bounded by this alone.
    peer.options.read_timeout = Some(if websocket { route.timeouts.idle } else { within(route.timeouts.idle) });
    // A head alone never blocks: the timer is spared.
    peer.options.write_timeout = Some(route.timeouts.idle).filter(|_| has_body);
    forward.attempts += 1;
    Ok(peer)
}

fn choose(forward: &mut Forward) -> Option<Box<HttpPeer>> {
    let service = forward.service.clone();
    let index = match forward.attempts {
        0 => service.next_target()?,
        _ => service.target_after(forward.target)?,
    };
    forward.target = index;
    service.targets.get(index)?.peer(forward.attempts as usize).cloned().map(Box::new)
}

/// After a connection that could not be made.
pub fn after_failed_connect(ctx: &Ctx, peer: &HttpPeer, error: Box<Error>) -> Box<Error> {
    let again = ctx.forward.as_ref().is_some_and(|forward| (forward.attempts as usize) < MAX_ATTEMPTS);
    told(error, peer, again)
}

/// After a failure on a connection that had been made.
pub fn after_failed_exchange(
    session: &Session,
    ctx: &Ctx,
    peer: &HttpPeer,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    error.retry.decide_reuse(reused);
    let safe = session.req_header().method.is_idempotent()
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none()
        && *error.esource() == ErrorSource::Upstream
        && ctx.forward.as_ref().is_some_and(|forward| (forward.attempts as usize) < MAX_ATTEMPTS);
    let again = safe && error.retry();
    told(error, peer, again)
}

fn told(error: Box<Error>, peer: &HttpPeer, again: bool) -> Box<Error> {
    let mut error = error.more_context(format!("target {}", peer._address));
    error.set_retry(again);
    error
}

/// Notes how long the upstream took, from the request's head, and that an upgraded connection is bounded by no deadline.
pub fn note_response(session: &Session, response: &ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let upgraded = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded && !headers::is_websocket(session.req_header()) {
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "a 101 that nobody asked for").into_up());
    }
    if response.status.is_informational() && !upgraded {
        return Ok(());
    }
    if let Some(connection) = ctx.connection.as_ref().filter(|_| upgraded) {
        connection.upgrade();
    }
    if let Some(forward) = &mut ctx.forward {
        forward.deadline = forward.deadline.filter(|_| !upgraded);
        forward.upstream_time = Some(ctx.began.instant.elapsed());
    }
    Ok(())
}

/// Ends an exchange that takes longer than its route allows.
pub fn check_deadline(ctx: &mut Ctx) -> Result<()> {
    let deadline = ctx.forward.as_ref().and_then(|forward| forward.deadline);
    match deadline {
        Some(deadline) if Instant::now() > deadline => {
            Err(fault::refused(ctx, Kind::UPSTREAM_TIMEOUT, "the request's time is over").into_up())
        }
        _ => Ok(()),
    }
}
