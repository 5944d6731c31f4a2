//! The walk of a request, written once (DESIGN 3): every request that is served, explained or tested takes these steps in this
//! order. A [`Witness`] goes along and decides what a step may do:
//!
//! * who serves (`proxy::serve`) counts, charges and asks others;
//! * who explains (`explainer`) looks at the same things, changes none of them, and tells what it saw;
//! * who tests (`route_tests`) judges the configuration alone, and may know neither the client's address nor its user.
//!
//! What explaining or testing tells is therefore what is served. Only who serves ever waits: the walks of the others are over
//! when they are polled once.

use std::borrow::{Borrow, Cow};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, StatusCode};

use super::asked::Asked;
use super::decision::{Decision, only_read};
use super::route::{Action, Respond, Route, RouteAccess};
use super::{Edge, OwnPath, Plan, grpc, hops};
use crate::listen::entrance::Entrance;
use crate::listen::refuse::refusal;
use crate::policy::acme::Challenge;
use crate::policy::auth::{User, fetch};
use crate::policy::flood::Flood;
use crate::policy::shield::Addresses;
use crate::upstream::service::Service;
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::wire::request::judge;

/// What a request target can hold is 65,534 bytes.
const LONGEST_TARGET: usize = 65_000;

/// Takes a request from its head to what becomes of it.
pub async fn walk<W: Witness>(
    held: impl Deref<Target: Borrow<Plan>>,
    request: &Parts,
    witness: &mut W,
) -> Result<W::Outcome, Refusal> {
    let plan: &Plan = (*held).borrow();
    witness.judge_head(plan, request)?;
    let asked = Asked::of(request, witness.entrance().id, plan.edge.merge_slashes)?;
    witness.understood(&asked, request);
    if witness.entrance().is_for_probes {
        return Ok(witness.end(End::Own(OwnPath::Health)));
    }
    let own_path = plan.edge.own_path(&asked);
    shield_front(&plan.edge, own_path, request, witness)?;
    if let Some(challenge) = Challenge::of(&asked.path, plan.edge.acme_webroot.as_ref()) {
        return only_read(&request.method).map(|()| witness.end(End::Challenge(challenge)));
    }
    if let Some(port) = witness.entrance().redirect_https.filter(|_| own_path.is_none()) {
        return Ok(witness.end(End::Redirect(StatusCode::PERMANENT_REDIRECT, asked.under_https(port)?)));
    }
    witness.choose(plan, &asked, request);
    let route = match plan.decide(&asked, own_path, request)? {
        Decision::Own(own) => return Ok(witness.end(End::Own(own))),
        Decision::Preflight(route) => {
            witness.routed(&Routed { route, asked: &asked, request });
            let judged = witness.admit(&route.terms.shield.addresses);
            witness.shield(judged, &plan.edge, route.terms.shield.shadow)?;
            return Ok(witness.end(End::Preflight));
        }
        Decision::Route(route) => route.clone(),
    };
    // The plan is not held while someone is asked.
    drop(held);
    let at = Routed { route: &route, asked: &asked, request };
    witness.routed(&at);
    shield_route(&at, witness)?;
    if let Some(answer) = witness.authenticate(&at).await? {
        return Ok(witness.end(End::Others(answer)));
    }
    authorise(&at, witness)?;
    let end = match &route.action {
        Action::Redirect(status, to) => {
            witness.charge(&at).await?;
            End::Redirect(*status, route.redirect_to(to, &asked)?)
        }
        Action::Respond(fixed) => {
            witness.charge(&at).await?;
            End::Respond(fixed)
        }
        Action::Forward(_) | Action::Split(_) if hops::left(request, asked.present)? == Some(0) => {
            witness.charge(&at).await?;
            End::LastHop(request)
        }
        Action::Forward(_) | Action::Split(_) => End::Forward(onward(&at, witness)?),
    };
    Ok(witness.end(end))
}

