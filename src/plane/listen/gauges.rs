//! The certificates of the listeners as metrics tell them: read whenever it is asked for.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::proto::{MetricFamily, MetricType};

use super::entrance::Entrance;
use crate::observe::metrics::{family, sample};

const NAME: &str = "gatekeeper_certificate_expiry_timestamp_seconds";
const HELP: &str = "Expiry of a listener's certificate, in seconds since 1970.";

/// The gauges of what the listeners show now; none without TLS.
pub fn gauges(entrances: &[Arc<ArcSwap<Entrance>>]) -> Option<MetricFamily> {
    let mut metrics = Vec::new();
    for entrance in entrances {
        let entrance = entrance.load();
        let listener = entrance.called().shown();
        for (certificate, end) in entrance.tls.iter().flat_map(|tls| tls.certificates()) {
            let labels = [("listener", listener), ("certificate", certificate)];
            metrics.push(sample(&labels, MetricType::GAUGE, end as f64));
        }
    }
    (!metrics.is_empty()).then(|| family(NAME, HELP, MetricType::GAUGE, metrics))
}
