//! The metrics, in a registry of their own.
//!
//! A plan has a handle for each route and service (`claims`); recording a request through handles is about a
//! dozen atomic additions: no lock, no look-up, no allocation after a route's first request. Handles are kept by name, so
//! counting goes on across reloads, and one that never served takes a hundred bytes and is not shown.
//!
//! Requests without a route have the route `""`. Methods beyond the nine registered ones and unknown ones are `other`, a status of `0`
//! means that the client went before there was one. A route that answers with more than [`OUTCOMES`] pairs of method and
//! status has the rest under `other`. A route's requests still running when it is dropped are no longer shown.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::claims::Claims;
use super::policies::Policies;
use super::process::Process;
use super::tally::{Durations, Tally, describe};
pub(crate) use super::tally::{family, sample};
use gatekeeper_core::event::Event;
use gatekeeper_core::sink::Sink;

/// Pairs of method and status that are told apart per route.
pub const OUTCOMES: usize = 24;
/// Codes of refusals that are told apart.
const CODES: usize = 256;

const OTHER: &str = "other";
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER];

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    pub(super) board: Arc<Board>,
    in_flight: IntGauge,
    connections: IntGauge,
    newcomers: IntGauge,
    connections_total: IntCounter,
    turned_away: IntCounterVec,
    cut: IntCounterVec,
    answer_bytes: IntGauge,
    answer_waits: IntCounter,
    answers_given_up: IntCounter,
    plan_revision: IntGauge,
    reloads: IntCounterVec,
    pub(super) policies: Policies,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
}

/// Counts the requests of a route.
#[derive(Clone)]
pub struct RouteMetrics {
    /// From the first request on, so that the way to them is short.
    counts: OnceLock<Arc<RouteCounts>>,
    named: Arc<Named<RouteCounts>>,
}

impl RouteMetrics {
    pub(super) fn of(named: Arc<Named<RouteCounts>>) -> Self {
        RouteMetrics { counts: OnceLock::new(), named }
    }

    pub(super) fn into_named(self) -> Arc<Named<RouteCounts>> {
        self.named
    }

    fn used(&self) -> &RouteCounts {
        self.counts.get_or_init(|| self.named.used().clone())
    }
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

    /// Measures how long a request waited for room.
    pub fn waited(&self, time: Duration) {
        self.0.used().waits.observe(time);
    }
}

/// The metrics as the sink of one event: with the counters, made with the plan, of the request's route and service.
pub struct Counting<'a> {
    metrics: &'a Metrics,
    route: &'a RouteMetrics,
    service: Option<&'a ServiceMetrics>,
}

impl Sink for Counting<'_> {
    fn take(&self, event: &Event<'_>) {
        self.metrics.record(event, self.route, self.service);
    }
}

/// Something that is counted as long as this lives.
#[must_use]
#[derive(Debug)]
pub struct Open(IntGauge);

