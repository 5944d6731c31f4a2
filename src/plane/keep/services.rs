//! Looks after services: a task for each one of the plan that serves. One that a reload kept keeps its task, and with it the
//! rhythm of its checks.

use std::sync::Arc;

use gatekeeper_background::Following;

use crate::plan::live::Live;
use crate::upstream::check::Dialler;
use crate::upstream::keeper::keep;
use crate::upstream::names::Names;
use crate::upstream::service::Service;

/// Looks after the services of the plan that serves.
pub struct ServiceKeeper {
    live: Arc<Live>,
    /// Makes the connections of all checks.
    dialler: Arc<Dialler>,
}

/// A service that is looked after, and how its names are looked up.
type Kept = (Arc<Service>, Arc<Names>);

impl ServiceKeeper {
    /// A keeper of the services of the plan that serves.
    pub fn new(live: Arc<Live>) -> Self {
        ServiceKeeper { live, dialler: Arc::new(Dialler::new()) }
    }

    /// Goes on for ever.
    pub async fn keep(self) {
        let mut generations = self.live.generations();
        let mut following = Following::new(|a: &Kept, b: &Kept| Arc::ptr_eq(&a.0, &b.0) && Arc::ptr_eq(&a.1, &b.1));
        loop {
            generations.borrow_and_update();
            let plan = self.live.plan();
            let services: Vec<Kept> =
                plan.services.values().map(|service| (service.clone(), plan.edge.names.clone())).collect();
            drop(plan);
            services.iter().for_each(|(service, _)| service.memory.tell_news());
            following.follow(services, |(service, names)| {
                let (of, by, dialler) = (service.clone(), names.clone(), self.dialler.clone());
                let work = move || keep(of.clone(), by.clone(), dialler.clone());
                (format!("service {}: the upkeep of its targets", service.name), work)
            });
            following.until(generations.changed()).await;
        }
    }
}
