//! The witness that serves: on its way with a request it counts, charges and asks, and remembers what it learns in the context.

use std::sync::Arc;

use http::Version;
use http::request::Parts;
use smallvec::SmallVec;

use super::ctx::{Ctx, Forward};
use super::reply::Answer;
use super::{identify, limit};
use crate::listen::connection::Connection;
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
    /// What is known of it.
    pub ctx: &'a mut Ctx,
    /// The connection it came on.
    pub connection: &'a Connection,
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
        &self.connection.entrance
    }

    /// Requests over HTTP/1 have met these rules when their bytes were inspected (`listen::wire`). Over HTTP/2, a target may
    /// have lost a fragment on its way through the library.
    fn judge_head(&mut self, plan: &Plan, request: &Parts) -> Result<(), Refusal> {
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        if self.connection.was_cut(target) {
            return Err(refusal(FRAGMENT));
        }
        if request.version == Version::HTTP_2 { plan.judge_head(request) } else { Ok(()) }
    }

    fn understood(&mut self, asked: &Asked, request: &Parts) {
        self.ctx.present = asked.present;
        if *asked.path != *request.uri.path() {
            self.ctx.canonical_path = Some((&*asked.path).into());
        }
    }

    fn admit(&self, addresses: &Addresses) -> Result<(), Refusal> {
        addresses.admit(self.ctx.client_address())
    }

    fn guard(&self, flood: &Flood) -> Result<(), Refusal> {
        flood.admit(self.ctx.client_address())
    }

    /// Counts what a shield refuses. On trial it passes, and is told of.
    fn shield(&mut self, judged: Result<(), Refusal>, edge: &Edge, shadow: bool) -> Result<(), Refusal> {
        let Err(refusal) = judged else { return Ok(()) };
        if shadow {
            edge.shielded.would_refuse.inc();
            self.ctx.trials.note(&refusal);
            return Ok(());
        }
        edge.shielded.refused.inc();
        Err(refusal)
    }

    fn routed(&mut self, at: &Routed) {
        self.ctx.route = Some(at.route.clone());
    }

    fn admit_body(&self, at: &Routed) -> Result<(), Refusal> {
        at.route.terms.shield.admit_body(&at.request.headers, self.has_body)
    }

    async fn authenticate(&mut self, at: &Routed<'_>) -> Result<Option<Box<fetch::Answer>>, Refusal> {
        identify::identify(at, self.connection, self.ctx).await
    }

    fn user(&self) -> Option<&User> {
        self.ctx.user.as_ref()
    }

    fn authorise(&mut self, access: &RouteAccess, judged: Result<(), Refusal>) -> Result<(), Refusal> {
        let Err(refusal) = judged else {
            access.metrics.accepted.inc();
            return Ok(());
        };
        if access.shadow {
            access.metrics.would_refuse.inc();
            self.ctx.trials.note(&refusal);
            return Ok(());
        }
        access.metrics.refused.inc();
        Err(refusal)
    }

    async fn charge(&mut self, at: &Routed<'_>) -> Result<(), Refusal> {
        limit::charge(at.request, self.ctx, self.ctx.now).await
    }

    fn service<'r>(&self, at: &Routed<'r>) -> Option<&'r Arc<Service>> {
        at.route.service(at.request, who(self.ctx, self.connection), Shares::next)
    }

    fn end(&mut self, end: End<'_>) -> Next {
        Next::Answer(match end {
            End::Own(own) => Answer::status(is_good(own, &self.ctx.plane)),
            End::Challenge(challenge) => return Next::Challenge(challenge),
            End::Preflight => Answer::preflight(),
            End::Others(reply) => Answer::of_others(*reply),
            End::Redirect(status, place) => Answer::redirect(status, place),
            End::Respond(fixed) => Answer::fixed(fixed),
            End::LastHop(request) => Answer::last_hop(request),
            End::Forward(onward) => {
                self.ctx.forward = Some(forward(onward, self.ctx, self.connection));
                return Next::Forward;
            }
        })
    }
}

fn is_good(own: OwnPath, plane: &Plane) -> bool {
    match own {
        OwnPath::Health => true,
        OwnPath::Ready => plane.is_ready(),
    }
}

fn forward(onward: Onward, ctx: &Ctx, connection: &Connection) -> Forward {
    let Onward { at, service, path, patience } = onward;
    let time = at.route.terms.timeouts.total.into_iter().chain(patience).min();
    Forward {
        service: service.clone(),
        end: time.map(|time| ctx.began.instant + time),
        path: (*path != *at.request.uri.path()).then(|| (&*path).into()),
        key: service.key(at.request, who(ctx, connection)),
        attempts: 0,
        began: ctx.began.instant,
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

/// Whose requests stay together: the user's; where nobody was asked, those with one certificate.
fn who<'a>(ctx: &'a Ctx, connection: &'a Connection) -> Who<'a> {
    let user = ctx.user.as_ref().and_then(|user| user.identity.name());
    let certificate = connection.certificate.as_ref();
    let user = user.or(certificate.map(|certificate| (&b"certificate"[..], certificate.fingerprint.as_bytes())));
    Who { address: ctx.client_address(), user }
}