impl Open {
    fn of(gauge: &IntGauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Metrics that are all zero; the version is the program's.
    pub fn new(version: &str) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help)?);
        let counter = |name: &str, help: &str| registered(&registry, IntCounter::new(name, help)?);
        let metrics = Metrics {
            board: registered_shared(&registry, Board::new()?)?,
            in_flight: gauge("gatekeeper_requests_in_flight", "Requests being served.")?,
            connections: gauge("gatekeeper_connections", "Open client connections.")?,
            newcomers: gauge("gatekeeper_connections_unasked", "Open client connections before their first request.")?,
            connections_total: counter("gatekeeper_connections_total", "Client connections accepted.")?,
            turned_away: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "gatekeeper_connections_turned_away_total",
                        "Connections closed before their first request.",
                    ),
                    &["reason"],
                )?,
            )?,
            cut: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "gatekeeper_connections_cut_total",
                        "HTTP/2 connections closed for what their client did.",
                    ),
                    &["reason"],
                )?,
            )?,
            answer_bytes: gauge(
                "gatekeeper_buffered_answer_bytes",
                "Memory of answers that clients have not taken yet and of encoders, as far as it counts.",
            )?,
            answer_waits: counter(
                "gatekeeper_answer_waits_total",
                "Answers that were not read from their services at once, for want of room.",
            )?,
            answers_given_up: counter(
                "gatekeeper_answers_given_up_total",
                "Connections whose answers were given up because the client took nothing and room was needed.",
            )?,
            plan_revision: gauge("gatekeeper_plan_revision", "The revision of the configuration that serves.")?,
            request_bytes: counter("gatekeeper_request_bytes_total", "Bytes of request bodies.")?,
            response_bytes: counter("gatekeeper_response_bytes_total", "Bytes of response bodies.")?,
            reloads: registered(
                &registry,
                IntCounterVec::new(Opts::new("gatekeeper_reloads_total", "Attempts to reload."), &["outcome"])?,
            )?,
            policies: Policies::default(),
            registry: registry.clone(),
        };
        let build = Opts::new("gatekeeper_build_info", "The program.").const_label("version", version);
        registered(&registry, IntGauge::with_opts(build)?)?.set(1);
        registry.register(Box::new(Process::new()?))?;
        Ok(metrics)
    }

    /// What a candidate is to count in.
    pub fn claims(&self) -> Claims<'_> {
        Claims::new(self)
    }

    /// The counts of requests that matched no route.
    pub fn unrouted(&self) -> RouteMetrics {
        let mut routes = self.board.routes.lock();
        RouteMetrics::of(routes.entry("".into()).or_default().clone())
    }

    /// A sink that counts a request of this route and service.
    pub fn counting<'a>(&'a self, route: &'a RouteMetrics, service: Option<&'a ServiceMetrics>) -> Counting<'a> {
        Counting { metrics: self, route, service }
    }

    /// Counts a finished request.
    fn record(&self, event: &Event<'_>, route: &RouteMetrics, service: Option<&ServiceMetrics>) {
        let facts = &event.facts;
        let counts = route.used();
        let method = event.method.map_or(OTHER_METHOD, method_index);
        let status = facts.status.map_or(0, |status| status.as_u16());
        counts.outcomes.add(usize::from(method) * 5 + usize::from(status), (method, status));
        counts.durations.observe(facts.duration);
        if let Some((service, time)) = service.zip(facts.upstream_time) {
            service.0.used().times.observe(time);
        }
        if let Some(bytes) = facts.bytes_in.filter(|bytes| *bytes > 0) {
            self.request_bytes.inc_by(bytes);
        }
        if let Some(bytes) = facts.bytes_out {
            self.response_bytes.inc_by(bytes);
        }
    }

    /// Counts an answer of our own by its code.
    pub fn refused(&self, code: &'static str) {
        self.board.refusals.add(0, code);
    }

    /// Counts a request as being served, until `end_request`.
    pub fn begin_request(&self) {
        self.in_flight.inc();
    }

    /// Counts it so no longer.
    pub fn end_request(&self) {
        self.in_flight.dec();
    }

    /// Requests being served.
    pub fn requests_in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Open client connections.
    pub fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    /// Counts a connection that came to nothing before its first request.
    pub fn turned_away(&self, reason: &'static str) {
        self.turned_away.with_label_values(&[reason]).inc();
    }

    /// Counts an HTTP/2 connection that is closed for what its client did.
    pub fn cut(&self, reason: &'static str) {
        self.cut.with_label_values(&[reason]).inc();
    }

    /// So much memory is taken by answers that wait to be taken, and so many began to wait for it.
    pub fn answers_wait(&self, bytes: u64, began: u64) {
        self.answer_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.answer_waits.inc_by(began);
    }

    /// Counts connections whose answers were given up for room.
    pub fn gave_up(&self, connections: u64) {
        self.answers_given_up.inc_by(connections);
    }

    /// Counts a client's connection, and as open while the guard lives.
    pub fn connection(&self) -> Open {
        self.connections_total.inc();
        Open::of(&self.connections)
    }

    /// Counts a connection as one that has asked nothing yet while the guard lives.
    pub fn newcomer(&self) -> Open {
        Open::of(&self.newcomers)
    }

    /// Open client connections before their first request.
    pub fn newcomers(&self) -> i64 {
        self.newcomers.get()
    }

    /// Counts an attempt to reload.
    pub fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[if applied { "applied" } else { "refused" }]).inc();
    }

    /// Says which revision serves.
    pub fn set_plan_revision(&self, revision: u64) {
        self.plan_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }

    /// All metrics, and those of others, in Prometheus' text format.
    pub fn render(&self, others: Vec<MetricFamily>) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(Some(self.policies.family()).filter(|family| !family.get_metric().is_empty()));
        families.extend(others);
        TextEncoder::new().encode_to_string(&families)
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn registered_shared(registry: &Registry, board: Board) -> prometheus::Result<Arc<Board>> {
    let board = Arc::new(board);
    registry.register(Box::new(SharedBoard(Arc::clone(&board))))?;
    Ok(board)
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
    pub(super) routes: ByName<RouteCounts>,
    pub(super) services: ByName<ServiceCounts>,
    refusals: Tally<&'static str, CODES>,
    descriptions: Vec<Desc>,
}

