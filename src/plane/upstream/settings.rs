//! What a service's settings come to: policies that make sense, or faults with their places.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::check::Check;
use super::gate::Room;
use super::line::Queue;
use super::pool::{self, Balancing};
use gatekeeper_core::breaker::{self, Failures, Rate};
use gatekeeper_core::outlier;
use gatekeeper_core::retry::Allowance;
use gatekeeper_model::raw::{self, CircuitBreaker};
use gatekeeper_model::{Fault, Faults, Place};

/// A breaker stays open no longer at first.
const LONGEST_OPEN: Duration = Duration::from_secs(86_400);

/// A service's settings, compiled.
pub struct Settings {
    /// How its requests are spread.
    pub balancing: Balancing,
    /// In which time an endpoint comes back to its full share.
    pub slow_start: Option<Duration>,
    /// When it gets no requests.
    pub breaker: Option<breaker::Policy>,
    /// When an endpoint gets none.
    pub ejection: outlier::Policy,
    /// What its retries may cost.
    pub allowance: Allowance,
    /// How its endpoints are asked whether they are well.
    pub check: Option<Arc<Check>>,
    /// How many requests it takes at once.
    pub room: Option<Room>,
    /// How long requests wait for room at an endpoint.
    pub queue: Queue,
    failure_statuses: Box<[StatusCode]>,
}

impl Settings {
    /// Compiles the settings of a service; faults are reported below `at`.
    pub fn compile(raw: &raw::Service, at: &Place, faults: &mut Faults) -> Option<Settings> {
        let balancing = Balancing::parse(&raw.load_balancing);
        if balancing.is_none() {
            faults.push(at.key("load_balancing"), format!("{:?}", raw.load_balancing), pool::ALLOWED);
        }
        check_numbers(raw, at, faults);
        let check = raw.health_check.as_ref();
        let check = check.map(|check| Check::compile(check, &at.key("health_check"), faults));
        let breaker = &at.key("circuit_breaker");
        let failures = failures(&raw.circuit_breaker, breaker, faults);
        let failure_statuses = failure_statuses(&raw.circuit_breaker, breaker, faults);
        let CircuitBreaker { success_threshold, timeout, max_timeout, probe_timeout, .. } = raw.circuit_breaker;
        // What is out of its own bounds is told elsewhere.
        if max_timeout < timeout && timeout.0 <= LONGEST_OPEN {
            faults.push(breaker.key("timeout"), timeout.to_string(), format!("at most {max_timeout} (max_timeout)"));
        }
        let policy = breaker::Policy {
            failures: failures?,
            success_threshold,
            timeout: timeout.0,
            max_timeout: max_timeout.0,
            probe_timeout: probe_timeout.0,
        };
        let queue = Queue { length: raw.queue.length, timeout: raw.queue.timeout.0 };
        Some(Settings {
            balancing: balancing?,
            slow_start: raw.slow_start.map(|period| period.0),
            breaker: raw.circuit_breaker.enabled.0.then_some(policy),
            ejection: ejection(&raw.ejection),
            allowance: Allowance {
                share: raw.retry_budget.share,
                floor: raw.retry_budget.per_second,
                saved: raw.retry_budget.saved.0,
            },
            check: match check {
                Some(check) => Some(Arc::new(check?)),
                None => None,
            },
            room: raw.max_in_flight.map(|most| Room { most, queue }),
            queue,
            failure_statuses,
        })
    }

    /// Whether a response of this status is a failure of the service.
    pub fn is_failure(&self, status: StatusCode) -> bool {
        self.failure_statuses.contains(&status)
    }
}

