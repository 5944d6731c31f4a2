//! What policies decided, in counters that a plan holds ready.
//!
//! A series is shown as long as a plan, or a request that goes on, counts in it: what a reload took away is gone with the
//! next look at the metrics.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// Counts what a policy, or a rule of it, decided.
#[derive(Clone, Debug)]
pub struct PolicyMetrics {
    /// Requests that passed.
    pub accepted: IntCounter,
    /// Requests that were refused.
    pub refused: IntCounter,
    /// Requests that would have been refused, were the policy not on trial.
    pub would_refuse: IntCounter,
    /// Requests about which it could not be decided.
    pub unavailable: IntCounter,
    /// The series are in use.
    _in_use: Arc<()>,
}

/// A policy and a rule of it.
type Name = (Box<str>, Box<str>);

/// The counters of all policies.
pub(super) struct Policies {
    family: IntCounterVec,
    used: Mutex<HashMap<Name, Weak<()>>>,
}

const OUTCOMES: [&str; 4] = ["accepted", "refused", "would_refuse", "unavailable"];

impl Policies {
    /// Counts in this family.
    pub fn new(family: IntCounterVec) -> Self {
        Policies { family, used: Mutex::default() }
    }

    /// The counters of a policy's rule, new or as they are.
    pub fn of(&self, policy: &str, rule: &str) -> PolicyMetrics {
        let mut used = self.used.lock();
        let name: Name = (policy.into(), rule.into());
        let in_use = used.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            self.forget(&name);
            Arc::default()
        });
        used.insert(name, Arc::downgrade(&in_use));
        let [accepted, refused, would_refuse, unavailable] =
            OUTCOMES.map(|outcome| self.family.with_label_values(&[policy, rule, outcome]));
        PolicyMetrics { accepted, refused, would_refuse, unavailable, _in_use: in_use }
    }

    /// Forgets what nothing counts in any more.
    pub fn sweep(&self) {
        self.used.lock().retain(|name, in_use| {
            let is_used = in_use.strong_count() > 0;
            if !is_used {
                self.forget(name);
            }
            is_used
        });
    }

    fn forget(&self, (policy, rule): &Name) {
        for outcome in OUTCOMES {
            // It fails when there is no such series, which is what is wanted.
            let _ = self.family.remove_label_values(&[&**policy, &**rule, outcome]);
        }
    }
}

pub(super) fn family() -> prometheus::Result<IntCounterVec> {
    let help = "What policies decided about requests: accepted, refused, would_refuse (on trial), unavailable.";
    IntCounterVec::new(Opts::new("gatekeeper_policy_decisions_total", help), &["policy", "rule", "outcome"])
}

#[cfg(test)]
mod tests {
    use prometheus::core::Collector;

    use super::*;

    #[test]
    fn series_live_as_long_as_something_counts_in_them() {
        let policies = Policies::new(family().unwrap());
        let series = || policies.family.collect().iter().map(|family| family.get_metric().len()).sum::<usize>();
        let old = policies.of("rate_limit", "a");
        old.refused.inc();
        let new = policies.of("rate_limit", "a");
        drop(old);
        policies.sweep();
        assert_eq!((series(), new.refused.get()), (4, 1), "counting goes on across reloads");
        let other = policies.of("rate_limit", "b");
        drop(new);
        policies.sweep();
        assert_eq!(series(), 4);
        drop(other);
        assert_eq!(policies.of("rate_limit", "b").refused.get(), 0);
        policies.sweep();
        assert_eq!(series(), 0);
    }
}
