//! The plan that serves, and how another takes its place (SEMANTICS 12): compile, test, swap. Any failure keeps what is
//! running and says so. Changes are applied one at a time.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use gatekeeper_model::fault::{Faults, Lint};
use gatekeeper_model::raw::{Config, LogLevel};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Plan;
use super::candidate::{Candidate, Draft};
use crate::observe::metrics::Metrics;

/// The plan that serves.
pub struct Live {
    plan: ArcSwap<Plan>,
    /// Held while a change is applied: what the process was started with of that which it can't change.
    fixed: Mutex<Fixed>,
    last_fault: Mutex<Option<String>>,
    metrics: Arc<Metrics>,
    /// Tells which generation serves.
    generations: watch::Sender<u64>,
}

/// What an applied change has to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The revision that serves now.
    pub revision: u64,
    /// What can hardly be meant.
    pub lints: Vec<String>,
    /// The same, with their places.
    #[serde(skip)]
    pub warnings: Vec<Lint>,
    /// Changed settings that take effect after a restart only.
    pub needs_restart: Vec<&'static str>,
    /// How much the log is to tell.
    #[serde(skip)]
    pub log_level: LogLevel,
}

impl Live {
    /// The first plan, its configuration, and what can hardly be meant.
    pub fn start(candidate: Candidate, metrics: Arc<Metrics>) -> Result<(Self, Config, Faults), Faults> {
        let (plan, config, faults) = candidate.succeed(None, &metrics)?.commit(None);
        metrics.set_plan_revision(plan.revision);
        let live = Live {
            generations: watch::Sender::new(plan.generation),
            plan: ArcSwap::from_pointee(plan),
            fixed: Mutex::new(fixed(&config)),
            last_fault: Mutex::default(),
            metrics,
        };
        Ok((live, config, faults))
    }

    /// The plan that serves now.
    pub fn plan(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// Follows the generations that serve.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// Why the last change was refused, if it was.
    pub fn last_fault(&self) -> Option<String> {
        self.last_fault.lock().clone()
    }

    /// What became of reading the files anew: how often, and why the last time failed.
    pub fn note_reload(&self, fault: Option<String>) {
        self.metrics.reloaded(fault.is_none());
        *self.last_fault.lock() = fault;
    }

    /// The one way in: brings a candidate to serve, or says why not and changes nothing. `adopt` takes over what lies outside
    /// of the plan, and may give the revision its number; it is the last that may refuse. Blocks: names are looked up.
    pub fn apply<E>(
        &self,
        candidate: impl FnOnce() -> Result<Candidate, Faults>,
        adopt: impl FnOnce(&mut Draft) -> Result<Option<u64>, NotApplied<E>>,
    ) -> Result<Report, NotApplied<E>> {
        let fixed = self.fixed.lock();
        let previous = self.plan.load_full();
        let mut draft = candidate()?.succeed(Some(&previous), &self.metrics)?;
        let revision = adopt(&mut draft)?;
        draft.settle(revision);
        let (plan, config, faults) = draft.commit(Some(&previous));
        let generation = plan.generation;
        let report = Report {
            revision: plan.revision,
            lints: faults.lints().iter().map(ToString::to_string).collect(),
            warnings: faults.lints().into_iter().cloned().collect(),
            needs_restart: needs_restart(&fixed, &config),
            log_level: config.log_level,
        };
        self.plan.store(Arc::new(plan));
        self.metrics.set_plan_revision(report.revision);
        self.generations.send_replace(generation);
        Ok(report)
    }
}

/// Why a candidate does not serve.
#[derive(Debug)]
pub enum NotApplied<E> {
    /// It is wrong.
    Faults(Faults),
    /// It is right, but was refused for this.
    Refused(E),
}

impl<E> From<Faults> for NotApplied<E> {
    fn from(faults: Faults) -> Self {
        NotApplied::Faults(faults)
    }
}

/// Settings that a running process can't take over.
type Fixed = [(&'static str, Value); 10];

fn fixed(config: &Config) -> Fixed {
    [
        ("listen", json!(config.listen.iter().map(|listen| &listen.address).collect::<Vec<_>>())),
        ("http2.concurrent_streams", json!(config.http2.concurrent_streams)),
        ("http2.header_list_bytes", json!(config.http2.header_list_bytes)),
        ("admin.address", json!(config.admin.address)),
        ("threads", json!(config.threads)),
        ("state_dir", json!(config.state_dir)),
        ("store.url", json!(&*config.store.url)),
        ("drain", json!(config.drain)),
        ("upstream_pool.size", json!(config.upstream_pool.size)),
        ("access_log.queue", json!(config.access_log.queue)),
    ]
}

/// Which of them have changed.
fn needs_restart(old: &Fixed, new: &Config) -> Vec<&'static str> {
    let pairs = old.iter().zip(fixed(new));
    pairs.filter(|(old, new)| *old != new).map(|((name, _), _)| *name).collect()
}
