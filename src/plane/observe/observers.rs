//! Everybody who is told of a finished request.
//!
//! The plane's own sinks (metrics, access log, the last refusals) are known by their types, and calling them is a plain
//! call. Metrics and refusals need more of a request than its event has, such as the ready-made counters of its route:
//! for one event they are a view that holds it ([`Counting`], [`Keeping`]). Whoever builds the gateway may name further
//! sinks; where there are none, that costs an empty loop.

use std::sync::Arc;

use prometheus::proto::{MetricFamily, MetricType};

use super::metrics::{Counting, family, sample};
use super::refusals::Keeping;
use super::{AccessLog, Metrics, Refusals, RouteMetrics, Sinks};
use gatekeeper_core::event::Event;
use gatekeeper_core::sink::Sink;

/// Everybody who is told of a finished request.
pub struct Observers {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The metrics of requests that match no route.
    pub unrouted: RouteMetrics,
    /// The access log.
    pub log: AccessLog,
    /// The last refusals.
    pub refusals: Refusals,
    /// Who else is told.
    sinks: Sinks,
}

impl Observers {
    /// The metrics, the access log, and these sinks.
    pub fn new(metrics: Arc<Metrics>, log: AccessLog, sinks: Vec<Arc<dyn Sink>>) -> Observers {
        let (unrouted, refusals, sinks) = (metrics.unrouted(), Refusals::default(), Sinks::new(sinks));
        Observers { metrics, unrouted, log, refusals, sinks }
    }

    /// Tells every sink of a finished request; of one that was refused, or would have been, also the last refusals.
    pub fn tell(&self, event: &Event<'_>, counting: &Counting<'_>, keeping: Option<&Keeping<'_>>) {
        counting.take(event);
        self.log.take(event);
        if let Some(keeping) = keeping {
            keeping.take(event);
        }
        self.sinks.take(event);
    }

    /// What the sinks dropped, for the metrics.
    pub fn dropped_records(&self) -> [MetricFamily; 2] {
        let drops = || self.log.drops().into_iter().chain(self.sinks.drops());
        let by_reason = drops().flat_map(|drops| {
            drops.by_reason().map(|(reason, count)| {
                let labels = [("sink", drops.sink), ("reason", reason.name())];
                sample(&labels, MetricType::COUNTER, count as f64)
            })
        });
        let of_log = sample(&[], MetricType::COUNTER, self.log.dropped() as f64);
        [
            family(
                "gatekeeper_records_dropped_total",
                "Records of requests that a sink dropped, by reason.",
                MetricType::COUNTER,
                by_reason.collect(),
            ),
            family(
                "gatekeeper_access_log_dropped_total",
                "Records that the access log dropped.",
                MetricType::COUNTER,
                vec![of_log],
            ),
        ]
    }
}