/// Takes a request that is to be forwarded into its service: the breaker is looked at first, room is taken or waited for, then a
/// probe's leave and room at a target, and last the limits are charged, which nothing gives back.
pub async fn admit<E: Entrant>(entrant: &mut E) -> Result<(), E::Stop> {
    entrant.look()?;
    if !entrant.enter()? {
        // Who is over a limit does not take others' places in the queue.
        entrant.look_at_limits().await?;
        entrant.queue().await?;
    }
    entrant.take_leave()?;
    entrant.reserve().await?;
    entrant.charge().await
}

/// Who goes along with a request.
#[allow(async_fn_in_trait, reason = "who needs the futures to be Send sees it from the witness that serves")]
pub trait Witness {
    /// What it makes of the end.
    type Outcome;

    /// Where the request came in.
    fn entrance(&self) -> &Entrance;

    /// Refuses a head that breaks a rule of HTTP, unless it was judged when it was read (SEMANTICS 1.7).
    fn judge_head(&mut self, plan: &Plan, request: &Parts) -> Result<(), Refusal> {
        plan.judge_head(request)
    }

    /// The request was understood.
    fn understood(&mut self, asked: &Asked, request: &Parts);

    /// Refuses a client by its address.
    fn admit(&self, addresses: &Addresses) -> Result<(), Refusal>;

    /// Refuses a client that makes too many requests.
    fn guard(&self, flood: &Flood) -> Result<(), Refusal>;

    /// A shield judged the request. In shadow mode it refuses nothing.
    fn shield(&mut self, judged: Result<(), Refusal>, _edge: &Edge, shadow: bool) -> Result<(), Refusal> {
        if shadow { Ok(()) } else { judged }
    }

    /// A route is about to be chosen.
    fn choose(&mut self, _plan: &Plan, _asked: &Asked, _request: &Parts) {}

    /// The request has a route, or asks about one.
    fn routed(&mut self, at: &Routed);

    /// Refuses a body that the route does not take, as far as the head tells of it.
    fn admit_body(&self, at: &Routed) -> Result<(), Refusal>;

