//! What periods and amounts may be where nothing else bounds them: what lies outside is a slip of the pen (`30d` for `30s`),
//! and would show only when it is too late.

use std::time::Duration;

use gatekeeper_model::raw::{self, Config};
use gatekeeper_model::size::Size;
use gatekeeper_model::value::Period;
use gatekeeper_model::{Faults, Place};

/// What a period may be.
struct Bounds {
    most: Duration,
    allowed: &'static str,
}

/// The clock by which things are waited for has milliseconds.
const LEAST: Duration = Duration::from_millis(1);
const MINUTES: Bounds = Bounds { most: Duration::from_secs(600), allowed: "1ms to 10m" };
const HOUR: Bounds = Bounds { most: Duration::from_secs(3_600), allowed: "1ms to 1h" };
const DAY: Bounds = Bounds { most: Duration::from_secs(86_400), allowed: "1ms to 1d" };
const WEEK: Bounds = Bounds { most: Duration::from_secs(7 * 86_400), allowed: "1ms to 7d" };
const MONTH: Bounds = Bounds { most: Duration::from_secs(30 * 86_400), allowed: "1ms to 30d" };
const YEAR: Bounds = Bounds { most: Duration::from_secs(365 * 86_400), allowed: "1ms to 365d" };

/// Everybody's bodies are shorter.
const LONGEST_BODY: u64 = 1 << 40;
const REQUESTS: u64 = 1_000_000_000;

type Found<'p> = (Place<'p>, Option<Period>, Bounds);

/// Reports what is out of bounds.
pub fn check(config: &Config, faults: &mut Faults) {
    let of_services = config.services.iter().flat_map(|(name, raw)| of_service(raw, &Place::new("services").key(name)));
    let routes = || config.routes.iter().enumerate().map(|(index, raw)| (Place::new("routes").index(index), raw));
    let of_routes = routes().flat_map(|(place, raw)| of_route(raw, &place));
    for (place, period, bounds) in of_gateway(config).into_iter().chain(of_services).chain(of_routes) {
        if let Some(period) = period.filter(|period| !(LEAST..=bounds.most).contains(&period.0)) {
            faults.push(place, period.to_string(), bounds.allowed);
        }
    }
    let bodies = routes().map(|(place, raw)| (place.key("shields").key("max_body"), raw.shields.max_body));
    for (place, size) in bodies.chain([(Place::new("shields").key("max_body"), config.shields.max_body)]) {
        if let Some(size) = size.filter(|Size(bytes)| *bytes > LONGEST_BODY) {
            faults.push(place, size.to_string(), "at most 1TiB");
        }
    }
    if let Some(requests) = config.limits.keep_alive_requests.filter(|requests| *requests > REQUESTS) {
        let place = Place::new("limits").key("keep_alive_requests");
        faults.push(place, requests.to_string(), format!("at most {REQUESTS}"));
    }
}

fn of_gateway<'p>(config: &Config) -> Vec<Found<'p>> {
    let Config { limits, drain, upstream_pool, .. } = config;
    let drains = Place::new("drain");
    vec![
        (Place::new("limits").key("keep_alive"), Some(limits.keep_alive), DAY),
        (drains.key("lame_duck"), drain.lame_duck, HOUR),
        (drains.key("grace"), Some(drain.grace), DAY),
        (drains.key("upgrade_grace"), Some(drain.upgrade_grace), WEEK),
        (Place::new("upstream_pool").key("idle_timeout"), Some(upstream_pool.idle_timeout), HOUR),
    ]
}

fn of_service<'p>(raw: &raw::Service, place: &Place<'p>) -> Vec<Found<'p>> {
    let (breaker, ejection) = (place.key("circuit_breaker"), place.key("ejection"));
    let check = place.key("health_check");
    let checked = raw.health_check.as_ref();
    vec![
        (place.key("idle_timeout"), raw.idle_timeout, HOUR),
        (place.key("slow_start"), raw.slow_start, DAY),
        (place.key("queue").key("timeout"), Some(raw.queue.timeout), HOUR),
        (breaker.key("timeout"), Some(raw.circuit_breaker.timeout), DAY),
        (breaker.key("max_timeout"), Some(raw.circuit_breaker.max_timeout), WEEK),
        (breaker.key("probe_timeout"), Some(raw.circuit_breaker.probe_timeout), DAY),
        (breaker.key("ratio").key("window"), raw.circuit_breaker.ratio.as_ref().map(|ratio| ratio.window), HOUR),
        (ejection.key("base"), Some(raw.ejection.base), DAY),
        (ejection.key("max"), Some(raw.ejection.max), WEEK),
        (place.key("retry_budget").key("saved"), Some(raw.retry_budget.saved), HOUR),
        (check.key("interval"), checked.map(|check| check.interval), DAY),
        (check.key("jitter"), checked.and_then(|check| check.jitter), DAY),
        (check.key("timeout"), checked.map(|check| check.timeout), MINUTES),
        (check.key("slow"), checked.map(|check| check.slow), MINUTES),
    ]
}

