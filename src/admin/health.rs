//! How services stand, as the administration tells it.
//!
//! A service is
//! * unhealthy if its requests are refused: no target is available, its breaker is open, or it is drained;
//! * degraded if a target of its gets no requests (also because it is drained) or answers slowly, or its breaker is half-open;
//! * healthy if a check found so, else unknown.
//!
//! All services together are unhealthy if each of them is, and degraded if any of them is one or the other. Unknown beside
//! healthy is healthy.
//!
//! Known inaccuracy: what is in flight to a target that has gone is not counted.

use std::time::Instant;

use jiff::{Timestamp, Unit};

use crate::Control;
use gatekeeper_client::{AggregatedHealth, ServiceHealth, TargetHealth};
use gatekeeper_core::breaker;
use gatekeeper_plane::upstream::endpoint::Endpoint;
use gatekeeper_plane::upstream::health::{Findings, State};
use gatekeeper_plane::upstream::memory::Registered;
use gatekeeper_plane::upstream::service::Service;
use gatekeeper_plane::upstream::target::{Target, Url};

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

    /// A moment to come as others know it, to the second.
    fn foretell(&self, moment: Instant) -> Option<String> {
        let then = self.wall.checked_add(moment.saturating_duration_since(self.now)).ok()?;
        Some(then.round(Unit::Second).ok()?.to_string())
    }
}

/// The health of a service at this moment.
pub fn of_service(service: &Service, clock: Clock) -> ServiceHealth {
    let pool = service.pool();
    let registered = service.memory.registrations(clock.now);
    let all = service.all_targets();
    let seen = pool.endpoints.iter().map(|endpoint| of_endpoint(endpoint, clock));
    let unseen = all.iter().filter(|target| !pool.endpoints.iter().any(|endpoint| endpoint.url == target.url));
    let unseen = unseen.map(|target| of_target_without_address(target, service));
    let targets: Vec<_> = seen.chain(unseen).map(|target| with_registration(target, &registered)).collect();
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

fn of_endpoint(endpoint: &Endpoint, clock: Clock) -> TargetHealth {
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
        unavailable_because: why_not(endpoint, clock),
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

/// Why an endpoint gets no requests, if it gets none.
fn why_not(endpoint: &Endpoint, clock: Clock) -> Option<String> {
    let ejected = endpoint.standing.conduct.ejected_until(clock.now);
    if endpoint.standing.is_drained() {
        return Some("drained".into());
    }
    if !endpoint.is_well() {
        return Some("fails its health check".into());
    }
    ejected.map(|until| match clock.foretell(until) {
        Some(time) => format!("ejected until {time}"),
        None => "ejected".into(),
    })
}

/// Why a target that has no endpoint gets no requests.
fn why_no_address(target: &Target, service: &Service, drained: bool) -> String {
    let why = || target.name().and_then(|host| service.memory.why_unknown(host));
    match target.weight {
        _ if drained => "drained".into(),
        0 => "its weight is 0".into(),
        _ => why().map_or_else(|| "not looked up yet".into(), |why| format!("does not resolve: {why}")),
    }
}

fn of_target_without_address(target: &Target, service: &Service) -> TargetHealth {
    let drained = service.memory.is_target_drained(&target.url);
    TargetHealth {
        url: target.url.to_string(),
        address: None,
        weight: target.weight,
        status: State::Unknown,
        available: false,
        drained,
        ejected_for: None,
        unavailable_because: Some(why_no_address(target, service, drained)),
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

fn with_registration(target: TargetHealth, registered: &[Registered]) -> TargetHealth {
    match registered.iter().find(|registered| *registered.url == *target.url) {
        None => target,
        Some(Registered { ttl, left, .. }) => TargetHealth {
            registered: true,
            ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            expires_in: left.map(|left| left.as_secs_f64()),
            ..target
        },
    }
}

/// The health of these services together.
pub fn of_all(control: &Control, services: Vec<ServiceHealth>) -> AggregatedHealth {
    AggregatedHealth {
        status: together(&services.iter().map(|service| service.status).collect::<Vec<_>>()),
        version: env!("CARGO_PKG_VERSION").into(),
        revision: control.plane.live.plan().revision,
        uptime_seconds: control.started.elapsed().as_secs(),
        services,
    }
}

/// Takes out what tells where services run: also services that are named by their only target.
pub fn hide_addresses(health: &mut AggregatedHealth) {
    health.services.retain(|service| Url::parse(&service.service_name).is_err());
    for service in &mut health.services {
        (service.service_url, service.targets) = (None, None);
    }
}

/// What checks found, where there still are any.
fn findings(endpoint: &Endpoint) -> Findings {
    if endpoint.is_checked() { endpoint.standing.health.findings() } else { Findings::default() }
}

fn status(targets: &[TargetHealth], circuit: Option<breaker::State>, draining: bool) -> State {
    let hurt = |target: &TargetHealth| target.weight > 0 && (!target.available || target.status == State::Degraded);
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
            ("h0", None, false, Healthy),
            ("hd", None, false, Degraded),
            ("u", None, false, Unknown),
            ("ud", Some(Closed), false, Degraded),
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
