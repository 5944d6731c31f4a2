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

/// The keys that lead to a period, what it is, and what it may be. There may be a hundred thousand routes: a place is made only
/// of what is out of bounds.
type Found = (&'static [&'static str], Option<Period>, Bounds);

/// Reports what is out of bounds.
pub fn check(config: &Config, faults: &mut Faults) {
    check_periods(of_gateway(config), Place::default, faults);
    for (name, raw) in &config.services {
        check_periods(of_service(raw), || Place::new("services").key(name), faults);
    }
    for (index, raw) in config.routes.iter().enumerate() {
        check_periods(of_route(raw), || Place::new("routes").index(index), faults);
    }
    check_body(config.shields.max_body, || Place::new("shields"), faults);
    for (index, raw) in config.routes.iter().enumerate() {
        check_body(raw.shields.max_body, || Place::new("routes").index(index).key("shields"), faults);
    }
    if let Some(requests) = config.limits.keep_alive_requests.filter(|requests| *requests > REQUESTS) {
        let place = Place::new("limits").key("keep_alive_requests");
        faults.push(place, requests.to_string(), format!("at most {REQUESTS}"));
    }
}

fn check_periods<'p>(found: impl IntoIterator<Item = Found>, place: impl Fn() -> Place<'p>, faults: &mut Faults) {
    for (keys, period, bounds) in found {
        if let Some(period) = period.filter(|period| !(LEAST..=bounds.most).contains(&period.0)) {
            let place = keys.iter().fold(place(), |place, key| place.key(key));
            faults.push(place, period.to_string(), bounds.allowed);
        }
    }
}

fn check_body<'p>(size: Option<Size>, shields: impl Fn() -> Place<'p>, faults: &mut Faults) {
    if let Some(size) = size.filter(|Size(bytes)| *bytes > LONGEST_BODY) {
        faults.push(shields().key("max_body"), size.to_string(), "at most 1TiB");
    }
}

fn of_gateway(config: &Config) -> [Found; 5] {
    let Config { limits, drain, upstream_pool, .. } = config;
    [
        (&["limits", "keep_alive"], Some(limits.keep_alive), DAY),
        (&["drain", "lame_duck"], drain.lame_duck, HOUR),
        (&["drain", "grace"], Some(drain.grace), DAY),
        (&["drain", "upgrade_grace"], Some(drain.upgrade_grace), WEEK),
        (&["upstream_pool", "idle_timeout"], Some(upstream_pool.idle_timeout), HOUR),
    ]
}

fn of_service(raw: &raw::Service) -> [Found; 14] {
    let (breaker, checked) = (&raw.circuit_breaker, raw.health_check.as_ref());
    [
        (&["idle_timeout"], raw.idle_timeout, HOUR),
        (&["slow_start"], raw.slow_start, DAY),
        (&["queue", "timeout"], Some(raw.queue.timeout), HOUR),
        (&["circuit_breaker", "timeout"], Some(breaker.timeout), DAY),
        (&["circuit_breaker", "max_timeout"], Some(breaker.max_timeout), WEEK),
        (&["circuit_breaker", "probe_timeout"], Some(breaker.probe_timeout), DAY),
        (&["circuit_breaker", "ratio", "window"], breaker.ratio.as_ref().map(|ratio| ratio.window), HOUR),
        (&["ejection", "base"], Some(raw.ejection.base), DAY),
        (&["ejection", "max"], Some(raw.ejection.max), WEEK),
        (&["retry_budget", "saved"], Some(raw.retry_budget.saved), HOUR),
        (&["health_check", "interval"], checked.map(|check| check.interval), DAY),
        (&["health_check", "jitter"], checked.and_then(|check| check.jitter), DAY),
        (&["health_check", "timeout"], checked.map(|check| check.timeout), MINUTES),
        (&["health_check", "slow"], checked.map(|check| check.slow), MINUTES),
    ]
}

fn of_route(raw: &raw::Route) -> [Found; 8] {
    [
        (&["timeout"], raw.timeout, WEEK),
        (&["timeouts", "connect"], Some(raw.timeouts.connect), MINUTES),
        (&["timeouts", "first_byte"], raw.timeouts.first_byte, DAY),
        (&["timeouts", "idle"], Some(raw.timeouts.idle), MONTH),
        (&["retry", "backoff", "base"], Some(raw.retry.backoff.base), MINUTES),
        (&["retry", "backoff", "max"], Some(raw.retry.backoff.max), MINUTES),
        (&["websocket", "idle"], raw.websocket.idle, MONTH),
        (&["websocket", "max_life"], raw.websocket.max_life, YEAR),
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
