//! What is known of one request, from its first moment to its last.
//!
//! It grows in states: a request arrives, it may take a route, it may go on to a service. What a state knows is kept within the
//! state before it, so that none is there without the other; and a step is given what its state knows, so that it need not
//! ask whether the step before it happened. The framework's callbacks find a request that is on its way in one place
//! ([`Ctx::forwarded`]). Were its state lost, that would show: as an error in the log, and as a 500 to the client.
//!
//! A context that is dropped without having been settled (a panic, a runtime that shut down) settles itself, so that no
//! request is missing from the log or counted as in flight for ever.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::Guard;
use http::{HeaderValue, Method, Uri, Version};
use pingora::Result;

use super::forward::Forward;
use super::limit::Charged;
use super::{fault, settle};
use crate::listen::connection::Connection;
use crate::plan::present::Present;
use crate::plan::route::Route;
use crate::plan::walk;
use crate::plan::{Edge, Plan};
use crate::plane::Plane;
use crate::policy::auth::User;
use gatekeeper_core::limit::LimitHeaders;
use gatekeeper_core::net::Client;
use gatekeeper_core::refusal::{Kind, Refusal};

/// One request.
pub struct Ctx {
    /// What it has in every state.
    pub course: Course,
    /// What is known of it; nothing before its head was looked at.
    pub known: Option<Known>,
}

/// What a request has in every state: its time, and what it comes to.
pub struct Course {
    /// The gateway it came to.
    pub plane: Arc<Plane>,
    /// When its head was read.
    pub began: Moment,
    /// What time it is for whoever decides about it: that of its head, or when it had last to wait for somebody.
    pub now: Instant,
    /// What its answer tells of limits.
    pub limits: Option<LimitHeaders>,
    /// What policies in shadow mode would have refused it for.
    pub trials: Trials,
    /// What the log is told of the refusal that is to come.
    pub cause: Option<Box<str>>,
    /// Why the gateway answered with an error, and what the log is told beyond that.
    pub failure: Option<Box<Failure>>,
    /// The gateway itself answered, and its answer was sent whole.
    pub answered: bool,
    /// It ended, and is no longer counted as in flight.
    pub settled: bool,
}

/// What is known of a request that has arrived.
pub struct Known {
    /// Where it came from, and what it asks for.
    pub arrival: Arrived,
    /// What it has since it took a route.
    pub passage: Option<Passage>,
}

/// Where a request came from, and what it asks for.
pub struct Arrived {
    /// Its id.
    pub id: HeaderValue,
    /// What was asked.
    pub line: Line,
    /// The connection it came on.
    pub connection: Arc<Connection>,
    /// Where it came from.
    pub client: Client,
    /// Its canonical path, if that is known and differs from the path as sent.
    pub canonical_path: Option<Box<str>>,
}

/// What a request has that took a route.
pub struct Passage {
    /// The route.
    pub route: Arc<Route>,
    /// Which fields it has.
    pub present: Present,
    /// Who its user is, where that was asked.
    pub user: Option<User>,
    /// Where it goes; absent if the gateway answers it itself.
    pub forward: Option<Forward>,
}

/// A request on its way to its service, with all that is known of it.
pub struct Forwarded<'c> {
    /// What it has in every state.
    pub course: &'c mut Course,
    /// Where it came from.
    pub arrival: &'c Arrived,
    /// The route it took.
    pub route: &'c Route,
    /// Which fields it has.
    pub present: Present,
    /// Who its user is, where that was asked.
    pub user: Option<&'c User>,
    /// Where it goes.
    pub forward: &'c mut Forward,
}

/// What holds for a request: what did when its route was compiled, or does now where it has none.
pub enum EdgeOf<'c> {
    /// Its route's.
    Route(&'c Edge),
    /// The plan's that serves.
    Plan(Guard<Arc<Plan>>),
}

/// What policies in shadow mode would have refused a request for.
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

/// What a request's head begins with, for the log, should the request be lost.
pub struct Line {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version.
    pub version: Version,
}

/// Why a request came to nothing.
pub struct Failure {
    /// What the client was told, or would have been.
    pub refusal: Refusal,
    /// The cause, for the log only.
    pub cause: Option<Box<str>>,
}

