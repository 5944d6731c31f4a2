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
        return Err(Refusal::new(Kind::NO_TARGET, "the service takes no new requests"));
    }
    match service.breaker.as_ref().filter(|_| breaks) {
        Some(breaker) => breaker.look(asker, now).map_err(circuit_open),
        None => Ok(()),
    }
}

/// The refusal of a request for which there is no room.
pub fn busy() -> Refusal {
    let refusal = Refusal::new(Kind::SERVICE_BUSY, "too many requests are in the service, or wait for it");
    refusal.with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The refusal of a request that an open circuit breaker keeps away.
pub fn circuit_open(open: Open) -> Refusal {
    // While a probe is on its way its verdict may come at any moment.
    let seconds = open.retry_after.as_millis().div_ceil(1000).max(1);
    let refusal = Refusal::new(Kind::CIRCUIT_OPEN, "the service failed too often and is left alone for a while");
    refusal.with_header(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
