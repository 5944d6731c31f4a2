//! The state of limits and of issuers' keys as metrics tell it: read whenever it is asked for.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::Edge;
use crate::observe::metrics::{family, sample};
use crate::policy::auth::provider::{Provider, Standing};
use crate::policy::limit::Limit;
use gatekeeper_core::limit::Table;

type OfLimit = (&'static str, &'static str, MetricType, fn(&Limit) -> f64);
type OfTable = (&'static str, &'static str, MetricType, fn(&Table) -> f64);
type OfKeys = (&'static str, &'static str, MetricType, fn(&Standing) -> f64);

const LIMITS: [OfLimit; 2] = [
    ("gatekeeper_rate_limit_subjects", "Subjects that a rate limit counts exactly.", MetricType::GAUGE, |limit| {
        limit.rule.counts.subjects() as f64
    }),
    (
        "gatekeeper_rate_limit_overflowed_total",
        "Requests of subjects beyond max_subjects, which may have been refused too early.",
        MetricType::COUNTER,
        |limit| limit.rule.counts.overflowed() as f64,
    ),
];

const FAILURES: [OfTable; 2] = [
    (
        "gatekeeper_auth_failures_addresses",
        "Addresses whose wrong credentials are counted.",
        MetricType::GAUGE,
        |counts| counts.subjects() as f64,
    ),
    (
        "gatekeeper_auth_failures_overflowed_total",
        "Wrong credentials that were not counted, because too many addresses sent some.",
        MetricType::COUNTER,
        |counts| counts.overflowed() as f64,
    ),
];

const KEYS: [OfKeys; 4] = [
    ("gatekeeper_issuer_keys", "Keys of an issuer that tokens can be verified with.", MetricType::GAUGE, |keys| {
        keys.keys as f64
    }),
    ("gatekeeper_issuer_fetches_total", "Successful fetches of an issuer's keys.", MetricType::COUNTER, |keys| {
        keys.good as f64
    }),
    ("gatekeeper_issuer_fetch_failures_total", "Failed fetches of an issuer's keys.", MetricType::COUNTER, |keys| {
        keys.bad as f64
    }),
    (
        "gatekeeper_issuer_empty_key_sets_total",
        "Fetched key sets without a usable key. All tokens of the issuer are refused until a usable key is fetched.",
        MetricType::COUNTER,
        |keys| keys.empty as f64,
    ),
];

/// The gauges of what holds now.
pub fn gauges(edge: &Edge) -> Vec<MetricFamily> {
    let of_limits = LIMITS.map(|(name, help, kind, value)| {
        let metric = |limit: &Limit| sample(&[("rule", &limit.name)], kind, value(limit));
        family(name, help, kind, edge.rates.all.iter().map(|limit| metric(limit)).collect())
    });
    let of_keys = KEYS.map(|(name, help, kind, value)| {
        let metric = |keys: &Provider| -> Metric { sample(&[("issuer", keys.name())], kind, value(&keys.standing())) };
        family(name, help, kind, edge.providers().map(|keys| metric(keys)).collect())
    });
    let of_failures = FAILURES.map(|(name, help, kind, value)| {
        let metrics = edge.auth.iter().map(|auth| sample(&[], kind, value(auth.failures.counts())));
        family(name, help, kind, metrics.collect())
    });
    let issuers = edge.auth.iter().filter_map(|auth| auth.issuers.as_ref());
    let tokens = issuers.map(|issuers| sample(&[], MetricType::GAUGE, issuers.remembered() as f64));
    let help = "Memory of remembered tokens, approximately.";
    let tokens = family("gatekeeper_tokens_remembered_bytes", help, MetricType::GAUGE, tokens.collect());
    // The text format has no family without a metric.
    of_limits
        .into_iter()
        .chain(of_keys)
        .chain(of_failures)
        .chain([tokens])
        .filter(|family| !family.get_metric().is_empty())
        .collect()
}
