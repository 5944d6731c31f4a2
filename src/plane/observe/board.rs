//! What is counted by route, by service and by a refusal's code: the counters, and the families they are shown as.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::tally::{Durations, Tally, describe, family, sample};
use gatekeeper_core::refusal::Kind;
use gatekeeper_core::wire::HeadFault;

/// Pairs of method and status that are told apart per route.
pub const OUTCOMES: usize = 24;
/// Codes of refusals that are told apart.
const CODES: usize = 256;

const OTHER: &str = "other";
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER];

/// Where the requests of a route are counted. Until the first one that takes no memory; from then on the way is short.
#[derive(Clone, Default)]
pub struct RouteMetrics(OnceLock<Arc<RouteCounts>>);

impl RouteMetrics {
    /// Goes on with these counts, if there are some.
    pub(super) fn of(counts: Option<Arc<RouteCounts>>) -> Self {
        RouteMetrics(counts.map(OnceLock::from).unwrap_or_default())
    }

    /// Counts a finished request of the route of this name, and measures how long it took.
    pub(super) fn answered(
        &self,
        (routes, name): (&RouteBoard, &str),
        method: Option<&Method>,
        status: Option<StatusCode>,
        duration: Duration,
    ) {
        let method = method.map_or(OTHER_METHOD, method_index);
        let status = status.map_or(0, |status| status.as_u16());
        let counts = self.0.get_or_init(|| routes.begin(name));
        counts.outcomes.add(usize::from(method) * 5 + usize::from(status), (method, status));
        counts.durations.observe(duration);
    }

    /// Counts that a policy on trial would have refused a request that was counted as finished.
    pub(super) fn would_refuse(&self) {
        if let Some(counts) = self.0.get() {
            counts.would_refuse.fetch_add(1, Relaxed);
        }
    }
}

/// The counts of all routes that had a request, by name.
#[derive(Default)]
pub(super) struct RouteBoard(Mutex<Routes>);

#[derive(Default)]
struct Routes {
    counts: HashMap<Box<str>, Arc<RouteCounts>>,
    /// The routes of the plan that serves, sorted. No other is shown.
    shown: Box<[Arc<str>]>,
}

impl RouteBoard {
    /// The counts of a route, if it had a request.
    pub(super) fn get(&self, name: &str) -> Option<Arc<RouteCounts>> {
        self.0.lock().counts.get(name).cloned()
    }

    /// The counts of a route that has its first request.
    fn begin(&self, name: &str) -> Arc<RouteCounts> {
        self.0.lock().counts.entry(name.into()).or_default().clone()
    }

    /// From now on these are shown, and what was counted of others is forgotten.
    pub(super) fn show(&self, mut names: Vec<Arc<str>>) {
        names.sort_unstable();
        let mut routes = self.0.lock();
        routes.shown = names.into();
        let Routes { counts, shown } = &mut *routes;
        counts.retain(|name, _| shows(shown, name));
    }

    /// Those that are shown and had a request.
    fn used(&self) -> Vec<(Box<str>, Arc<RouteCounts>)> {
        let Routes { counts, shown } = &*self.0.lock();
        let shown = counts.iter().filter(|(name, _)| shows(shown, name));
        shown.map(|(name, counts)| (name.clone(), counts.clone())).collect()
    }
}

/// Requests without a route are always shown.
fn shows(shown: &[Arc<str>], name: &str) -> bool {
    name.is_empty() || shown.binary_search_by(|shown| (**shown).cmp(name)).is_ok()
}

/// Counts what happens to a service.
#[derive(Clone)]
pub struct ServiceMetrics(pub(super) Arc<Named<ServiceCounts>>);

/// What is counted of a service, each kind under labels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Another attempt, by what the one before came to.
    Retry,
    /// Another attempt that the budget did not allow.
    BudgetExhausted,
    /// A transition of its breaker, by where it led.
    Transition,
    /// The ejection of a target.
    Ejection,
    /// A health check of a target, by what it came to.
    Check,
}

impl ServiceMetrics {
    /// Counts something, under a label if its kind has one.
    pub fn count(&self, what: What, label: &'static str) {
        self.0.used().happened.add(what as usize * 8, (what, label));
    }

    /// Measures how long a request waited for the service.
    pub(super) fn asked(&self, time: Duration) {
        self.0.used().times.observe(time);
    }

