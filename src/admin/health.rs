//! How services stand, as the administration tells it.
//!
//! A service is
//! * unhealthy if its requests are refused: no target is available, its breaker is open, or it is drained;
//! * degraded if a target that nobody drained gets no requests or answers slowly, or its breaker is half-open;
//! * healthy if a check found so, else unknown.
//!
//! All services together are unhealthy if each of them is, and degraded if any of them is one or the other. Unknown beside
//! healthy is healthy.
//!
//! Known inaccuracy: what is in flight to a target that has gone is not counted.

use std::time::Instant;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::Control;
use gatekeeper_core::breaker;
use gatekeeper_plane::upstream::endpoint::Endpoint;
use gatekeeper_plane::upstream::health::{Findings, State};
use gatekeeper_plane::upstream::memory::Registered;
use gatekeeper_plane::upstream::service::Service;
use gatekeeper_plane::upstream::target::{Target, Url};

/// How a service stands.
#[derive(Debug, Deserialize, Serialize)]
pub struct ServiceHealth {
    /// Its name.
    pub service_name: String,
    /// Its first target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_url: Option<String>,
    /// What it is.
    pub status: State,
    /// When one of its targets was last checked.
    pub last_check_at: Option<String>,
    /// The mean of its targets' latest response times, in milliseconds.
    pub response_time: Option<f64>,
    /// Bad checks.
    pub error_count: u64,
    /// Good checks.
    pub success_count: u64,
    /// Its requests are refused.
    pub circuit_open: bool,
    /// Where its breaker stands, if it has one.
    pub circuit_state: Option<breaker::State>,
    /// It gets no new requests, by hand.
    pub draining: bool,
    /// Requests in flight to its targets.
    pub in_flight: u64,
    /// Requests that wait for room.
    pub waiting: u64,
    /// Instances of it may register.
    pub registered: bool,
    /// Where it was declared.
    pub source: String,
    /// Its targets, an entry for each address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<TargetHealth>>,
}

/// How one address of a target stands.
#[derive(Debug, Deserialize, Serialize)]
pub struct TargetHealth {
    /// The target's URL.
    pub url: String,
    /// The address; none if its name has none, or its weight is 0.
    pub address: Option<String>,
    /// Its share beside the others'.
    pub weight: u32,
    /// What its checks found.
    pub status: State,
    /// It gets requests.
    pub available: bool,
    /// It gets no new requests, by hand.
    pub drained: bool,
    /// For how many seconds more it gets none because it failed.
    pub ejected_for: Option<f64>,
    /// Requests in flight.
    pub in_flight: u32,
    /// When it was last checked.
    pub last_check_at: Option<String>,
    /// How long its latest good answer took, in milliseconds.
    pub response_time: Option<f64>,
    /// Bad checks.
    pub error_count: u64,
    /// Good checks.
    pub success_count: u64,
    /// It registered itself.
    pub registered: bool,
    /// After how many seconds it goes unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How many of them are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<f64>,
}

/// How all services stand together.
#[derive(Debug, Serialize)]
pub struct AggregatedHealth {
    /// What they are.
    pub status: State,
    /// The gateway's version.
    pub version: &'static str,
    /// The plan that serves.
    pub revision: u64,
    /// Seconds since the gateway started.
    pub uptime_seconds: u64,
    /// Each of them.
    pub services: Vec<ServiceHealth>,
}

/// One moment, by both clocks.
#[derive(Clone, Copy)]
pub struct Clock {
    now: Instant,
    wall: Timestamp,
}

impl Clock {
    /// This moment.
    pub fn now() -> Self {
        Clock { now: Instant::now(), wall: Timestamp::now() }
    }

    /// A moment of the past as others know it.
    fn tell(&self, moment: Instant) -> Option<String> {
        let ago = self.wall.checked_sub(self.now.saturating_duration_since(moment)).ok()?;
        Some(ago.round(Unit::Millisecond).ok()?.to_string())
    }
}