const REQUESTS: (&str, &str, &[&str]) =
    ("gatekeeper_requests_total", "Requests by route, method and status.", &["route", "method", "status"]);
const DURATIONS: (&str, &str, &[&str]) =
    ("gatekeeper_request_duration_seconds", "From a request's first byte to its response's last.", &["route"]);
const UPSTREAM: (&str, &str, &[&str]) =
    ("gatekeeper_upstream_duration_seconds", "Time spent waiting for a service.", &["service"]);
const WAITS: (&str, &str, &[&str]) =
    ("gatekeeper_queue_duration_seconds", "Time requests waited for room at a service.", &["service"]);
/// The counters of services: what they count, and the label that tells apart what happened, if there is one.
const HAPPENED: [(What, &str, &str, &[&str]); 5] = [
    (What::Retry, "gatekeeper_retries_total", "Further attempts, by what the last came to.", &["service", "reason"]),
    (
        What::BudgetExhausted,
        "gatekeeper_retry_budget_exhausted_total",
        "Further attempts that the budget did not allow.",
        &["service"],
    ),
    (What::Transition, "gatekeeper_breaker_transitions_total", "Transitions of circuit breakers.", &["service", "to"]),
    (What::Ejection, "gatekeeper_ejections_total", "Ejections of single targets.", &["service"]),
    (What::Check, "gatekeeper_health_checks_total", "Health checks of targets.", &["service", "outcome"]),
];
const REFUSALS: (&str, &str, &[&str]) = ("gatekeeper_refusals_total", "Answers of the gateway itself.", &["code"]);

impl Board {
    fn new() -> prometheus::Result<Board> {
        let descriptions =
            [REQUESTS, DURATIONS, UPSTREAM, WAITS, REFUSALS].map(|(name, help, labels)| describe(name, help, labels));
        let happened = HAPPENED.map(|(_, name, help, labels)| describe(name, help, labels));
        Ok(Board {
            routes: ByName::default(),
            services: ByName::default(),
            refusals: Tally::default(),
            descriptions: descriptions.into_iter().chain(happened).collect::<Result<_, _>>()?,
        })
    }