    /// Measures how long a request waited for room.
    pub fn waited(&self, time: Duration) {
        self.0.used().waits.observe(time);
    }
}

/// The place of a method that is not registered, or not known.
const OTHER_METHOD: u8 = 9;

/// A place in [`METHODS`].
fn method_index(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::CONNECT => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::PATCH => 8,
        _ => OTHER_METHOD,
    }
}

/// Counts of something with a name, which take their memory at the first use.
pub(super) struct Named<T> {
    counts: OnceLock<Arc<T>>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { counts: OnceLock::new() }
    }
}

impl<T: Default> Named<T> {
    fn used(&self) -> &Arc<T> {
        self.counts.get_or_init(Arc::default)
    }
}

#[derive(Default)]
pub(super) struct RouteCounts {
    outcomes: Tally<(u8, u16), OUTCOMES>,
    would_refuse: AtomicU64,
    durations: Durations,
}

/// Pairs of kind and label that are told apart per service.
const HAPPENINGS: usize = 48;

#[derive(Default)]
pub(super) struct ServiceCounts {
    times: Durations,
    waits: Durations,
    happened: Tally<(What, &'static str), HAPPENINGS>,
}

pub(super) type ByName<T> = Mutex<HashMap<Box<str>, Arc<Named<T>>>>;

/// What is counted by route, service or code.
pub(super) struct Board {
    pub(super) routes: RouteBoard,
    pub(super) services: ByName<ServiceCounts>,
    refusals: Tally<&'static str, CODES>,
    descriptions: Vec<Desc>,
}

const REQUESTS: (&str, &str, &[&str]) =
    ("gatekeeper_requests_total", "Requests by route, method and status.", &["route", "method", "status"]);
const DURATIONS: (&str, &str, &[&str]) = (
    "gatekeeper_request_duration_seconds",
    "Time from the first byte of a request to the last byte of its response.",
    &["route"],
);
const WOULD_REFUSE: (&str, &str, &[&str]) =
    ("gatekeeper_would_refuse_total", "Requests that a policy in shadow mode would have refused.", &["route"]);
const UPSTREAM: (&str, &str, &[&str]) =
    ("gatekeeper_upstream_duration_seconds", "Time spent waiting for a service.", &["service"]);
const WAITS: (&str, &str, &[&str]) =
    ("gatekeeper_queue_duration_seconds", "Time that requests waited for a place in a service.", &["service"]);
/// The counters of services: what they count, and the label that tells apart what happened, if there is one.
const HAPPENED: [(What, &str, &str, &[&str]); 5] = [
    (What::Retry, "gatekeeper_retries_total", "Retries, by the failure of the attempt before.", &["service", "reason"]),
    (
        What::BudgetExhausted,
        "gatekeeper_retry_budget_exhausted_total",
        "Retries that the budget did not allow.",
        &["service"],
    ),
    (What::Transition, "gatekeeper_breaker_transitions_total", "Transitions of circuit breakers.", &["service", "to"]),
    (What::Ejection, "gatekeeper_ejections_total", "Ejections of targets.", &["service"]),
    (What::Check, "gatekeeper_health_checks_total", "Health checks of targets.", &["service", "outcome"]),
];
const REFUSALS: (&str, &str, &[&str]) = ("gatekeeper_refusals_total", "The gateway's own errors, by code.", &["code"]);

impl Board {
    pub(super) fn new() -> prometheus::Result<Board> {
        let descriptions = [REQUESTS, DURATIONS, WOULD_REFUSE, UPSTREAM, WAITS, REFUSALS]
            .map(|(name, help, labels)| describe(name, help, labels));
        let happened = HAPPENED.map(|(_, name, help, labels)| describe(name, help, labels));
        Ok(Board {
            routes: RouteBoard::default(),
            services: ByName::default(),
            refusals: Tally::default(),
            descriptions: descriptions.into_iter().chain(happened).collect::<Result<_, _>>()?,
        })
    }

    /// Counts an answer of the gateway's own by its code.
    pub(super) fn refused(&self, code: &'static str) {
        self.refusals.add(0, code);
    }

