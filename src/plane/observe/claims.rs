//! What a plan counts in: the counters of its routes, services and policies.
//!
//! A candidate claims them while it is compiled: those that count already, or new ones that nobody is shown. Only a plan that
//! comes to serve has its claims shown, and what no plan claims any more is shown no longer. So a candidate that is refused
//! leaves nothing behind.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::board::{ByName, Named, RouteMetrics, ServiceCounts, ServiceMetrics};
use super::metrics::Metrics;
use super::policies::{Name, PolicyMetrics};

/// What a candidate counts in.
pub struct Claims<'m> {
    metrics: &'m Metrics,
    routes: RefCell<Vec<Arc<str>>>,
    services: Claimed<ServiceCounts>,
    policies: RefCell<BTreeMap<Name, PolicyMetrics>>,
}

type Claimed<T> = RefCell<HashMap<Box<str>, Arc<Named<T>>>>;

impl<'m> Claims<'m> {
    pub(super) fn new(metrics: &'m Metrics) -> Self {
        Claims { metrics, routes: RefCell::default(), services: Claimed::default(), policies: RefCell::default() }
    }

    /// The counts of a route.
    pub fn route(&self, name: &Arc<str>) -> RouteMetrics {
        self.routes.borrow_mut().push(name.clone());
        RouteMetrics::of(self.metrics.board.routes.get(name))
    }

    /// The counts of a service.
    pub fn service(&self, name: &str) -> ServiceMetrics {
        ServiceMetrics(claim(&self.services, &self.metrics.board.services, name))
    }

    /// The counts of a policy; of one of its rules, if it has several.
    pub fn policy(&self, policy: &str, rule: &str) -> PolicyMetrics {
        let name: Name = (policy.into(), rule.into());
        let mut claimed = self.policies.borrow_mut();
        let counts = claimed.get(&name).cloned().or_else(|| self.metrics.policies.get(&name)).unwrap_or_default();
        claimed.insert(name, counts.clone());
        counts
    }

    /// The plan serves: its claims are what is shown.
    pub fn show(self) {
        self.metrics.board.routes.show(self.routes.into_inner());
        *self.metrics.board.services.lock() = self.services.into_inner();
        self.metrics.policies.show(&*self.policies.borrow());
    }
}

fn claim<T>(claimed: &Claimed<T>, shown: &ByName<T>, name: &str) -> Arc<Named<T>> {
    let mut claimed = claimed.borrow_mut();
    if let Some(counts) = claimed.get(name) {
        return counts.clone();
    }
    let counts = shown.lock().get(name).cloned().unwrap_or_default();
    claimed.insert(name.into(), counts.clone());
    counts
}
