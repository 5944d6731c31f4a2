//! Who the client is, and whether that is enough: steps 8 and 9 of the walk.

use std::time::Instant;

use http::HeaderValue;
use http::header::RETRY_AFTER;
use http::request::Parts;

use super::ctx::Ctx;
use super::deadline;
use super::reply::Answer;
use crate::listen::connection::Connection;
use crate::plan::route::Route;
use crate::plan::walk::Asked;
use crate::policy::auth::{Blame, Denial, Judgement, RouteAuth, User, Visitor, Why};
use gatekeeper_core::refusal::{Kind, Refusal};

/// Finds out who the client is. Who is asked about whole requests may have an answer of its own.
pub async fn identify(
    request: &Parts,
    asked: &Asked<'_>,
    route: &Route,
    ctx: &mut Ctx,
) -> Result<Option<Answer>, Refusal> {
    let Some(auth) = &route.terms.auth else { return Ok(None) };
    let visitor = visitor(request, asked, route, ctx);
    // A turn is kept until a failure is counted.
    let (judged, _turn) = match auth.judge(&visitor) {
        Judgement::Known(user) => (Ok(user), None),
        Judgement::Refused(denial) => (Err(denial), None),
        Judgement::Pending(question) => {
            let resolved = Box::pin(auth.resolve(question, &visitor)).await;
            ctx.now = Instant::now();
            resolved
        }
    };
    match judged {
        Ok(user) => {
            welcome(auth, route, user, ctx);
            Ok(None)
        }
        Err(denial) => deny(auth, denial, ctx),
    }
}

fn visitor<'a>(request: &'a Parts, asked: &'a Asked<'_>, route: &'a Route, ctx: &'a Ctx) -> Visitor<'a> {
    let connection = ctx.connection.as_deref();
    Visitor {
        request,
        path: &asked.path,
        address: ctx.client_address(),
        certificate: connection.and_then(|connection| connection.certificate.as_ref()),
        tls: connection.is_some_and(Connection::is_tls),
        trusted: ctx.client.trusted,
        cors: route.terms.cors.as_ref(),
        now: (ctx.began.instant, ctx.began.time),
        until: route.terms.timeouts.total.map(|total| ctx.began.instant + total),
    }
}

fn welcome(auth: &RouteAuth, route: &Route, user: User, ctx: &mut Ctx) {
    if let Some(metrics) = auth.auth.metrics(Some(user.by)) {
        metrics.accepted.inc();
    }
    if let Some(end) = user.identity.expires.filter(|_| route.terms.close_at_expiry) {
        let left = end.duration_since(ctx.began.time).unwrap_or_default();
        deadline::watch(|watch| watch.admitted_until(ctx.began.instant.checked_add(left)));
    }
    ctx.user = Some(user);
}

fn deny(auth: &RouteAuth, denial: Denial, ctx: &mut Ctx) -> Result<Option<Answer>, Refusal> {
    let metrics = auth.auth.metrics(denial.by);
    let refusal = match denial.why {
        Why::Answer(reply, blame) => {
            let refusal = Refusal::new(Kind::ACCESS_DENIED, "the service that decides has answered itself");
            if !auth.shadow {
                metrics.inspect(|metrics| metrics.refused.inc());
                note(auth, blame, ctx);
                ctx.fail(refusal, None);
                return Ok(Some(Answer::of_others(*reply)));
            }
            refusal
        }
        Why::Unavailable(cause) => {
            metrics.inspect(|metrics| metrics.unavailable.inc());
            ctx.cause = Some(cause).filter(|_| !auth.shadow);
            Refusal::from(Kind::AUTH_UNAVAILABLE).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
        }
        Why::Refusal(refusal, blame) => {
            note(auth, blame, ctx);
            refusal
        }
    };
    let told = refusal.kind != Kind::AUTH_UNAVAILABLE;
    if auth.shadow {
        metrics.inspect(|metrics| metrics.would_refuse.inc());
        ctx.trials.note(&refusal);
        return Ok(None);
    }
    metrics.filter(|_| told).inspect(|metrics| metrics.refused.inc());
    Err(refusal)
}

/// Counts a wrong credential, unless that is on trial: the budget is one for all routes.
fn note(auth: &RouteAuth, blame: Blame, ctx: &Ctx) {
    if blame == Blame::Counted && !auth.shadow {
        auth.auth.failures.note(ctx.client_address(), ctx.now);
    }
}

/// Refuses a user who is not what the route asks for. Where nobody was recognised because that is on trial, nothing is asked.
pub fn authorise(asked: &Asked, route: &Route, ctx: &mut Ctx) -> Result<(), Refusal> {
    let (Some(access), Some(auth), Some(user)) = (&route.access, &route.terms.auth, &ctx.user) else { return Ok(()) };
    let captured = |name: &str| route.pattern.captures(&asked.path)?.get(name);
    let Err(missing) = access.access.check(&user.identity, &captured) else {
        access.metrics.accepted.inc();
        return Ok(());
    };
    let scopes: Vec<&str> = access.access.scopes().collect();
    let refusal = auth.insufficient(missing.to_string(), &scopes.join(" "), user.by);
    if access.shadow {
        access.metrics.would_refuse.inc();
        ctx.trials.note(&refusal);
        return Ok(());
    }
    access.metrics.refused.inc();
    Err(refusal)
}