    fn refusals(&self) -> Vec<proto::Metric> {
        let refusal = |(code, count): (Option<&str>, u64)| {
            sample(&[("code", code.unwrap_or(OTHER))], MetricType::COUNTER, count as f64)
        };
        let counted: Vec<_> = self.refusals.counts().collect();
        let is_counted = |code: &str| counted.iter().any(|(counted, _)| *counted == Some(code));
        let none = known_codes().into_iter().filter(|code| !is_counted(code)).map(|code| (Some(code), 0));
        counted.iter().copied().chain(none).map(refusal).collect()
    }
}

/// The codes of refusals that are shown before there was one: those of single faults of a message come when they do.
fn known_codes() -> BTreeSet<&'static str> {
    let of_heads = HeadFault::ALL.iter().map(|fault| fault.code);
    Kind::ALL.iter().map(|kind| kind.code).chain(of_heads).collect()
}

/// Those that were used, by name.
fn used<T>(all: &ByName<T>) -> Vec<(Box<str>, Arc<Named<T>>)> {
    let all = all.lock();
    let used = all.iter().filter(|(_, named)| named.counts.get().is_some());
    used.map(|(name, named)| (name.clone(), Arc::clone(named))).collect()
}

fn requests(route: &str, counts: &RouteCounts) -> Vec<proto::Metric> {
    let outcome = |(outcome, count): (Option<(u8, u16)>, u64)| {
        let method = outcome.and_then(|(method, _)| METHODS.get(usize::from(method))).unwrap_or(&OTHER);
        let status = outcome.map_or(OTHER.into(), |(_, status)| status.to_string());
        sample(&[("route", route), ("method", method), ("status", &status)], MetricType::COUNTER, count as f64)
    };
    counts.outcomes.counts().map(outcome).collect()
}

/// How many requests of a route would have been refused, if there were some.
fn would_refuse(route: &str, counts: &RouteCounts) -> Option<proto::Metric> {
    let count = counts.would_refuse.load(Relaxed);
    (count > 0).then(|| sample(&[("route", route)], MetricType::COUNTER, count as f64))
}

/// The counts of a kind of happenings.
fn happened(service: &str, counts: &ServiceCounts, what: What, labels: &[&str]) -> Vec<proto::Metric> {
    let of_kind = counts.happened.counts().filter_map(|(key, count)| Some((key?, count)));
    let metric = |((_, label), count): ((What, &str), u64)| {
        let pairs: Vec<_> = labels.iter().copied().zip([service, label]).collect();
        sample(&pairs, MetricType::COUNTER, count as f64)
    };
    of_kind.filter(|((kind, _), _)| *kind == what).map(metric).collect()
}

/// The board as the registry sees it.
pub(super) struct SharedBoard(pub(super) Arc<Board>);

impl Collector for SharedBoard {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (routes, services) = (self.0.routes.used(), used(&self.0.services));
        let routes = || routes.iter().map(|(name, counts)| (&**name, counts));
        let services = || services.iter().filter_map(|(name, named)| Some((&**name, named.counts.get()?)));
        let requests = routes().flat_map(|(name, counts)| requests(name, counts)).collect();
        let durations = routes().map(|(name, counts)| counts.durations.metric("route", name)).collect();
        let trials = routes().filter_map(|(name, counts)| would_refuse(name, counts)).collect();
        let upstream = services().map(|(name, counts)| counts.times.metric("service", name)).collect();
        let waits = services().map(|(name, counts)| counts.waits.metric("service", name)).collect();
        let happened = HAPPENED.map(|(what, name, help, labels)| {
            let metrics = services().flat_map(|(service, counts)| happened(service, counts, what, labels));
            family(name, help, MetricType::COUNTER, metrics.collect())
        });
        let families = [
            (REQUESTS, MetricType::COUNTER, requests),
            (DURATIONS, MetricType::HISTOGRAM, durations),
            (WOULD_REFUSE, MetricType::COUNTER, trials),
            (UPSTREAM, MetricType::HISTOGRAM, upstream),
            (WAITS, MetricType::HISTOGRAM, waits),
            (REFUSALS, MetricType::COUNTER, self.0.refusals()),
        ];
        families
            .map(|((name, help, _), kind, metrics)| family(name, help, kind, metrics))
            .into_iter()
            .chain(happened)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registered_method_has_its_name() {
        for (at, name) in METHODS.iter().enumerate() {
            assert_eq!(usize::from(method_index(&Method::from_bytes(name.as_bytes()).unwrap())), at);
        }
    }
}
