//! Admission: whether a request may reach its service now. A request that is refused has spent nothing.

use std::time::Instant;

use http::HeaderValue;
use http::header::RETRY_AFTER;
use pingora_proxy::Session;

use super::ctx::{Ctx, Forward};
use super::patience::wait;
use super::{attempt, limit};
use crate::plan::route::Route;
use crate::upstream::gate::{Pass, Room};
use crate::upstream::service::Service;
use gatekeeper_core::breaker::{Asker, Open};
use gatekeeper_core::refusal::{Kind, Refusal};

/// Takes all that a request needs to reach its service, or nothing: the breaker is looked at first, room is taken or
/// waited for, then a probe's leave and room at a target, and last the limits are charged, which nothing gives back.
///
/// An error is the client's, which went while it waited.
pub async fn admit(session: &mut Session, ctx: &mut Ctx) -> pingora::Result<Result<(), Refusal>> {
    let uploads = attempt::uploads(session, ctx.present);
    let (Some(route), Some(forward)) = (&ctx.route, &mut ctx.forward) else { return Ok(Ok(())) };
    let asker = Asker { route: route.endpoint().hash, uploads };
    let began = ctx.now;
    if let Err(refusal) = look(route, &forward.service, asker, began) {
        return Ok(Err(refusal));
    }
    let (pass, now) = match forward.service.settings.room.map(|room| (room, forward.service.gate.try_enter(room))) {
        None => (None, began),
        Some((_, Some(pass))) => (Some(pass), began),
        Some((room, None)) => {
            // Who is over a limit does not take others' places in the queue.
            if let Err(refusal) = limit::look(session.downstream_session.req_header(), ctx, began).await {
                return Ok(Err(refusal));
            }
            let Some(forward) = &mut ctx.forward else { return Ok(Ok(())) };
            let left = forward.end.map(|end| end.saturating_duration_since(Instant::now()));
            let room = Room { queue: room.queue.within(left), ..room };
            match Box::pin(queue(session, &forward.service, room)).await? {
                Ok(pass) => (Some(pass), Instant::now()),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    };
    let (Some(route), Some(forward)) = (&ctx.route, &mut ctx.forward) else { return Ok(Ok(())) };
    if let Err(refusal) = enter(route, forward, pass, asker, now) {
        return Ok(Err(refusal));
    }
    let charged = match attempt::reserve(session, ctx, now).await? {
        Ok(now) => limit::charge(session.downstream_session.req_header(), ctx, now).await,
        Err(refusal) => Err(refusal),
    };
    settle_in(ctx, charged, now)
}

/// Ends an admission: what was taken is given back if the limits refuse the request.
fn settle_in(ctx: &mut Ctx, charged: Result<(), Refusal>, now: Instant) -> pingora::Result<Result<(), Refusal>> {
    let (Some(route), Some(forward)) = (&ctx.route, &mut ctx.forward) else { return Ok(charged) };
    if charged.is_err() {
        (forward.permit, forward.pass, forward.next) = (None, None, None);
    } else if route.terms.retry.count > 0 {
        forward.service.budget.deposit(now);
    }
    Ok(charged)
}

fn look(route: &Route, service: &Service, asker: Asker, now: Instant) -> Result<(), Refusal> {
    if service.memory.is_drained() {
        return Err(Refusal::new(Kind::NO_TARGET, "the service takes no new requests"));
    }
    match service.breaker.as_ref().filter(|_| route.terms.breaks) {
        Some(breaker) => breaker.look(asker, now).map_err(circuit_open),
        None => Ok(()),
    }
}

fn enter(route: &Route, forward: &mut Forward, pass: Option<Pass>, asker: Asker, now: Instant) -> Result<(), Refusal> {
    if let Some(breaker) = forward.service.breaker.as_ref().filter(|_| route.terms.breaks) {
        forward.permit = Some(breaker.admit(asker, now).map_err(circuit_open)?);
    }
    forward.pass = pass;
    Ok(())
}

/// Takes room in the service again, for a request that gave it back while it waited.
pub async fn come_back(
    session: &mut Session,
    forward: &mut Forward,
    end: Option<Instant>,
) -> pingora::Result<Result<(), Refusal>> {
    let Some(room) = forward.service.settings.room.filter(|_| forward.pass.is_none()) else { return Ok(Ok(())) };
    if let Some(pass) = forward.service.gate.try_enter(room) {
        forward.pass = Some(pass);
        return Ok(Ok(()));
    }
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    let entered = queue(session, &forward.service, Room { queue: room.queue.within(left), ..room }).await?;
    Ok(entered.map(|pass| forward.pass = Some(pass)))
}

async fn queue(session: &mut Session, service: &Service, room: Room) -> pingora::Result<Result<Pass, Refusal>> {
    let came = Instant::now();
    let entered = wait(session, service.gate.enter(room)).await;
    service.metrics.waited(came.elapsed());
    Ok(entered?.map_err(|_| busy()))
}

/// The refusal of a request for which there is no room.
pub fn busy() -> Refusal {
    let refusal = Refusal::new(Kind::SERVICE_BUSY, "too many requests are in the service, or wait for it");
    refusal.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn circuit_open(open: Open) -> Refusal {
    // While a probe is on its way its verdict may come at any moment.
    let seconds = open.retry_after.as_millis().div_ceil(1000).max(1);
    let refusal = Refusal::new(Kind::CIRCUIT_OPEN, "the service failed too often and is left alone for a while");
    refusal.with_header(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