    /// Finds out who the user is. Who is asked about whole requests may have an answer of its own.
    async fn authenticate(&mut self, at: &Routed<'_>) -> Result<Option<Box<fetch::Answer>>, Refusal>;

    /// The user, if one was recognised.
    fn user(&self) -> Option<&User>;

    /// The user has what the route asks for, or not.
    fn authorise(&mut self, access: &RouteAccess, judged: Result<(), Refusal>) -> Result<(), Refusal>;

    /// Charges the limits, or looks at them.
    async fn charge(&mut self, at: &Routed<'_>) -> Result<(), Refusal>;

    /// The service of a route that has one or several.
    fn service<'r>(&self, at: &Routed<'r>) -> Option<&'r Arc<Service>>;

    /// The end of the walk.
    fn end(&mut self, end: End<'_>) -> Self::Outcome;
}

/// Who goes along with a request that enters its service.
#[allow(async_fn_in_trait, reason = "who needs the futures to be Send sees it from the entrant that serves")]
pub trait Entrant {
    /// Why it does not come in.
    type Stop: From<Refusal>;

    /// Looks whether the service takes requests at all.
    fn look(&mut self) -> Result<(), Self::Stop>;
    /// Takes room in the service. Whether there is some at once.
    fn enter(&mut self) -> Result<bool, Self::Stop>;
    /// Looks at the limits.
    async fn look_at_limits(&mut self) -> Result<(), Self::Stop>;
    /// Waits for room in the service.
    async fn queue(&mut self) -> Result<(), Self::Stop>;
    /// Takes the leave of the circuit breaker.
    fn take_leave(&mut self) -> Result<(), Self::Stop>;
    /// Takes room at a target, or waits for it.
    async fn reserve(&mut self) -> Result<(), Self::Stop>;
    /// Charges the limits.
    async fn charge(&mut self) -> Result<(), Self::Stop>;
}

/// A request that has a route.
#[derive(Clone, Copy)]
pub struct Routed<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What it asks for.
    pub asked: &'a Asked<'a>,
    /// The request.
    pub request: &'a Parts,
}

/// What becomes of a request.
pub enum End<'a> {
    /// The gateway says how it is.
    Own(OwnPath),
    /// An ACME client's challenge is answered.
    Challenge(Challenge),
    /// A page may send its request, or not.
    Preflight,
    /// Who was asked about the request answers it.
    Others(Box<fetch::Answer>),
    /// It is told to go elsewhere.
    Redirect(StatusCode, HeaderValue),
    /// It is answered at once.
    Respond(&'a Respond),
    /// It may not be forwarded any further, and is answered here.
    LastHop(&'a Parts),
    /// It goes to a service, which it has yet to enter.
    Forward(Onward<'a>),
}

/// A request that goes to a service.
pub struct Onward<'a> {
    /// The request.
    pub at: Routed<'a>,
    /// The service.
    pub service: &'a Arc<Service>,
    /// The path that is sent.
    pub path: Cow<'a, str>,
    /// How long its client waits, if it says so.
    pub patience: Option<Duration>,
}

impl Plan {
    /// Refuses what no request may be, whichever way it came (SEMANTICS 1.7).
    pub fn judge_head(&self, request: &Parts) -> Result<(), Refusal> {
        judge(request, &self.edge.limits.wire).map_err(refusal)
    }
}

/// Refuses, before a route is chosen, whom and what is not taken at all.
fn shield_front<W: Witness>(
    edge: &Edge,
    own_path: Option<OwnPath>,
    request: &Parts,
    witness: &mut W,
) -> Result<(), Refusal> {
    let front = &edge.shields;
    let methods = || front.methods.as_ref().map_or(Ok(()), |methods| methods.admit(&request.method));
    let flood = || front.flood.as_ref().filter(|_| own_path.is_none()).map_or(Ok(()), |flood| witness.guard(flood));
    let judged = witness.admit(&front.addresses).and_then(|()| methods()).and_then(|()| flood());
    witness.shield(judged, edge, front.shadow)
}

/// Refuses whom and what the route does not take.
fn shield_route<W: Witness>(at: &Routed, witness: &mut W) -> Result<(), Refusal> {
    let shield = &at.route.terms.shield;
    let judged = witness.admit(&shield.addresses).and_then(|()| witness.admit_body(at));
    witness.shield(judged, &at.route.edge, shield.shadow)
}

/// Refuses a user who does not fulfil the conditions of the route. Nothing is checked where nobody was recognised because
/// authentication is in shadow mode.
fn authorise<W: Witness>(at: &Routed, witness: &mut W) -> Result<(), Refusal> {
    let (Some(access), Some(auth), Some(user)) = (&at.route.access, &at.route.terms.auth, witness.user()) else {
        return Ok(());
    };
    let captured = |name: &str| at.route.pattern.captures(&at.asked.path)?.get(name);
    let judged = access.access.check(&user.identity, &captured).map_err(|missing| {
        let scopes: Vec<&str> = access.access.scopes().collect();
        auth.insufficient(missing.to_string(), &scopes.join(" "), user.by).because(missing.cause(&captured))
    });
    witness.authorise(access, judged)
}

/// What is sent to the service of a route that has one.
fn onward<'a, W: Witness>(at: &Routed<'a>, witness: &W) -> Result<Onward<'a>, Refusal> {
    let service = witness.service(at).ok_or(Kind::INTERNAL)?;
    let path = at.route.upstream_path(at.asked, at.route.edge.merge_slashes)?;
    if path.len() + at.asked.query.map_or(0, str::len) > LONGEST_TARGET {
        return Err(Refusal::new(Kind::URI_TOO_LONG, Kind::URI_TOO_LONG.title));
    }
    let patience = grpc::patience(at.request, at.asked.present)?;
    Ok(Onward { at: *at, service, path, patience })
}
