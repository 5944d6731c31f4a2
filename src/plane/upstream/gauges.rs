//! The state of services as metrics tell it: read from the services themselves whenever it is asked for.

use std::sync::Arc;
use std::time::Instant;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::endpoint::Endpoint;
use super::health;
use super::service::Service;
use crate::observe::metrics::{family, sample};
use gatekeeper_core::breaker;

type OfService = (&'static str, &'static str, fn(&Service, Instant) -> f64);
type OfEndpoint = (&'static str, &'static str, fn(&Endpoint, Instant) -> f64);

const SERVICES: [OfService; 4] = [
    ("gatekeeper_breaker_state", "State of the circuit breaker: 0 closed, 1 half-open, 2 open.", |s, now| {
        match s.breaker.as_ref().map(|breaker| breaker.state(now)) {
            Some(breaker::State::Open) => 2.0,
            Some(breaker::State::HalfOpen) => 1.0,
            Some(breaker::State::Closed) | None => 0.0,
        }
    }),
    ("gatekeeper_service_requests", "Requests that hold a place in a service with max_in_flight.", |s, _| {
        s.gate.inside().into()
    }),
    ("gatekeeper_queue_length", "Requests that wait for a place in a service or at its targets.", |s, _| {
        (s.gate.line.waiting() + s.memory.line.waiting()).into()
    }),
    ("gatekeeper_targets_ejected", "Addresses of targets that are ejected now.", |s, now| {
        s.pool().group.ejected(now) as f64
    }),
];

const ENDPOINTS: [OfEndpoint; 3] = [
    ("gatekeeper_target_requests_in_flight", "Requests in flight to a target.", |e, _| e.standing.in_flight().into()),
    ("gatekeeper_target_available", "1 if a target receives requests, else 0.", |e, now| e.available(now).into()),
    ("gatekeeper_target_health", "Health of a target: 0 unknown, 1 healthy, 2 degraded, 3 unhealthy.", |e, _| match e
        .standing
        .health
        .findings()
        .state
    {
        health::State::Unknown => 0.0,
        health::State::Healthy => 1.0,
        health::State::Degraded => 2.0,
        health::State::Unhealthy => 3.0,
    }),
];

/// The gauges of these services.
pub fn gauges<'a>(services: impl Iterator<Item = &'a Arc<Service>> + Clone, now: Instant) -> Vec<MetricFamily> {
    let of_services = SERVICES.map(|(name, help, value)| {
        let metrics = services.clone().map(|service| gauge(&[("service", &service.name)], value(service, now)));
        family(name, help, MetricType::GAUGE, metrics.collect())
    });
    let of_endpoints = ENDPOINTS.map(|(name, help, value)| {
        let metrics = services.clone().flat_map(|service| of_endpoints(service, value, now));
        family(name, help, MetricType::GAUGE, metrics.collect())
    });
    let certificates = services.filter_map(|service| {
        let (certificate, end) = service.client_certificate()?;
        Some(gauge(&[("service", &service.name), ("certificate", certificate)], end as f64))
    });
    let help = "Expiry of the client certificate for a service's targets, in seconds since 1970.";
    let name = "gatekeeper_client_certificate_expiry_timestamp_seconds";
    let certificates = family(name, help, MetricType::GAUGE, certificates.collect());
    let all = of_services.into_iter().chain(of_endpoints).chain([certificates]);
    // The text format has no family without a metric.
    all.filter(|family| !family.get_metric().is_empty()).collect()
}

fn of_endpoints(service: &Service, value: fn(&Endpoint, Instant) -> f64, now: Instant) -> Vec<Metric> {
    let metric = |endpoint: &Arc<Endpoint>| {
        let address = endpoint.peer._address.to_string();
        let labels = [("service", &*service.name), ("target", &endpoint.url), ("address", &address)];
        gauge(&labels, value(endpoint, now))
    };
    service.pool().endpoints.iter().map(metric).collect()
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Metric {
    sample(labels, MetricType::GAUGE, value)
}
