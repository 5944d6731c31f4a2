//! Admission: whether a request may reach its service now. A request that is refused has spent nothing.

use std::time::Instant;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::ctx::Ctx;
use crate::policy::refusal::{Kind, Refusal};
use crate::upstream::breaker::Open;
use crate::upstream::gate::{Pass, Room};
use crate::upstream::service::Service;

/// Takes all that a request needs to reach its service, or nothing: the breaker is looked at first, room is taken or
/// waited for, and a probe's leave comes last, since it must not wait.
pub async fn admit(ctx: &mut Ctx) -> Result<(), Refusal> {
    let (Some(route), Some(forward)) = (&ctx.route, &mut ctx.forward) else { return Ok(()) };
    let service = &forward.service;
    if service.memory.is_drained() {
        return Err(Refusal::new(Kind::NO_TARGET, "the service takes no new requests"));
    }
    let breaker = service.breaker.as_ref().filter(|_| route.breaks);
    let mut now = ctx.began.instant;
    if let Some(breaker) = breaker {
        breaker.look(now).map_err(circuit_open)?;
    }
    let pass = match service.settings.room {
        Some(room) => Some(match service.gate.try_enter(room) {
            Some(pass) => pass,
            None => {
                let pass = Box::pin(queue(service, room.within(route.timeouts.total))).await?;
                now = Instant::now();
                pass
            }
        }),
        None => None,
    };
    if let Some(breaker) = breaker {
        forward.permit = Some(breaker.admit(now).map_err(circuit_open)?);
    }
    forward.pass = pass;
    if route.retry.count > 0 {
        service.budget.deposit(now);
    }
    Ok(())
}

async fn queue(service: &Service, room: Room) -> Result<Pass, Refusal> {
    let came = Instant::now();
    let entered = service.gate.enter(room).await;
    service.metrics.waited(came.elapsed());
    entered.map_err(|_| busy())
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