fn check_numbers(raw: &raw::Service, at: &Place, faults: &mut Faults) {
    let breaker = at.key("circuit_breaker");
    let numbers = [
        (breaker.key("success_threshold"), raw.circuit_breaker.success_threshold, 1..=10_000),
        (at.key("ejection").key("failures"), raw.ejection.failures, 1..=10_000),
        (at.key("retry_budget").key("per_second"), raw.retry_budget.per_second, 0..=100_000),
        (at.key("max_in_flight"), raw.max_in_flight.unwrap_or(1), 1..=10_000_000),
        (at.key("queue").key("length"), raw.queue.length, 0..=1_000_000),
    ];
    for (place, found, range) in numbers {
        if !range.contains(&found) {
            faults.push(place, found.to_string(), format!("{} to {}", range.start(), range.end()));
        }
    }
    if !(0.0..=1.0).contains(&raw.retry_budget.share) {
        faults.push(at.key("retry_budget").key("share"), raw.retry_budget.share.to_string(), "0 to 1");
    }
    if raw.ejection.max < raw.ejection.base {
        let allowed = format!("at most {} (max)", raw.ejection.max);
        faults.push(at.key("ejection").key("base"), raw.ejection.base.to_string(), allowed);
    }
}

fn failures(raw: &CircuitBreaker, at: &Place, faults: &mut Faults) -> Option<Failures> {
    match (raw.failure_threshold, &raw.ratio) {
        (Some(_), Some(_)) => {
            let fault = "failure_threshold and ratio both say when it opens";
            faults.add(Fault::saying(at.key("ratio"), fault).with_hint("keep one of them"));
            None
        }
        (None, Some(ratio)) => {
            let rate = Rate::new(ratio.rate);
            if rate.is_none() {
                faults.push(at.key("ratio").key("rate"), ratio.rate.to_string(), "more than 0, at most 1");
            }
            if ratio.min_requests == 0 {
                faults.push(at.key("ratio").key("min_requests"), "0", "1 or more");
            }
            Some(Failures::Ratio { rate: rate?, window: ratio.window.0, min_requests: ratio.min_requests })
        }
        (Some(threshold), None) if !(1..=10_000).contains(&threshold) => {
            faults.push(at.key("failure_threshold"), threshold.to_string(), "1 to 10000");
            None
        }
        (Some(threshold), None) => Some(Failures::Consecutive(threshold)),
        (None, None) => Some(breaker::Policy::default().failures),
    }
}

fn failure_statuses(raw: &CircuitBreaker, at: &Place, faults: &mut Faults) -> Box<[StatusCode]> {
    let mut statuses = Vec::new();
    for (index, found) in raw.failure_statuses.iter().enumerate() {
        match StatusCode::from_u16(*found) {
            Ok(status) if status.is_client_error() || status.is_server_error() => statuses.push(status),
            _ => faults.push(at.key("failure_statuses").index(index), found.to_string(), "400 to 599"),
        }
    }
    statuses.into()
}

