//! The metrics, in a registry of their own.
//!
//! A plan has a handle for each route and service (`claims`); recording a request through handles is about a
//! dozen atomic additions: no lock, no look-up, no allocation after a route's first request. Counts are kept by name, so
//! counting goes on across reloads. A route that had no request has none, and is not shown.
//!
//! Requests without a route have the route `""`. Methods beyond the nine registered ones and unknown ones are `other`, a status of `0`
//! means that the client went before there was one. A route that answers with more than [`OUTCOMES`] pairs of method and
//! status has the rest under `other`. A route's requests still running when it is dropped are no longer shown.

use std::sync::Arc;

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::board::{Board, SharedBoard};
pub use super::board::{OUTCOMES, RouteMetrics, ServiceMetrics, What};
use super::claims::Claims;
use super::policies::Policies;
use super::process::Process;
pub(crate) use super::tally::{family, sample};
use super::turned_away::TurnedAway;
use gatekeeper_core::event::Event;
use gatekeeper_core::frames;
use gatekeeper_core::sink::Sink;

/// The outcomes of reloads.
const APPLIED: &str = "applied";
const REFUSED: &str = "refused";

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
    reload_successful: IntGauge,
    reload_time: IntGauge,
    pub(super) policies: Policies,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
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
        let counter_by = |label: &str, name: &str, help: &str| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
        };
        let metrics = Metrics {
            board: registered_shared(&registry, Board::new()?)?,
            in_flight: gauge("gatekeeper_requests_in_flight", "Requests in progress.")?,
            connections: gauge("gatekeeper_connections", "Open client connections.")?,
            newcomers: gauge(
                "gatekeeper_connections_without_request",
                "Open client connections without a request yet.",
            )?,
            connections_total: counter("gatekeeper_connections_total", "Accepted client connections.")?,
            turned_away: counter_by(
                "reason",
                "gatekeeper_connections_turned_away_total",
                "Client connections closed before their first request, by reason.",
            )?,
            cut: counter_by(
                "reason",
                "gatekeeper_connections_cut_total",
                "HTTP/2 connections closed for abuse, by reason.",
            )?,
            answer_bytes: gauge(
                "gatekeeper_buffered_answer_bytes",
                "Memory of responses that clients have not read yet, and of compression.",
            )?,
            answer_waits: counter(
                "gatekeeper_answer_waits_total",
                "Responses that were not read from their service at once, for lack of room.",
            )?,
            answers_given_up: counter(
                "gatekeeper_answers_given_up_total",
                "Connections whose responses were given up because the client read nothing.",
            )?,
            plan_revision: gauge("gatekeeper_plan_revision", "The revision of the running configuration.")?,
            request_bytes: counter("gatekeeper_request_bytes_total", "Bytes of request bodies.")?,
            response_bytes: counter("gatekeeper_response_bytes_total", "Bytes of response bodies.")?,
            reloads: counter_by("outcome", "gatekeeper_reloads_total", "Reloads, by outcome.")?,
            reload_successful: gauge(
                "gatekeeper_config_last_reload_successful",
                "1 if the last reload, or the start, was applied; 0 if it was refused.",
            )?,
            reload_time: gauge(
                "gatekeeper_config_last_reload_timestamp_seconds",
                "Time of the last reload, or of the start, in seconds since 1970.",
            )?,
            policies: Policies::default(),
            registry: registry.clone(),
        };
        let build = Opts::new("gatekeeper_build_info", "The version of the program. The value is always 1.")
            .const_label("version", version);
        registered(&registry, IntGauge::with_opts(build)?)?.set(1);
        registry.register(Box::new(Process::new()?))?;
        metrics.begin();
        Ok(metrics)
    }

    /// Shows series from the start whose labels are known: a rate of what was never counted is 0 then, and not absent.
    fn begin(&self) {
        for reason in TurnedAway::ALL {
            self.turned_away.with_label_values(&[reason.name()]);
        }
        for excess in frames::ALL {
            self.cut.with_label_values(&[excess.code]);
        }
        for outcome in [APPLIED, REFUSED] {
            self.reloads.with_label_values(&[outcome]);
        }
        self.note_reload(true);
    }

    /// What a candidate is to count in.
    pub fn claims(&self) -> Claims<'_> {
        Claims::new(self)
    }

    /// The counts of requests that matched no route.
    pub fn unrouted(&self) -> RouteMetrics {
        RouteMetrics::of(self.board.routes.get(""))
    }

    /// A sink that counts a request of this route and service.
    pub fn counting<'a>(&'a self, route: &'a RouteMetrics, service: Option<&'a ServiceMetrics>) -> Counting<'a> {
        Counting { metrics: self, route, service }
    }

    /// Counts a finished request.
    fn record(&self, event: &Event<'_>, route: &RouteMetrics, service: Option<&ServiceMetrics>) {
        let facts = &event.facts;
        let named = (&self.board.routes, event.route.unwrap_or_default());
        route.answered(named, event.method, facts.status, facts.duration);
        if event.would_refuse.is_some() {
            route.would_refuse();
        }
        if let Some((service, time)) = service.zip(facts.upstream_time) {
            service.asked(time);
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
        self.board.refused(code);
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
    pub fn turned_away(&self, reason: TurnedAway) {
        self.turned_away.with_label_values(&[reason.name()]).inc();
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

    /// Open client connections without a request yet.
    pub fn newcomers(&self) -> i64 {
        self.newcomers.get()
    }

    /// Counts an attempt to reload.
    pub fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[if applied { APPLIED } else { REFUSED }]).inc();
        self.note_reload(applied);
    }

    fn note_reload(&self, applied: bool) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.reload_successful.set(applied.into());
        self.reload_time.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::samples::{event, headless};
    use http::{HeaderMap, Method, StatusCode};
    use std::collections::BTreeMap;
    use std::thread;
    use std::time::Duration;

    fn metrics() -> Metrics {
        Metrics::new("1.2.3").unwrap()
    }

    /// A route's name, and where its requests are counted.
    type Counted = (&'static str, RouteMetrics);

    fn unrouted(metrics: &Metrics) -> Counted {
        ("", metrics.unrouted())
    }

    fn claim(claims: &Claims<'_>, route: &'static str) -> Counted {
        (route, claims.route(&route.into()))
    }

    /// The counts of a plan's routes when it has come to serve; it has a service, too.
    fn serve<const N: usize>(metrics: &Metrics, routes: [&'static str; N]) -> [Counted; N] {
        let claims = metrics.claims();
        let counts = routes.map(|route| claim(&claims, route));
        claims.service("content");
        claims.show();
        counts
    }

    fn record(metrics: &Metrics, &(name, ref route): &Counted, method: &Method, status: u16, milliseconds: u64) {
        let none = HeaderMap::new();
        let mut event = event(&none);
        (event.route, event.method) = (Some(name), Some(method));
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
        let none = unrouted(&metrics);
        record(&metrics, &content, &Method::GET, 200, 1);
        record(&metrics, &content, &Method::GET, 200, 1);
        record(&metrics, &content, &Method::POST, 502, 1);
        record(&metrics, &content, &Method::from_bytes(b"BREW").unwrap(), 0, 1);
        record(&metrics, &none, &Method::PATCH, 404, 1);
        metrics.counting(&none.1, None).take(&headless());
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
        record(&metrics, &unrouted(&metrics), &Method::GET, 404, 1);
        let [new] = serve(&metrics, ["content"]);
        record(&metrics, &new, &Method::GET, 200, 1);
        let series = "gatekeeper_requests_total{route=\"content\",method=\"GET\",status=\"200\"}";
        assert_eq!(scrape(&metrics)[series], 2.0);
        metrics.claims().show();
        record(&metrics, &old, &Method::GET, 200, 1);
        let text = metrics.render(Vec::new()).unwrap();
        assert!(!text.contains("\"content\""), "{text}");
        assert!(text.contains("route=\"\""));
    }

    #[test]
    fn a_request_may_outlive_its_plan() {
        let metrics = metrics();
        let [stays, goes] = serve(&metrics, ["stays", "goes"]);
        let [next] = serve(&metrics, ["stays"]);
        // The first requests of these routes end only now.
        for route in [&stays, &goes, &next] {
            record(&metrics, route, &Method::GET, 200, 1);
        }
        let series = scrape(&metrics);
        assert_eq!(series["gatekeeper_requests_total{route=\"stays\",method=\"GET\",status=\"200\"}"], 2.0);
        assert!(!series.keys().any(|name| name.contains("goes")));
    }

    #[test]
    fn a_candidate_that_is_refused_leaves_nothing_behind() {
        let metrics = metrics();
        let [serving] = serve(&metrics, ["content"]);
        record(&metrics, &serving, &Method::GET, 200, 1);
        let before = scrape(&metrics).into_keys().collect::<Vec<_>>();
        let claims = metrics.claims();
        let (same, other) = (claim(&claims, "content"), claim(&claims, "other"));
        let policy = claims.policy("auth", "jwt");
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
        let routes: Vec<_> = (0..100_000).map(|n| claims.route(&format!("r{n}").into())).collect();
        claims.show();
        assert!(!metrics.render(Vec::new()).unwrap().contains("route="));
        record(&metrics, &("r7", routes[7].clone()), &Method::GET, 200, 1);
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
        assert_eq!(series["gatekeeper_config_last_reload_successful"], 0.0);
        assert_eq!(series["gatekeeper_build_info{version=\"1.2.3\"}"], 1.0);
        for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds", "start_time_seconds"] {
            assert!(series[&format!("process_{name}")] >= 0.0, "{name}");
        }
    }

    #[test]
    fn what_may_happen_is_shown_before_it_does() {
        let metrics = metrics();
        let series = scrape(&metrics);
        for name in [
            "connections_turned_away_total{reason=\"tls_handshake\"}",
            "connections_turned_away_total{reason=\"plain_http\"}",
            "connections_cut_total{reason=\"h2_resets\"}",
            "connections_cut_total{reason=\"h2_head_timeout\"}",
            "reloads_total{outcome=\"applied\"}",
            "reloads_total{outcome=\"refused\"}",
            "refusals_total{code=\"no_route\"}",
            "refusals_total{code=\"value_space\"}",
        ] {
            assert_eq!(series.get(&format!("gatekeeper_{name}")), Some(&0.0), "{name}");
        }
        assert_eq!(series["gatekeeper_config_last_reload_successful"], 1.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - series["gatekeeper_config_last_reload_timestamp_seconds"]).abs() < 60.0);
        let codes = series.keys().filter(|name| name.starts_with("gatekeeper_refusals_total"));
        let before = codes.count();
        metrics.refused("no_route");
        metrics.refused("path_too_long");
        let after = scrape(&metrics);
        assert_eq!(after["gatekeeper_refusals_total{code=\"no_route\"}"], 1.0);
        assert_eq!(after.keys().filter(|name| name.starts_with("gatekeeper_refusals_total")).count(), before + 1);
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