impl ServiceHealth {
    /// How a service stands at this moment.
    pub fn of(service: &Service, clock: Clock) -> Self {
        let pool = service.pool();
        let registered = service.memory.registrations(clock.now);
        let all = service.all_targets();
        let seen = pool.endpoints.iter().map(|endpoint| TargetHealth::of(endpoint, clock));
        let unseen = all.iter().filter(|target| !pool.endpoints.iter().any(|endpoint| endpoint.url == target.url));
        let unseen = unseen.map(|target| TargetHealth::of_none(target, service));
        let targets: Vec<_> = seen.chain(unseen).map(|target| target.with_registration(&registered)).collect();
        let found = || pool.endpoints.iter().map(|endpoint| findings(endpoint));
        let circuit_state = service.breaker.as_ref().map(|breaker| breaker.state(clock.now));
        let draining = service.memory.is_drained();
        ServiceHealth {
            service_name: service.name.to_string(),
            service_url: all.first().map(|target| target.url.to_string()),
            status: status(&targets, circuit_state, draining),
            last_check_at: found().filter_map(|found| found.last_check).max().and_then(|last| clock.tell(last)),
            response_time: mean(targets.iter().filter_map(|target| target.response_time)),
            error_count: targets.iter().map(|target| target.error_count).sum(),
            success_count: targets.iter().map(|target| target.success_count).sum(),
            circuit_open: circuit_state == Some(breaker::State::Open),
            circuit_state,
            draining,
            in_flight: targets.iter().map(|target| u64::from(target.in_flight)).sum(),
            waiting: (service.gate.line.waiting() + service.memory.line.waiting()).into(),
            registered: service.takes_registrations(),
            source: "file".into(),
            targets: Some(targets),
        }
    }
}

impl TargetHealth {
    fn of(endpoint: &Endpoint, clock: Clock) -> Self {
        let (standing, found) = (&endpoint.standing, findings(endpoint));
        let ejected = standing.conduct.ejected_until(clock.now);
        TargetHealth {
            url: endpoint.url.to_string(),
            address: Some(endpoint.peer._address.to_string()),
            weight: endpoint.weight,
            status: found.state,
            available: endpoint.available(clock.now),
            drained: standing.is_drained(),
            ejected_for: ejected.map(|until| until.saturating_duration_since(clock.now).as_secs_f64()),
            in_flight: standing.in_flight(),
            last_check_at: found.last_check.and_then(|last| clock.tell(last)),
            response_time: found.response_time.map(|time| time.as_micros() as f64 / 1000.0),
            error_count: found.error_count,
            success_count: found.success_count,
            registered: false,
            ttl_seconds: None,
            expires_in: None,
        }
    }

    /// A target without an address.
    fn of_none(target: &Target, service: &Service) -> Self {
        TargetHealth {
            url: target.url.to_string(),
            address: None,
            weight: target.weight,
            status: State::Unknown,
            available: false,
            drained: service.memory.is_target_drained(&target.url),
            ejected_for: None,
            in_flight: 0,
            last_check_at: None,
            response_time: None,
            error_count: 0,
            success_count: 0,
            registered: false,
            ttl_seconds: None,
            expires_in: None,
        }
    }

    fn with_registration(self, registered: &[Registered]) -> Self {
        match registered.iter().find(|registered| *registered.url == *self.url) {
            None => self,
            Some(Registered { ttl, left, .. }) => TargetHealth {
                registered: true,
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
                expires_in: left.map(|left| left.as_secs_f64()),
                ..self
            },
        }
    }
}

impl AggregatedHealth {
    /// How these services stand together.
    pub fn of(control: &Control, services: Vec<ServiceHealth>) -> Self {
        AggregatedHealth {
            status: together(&services.iter().map(|service| service.status).collect::<Vec<_>>()),
            version: env!("CARGO_PKG_VERSION"),
            revision: control.plane.live.plan().revision,
            uptime_seconds: control.started.elapsed().as_secs(),
            services,
        }
    }

    /// Takes out what tells where services run: also services that are named by their only target.
    pub fn hide_addresses(&mut self) {
        self.services.retain(|service| Url::parse(&service.service_name).is_err());
        for service in &mut self.services {
            (service.service_url, service.targets) = (None, None);
        }
    }
}

