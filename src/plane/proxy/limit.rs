//! How often the client may come: all limits that hold are looked at, then all are charged or none.

use std::time::Instant;

use http::request::Parts;

use super::ctx::{self, Ctx};
use crate::policy::limit::{Charges, Counted, note, told};
use gatekeeper_core::limit::Answer;
use gatekeeper_core::refusal::{Kind, Refusal};

/// Charges a request, or refuses it.
pub async fn charge(request: &Parts, ctx: &mut Ctx, now: Instant) -> Result<(), Refusal> {
    decide(request, ctx, now, true).await
}

/// Refuses a request that could not be charged. Nothing is counted, and nothing told if it could be.
pub async fn look(request: &Parts, ctx: &mut Ctx, now: Instant) -> Result<(), Refusal> {
    decide(request, ctx, now, false).await
}

async fn decide(request: &Parts, ctx: &mut Ctx, now: Instant, charge: bool) -> Result<(), Refusal> {
    let Ctx { route, user, client, canonical_path, began, limits: fields, trials, .. } = ctx;
    let route = route.as_ref().ok_or_else(ctx::lost)?;
    let path = canonical_path.as_deref().unwrap_or(request.uri.path());
    let limits = route.terms.limits.holding(path, user.as_ref().and_then(|user| user.key.as_deref()));
    if limits.is_empty() {
        return Ok(());
    }
    let counted = Counted {
        user: user.as_ref().map(|user| &*user.identity),
        address: client.address,
        endpoint: route.endpoint(),
        headers: &request.headers,
    };
    let charges: Charges = limits.iter().map(|limit| limit.charge(&counted, route.terms.limits.shadow)).collect();
    let ledger = &route.edge.ledger;
    let answer = if charge { ledger.charge(&charges, now) } else { ledger.look(&charges, now) };
    let decision = match answer {
        Answer::Now(decision) => decision,
        Answer::Later(decision) => decision.await,
    };
    if !charge && decision.admitted {
        return Ok(());
    }
    let policy = route.terms.limits.policy.as_ref().filter(|_| limits.len() == route.terms.limits.limits.len());
    let on_trial = note(&limits, &charges, &decision);
    let clock = began.time + now.saturating_duration_since(began.instant);
    let (headers, refusal) = told(&limits, &charges, &decision, route.edge.limit_headers, policy, clock);
    *fields = Some(headers);
    if !on_trial.is_empty() {
        trials.note(&Refusal::from(Kind::RATE_LIMITED).for_rules(on_trial));
    }
    refusal.map_or(Ok(()), Err)
}
