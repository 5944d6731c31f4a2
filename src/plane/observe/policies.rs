//! What policies decided, in counters that a plan holds ready.
//!
//! A series is shown as long as a plan, or a request that goes on, counts in it: what a reload took away is gone with the
//! next look at the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::proto::{MetricFamily, MetricType};

use super::tally::{family, sample};

/// Counts what a policy, or a rule of it, decided.
#[derive(Debug, Default)]
pub struct PolicyCounts {
    /// Requests that passed.
    pub accepted: Count,
    /// Requests that were refused.
    pub refused: Count,
    /// Requests that would have been refused without shadow mode.
    pub would_refuse: Count,
    /// Requests about which it could not be decided.
    pub unavailable: Count,
}

/// Where a plan counts what a policy decided.
pub type PolicyMetrics = Arc<PolicyCounts>;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A policy and a rule of it.
pub(super) type Name = (Box<str>, Box<str>);

/// The counters of all policies that count.
#[derive(Default)]
pub(super) struct Policies(Mutex<BTreeMap<Name, Weak<PolicyCounts>>>);

const NAME: &str = "gatekeeper_policy_decisions_total";
const HELP: &str = "Decisions of policies: accepted, refused, would_refuse (shadow mode) or unavailable.";

impl Policies {
    /// The counters of a policy's rule, if something counts in them.
    pub fn get(&self, name: &Name) -> Option<PolicyMetrics> {
        self.0.lock().get(name).and_then(Weak::upgrade)
    }

    /// Shows these from now on, beside those in which requests still count.
    pub fn show<'n>(&self, claimed: impl IntoIterator<Item = (&'n Name, &'n PolicyMetrics)>) {
        let claimed = claimed.into_iter().map(|(name, counts)| (name.clone(), Arc::downgrade(counts)));
        self.0.lock().extend(claimed);
    }

    /// What they counted.
    pub fn family(&self) -> MetricFamily {
        let mut samples = Vec::new();
        self.0.lock().retain(|(policy, rule), counts| {
            let Some(counts) = counts.upgrade() else { return false };
            samples.extend(counts.outcomes().map(|(outcome, count)| {
                let labels = [("outcome", outcome), ("policy", &**policy), ("rule", &**rule)];
                sample(&labels, MetricType::COUNTER, count.get() as f64)
            }));
            true
        });
        family(NAME, HELP, MetricType::COUNTER, samples)
    }
}

impl PolicyCounts {
    fn outcomes(&self) -> [(&'static str, &Count); 4] {
        [
            ("accepted", &self.accepted),
            ("refused", &self.refused),
            ("would_refuse", &self.would_refuse),
            ("unavailable", &self.unavailable),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_live_as_long_as_something_counts_in_them() {
        let policies = Policies::default();
        let series = || policies.family().get_metric().len();
        let name = |rule: &str| -> Name { ("rate_limit".into(), rule.into()) };
        let (a, b) = (PolicyMetrics::default(), PolicyMetrics::default());
        policies.show([(&name("a"), &a)]);
        a.refused.inc();
        let kept = policies.get(&name("a")).unwrap();
        drop(a);
        assert_eq!((series(), kept.refused.get()), (4, 1), "a request still counts in them");
        policies.show([(&name("b"), &b)]);
        assert_eq!(series(), 8);
        drop(kept);
        assert_eq!(series(), 4);
        assert!(policies.get(&name("a")).is_none());
    }
}
