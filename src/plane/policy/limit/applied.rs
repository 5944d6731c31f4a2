//! A limit as routes use it: a rule, whose requests it counts together, and where.

use std::sync::Arc;
use std::time::SystemTime;

use ahash::RandomState;
use http::HeaderValue;
use http::header::RETRY_AFTER;
use smallvec::SmallVec;

use super::subject::{Counted, Subject};
use crate::observe::PolicyMetrics;
use gatekeeper_core::limit::headers::{LimitHeaders, retry_after};
use gatekeeper_core::limit::{Charge, Decision, Rule};
use gatekeeper_core::refusal::{Kind, Refusal};
use gatekeeper_core::route::PathPattern;
use gatekeeper_model::Origin;
use gatekeeper_model::raw::Reset;

/// A limit.
#[derive(Debug)]
pub struct Limit {
    /// Its name.
    pub name: Arc<str>,
    /// Who declared it.
    pub origin: Origin,
    /// What each subject may spend, and what was spent.
    pub rule: Rule,
    /// For how many subjects it counts exactly.
    pub max_subjects: u32,
    /// Whose requests are counted together.
    pub subject: Subject,
    /// The only paths it holds for.
    pub path: Option<PathPattern>,
    /// It only tells that it would refuse.
    pub shadow: bool,
    /// What makes hashes of subjects; it stays with the counts.
    pub hasher: RandomState,
    /// What it decided.
    pub metrics: PolicyMetrics,
}

/// Charges of one request.
pub type Charges<'a> = SmallVec<[Charge<'a>; 4]>;

impl Limit {
    /// Whether it holds for a path.
    pub fn holds_for(&self, path: &str) -> bool {
        self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
    }

    /// What a request is to spend.
    pub fn charge(&self, counted: &Counted, shadow: bool) -> Charge<'_> {
        Charge { rule: &self.rule, key: self.subject.key(counted, &self.hasher), shadow: self.shadow || shadow }
    }
}

/// What a decision means for a request: what its response tells, and the refusal, if it is one.
pub fn told(
    limits: &[&Arc<Limit>],
    charges: &[Charge],
    decision: &Decision,
    reset: Option<Reset>,
    policy: Option<&HeaderValue>,
    clock: SystemTime,
) -> (LimitHeaders, Option<Refusal>) {
    let fields = reset.map(|reset| LimitHeaders::of(charges, decision, reset, clock, policy)).unwrap_or_default();
    if decision.admitted {
        return (fields, None);
    }
    let violated = limits.iter().zip(charges).zip(&decision.standings);
    let violated = violated.filter(|((_, charge), standing)| !charge.shadow && !standing.admitted);
    let names: Vec<Arc<str>> = violated.map(|((limit, _), _)| limit.name.clone()).collect();
    let refusal =
        Refusal::new(Kind::RATE_LIMITED, format!("the limit {} is used up", names.join(", "))).for_rules(names);
    (fields, Some(refusal.with_header(RETRY_AFTER, retry_after(charges, decision))))
}

/// Counts what limits decided; the names of those in shadow mode that would have refused. A request that any of them refuses was
/// charged to none, so none has accepted it.
pub fn note(limits: &[&Arc<Limit>], charges: &[Charge], decision: &Decision) -> Vec<Arc<str>> {
    let mut trials = Vec::new();
    for ((limit, charge), standing) in limits.iter().zip(charges).zip(&decision.standings) {
        match (standing.admitted, charge.shadow) {
            (true, _) if !decision.admitted => {}
            (true, _) => limit.metrics.accepted.inc(),
            (false, false) => limit.metrics.refused.inc(),
            (false, true) => {
                limit.metrics.would_refuse.inc();
                trials.push(limit.name.clone());
            }
        }
    }
    trials
}
