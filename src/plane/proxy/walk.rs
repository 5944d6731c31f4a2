//! The steps of a request's walk around the choice of its route: shields before it, and all that stands between the route and
//! the service.

use std::sync::Arc;

use http::request::Parts;
use smallvec::SmallVec;

use super::ctx::{Ctx, Forward};
use super::reply::Answer;
use super::{Next, grpc, identify, limit};
use crate::plan::route::{Action, Route};
use crate::plan::walk::Asked;
use crate::plan::{Edge, OwnPath, hops};
use crate::upstream::sticky::Who;
use gatekeeper_core::refusal::{Kind, Refusal};

/// What a request target can hold is 65,534 bytes.
const LONGEST_TARGET: usize = 65_000;

/// Refuses, before a route is chosen, whom and what is not taken at all.
pub fn shield_front(edge: &Edge, own_path: Option<OwnPath>, request: &Parts, ctx: &mut Ctx) -> Result<(), Refusal> {
    let front = &edge.shields;
    let client = ctx.client_address();
    let methods = front.methods.as_ref().map_or(Ok(()), |methods| methods.admit(&request.method));
    let flood = || front.flood.as_ref().filter(|_| own_path.is_none()).map_or(Ok(()), |flood| flood.admit(client));
    let judged = front.addresses.admit(client).and(methods).and_then(|()| flood());
    shielded(judged, edge, front.shadow, ctx)
}

/// Counts what a shield refuses. On trial it passes, and is told of.
pub fn shielded(judged: Result<(), Refusal>, edge: &Edge, shadow: bool, ctx: &mut Ctx) -> Result<(), Refusal> {
    let Err(refusal) = judged else { return Ok(()) };
    if shadow {
        edge.shielded.would_refuse.inc();
        ctx.trials.note(&refusal);
        return Ok(());
    }
    edge.shielded.refused.inc();
    Err(refusal)
}

/// The walk from the route up to the upstream.
pub async fn walk(
    route: &Arc<Route>,
    asked: &Asked<'_>,
    request: &Parts,
    has_body: bool,
    ctx: &mut Ctx,
) -> Result<Next, Refusal> {
    let addresses = route.terms.shield.addresses.admit(ctx.client_address());
    let judged = addresses.and_then(|()| route.terms.shield.admit_body(&request.headers, has_body));
    shielded(judged, &route.edge, route.terms.shield.shadow, ctx)?;
    if let Some(answer) = identify::identify(request, asked, route, ctx).await? {
        return Ok(Next::Answer(answer));
    }
    identify::authorise(asked, route, ctx)?;
    match &route.action {
        Action::Redirect(status, to) => {
            limit::charge(request, ctx, ctx.now).await?;
            Ok(Next::Answer(Answer::redirect(*status, route.redirect_to(to, asked)?)))
        }
        Action::Respond(fixed) => {
            limit::charge(request, ctx, ctx.now).await?;
            Ok(Next::Answer(Answer::fixed(fixed)))
        }
        Action::Forward(_) | Action::Split(_) if hops::left(request, asked.present)? == Some(0) => {
            limit::charge(request, ctx, ctx.now).await?;
            Ok(Next::Answer(Answer::last_hop(request)))
        }
        Action::Forward(_) | Action::Split(_) => {
            ctx.forward = forward(route, asked, request, ctx)?;
            Ok(Next::Forward)
        }
    }
}

fn forward(route: &Route, asked: &Asked, request: &Parts, ctx: &Ctx) -> Result<Option<Forward>, Refusal> {
    let client = who(ctx);
    let Some(service) = route.service(request, client) else { return Ok(None) };
    let path = route.upstream_path(asked, route.edge.merge_slashes)?;
    if path.len() + asked.query.map_or(0, str::len) > LONGEST_TARGET {
        return Err(Refusal::new(Kind::URI_TOO_LONG, Kind::URI_TOO_LONG.title));
    }
    let patience = grpc::patience(request, ctx.present)?;
    let time = route.terms.timeouts.total.into_iter().chain(patience).min();
    Ok(Some(Forward {
        service: service.clone(),
        end: time.map(|time| ctx.began.instant + time),
        path: (*path != *request.uri.path()).then(|| (&*path).into()),
        key: service.key(request, client),
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
    }))
}

/// Whose requests stay together: the user's; where nobody was asked, those with one certificate.
fn who(ctx: &Ctx) -> Who<'_> {
    let certificate = ctx.connection.as_ref().and_then(|connection| connection.certificate.as_ref());
    let user = ctx.user.as_ref().and_then(|user| user.identity.name());
    let user = user.or(certificate.map(|certificate| (&b"certificate"[..], certificate.fingerprint.as_bytes())));
    Who { address: ctx.client_address(), user }
}
