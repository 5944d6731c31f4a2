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
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::ledger::{Charge, Decision, Rule, whole_seconds};
use super::quota::Standing;
use crate::config::model::Reset;

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

/// Writes what a response tells of the limits its request was charged by; `policy` is what it says of them all, if that is ready.
pub fn write(
    charges: &[Charge<'_>],
    decision: &Decision,
    reset: Reset,
    clock: SystemTime,
    policy: Option<&HeaderValue>,
    mut put: impl FnMut(HeaderName, HeaderValue),
) {
    let all = charges.iter().zip(&decision.standings);
    let enforced = all.filter(|(charge, _)| !charge.shadow).map(|(charge, standing)| (charge.rule, standing));
    let tightest = enforced.clone().min_by_key(|(_, standing)| (standing.left, Reverse(standing.reset)));
    let Some((rule, tightest)) = tightest else { return };
    let mut text = Text::with_room_for(charges.len());
    text.number(rule.quota.capacity().into());
    text.end();
    text.number(tightest.left.into());
    text.end();
    text.number(seconds(reset, tightest.reset, clock));
    text.end();
    text.list(enforced.clone(), tell);
    match policy {
        Some(policy) => put(RATELIMIT_POLICY, policy.clone()),
        None => text.list(enforced, tell_policy),
    }
    text.put([X_RATELIMIT_LIMIT, X_RATELIMIT_REMAINING, X_RATELIMIT_RESET, RATELIMIT, RATELIMIT_POLICY], &mut put);
    if !decision.admitted {
        let longest = decision.violated(charges).map(|(_, standing)| standing.reset).max();
        put(RETRY_AFTER, longest.map_or(1, whole_seconds).max(1).into());
    }
}

/// The values of some fields, in one piece of memory.
struct Text {
    bytes: Vec<u8>,
    /// Where they end.
    ends: SmallVec<[usize; 5]>,
}

impl Text {
    fn with_room_for(rules: usize) -> Self {
        Text { bytes: Vec::with_capacity(32 + 48 * rules), ends: SmallVec::new() }
    }

    fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn list<'a>(
        &mut self,
        rules: impl Iterator<Item = (&'a Rule, &'a Standing)>,
        item: impl Fn(&mut Text, &Rule, &Standing),
    ) {
        for (place, (rule, standing)) in rules.enumerate() {
            if place > 0 {
                self.bytes.extend_from_slice(b", ");
            }
            item(self, rule, standing);
        }
        self.end();
    }

    fn put(self, names: [HeaderName; 5], put: &mut impl FnMut(HeaderName, HeaderValue)) {
        let (mut rest, mut begin) = (Bytes::from(self.bytes), 0);
        for (name, end) in names.into_iter().zip(self.ends) {
            // All of it is printable ASCII, so there is always a value.
            if let Ok(value) = HeaderValue::from_maybe_shared(rest.split_to(end - begin)) {
                put(name, value);
            }
            begin = end;
        }
    }
}

/// What `RateLimit-Policy` says where these rules hold, all of them enforced.
pub fn policy<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<HeaderValue> {
    let policies: Vec<&str> = rules.map(|rule| &*rule.policy).collect();
    HeaderValue::from_str(&policies.join(", ")).ok().filter(|_| !policies.is_empty())
}

fn tell_policy(text: &mut Text, rule: &Rule, _: &Standing) {
    text.bytes.extend_from_slice(rule.policy.as_bytes());
}

fn tell(text: &mut Text, rule: &Rule, standing: &Standing) {
    text.bytes.extend_from_slice(rule.beginning.as_bytes());
    text.number(standing.left.into());
    text.bytes.extend_from_slice(b";t=");
    text.number(whole_seconds(standing.reset));
}

fn seconds(reset: Reset, after: Duration, clock: SystemTime) -> u64 {
    match reset {
        Reset::Delta => whole_seconds(after),
        Reset::Epoch => whole_seconds(clock.duration_since(UNIX_EPOCH).unwrap_or_default() + after),
    }
}
