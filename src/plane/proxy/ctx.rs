//! What the gateway knows of one request while it walks.
//!
//! A context that is dropped without having been settled (a panic, a runtime that shut down) settles itself, so that no
//! request is missing from the log or counted as in flight for ever.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, StatusCode, Uri, Version};
use smallvec::SmallVec;

use super::settle;
use crate::listen::connection::Connection;
use crate::plan::present::Present;
use crate::plan::route::Route;
use crate::plane::Plane;
use crate::policy::auth::User;
use crate::upstream::endpoint::Slot;
use crate::upstream::gate::Pass;
use crate::upstream::service::Service;
use gatekeeper_core::breaker::Permit;
use gatekeeper_core::limit::LimitHeaders;
use gatekeeper_core::net::Client;
use gatekeeper_core::refusal::{Kind, Refusal};

/// One request.
pub struct Ctx {
    /// The gateway it came to.
    pub plane: Arc<Plane>,
    /// When its head was read.
    pub began: Moment,
    /// What time it is for whoever decides about it: that of its head, or when it had last to wait for somebody.
    pub now: Instant,
    /// Its id; empty until the walk begins.
    pub id: HeaderValue,
    /// What was asked.
    pub line: Option<Line>,
    /// The connection it came on.
    pub connection: Option<Arc<Connection>>,
    /// Where it came from.
    pub client: Client,
    /// Which fields it has.
    pub present: Present,
    /// Its canonical path, if that differs from the path as sent.
    pub canonical_path: Option<Box<str>>,
    /// The route it took.
    pub route: Option<Arc<Route>>,
    /// Who its user is, where that was asked.
    pub user: Option<User>,
    /// What its answer tells of limits.
    pub limits: Option<LimitHeaders>,
    /// What policies on trial would have refused it for.
    pub trials: Trials,
    /// What the log is told of the refusal that is to come.
    pub cause: Option<String>,
    /// Where it goes; absent if the gateway answers it itself.
    pub forward: Option<Forward>,
    /// Why the gateway answered with an error, and what the log is told beyond that.
    pub failure: Option<Box<Failure>>,
    /// The gateway itself answered, and its answer was sent whole.
    pub answered: bool,
    /// It ended, and is no longer counted as in flight.
    pub settled: bool,
}

/// What policies on trial would have refused a request for.
#[derive(Default)]
pub struct Trials(Option<String>);

/// A moment by both clocks.
#[derive(Clone, Copy)]
pub struct Moment {
    /// For durations.
    pub instant: Instant,
    /// For people.
    pub time: SystemTime,
}

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

/// What a request's head begins with, for the log, should the request be lost.
pub struct Line {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version.
    pub version: Version,
}

/// An attempt that is to follow a failed one. All that it needs is at hand: nothing but the wait is left, and where room
/// is scarce, room.
pub struct Next {
    /// The room at its endpoint; `None` if it was given back for the time of the wait.
    pub slot: Option<Slot>,
    /// How long to wait before it.
    pub wait: Duration,
}

/// Why a request came to nothing.
pub struct Failure {
    /// What the client was told, or would have been.
    pub refusal: Refusal,
    /// The cause, for the log only.
    pub cause: Option<String>,
}

impl Ctx {
    /// The context of a request whose head was just read.
    pub fn new(plane: Arc<Plane>) -> Self {
        plane.observers.metrics.begin_request();
        let now = Instant::now();
        Ctx {
            plane,
            began: Moment { instant: now, time: SystemTime::now() },
            now,
            id: HeaderValue::from_static(""),
            line: None,
            connection: None,
            client: Client { address: None, peer: None, trusted: false },
            present: Present::default(),
            canonical_path: None,
            route: None,
            user: None,
            limits: None,
            trials: Trials::default(),
            cause: None,
            forward: None,
            failure: None,
            answered: false,
            settled: false,
        }
    }

    /// Remembers why the request came to nothing. The first reason counts: what follows from it is not another one.
    pub fn fail(&mut self, refusal: Refusal, cause: Option<String>) -> &Refusal {
        let cause = cause.or_else(|| refusal.cause.as_deref().map(String::from));
        &self.failure.get_or_insert_with(|| Box::new(Failure { refusal, cause })).refusal
    }

    /// The route and the service of a request that is to be forwarded.
    pub fn way(&mut self) -> Result<(&Route, &mut Forward), Refusal> {
        match (&self.route, &mut self.forward) {
            (Some(route), Some(forward)) => Ok((route, forward)),
            _ => Err(lost()),
        }
    }

    /// The client's address, as far as it is known.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.client.address
    }
}

/// The refusal of a request that came to a step before it knew what that step needs: our own fault, which must show.
pub fn lost() -> Refusal {
    log::error!("internal error: a request lost its state; please report this");
    Kind::INTERNAL.into()
}

impl Trials {
    /// Notes what a policy on trial would have refused.
    pub fn note(&mut self, refusal: &Refusal) {
        let text = self.0.get_or_insert_default();
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&refusal.name());
    }

    /// All of it, if there is something.
    pub fn told(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        if !self.settled {
            settle::settle_lost(self);
        }
    }
}