impl Ctx {
    /// The context of a request whose head was just read.
    pub fn new(plane: Arc<Plane>) -> Self {
        plane.observers.metrics.begin_request();
        let now = Instant::now();
        let course = Course {
            plane,
            began: Moment { instant: now, time: SystemTime::now() },
            now,
            limits: None,
            trials: Trials::default(),
            cause: None,
            failure: None,
            answered: false,
            settled: false,
        };
        Ctx { course, known: None }
    }

    /// All that is known of a request that is on its way to its service. Should it not be on its way, it ends here.
    pub fn forwarded(&mut self) -> Result<Forwarded<'_>> {
        let Ctx { course, known } = self;
        match known {
            Some(Known { arrival, passage: Some(Passage { route, present, user, forward: Some(forward) }) }) => {
                Ok(Forwarded { course, arrival, route, present: *present, user: user.as_ref(), forward })
            }
            _ => Err(fault::refused(course, lost(), "the request came to a step before it was ready for it")),
        }
    }

    /// Where it came from, if that is known.
    pub fn arrival(&self) -> Option<&Arrived> {
        self.known.as_ref().map(|known| &known.arrival)
    }

    /// What it has if it took a route.
    pub fn passage(&self) -> Option<&Passage> {
        self.known.as_ref()?.passage.as_ref()
    }

    /// The route it took, if it did.
    pub fn route(&self) -> Option<&Route> {
        self.passage().map(|passage| &*passage.route)
    }

    /// Its user, if one was recognised.
    pub fn user(&self) -> Option<&User> {
        self.known.as_ref()?.user()
    }

    /// Where it goes, if it goes to a service.
    pub fn forward(&self) -> Option<&Forward> {
        self.passage()?.forward.as_ref()
    }

    /// The same, to end it.
    pub fn forward_mut(&mut self) -> Option<&mut Forward> {
        self.known.as_mut()?.passage.as_mut()?.forward.as_mut()
    }

    /// Its id; empty before its head was looked at.
    pub fn id(&self) -> &str {
        self.arrival().and_then(|arrival| arrival.id.to_str().ok()).unwrap_or_default()
    }

    /// What holds for it.
    pub fn edge(&self) -> EdgeOf<'_> {
        match self.route() {
            Some(route) => EdgeOf::Route(&route.edge),
            None => EdgeOf::Plan(self.course.plane.live.plan()),
        }
    }
}

impl Course {
    /// Remembers why the request came to nothing. The first reason counts: what follows from it is not another one.
    pub fn fail(&mut self, refusal: Refusal, cause: Option<Box<str>>) -> &Refusal {
        let cause = cause.or_else(|| refusal.cause.clone());
        &self.failure.get_or_insert_with(|| Box::new(Failure { refusal, cause })).refusal
    }
}

impl<'c> Forwarded<'c> {
    /// What limits have to know of it.
    pub fn charged(&self) -> Charged<'c> {
        Charged { arrival: self.arrival, route: self.route, user: self.user }
    }
}

impl Known {
    /// Its user, if one was recognised.
    pub fn user(&self) -> Option<&User> {
        self.passage.as_ref()?.user.as_ref()
    }
}

impl Arrived {
    /// The client's address, as far as it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.client.address
    }
}

impl Passage {
    /// What a request has that just took its route.
    pub fn of(at: &walk::Routed) -> Self {
        Passage { route: at.route.clone(), present: at.asked.present, user: None, forward: None }
    }
}

impl Deref for EdgeOf<'_> {
    type Target = Edge;

    fn deref(&self) -> &Edge {
        match self {
            EdgeOf::Route(edge) => edge,
            EdgeOf::Plan(plan) => &plan.edge,
        }
    }
}

/// The refusal of a request whose state was lost: our own fault, which must show.
pub fn lost() -> Refusal {
    log::error!("internal error: a request lost its state; please report this");
    Kind::INTERNAL.into()
}

impl Trials {
    /// Notes what a policy in shadow mode would have refused.
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
        if !self.course.settled {
            settle::settle_lost(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_stays_within_its_size_class() {
        // There is one for each request; the allocator's next class is 896 bytes.
        assert!(size_of::<Ctx>() <= 768, "{} bytes", size_of::<Ctx>());
    }
}
