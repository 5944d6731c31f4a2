//! Admission: a request that is served enters its service (`plan::walk::admit`). One that is refused has spent nothing.

use std::time::Instant;

use pingora_proxy::Session;

use super::ctx::Forwarded;
use super::forward::Forward;
use super::patience::wait;
use super::stop::Stop;
use super::{attempt, limit};
use crate::plan::walk::{self, Entrant};
use crate::upstream::admission::{self, busy, circuit_open};
use crate::upstream::gate::{Pass, Room};
use crate::upstream::service::Service;
use gatekeeper_core::breaker::Asker;

/// Takes all that a request needs to reach its service, or nothing.
pub async fn admit(session: &mut Session, request: &mut Forwarded<'_>) -> Result<(), Stop> {
    let uploads = attempt::uploads(session, request.present);
    let asker = Asker { route: request.route.name_hash, uploads };
    let now = request.course.now;
    let mut entering = Entering { session, request, asker, now };
    let admitted = walk::admit(&mut entering).await;
    let now = entering.now;
    let Forwarded { route, forward, .. } = request;
    match &admitted {
        Ok(()) if route.terms.retry.count > 0 => forward.service.budget.deposit(now),
        Err(Stop::Refused(_)) => (forward.permit, forward.pass, forward.next) = (None, None, None),
        Ok(()) | Err(Stop::Gone(_)) => {}
    }
    admitted
}

/// A request that enters its service.
struct Entering<'a, 'c> {
    session: &'a mut Session,
    request: &'a mut Forwarded<'c>,
    asker: Asker,
    /// What time it is: when its head was read, or when it had last to wait.
    now: Instant,
}

impl Entrant for Entering<'_, '_> {
    type Stop = Stop;

    fn look(&mut self) -> Result<(), Stop> {
        let Forwarded { route, forward, .. } = &self.request;
        Ok(admission::look(&forward.service, route.terms.breaks, self.asker, self.now)?)
    }

    fn enter(&mut self) -> Result<bool, Stop> {
        let forward = &mut *self.request.forward;
        let Some(room) = forward.service.settings.room else { return Ok(true) };
        forward.pass = forward.service.gate.try_enter(room);
        Ok(forward.pass.is_some())
    }

    async fn look_at_limits(&mut self) -> Result<(), Stop> {
        let of = self.request.charged();
        Ok(limit::look(self.session.downstream_session.req_header(), of, self.request.course, self.now).await?)
    }

    async fn queue(&mut self) -> Result<(), Stop> {
        Box::pin(enter_in_turn(self.session, self.request.forward)).await?;
        self.now = Instant::now();
        Ok(())
    }

    fn take_leave(&mut self) -> Result<(), Stop> {
        let Forwarded { route, forward, .. } = &mut *self.request;
        if let Some(breaker) = forward.service.breaker.as_ref().filter(|_| route.terms.breaks) {
            forward.permit = Some(breaker.admit(self.asker, self.now).map_err(circuit_open)?);
        }
        Ok(())
    }

    async fn reserve(&mut self) -> Result<(), Stop> {
        self.now = attempt::reserve(self.session, self.request.forward, self.now).await?;
        Ok(())
    }

    async fn charge(&mut self) -> Result<(), Stop> {
        let of = self.request.charged();
        Ok(limit::charge(self.session.downstream_session.req_header(), of, self.request.course, self.now).await?)
    }
}

/// Takes room in the service again, for a request that gave it back while it waited.
pub async fn come_back(session: &mut Session, forward: &mut Forward) -> Result<(), Stop> {
    let Some(room) = forward.service.settings.room.filter(|_| forward.pass.is_none()) else { return Ok(()) };
    forward.pass = forward.service.gate.try_enter(room);
    if forward.pass.is_none() {
        enter_in_turn(session, forward).await?;
    }
    Ok(())
}

/// Waits for room in the service, where that is bounded.
async fn enter_in_turn(session: &mut Session, forward: &mut Forward) -> Result<(), Stop> {
    let Some(room) = forward.service.settings.room else { return Ok(()) };
    let left = forward.end.map(|end| end.saturating_duration_since(Instant::now()));
    let room = Room { queue: room.queue.within(left), ..room };
    forward.pass = Some(queue(session, &forward.service, room).await?);
    Ok(())
}

async fn queue(session: &mut Session, service: &Service, room: Room) -> Result<Pass, Stop> {
    let came = Instant::now();
    let entered = wait(session, service.gate.enter(room)).await;
    service.metrics.waited(came.elapsed());
    Ok(entered?.map_err(|_| busy())?)
}
