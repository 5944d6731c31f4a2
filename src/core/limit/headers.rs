//! What responses tell of limits (SEMANTICS 5.4, 5.5).
//!
//! ```text
//! X-RateLimit-Limit: 100                      of the tightest rule: that of which least is left, then the one
//! X-RateLimit-Remaining: 0                    that takes longest
//! X-RateLimit-Reset: 34
//! RateLimit-Policy: "ip";q=100;w=60, "all";q=5000;w=1
//! RateLimit: "ip";r=0;t=34, "all";r=4711;t=1
//! Retry-After: 34                             of a refusal
//! ```
//!
//! Only rules that are enforced are told of. Seconds are rounded up. A rule with a burst is told of by that: so many, and
//! how long they take at its rate.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::ledger::{Charge, Decision, Rule, whole_seconds};
use super::quota::Standing;
use gatekeeper_model::raw::Reset;

/// The tightest rule's capacity.
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// What is left of it.
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// When there will be more.
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// All rules.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Where the client stands with them.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// What a response tells of the limits its request was charged by.
#[derive(Debug, Default)]
pub struct LimitHeaders {
    /// The values of the fields, in one piece of memory.
    text: Vec<u8>,
    /// Where they end, in the order of the names in `apply`.
    ends: SmallVec<[usize; 5]>,
    /// What `RateLimit-Policy` says, if that was ready.
    policy: Option<HeaderValue>,
}

impl LimitHeaders {
    /// What is told of a decision; `policy` is what it says of all rules, if that is ready.
    pub fn of(
        charges: &[Charge<'_>],
        decision: &Decision,
        reset: Reset,
        clock: SystemTime,
        policy: Option<&HeaderValue>,
    ) -> Self {
        let all = charges.iter().zip(&decision.standings);
        let enforced = all.filter(|(charge, _)| !charge.shadow).map(|(charge, standing)| (charge.rule, standing));
        let tightest = enforced.clone().min_by_key(|(_, standing)| (standing.left, Reverse(standing.reset)));
        let Some((rule, tightest)) = tightest else { return LimitHeaders::default() };
        let text = Vec::with_capacity(32 + 48 * charges.len());
        let mut told = LimitHeaders { text, ends: SmallVec::new(), policy: policy.cloned() };
        told.number(rule.quota.capacity().into());
        told.end();
        told.number(tightest.left.into());
        told.end();
        told.number(seconds(reset, tightest.reset, clock));
        told.end();
        told.list(enforced.clone(), Self::standing);
        if policy.is_none() {
            told.list(enforced, |told, rule, _| told.text.extend_from_slice(rule.policy.as_bytes()));
        }
        told
    }

    /// Puts them into a response, in the place of what an upstream says of its own.
    pub fn apply(self, response: &mut HeaderMap) {
        let names = [X_RATELIMIT_LIMIT, X_RATELIMIT_REMAINING, X_RATELIMIT_RESET, RATELIMIT, RATELIMIT_POLICY];
        let (mut rest, mut begin) = (Bytes::from(self.text), 0);
        for (name, end) in names.into_iter().zip(self.ends) {
            // All of it is printable ASCII, so there is always a value.
            if let Ok(value) = HeaderValue::from_maybe_shared(rest.split_to(end - begin)) {
                response.insert(name, value);
            }
            begin = end;
        }
        if let Some(policy) = self.policy {
            response.insert(RATELIMIT_POLICY, policy);
        }
    }

    fn number(&mut self, number: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn end(&mut self) {
        self.ends.push(self.text.len());
    }

    fn list<'a>(
        &mut self,
        rules: impl Iterator<Item = (&'a Rule, &'a Standing)>,
        item: impl Fn(&mut Self, &Rule, &Standing),
    ) {
        for (place, (rule, standing)) in rules.enumerate() {
            if place > 0 {
                self.text.extend_from_slice(b", ");
            }
            item(self, rule, standing);
        }
        self.end();
    }

    fn standing(&mut self, rule: &Rule, standing: &Standing) {
        self.text.extend_from_slice(rule.beginning.as_bytes());
        self.number(standing.left.into());
        self.text.extend_from_slice(b";t=");
        self.number(whole_seconds(standing.reset));
    }
}

/// What `Retry-After` says: when no rule that is violated is violated any more.
pub fn retry_after(charges: &[Charge<'_>], decision: &Decision) -> HeaderValue {
    let longest = decision.violated(charges).map(|(_, standing)| standing.reset).max();
    longest.map_or(1, whole_seconds).max(1).into()
}

/// What `RateLimit-Policy` says where these rules hold, all of them enforced.
pub fn policy<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<HeaderValue> {
    let policies: Vec<&str> = rules.map(|rule| &*rule.policy).collect();
    HeaderValue::from_str(&policies.join(", ")).ok().filter(|_| !policies.is_empty())
}

fn seconds(reset: Reset, after: Duration, clock: SystemTime) -> u64 {
    match reset {
        Reset::Delta => whole_seconds(after),
        Reset::Epoch => whole_seconds(clock.duration_since(UNIX_EPOCH).unwrap_or_default() + after),
    }
}