/// What checks found, where there still are any.
fn findings(endpoint: &Endpoint) -> Findings {
    if endpoint.is_checked() { endpoint.standing.health.findings() } else { Findings::default() }
}

fn status(targets: &[TargetHealth], circuit: Option<breaker::State>, draining: bool) -> State {
    let hurt = |target: &TargetHealth| {
        target.weight > 0 && !target.drained && (!target.available || target.status == State::Degraded)
    };
    let refused = draining || circuit == Some(breaker::State::Open) || !targets.iter().any(|target| target.available);
    if refused {
        State::Unhealthy
    } else if circuit == Some(breaker::State::HalfOpen) || targets.iter().any(hurt) {
        State::Degraded
    } else if targets.iter().any(|target| target.status == State::Healthy) {
        State::Healthy
    } else {
        State::Unknown
    }
}

fn together(services: &[State]) -> State {
    let any = |state: State| services.contains(&state);
    match services {
        [] => State::Healthy,
        all if all.iter().all(|state| *state == State::Unhealthy) => State::Unhealthy,
        _ if any(State::Unhealthy) || any(State::Degraded) => State::Degraded,
        _ if any(State::Healthy) => State::Healthy,
        _ => State::Unknown,
    }
}

fn mean(times: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = times.fold((0.0, 0.0), |(count, sum), time| (count + 1.0, sum + time));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::State::{Degraded, Healthy, Unhealthy, Unknown};
    use super::*;

    /// One letter a target: healthy, slow, unknown; in capitals if it gets no requests; `d`rained, or of no weight (`0`).
    fn targets(letters: &str) -> Vec<TargetHealth> {
        let target = |letter: char| {
            let status = match letter.to_ascii_lowercase() {
                'h' => Healthy,
                's' => Degraded,
                _ => Unknown,
            };
            let (available, drained) = (matches!(letter, 'h' | 's' | 'u'), letter == 'd');
            let json = serde_json::json!({
                "url": "", "address": null, "weight": u32::from(letter != '0'), "status": status, "available": available,
                "drained": drained, "ejected_for": null, "in_flight": 0, "last_check_at": null, "response_time": null,
                "error_count": 0, "success_count": 0, "registered": false,
            });
            serde_json::from_value(json).unwrap()
        };
        letters.chars().map(target).collect()
    }

    #[test]
    fn a_service_is_what_its_targets_breaker_and_drain_make_it() {
        use breaker::State::{Closed, HalfOpen, Open};
        let table = [
            ("", None, false, Unhealthy),
            ("UH", Some(Closed), false, Unhealthy),
            ("dd0", Some(Closed), false, Unhealthy),
            ("hh", Some(Open), false, Unhealthy),
            ("hh", Some(Closed), true, Unhealthy),
            ("hs", Some(Closed), false, Degraded),
            ("hU", Some(Closed), false, Degraded),
            ("uU", None, false, Degraded),
            ("hh", Some(HalfOpen), false, Degraded),
            ("hh", Some(Closed), false, Healthy),
            ("hu", None, false, Healthy),
            ("hd0", None, false, Healthy),
            ("u", None, false, Unknown),
            ("ud", Some(Closed), false, Unknown),
        ];
        for (letters, circuit, draining, wanted) in table {
            assert_eq!(status(&targets(letters), circuit, draining), wanted, "{letters} {circuit:?} {draining}");
        }
    }

    #[test]
    fn all_services_together_are_as_the_worst_but_one_that_still_works() {
        let table: [(&[State], State); 7] = [
            (&[], Healthy),
            (&[Unhealthy, Unhealthy], Unhealthy),
            (&[Unhealthy, Healthy], Degraded),
            (&[Unhealthy, Unknown], Degraded),
            (&[Degraded, Healthy], Degraded),
            (&[Healthy, Unknown], Healthy),
            (&[Unknown], Unknown),
        ];
        for (services, wanted) in table {
            assert_eq!(together(services), wanted, "{services:?}");
        }
    }
}