fn of_route<'p>(raw: &raw::Route, place: &Place<'p>) -> Vec<Found<'p>> {
    let (timeouts, backoff) = (place.key("timeouts"), place.key("retry").key("backoff"));
    let websocket = place.key("websocket");
    vec![
        (place.key("timeout"), raw.timeout, WEEK),
        (timeouts.key("connect"), Some(raw.timeouts.connect), MINUTES),
        (timeouts.key("first_byte"), raw.timeouts.first_byte, DAY),
        (timeouts.key("idle"), Some(raw.timeouts.idle), MONTH),
        (backoff.key("base"), Some(raw.retry.backoff.base), MINUTES),
        (backoff.key("max"), Some(raw.retry.backoff.max), MINUTES),
        (websocket.key("idle"), raw.websocket.idle, MONTH),
        (websocket.key("max_life"), raw.websocket.max_life, YEAR),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatekeeper_model::parse;

    fn faults(text: &str) -> Vec<String> {
        let (loaded, mut faults) = parse(text);
        check(&loaded.unwrap().config, &mut faults);
        faults.faults().into_iter().map(ToString::to_string).collect()
    }

    /// Every period there is, with what is just within its bounds and what is just beyond.
    #[test]
    fn periods_are_bounded_at_both_ends() {
        let cases = [
            ("limits: { keep_alive: PERIOD }", "limits.keep_alive", "1d"),
            ("drain: { lame_duck: PERIOD }", "drain.lame_duck", "1h"),
            ("drain: { grace: PERIOD }", "drain.grace", "1d"),
            ("drain: { upgrade_grace: PERIOD }", "drain.upgrade_grace", "7d"),
            ("upstream_pool: { idle_timeout: PERIOD }", "upstream_pool.idle_timeout", "1h"),
            ("services: { a: { targets: [], idle_timeout: PERIOD } }", "services.a.idle_timeout", "1h"),
            ("services: { a: { targets: [], slow_start: PERIOD } }", "services.a.slow_start", "1d"),
            ("services: { a: { targets: [], queue: { timeout: PERIOD } } }", "services.a.queue.timeout", "1h"),
            (
                "services: { a: { targets: [], circuit_breaker: { timeout: PERIOD } } }",
                "services.a.circuit_breaker.timeout",
                "1d",
            ),
            (
                "services: { a: { targets: [], circuit_breaker: { ratio: { window: PERIOD } } } }",
                "services.a.circuit_breaker.ratio.window",
                "1h",
            ),
            ("services: { a: { targets: [], ejection: { max: PERIOD } } }", "services.a.ejection.max", "7d"),
            (
                "services: { a: { targets: [], retry_budget: { saved: PERIOD } } }",
                "services.a.retry_budget.saved",
                "1h",
            ),
            (
                "services: { a: { targets: [], health_check: { path: /, timeout: PERIOD } } }",
                "services.a.health_check.timeout",
                "10m",
            ),
            ("routes: [{ name: r, path_pattern: /, timeout: PERIOD }]", "routes[0].timeout", "7d"),
            (
                "routes: [{ name: r, path_pattern: /, timeouts: { connect: PERIOD } }]",
                "routes[0].timeouts.connect",
                "10m",
            ),
            ("routes: [{ name: r, path_pattern: /, timeouts: { idle: PERIOD } }]", "routes[0].timeouts.idle", "30d"),
            (
                "routes: [{ name: r, path_pattern: /, retry: { backoff: { max: PERIOD } } }]",
                "routes[0].retry.backoff.max",
                "10m",
            ),
            (
                "routes: [{ name: r, path_pattern: /, websocket: { max_life: PERIOD } }]",
                "routes[0].websocket.max_life",
                "365d",
            ),
        ];
        for (text, place, most) in cases {
            let with = |period: &str| faults(&format!("version: 1\n{}\n", text.replace("PERIOD", period)));
            assert_eq!(with("1ms"), [""; 0], "{text}");
            assert_eq!(with(most), [""; 0], "{text}");
            for beyond in ["0.0009s", "36500d"] {
                let told = with(beyond);
                let [told] = &told[..] else { panic!("{text} {beyond}: {told:?}") };
                assert!(told.contains(&format!("{place}: found ")), "{told}");
                assert!(told.ends_with(&format!("allowed: 1ms to {most}")), "{told}");
            }
        }
    }

    #[test]
    fn amounts_are_bounded() {
        let told = |text: &str| faults(&format!("version: 1\n{text}\n"));
        assert_eq!(told("shields: { max_body: 1TiB }"), [""; 0]);
        assert!(told("shields: { max_body: 2TiB }")[0].contains("shields.max_body: found 2TiB, allowed: at most 1TiB"));
        let route = "routes: [{ name: r, path_pattern: /, shields: { max_body: 2TiB } }]";
        assert!(told(route)[0].contains("routes[0].shields.max_body: found 2TiB"));
        assert!(told("limits: { keep_alive_requests: 1000000001 }")[0].contains("limits.keep_alive_requests"));
    }
}
