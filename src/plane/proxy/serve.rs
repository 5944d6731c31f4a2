//! The witness that serves: on its way with a request it counts, charges and asks, and remembers what it learns in the context.

use std::sync::Arc;
use std::time::Instant;

use http::Version;
use http::request::Parts;

use super::ctx::{Arrived, Course, Known, Passage};
use super::forward::Forward;
use super::reply::Answer;
use super::{identify, limit};
use crate::listen::entrance::Entrance;
use crate::listen::refuse::refusal;
use crate::plan::asked::Asked;
use crate::plan::route::RouteAccess;
use crate::plan::walk::{End, Onward, Routed, Witness};
use crate::plan::{Edge, OwnPath, Plan};
use crate::plane::Plane;
use crate::policy::acme::Challenge;
use crate::policy::auth::{User, fetch};
use crate::policy::flood::Flood;
use crate::policy::shield::Addresses;
use crate::upstream::service::Service;
use crate::upstream::shares::Shares;
use crate::upstream::sticky::Who;
use gatekeeper_core::refusal::Refusal;
use gatekeeper_core::wire::request::FRAGMENT;

/// A request that is served.
pub struct Serve<'a> {
    /// Its time, and what it comes to.
    pub course: &'a mut Course,
    /// What is known of it, which grows on its way.
    pub known: &'a mut Known,
    /// It has a body.
    pub has_body: bool,
}

/// What follows the walk.
pub enum Next {
    /// The request goes to its service.
    Forward,
    /// The gateway answers.
    Answer(Answer),
    /// The gateway answers with what an ACME client wrote.
    Challenge(Challenge),
}

impl Witness for Serve<'_> {
    type Outcome = Next;

    fn entrance(&self) -> &Entrance {
        &self.known.arrival.connection.entrance
    }

    /// Requests over HTTP/1 have met these rules when their bytes were inspected (`listen::wire`). Over HTTP/2, a target may
    /// have lost a fragment on its way through the library.
    fn judge_head(&mut self, plan: &Plan, request: &Parts) -> Result<(), Refusal> {
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        if self.known.arrival.connection.was_cut(target) {
            return Err(refusal(FRAGMENT));
        }
        if request.version == Version::HTTP_2 { plan.judge_head(request) } else { Ok(()) }
    }

    fn understood(&mut self, asked: &Asked, request: &Parts) {
        if *asked.path != *request.uri.path() {
            self.known.arrival.canonical_path = Some((&*asked.path).into());
        }
    }

    fn admit(&self, addresses: &Addresses) -> Result<(), Refusal> {
        addresses.admit(self.known.arrival.address())
    }

    fn guard(&self, flood: &Flood) -> Result<(), Refusal> {
        flood.admit(self.known.arrival.address())
    }

    /// Counts what a shield refuses. In shadow mode it passes, and is told of.
    fn shield(&mut self, judged: Result<(), Refusal>, edge: &Edge, shadow: bool) -> Result<(), Refusal> {
        let Err(refusal) = judged else { return Ok(()) };
        if shadow {
            edge.shielded.would_refuse.inc();
            self.course.trials.note(&refusal);
            return Ok(());
        }
        edge.shielded.refused.inc();
        Err(refusal)
    }

    fn routed(&mut self, at: &Routed) {
        self.passage(at);
    }

    fn admit_body(&self, at: &Routed) -> Result<(), Refusal> {
        at.route.terms.shield.admit_body(&at.request.headers, self.has_body)
    }

    async fn authenticate(&mut self, at: &Routed<'_>) -> Result<Option<Box<fetch::Answer>>, Refusal> {
        let Known { arrival, passage } = &mut *self.known;
        let user = &mut passage.get_or_insert_with(|| Passage::of(at)).user;
        identify::identify(at, arrival, self.course, user).await
    }

    fn user(&self) -> Option<&User> {
        self.known.user()
    }

    fn authorise(&mut self, access: &RouteAccess, judged: Result<(), Refusal>) -> Result<(), Refusal> {
        let Err(refusal) = judged else {
            access.metrics.accepted.inc();
            return Ok(());
        };
        if access.shadow {
            access.metrics.would_refuse.inc();
            self.course.trials.note(&refusal);
            return Ok(());
        }
        access.metrics.refused.inc();
        Err(refusal)
    }

    async fn charge(&mut self, at: &Routed<'_>) -> Result<(), Refusal> {
        let (now, user) = (self.course.now, self.known.user());
        let counted = limit::Charged { arrival: &self.known.arrival, route: at.route, user };
        limit::charge(at.request, counted, self.course, now).await
    }

    fn service<'r>(&self, at: &Routed<'r>) -> Option<&'r Arc<Service>> {
        at.route.service(at.request, who(&self.known.arrival, self.known.user()), Shares::next)
    }

    fn end(&mut self, end: End<'_>) -> Next {
        Next::Answer(match end {
            End::Own(own) => Answer::status(is_good(own, &self.course.plane)),
            End::Challenge(challenge) => return Next::Challenge(challenge),
            End::Preflight => Answer::preflight(),
            End::Others(reply) => Answer::of_others(*reply),
            End::Redirect(status, place) => Answer::redirect(status, place),
            End::Respond(fixed) => Answer::fixed(fixed),
            End::LastHop(request) => Answer::last_hop(request),
            End::Forward(onward) => {
                let way = forward(&onward, &self.known.arrival, self.known.user(), self.course.began.instant);
                self.passage(&onward.at).forward = Some(way);
                return Next::Forward;
            }
        })
    }
}

impl Serve<'_> {
    /// What the request has since it took this route.
    fn passage(&mut self, at: &Routed) -> &mut Passage {
        self.known.passage.get_or_insert_with(|| Passage::of(at))
    }
}

fn is_good(own: OwnPath, plane: &Plane) -> bool {
    match own {
        OwnPath::Health => true,
        OwnPath::Ready => plane.is_ready(),
    }
}

/// The beginning of a request's way to its service.
fn forward(onward: &Onward, arrival: &Arrived, user: Option<&User>, came: Instant) -> Forward {
    let Onward { at, service, path, patience } = onward;
    let time = at.route.terms.timeouts.total.into_iter().chain(*patience).min();
    Forward {
        end: time.map(|time| came + time),
        path: (**path != *at.request.uri.path()).then(|| (&**path).into()),
        key: service.key(at.request, who(arrival, user)),
        ..Forward::new((*service).clone(), came)
    }
}

/// Whose requests stay together: the user's; where nobody was asked, those with one certificate.
fn who<'a>(arrival: &'a Arrived, user: Option<&'a User>) -> Who<'a> {
    let user = user.and_then(|user| user.identity.name());
    let certificate = arrival.connection.certificate.as_ref();
    let user = user.or(certificate.map(|certificate| (&b"certificate"[..], certificate.fingerprint.as_bytes())));
    Who { address: arrival.address(), user }
}
