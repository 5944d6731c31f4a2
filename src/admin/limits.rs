//! Limits over the administration API: the rules and what they hold, and where a subject stands with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;

use super::input::Parameters;
use crate::Control;
use gatekeeper_client::{LimitStanding, RuleState, Subject as Whose};
use gatekeeper_core::limit::Answer;
use gatekeeper_plane::plan::Plan;
use gatekeeper_plane::policy::auth::identity::Identity;
use gatekeeper_plane::policy::limit::{Counted, Endpoint, Limit, Subject};

/// All rules.
pub async fn list(State(control): State<Arc<Control>>) -> Json<Vec<RuleState>> {
    Json(control.plane.live.plan().edge.rates.all.iter().map(|limit| state(limit)).collect())
}

fn state(limit: &Limit) -> RuleState {
    RuleState {
        rule_name: limit.name.to_string(),
        limit_type: limit.subject.to_string(),
        max_requests: limit.rule.quota.max,
        window_seconds: limit.rule.quota.window.as_secs(),
        mode: if limit.shadow { "shadow".into() } else { "enforce".into() },
        subjects: limit.rule.counts.subjects(),
        overflowed: limit.rule.counts.overflowed(),
        memory: limit.rule.counts.memory(),
        accepted: limit.metrics.accepted.get(),
        refused: limit.metrics.refused.get(),
        would_refuse: limit.metrics.would_refuse.get(),
    }
}

/// Where an address or a user stands: a user under everybody who may vouch for one, unless one of them is named. Limits by
/// route, claim or header know no such subject and are left out.
pub async fn status(
    State(control): State<Arc<Control>>,
    Parameters(whose): Parameters<Whose>,
) -> Json<Vec<LimitStanding>> {
    let plan = control.plane.live.plan();
    let address: Option<IpAddr> = whose.subject.parse().ok();
    let users = if address.is_none() { users(&plan, &whose) } else { Vec::new() };
    let standings = plan.edge.rates.all.iter().flat_map(|limit| standings(&plan, limit, address, &users));
    Json(standings.collect())
}

/// Whom the name of a user may mean.
fn users(plan: &Plan, whose: &Whose) -> Vec<Identity> {
    let known = || plan.edge.auth.iter().flat_map(|auth| auth.vouchers()).collect();
    let issuers: Vec<Arc<str>> = whose.issuer.as_deref().map_or_else(known, |issuer| vec![issuer.into()]);
    let user = |issuer| Identity { issuer, subject: whose.subject.as_str().into(), ..Identity::default() };
    issuers.into_iter().map(user).collect()
}

/// Where an address, or each of these users, stands with one limit.
fn standings(plan: &Plan, limit: &Limit, address: Option<IpAddr>, users: &[Identity]) -> Vec<LimitStanding> {
    let headers = HeaderMap::new();
    let endpoint = Endpoint { name: "", hash: Endpoint::hash("") };
    let standing = |user| {
        let counted = Counted { user, address, endpoint, headers: &headers };
        let charge = [limit.charge(&counted, false)];
        let Answer::Now(decision) = plan.edge.ledger.look(&charge, Instant::now()) else { return None };
        decision.standings.first().map(|standing| limit.report(&counted, standing, limit.shadow))
    };
    match limit.subject {
        Subject::User if address.is_none() => users.iter().filter_map(|user| standing(Some(user))).collect(),
        Subject::Address if address.is_none() => Vec::new(),
        Subject::User | Subject::Address | Subject::Global => standing(None).into_iter().collect(),
        Subject::Endpoint | Subject::Claim(_) | Subject::Header(_) => Vec::new(),
    }
}