    fn refusals(&self) -> Vec<proto::Metric> {
        let refusal = |(code, count): (Option<&str>, u64)| {
            sample(&[("code", code.unwrap_or(OTHER))], MetricType::COUNTER, count as f64)
        };
        self.refusals.counts().map(refusal).collect()
    }
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
struct SharedBoard(Arc<Board>);

impl Collector for SharedBoard {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (routes, services) = (used(&self.0.routes), used(&self.0.services));
        let routes = || routes.iter().filter_map(|(name, named)| Some((&**name, named.counts.get()?)));
        let services = || services.iter().filter_map(|(name, named)| Some((&**name, named.counts.get()?)));
        let requests = routes().flat_map(|(name, counts)| requests(name, counts)).collect();
        let durations = routes().map(|(name, counts)| counts.durations.metric("route", name)).collect();
        let upstream = services().map(|(name, counts)| counts.times.metric("service", name)).collect();
        let waits = services().map(|(name, counts)| counts.waits.metric("service", name)).collect();
        let happened = HAPPENED.map(|(what, name, help, labels)| {
            let metrics = services().flat_map(|(service, counts)| happened(service, counts, what, labels));
            family(name, help, MetricType::COUNTER, metrics.collect())
        });
        let families = [
            (REQUESTS, MetricType::COUNTER, requests),
            (DURATIONS, MetricType::HISTOGRAM, durations),
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
    use crate::observe::record::tests::{event, headless};
    use http::{HeaderMap, StatusCode};
    use std::collections::BTreeMap;
    use std::thread;
    use std::time::Duration;

    fn metrics() -> Metrics {
        Metrics::new("1.2.3").unwrap()
    }

    /// The counts of a plan's routes when it has come to serve; it has a service, too.
    fn serve<const N: usize>(metrics: &Metrics, routes: [&str; N]) -> [RouteMetrics; N] {
        let claims = metrics.claims();
        let counts = routes.map(|route| claims.route(route));
        claims.service("content");
        claims.show();
        counts
    }

    fn record(metrics: &Metrics, route: &RouteMetrics, method: &Method, status: u16, milliseconds: u64) {
        let none = HeaderMap::new();
        let mut event = event(&none);
        event.method = Some(method);
        (event.facts.status, event.facts.duration) =
            (StatusCode::from_u16(status).ok(), Duration::from_millis(milliseconds));
        metrics.record(&event, route, Some(&metrics.claims().service("content")));
    }

    /// A small reader of the text format: series to values. A series may come once, after its family's TYPE.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let (mut series, mut kind) = (BTreeMap::new(), String::new());
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let words: Vec<_> = comment.splitn(3, ' ').collect();
                assert!(["HELP", "TYPE"].contains(&words[0]), "{line}");
                kind = words[1].into();
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(&kind), "{line} stands under {kind}");
            assert!(series.insert(name.into(), value.parse().unwrap()).is_none(), "{line} comes twice");
        }
        series
    }

    fn scrape(metrics: &Metrics) -> BTreeMap<String, f64> {
        parse(&metrics.render(Vec::new()).unwrap())
    }

    #[test]
    fn tells_routes_methods_and_statuses_apart() {
        let metrics = metrics();
        let [content] = serve(&metrics, ["content"]);
        let none = metrics.unrouted();
        record(&metrics, &content, &Method::GET, 200, 1);
        record(&metrics, &content, &Method::GET, 200, 1);
        record(&metrics, &content, &Method::POST, 502, 1);
        record(&metrics, &content, &Method::from_bytes(b"BREW").unwrap(), 0, 1);
        record(&metrics, &none, &Method::PATCH, 404, 1);
        metrics.counting(&none, None).take(&headless());
        let series = scrape(&metrics);
        let count = |labels: &str| series[&format!("gatekeeper_requests_total{{{labels}}}")];
        assert_eq!(count(r#"route="content",method="GET",status="200""#), 2.0);
        assert_eq!(count(r#"route="content",method="POST",status="502""#), 1.0);
        assert_eq!(count(r#"route="content",method="other",status="0""#), 1.0);
        assert_eq!(count(r#"route="",method="PATCH",status="404""#), 1.0);
        assert_eq!(count(r#"route="",method="other",status="0""#), 1.0, "nothing is known of it");
        assert_eq!(series["gatekeeper_response_bytes_total"], 5.0 * 64.0);
        assert_eq!(series["gatekeeper_request_bytes_total"], 0.0);
    }

    #[test]
    fn every_registered_method_has_its_name() {
        for (at, name) in METHODS.iter().enumerate() {
            assert_eq!(usize::from(method_index(&Method::from_bytes(name.as_bytes()).unwrap())), at);
        }
    }

    #[test]
    fn histograms_are_cumulative_and_end_with_everything() {
        let metrics = metrics();
        let [route] = serve(&metrics, ["content"]);
        for milliseconds in [0, 1, 3, 3, 70, 2_000, 90_000] {
            record(&metrics, &route, &Method::GET, 200, milliseconds);
        }
        let series = scrape(&metrics);
        let bucket = "gatekeeper_request_duration_seconds_bucket{route=\"content\",le=\"";
        let mut buckets: Vec<(f64, f64)> = series
            .iter()
            .filter_map(|(name, count)| {
                Some((name.strip_prefix(bucket)?.strip_suffix("\"}")?.parse().unwrap(), *count))
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert_eq!(buckets.len(), 17);
        assert!(buckets.is_sorted_by_key(|bucket| bucket.1));
        assert!(buckets.contains(&(0.005, 4.0)) && buckets.contains(&(60.0, 6.0)));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 7.0)));
        assert_eq!(series["gatekeeper_request_duration_seconds_count{route=\"content\"}"], 7.0);
        assert!((series["gatekeeper_request_duration_seconds_sum{route=\"content\"}"] - 92.077).abs() < 1e-9);
        assert_eq!(series["gatekeeper_upstream_duration_seconds_count{service=\"content\"}"], 7.0);
    }

    #[test]
    fn counting_goes_on_across_reloads_and_ends_with_the_route() {
        let metrics = metrics();
        let [old] = serve(&metrics, ["content"]);
        record(&metrics, &old, &Method::GET, 200, 1);
        record(&metrics, &metrics.unrouted(), &Method::GET, 404, 1);
        let [new] = serve(&metrics, ["content"]);
        record(&metrics, &new, &Method::GET, 200, 1);
        let series = "gatekeeper_requests_total{route=\"content\",method=\"GET\",status=\"200\"}";
        assert_eq!(scrape(&metrics)[series], 2.0);
        metrics.claims().show();
        metrics.record(&event(&HeaderMap::new()), &old, None);
        let text = metrics.render(Vec::new()).unwrap();
        assert!(!text.contains("content"), "{text}");
        assert!(text.contains("route=\"\""));
    }

    #[test]
    fn a_candidate_that_is_refused_leaves_nothing_behind() {
        let metrics = metrics();
        let [serving] = serve(&metrics, ["content"]);
        record(&metrics, &serving, &Method::GET, 200, 1);
        let before = scrape(&metrics).into_keys().collect::<Vec<_>>();
        let claims = metrics.claims();
        let (same, other, policy) = (claims.route("content"), claims.route("other"), claims.policy("auth", "jwt"));
        record(&metrics, &same, &Method::GET, 200, 1);
        record(&metrics, &other, &Method::GET, 200, 1);
        claims.service("other");
        policy.refused.inc();
        drop(claims);
        let after = scrape(&metrics);
        assert_eq!(after.keys().cloned().collect::<Vec<_>>(), before);
        assert_eq!(after["gatekeeper_requests_total{route=\"content\",method=\"GET\",status=\"200\"}"], 2.0);
    }

    #[test]
    fn routes_without_traffic_are_not_shown() {
        let metrics = metrics();
        let claims = metrics.claims();
        let routes: Vec<_> = (0..100_000).map(|n| claims.route(&format!("r{n}"))).collect();
        claims.show();
        assert!(!metrics.render(Vec::new()).unwrap().contains("route="));
        record(&metrics, &routes[7], &Method::GET, 200, 1);
        let requests =
            scrape(&metrics).into_keys().filter(|name| name.starts_with("gatekeeper_requests_total")).count();
        assert_eq!(requests, 1);
    }

    #[test]
    fn more_outcomes_than_cells_are_counted_together() {
        let metrics = metrics();
        let [route] = serve(&metrics, ["wild"]);
        (0..100).for_each(|n| record(&metrics, &route, &Method::GET, 200 + n, 1));
        let series = scrape(&metrics);
        let requests: Vec<_> =
            series.iter().filter(|(name, _)| name.starts_with("gatekeeper_requests_total")).collect();
        assert_eq!(requests.len(), OUTCOMES + 1);
        assert_eq!(series["gatekeeper_requests_total{route=\"wild\",method=\"other\",status=\"other\"}"], 76.0);
    }

    #[test]
    fn guards_count_while_they_live() {
        let metrics = metrics();
        metrics.begin_request();
        let connection = metrics.connection();
        let during = scrape(&metrics);
        metrics.end_request();
        drop(connection);
        let after = scrape(&metrics);
        for name in ["gatekeeper_requests_in_flight", "gatekeeper_connections"] {
            assert_eq!((during[name], after[name]), (1.0, 0.0), "{name}");
        }
        assert_eq!(after["gatekeeper_connections_total"], 1.0);
    }

    #[test]
    fn shows_the_rest() {
        let metrics = metrics();
        metrics.set_plan_revision(7);
        metrics.reloaded(true);
        metrics.reloaded(false);
        metrics.reloaded(false);
        metrics.refused("no_route");
        metrics.refused("no_route");
        metrics.refused("bad_path");
        let series = scrape(&metrics);
        assert_eq!(series["gatekeeper_plan_revision"], 7.0);
        assert_eq!(series["gatekeeper_reloads_total{outcome=\"applied\"}"], 1.0);
        assert_eq!(series["gatekeeper_reloads_total{outcome=\"refused\"}"], 2.0);
        assert_eq!(series["gatekeeper_refusals_total{code=\"no_route\"}"], 2.0);
        assert_eq!(series["gatekeeper_refusals_total{code=\"bad_path\"}"], 1.0);
        assert_eq!(series["gatekeeper_build_info{version=\"1.2.3\"}"], 1.0);
        for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds"] {
            assert!(series[&format!("process_{name}")] >= 0.0, "{name}");
        }
    }

    #[test]
    fn eight_threads_count_exactly_while_scraped() {
        let metrics = metrics();
        let [route] = serve(&metrics, ["content"]);
        thread::scope(|scope| {
            for n in 0..8 {
                let (metrics, route) = (&metrics, route.clone());
                scope.spawn(move || {
                    (0..10_000)
                        .for_each(|i| record(metrics, &route, &Method::GET, 200 + (n + i) % 7, u64::from(i % 9)));
                });
            }
            (0..5).for_each(|_| drop(scrape(&metrics)));
        });
        let series = scrape(&metrics);
        let all = series.iter().filter(|(name, _)| name.starts_with("gatekeeper_requests_total"));
        assert_eq!(all.clone().count(), 7);
        assert_eq!(all.map(|(_, count)| count).sum::<f64>(), 80_000.0);
        assert_eq!(series["gatekeeper_request_duration_seconds_count{route=\"content\"}"], 80_000.0);
        assert_eq!(series["gatekeeper_response_bytes_total"], 80_000.0 * 64.0);
    }
}
