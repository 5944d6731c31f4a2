//! What serving code shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::estate::Deed;
use crate::listen::reception::Reception;
use crate::observe::{AccessLog, Metrics, Observers};
use crate::plan::candidate::Candidate;
use crate::plan::live::{Live, NotApplied, Report};
use gatekeeper_core::sink::Sink;
use gatekeeper_model::Faults;

/// What serving code shares.
pub struct Plane {
    /// The plan that serves.
    pub live: Arc<Live>,
    /// Who is told of finished requests.
    pub observers: Arc<Observers>,
    /// Where connections come in.
    pub reception: Arc<Reception>,
    /// Who may change what is known of services.
    pub deed: Deed,
    stopping: AtomicBool,
}

impl Plane {
    /// A plane that serves this plan, and accepts no connections yet. The sinks are told of every request.
    pub fn new(live: Live, metrics: Arc<Metrics>, log: AccessLog, sinks: Vec<Arc<dyn Sink>>) -> Plane {
        let observers = Arc::new(Observers::new(metrics, log, sinks));
        let plan = live.plan();
        let reception = Reception::new(observers.clone(), &plan.entrances, plan.edge.rules());
        drop(plan);
        Plane {
            live: Arc::new(live),
            observers,
            reception: Arc::new(reception),
            deed: Deed::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Whether the gateway takes new requests.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed)
    }

    /// The gateway takes no more requests, but those on their way.
    pub fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// From now on connections are accepted.
    pub fn open(&self) {
        self.reception.open();
    }

    /// Waits until connections are accepted.
    pub async fn opening(&self) {
        self.reception.opening().await;
    }

    /// Brings a candidate to serve, or says why not and changes nothing. `persist` is called once all else is certain; it may
    /// refuse, or say which revision it is. Blocks: names are looked up.
    pub fn apply<E>(
        &self,
        candidate: impl FnOnce() -> Result<Candidate, Faults>,
        persist: impl FnOnce() -> Result<Option<u64>, E>,
    ) -> Result<Report, NotApplied<E>> {
        self.live.apply(candidate, |draft| {
            let log = self.observers.log.reconfigure(&draft.config.access_log);
            log.map_err(|error| draft.refused(format!("access_log.to: {error}")))?;
            let revision = persist().map_err(NotApplied::Refused)?;
            self.reception.adopt(&draft.plan.entrances, draft.plan.edge.rules());
            Ok(revision)
        })
    }
}
