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

/// Where an address or a user stands. Limits by route, claim or header know no such subject and are left out.
pub async fn status(
    State(control): State<Arc<Control>>,
    Parameters(whose): Parameters<Whose>,
) -> Json<Vec<LimitStanding>> {
    let plan = control.plane.live.plan();
    let address: Option<IpAddr> = whose.subject.parse().ok();
    let issuers = plan.edge.auth.as_ref().and_then(|auth| auth.issuers.as_ref());
    let usual = || issuers.and_then(|issuers| issuers.first_name()).unwrap_or("jwt");
    let user = address.is_none().then(|| Identity {
        issuer: whose.issuer.as_deref().unwrap_or_else(usual).into(),
        subject: whose.subject.as_str().into(),
        ..Identity::default()
    });
    let headers = HeaderMap::new();
    let endpoint = Endpoint { name: "", hash: Endpoint::hash("") };
    let counted = Counted { user: user.as_ref(), address, endpoint, headers: &headers };
    let known = |limit: &&Arc<Limit>| match limit.subject {
        Subject::User | Subject::Global => true,
        Subject::Address => address.is_some(),
        Subject::Endpoint | Subject::Claim(_) | Subject::Header(_) => false,
    };
    let standing = |limit: &Arc<Limit>| {
        let charge = [limit.charge(&counted, false)];
        let Answer::Now(decision) = plan.edge.ledger.look(&charge, Instant::now()) else { return None };
        decision.standings.first().map(|standing| limit.report(&counted, standing, limit.shadow))
    };
    Json(plan.edge.rates.all.iter().filter(known).filter_map(standing).collect())
}
