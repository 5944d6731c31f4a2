//! How often the client may come: all limits that hold are looked at, then all are charged or none.

use std::time::Instant;

use http::request::Parts;

use super::ctx::{Arrived, Course};
use crate::plan::route::Route;
use crate::policy::auth::User;
use crate::policy::limit::{Charges, Counted, note, told};
use gatekeeper_core::limit::Answer;
use gatekeeper_core::refusal::{Kind, Refusal};

/// What limits have to know of a request.
#[derive(Clone, Copy)]
pub struct Charged<'a> {
    /// Where it came from.
    pub arrival: &'a Arrived,
    /// The route it took.
    pub route: &'a Route,
    /// Its user, if one was recognised.
    pub user: Option<&'a User>,
}

/// Charges a request, or refuses it.
pub async fn charge(request: &Parts, of: Charged<'_>, course: &mut Course, now: Instant) -> Result<(), Refusal> {
    decide(request, of, course, now, true).await
}

/// Refuses a request that could not be charged. Nothing is counted, and nothing told if it could be.
pub async fn look(request: &Parts, of: Charged<'_>, course: &mut Course, now: Instant) -> Result<(), Refusal> {
    decide(request, of, course, now, false).await
}

async fn decide(
    request: &Parts,
    of: Charged<'_>,
    course: &mut Course,
    now: Instant,
    charge: bool,
) -> Result<(), Refusal> {
    let Charged { arrival, route, user } = of;
    let path = arrival.canonical_path.as_deref().unwrap_or(request.uri.path());
    let limits = route.terms.limits.holding(path, user.and_then(|user| user.key.as_deref()));
    if limits.is_empty() {
        return Ok(());
    }
    let counted = Counted {
        user: user.map(|user| &*user.identity),
        address: arrival.address(),
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
    let clock = course.began.time + now.saturating_duration_since(course.began.instant);
    let (headers, refusal) = told(&limits, &charges, &decision, route.edge.limit_headers, policy, clock);
    course.limits = Some(headers);
    if !on_trial.is_empty() {
        course.trials.note(&Refusal::from(Kind::RATE_LIMITED).for_rules(on_trial));
    }
    refusal.map_or(Ok(()), Err)
}
