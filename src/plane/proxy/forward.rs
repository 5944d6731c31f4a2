//! A request on its way to a service: what it holds there, and how its attempts went.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use smallvec::SmallVec;

use crate::upstream::endpoint::{Endpoint, Slot};
use crate::upstream::gate::Pass;
use crate::upstream::service::Service;
use gatekeeper_core::breaker::Permit;

/// A request on its way to a service.
pub struct Forward {
    /// The service.
    pub service: Arc<Service>,
    /// When its time is over, all attempts included.
    pub end: Option<Instant>,
    /// The path sent upstream, if it differs from the path as sent.
    pub path: Option<Box<str>>,
    /// What the request's client is recognised by, where that decides on its endpoint.
    pub key: Option<u64>,
    /// Attempts begun.
    pub attempts: u32,
    /// When the attempt under way began, its wait included; the first one with the request.
    pub began: Instant,
    /// The room at the endpoint of the attempt under way.
    pub attempt: Option<Slot>,
    /// The attempt that is to follow it.
    pub next: Option<Next>,
    /// The ids of the endpoints that were tried.
    pub tried: SmallVec<[u32; 4]>,
    /// The leave of the service's circuit breaker.
    pub permit: Option<Permit>,
    /// The room in the service.
    pub pass: Option<Pass>,
    /// How long it took from the request's head to the response's.
    pub upstream_time: Option<Duration>,
    /// The status of the response of the attempt under way.
    pub status: Option<StatusCode>,
    /// It says that the service failed.
    pub failed: bool,
    /// It was noted that the attempt under way came to nothing.
    pub noted: bool,
    /// An attempt came to nothing that speaks against the service.
    pub blamed: bool,
}

/// An attempt that is to follow a failed one. All that it needs is at hand: nothing but the wait is left, and where room
/// is scarce, room.
pub struct Next {
    /// The room at its endpoint; `None` if it was given back for the time of the wait.
    pub slot: Option<Slot>,
    /// How long to wait before it.
    pub wait: Duration,
}

impl Forward {
    /// A request that came then and is to go there; nothing is tried yet.
    pub fn new(service: Arc<Service>, began: Instant) -> Self {
        Forward {
            service,
            end: None,
            path: None,
            key: None,
            attempts: 0,
            began,
            attempt: None,
            next: None,
            tried: SmallVec::new(),
            permit: None,
            pass: None,
            upstream_time: None,
            status: None,
            failed: false,
            noted: false,
            blamed: false,
        }
    }

    /// The endpoint that was tried last; `left` is the one where no room is held any more.
    pub fn endpoint<'a>(&'a self, left: Option<&'a Endpoint>) -> Option<&'a Endpoint> {
        self.attempt.as_ref().map(|slot| &*slot.endpoint).or(left)
    }

    /// The endpoint that was tried last, if its room was given back since: after a failure, when no other attempt began. One
    /// that the service has no longer is not found.
    pub fn left_endpoint(&self) -> Option<Arc<Endpoint>> {
        let last = self.tried.last().filter(|_| self.attempt.is_none())?;
        self.service.pool().endpoints.iter().find(|endpoint| endpoint.standing.id == *last).cloned()
    }
}
