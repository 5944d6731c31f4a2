//! Whether a service takes a request now, and how it says no.

use std::time::Instant;

use http::HeaderValue;
use http::header::RETRY_AFTER;

use super::service::Service;
use gatekeeper_core::breaker::{Asker, Open};
use gatekeeper_core::refusal::{Kind, Refusal};

/// Refuses a request that needs not even wait: the service was drained, or its circuit breaker, where that holds for the
/// request's route, is open. Nothing is counted.
pub fn look(service: &Service, breaks: bool, asker: Asker, now: Instant) -> Result<(), Refusal> {
    if service.memory.is_drained() {
        return Err(Refusal::new(Kind::NO_TARGET, "the service is drained"));
    }
    match service.breaker.as_ref().filter(|_| breaks) {
        Some(breaker) => breaker.look(asker, now).map_err(circuit_open),
        None => Ok(()),
    }
}

/// The refusal of a request for which there is no room.
pub fn busy() -> Refusal {
    let refusal = Refusal::new(Kind::SERVICE_BUSY, "the service has max_in_flight requests, and its queue is full");
    refusal.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The refusal of a request that no target of its service can take.
pub fn no_target(service: &Service) -> Refusal {
    /// More of them fill the log and help nobody.
    const SHOWN: usize = 8;
    let pool = service.pool();
    let told = pool.endpoints.iter().take(SHOWN).map(|endpoint| {
        let why = if endpoint.standing.is_drained() { "drained" } else { "unhealthy" };
        format!("{} is {why}", endpoint.peer._address)
    });
    let mut told: Vec<_> = told.collect();
    match pool.endpoints.len() {
        0 => told.push("no target has an address".into()),
        all if all > SHOWN => told.push(format!("{} more", all - SHOWN)),
        _ => {}
    }
    Refusal::new(Kind::NO_TARGET, "no healthy target").because(told.join(", "))
}

/// The refusal of a request that an open circuit breaker keeps away.
pub fn circuit_open(open: Open) -> Refusal {
    // While a probe is on its way its verdict may come at any moment.
    let seconds = open.retry_after.as_millis().div_ceil(1000).max(1);
    let detail = match open.retry_after.is_zero() {
        true => "circuit breaker half-open, a probe is in progress".into(),
        false => format!("circuit breaker open, retry in {seconds} s"),
    };
    let refusal = Refusal::new(Kind::CIRCUIT_OPEN, detail);
    refusal.with_header(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