fn ejection(raw: &raw::Ejection) -> outlier::Policy {
    let failures = if raw.enabled.0 { raw.failures } else { u32::MAX };
    outlier::Policy { failures, base: raw.base.0, cap: raw.max.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn compile(mut json: Value) -> (Option<Settings>, Vec<String>) {
        json["targets"] = json!([]);
        let raw = serde_json::from_value(json).unwrap();
        let mut faults = Faults::default();
        let settings = Settings::compile(&raw, &Place::new("app"), &mut faults);
        (settings, faults.faults().into_iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_written_is_what_holds() {
        let (settings, faults) = compile(json!({
            "load_balancing": "hash:cookie:sid", "slow_start": "10s", "max_in_flight": 7,
            "queue": { "length": 3, "timeout": "2s" },
            "circuit_breaker": { "failure_threshold": 9, "failure_statuses": [404, 500] },
            "ejection": { "failures": 4, "base": "1s", "max": "3s" },
            "retry_budget": { "share": 0.5, "per_second": 1, "saved": "4s" },
        }));
        let settings = settings.unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        let seconds = Duration::from_secs;
        let queue = Queue { length: 3, timeout: seconds(2) };
        assert_eq!(settings.slow_start, Some(seconds(10)));
        assert_eq!((settings.room, settings.queue), (Some(Room { most: 7, queue }), queue));
        assert_eq!(settings.breaker.map(|breaker| breaker.failures), Some(Failures::Consecutive(9)));
        assert_eq!(settings.ejection, outlier::Policy { failures: 4, base: seconds(1), cap: seconds(3) });
        assert_eq!(settings.allowance, Allowance { share: 0.5, floor: 1, saved: seconds(4) });
        let failures = [404, 500, 502].map(|status| settings.is_failure(StatusCode::from_u16(status).unwrap()));
        assert_eq!(failures, [true, true, false]);
    }

    #[test]
    fn what_is_not_written_is_as_documented_and_what_is_switched_off_never_happens() {
        let settings = compile(json!({})).0.unwrap();
        assert_eq!(settings.breaker, Some(breaker::Policy::default()));
        assert_eq!((settings.ejection, settings.allowance), (outlier::Policy::default(), Allowance::default()));
        assert_eq!((settings.balancing, settings.room), (Balancing::RoundRobin, None));
        let off = json!({ "circuit_breaker": { "enabled": false }, "ejection": { "enabled": false, "failures": 1 } });
        let settings = compile(off).0.unwrap();
        assert_eq!((settings.breaker, settings.ejection.failures), (None, u32::MAX));
    }

    #[test]
    fn every_fault_names_its_place_and_what_is_allowed() {
        let cases = [
            (json!({ "load_balancing": "best" }), r#"app.load_balancing: found "best", allowed: round_robin, random"#),
            (json!({ "load_balancing": "hash:header:" }), r#"app.load_balancing: found "hash:header:""#),
            (json!({ "max_in_flight": 0 }), "app.max_in_flight: found 0, allowed: 1 to 10000000"),
            (json!({ "queue": { "length": 1_000_001 } }), "app.queue.length: found 1000001, allowed: 0 to 1000000"),
            (json!({ "ejection": { "failures": 0 } }), "app.ejection.failures: found 0, allowed: 1 to 10000"),
            (
                json!({ "ejection": { "base": "10s", "max": "9s" } }),
                "app.ejection.base: found 10s, allowed: at most 9s (max)",
            ),
            (json!({ "retry_budget": { "share": 1.1 } }), "app.retry_budget.share: found 1.1, allowed: 0 to 1"),
            (json!({ "retry_budget": { "share": -0.1 } }), "app.retry_budget.share: found -0.1"),
            (json!({ "retry_budget": { "per_second": 100_001 } }), "app.retry_budget.per_second: found 100001"),
            (
                json!({ "circuit_breaker": { "failure_threshold": 0 } }),
                "app.circuit_breaker.failure_threshold: found 0",
            ),
            (
                json!({ "circuit_breaker": { "success_threshold": 0 } }),
                "app.circuit_breaker.success_threshold: found 0",
            ),
            (json!({ "circuit_breaker": { "timeout": "2s", "max_timeout": "1s" } }), "app.circuit_breaker.timeout"),
            (json!({ "circuit_breaker": { "ratio": { "rate": 0.0 } } }), "app.circuit_breaker.ratio.rate: found 0"),
            (json!({ "circuit_breaker": { "ratio": { "rate": 1.01 } } }), "app.circuit_breaker.ratio.rate: found 1.01"),
            (
                json!({ "circuit_breaker": { "ratio": { "min_requests": 0 } } }),
                "app.circuit_breaker.ratio.min_requests",
            ),
            (json!({ "circuit_breaker": { "ratio": {}, "failure_threshold": 3 } }), "app.circuit_breaker.ratio: "),
            (
                json!({ "circuit_breaker": { "failure_statuses": [500, 200] } }),
                "app.circuit_breaker.failure_statuses[1]: found 200, allowed: 400 to 599",
            ),
        ];
        for (json, fault) in cases {
            let faults = compile(json.clone()).1;
            assert!(faults.len() == 1 && faults[0].contains(fault), "{json}: {faults:?}, not {fault:?}");
        }
    }
}
