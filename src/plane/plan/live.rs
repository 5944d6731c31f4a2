//! The plan that serves, and how another takes its place (SEMANTICS 12): load, compile, test, swap. Any failure keeps
//! what is running and says so. Changes are applied one at a time.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::Plan;
use super::compile::compile;
use crate::observe::metrics::Metrics;
use crate::upstream::names::Names;
use crate::upstream::service::BuildContext;
use crate::upstream::target::Url;
use gatekeeper_model::fault::Faults;
use gatekeeper_model::load::load;
use gatekeeper_model::raw::{Config, Target};
use gatekeeper_model::{Loaded, Place};

/// The plan that serves.
pub struct Live {
    plan: ArcSwap<Plan>,
    /// Held while a change is applied: what the process was started with.
    started_with: Mutex<Config>,
    last_fault: Mutex<Option<String>>,
    file: PathBuf,
    metrics: Arc<Metrics>,
    /// Tells which revision serves.
    revisions: watch::Sender<u64>,
}

/// What an applied change has to say.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The revision that serves now.
    pub revision: u64,
    /// What can hardly be meant.
    pub lints: Vec<String>,
    /// Changed settings that take effect after a restart only.
    pub needs_restart: Vec<&'static str>,
}

impl Live {
    /// Loads the first plan.
    pub fn start(file: PathBuf, metrics: Arc<Metrics>) -> Result<(Self, Loaded, Faults), Faults> {
        let (loaded, plan, faults) = build(&file, None, &metrics, 1)?;
        metrics.set_plan_revision(1);
        let live = Live {
            plan: ArcSwap::from_pointee(plan),
            started_with: Mutex::new(loaded.config.clone()),
            last_fault: Mutex::default(),
            file,
            metrics,
            revisions: watch::Sender::new(1),
        };
        Ok((live, loaded, faults))
    }

    /// The plan that serves now.
    pub fn plan(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// Follows the revisions that serve.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// Why the last change was refused, if it was.
    pub fn last_fault(&self) -> Option<String> {
        self.last_fault.lock().clone()
    }

    /// Reads the file again and swaps the plan, or says why not. `adopt` takes over what lies outside the plan; it runs
    /// before the swap and may still refuse. Blocks: names are looked up.
    pub fn reload(&self, adopt: impl FnOnce(&Config, &Plan) -> Result<(), String>) -> Result<Report, Faults> {
        let started_with = self.started_with.lock();
        let current = self.plan.load_full();
        let revision = current.revision + 1;
        let built = build(&self.file, Some(&current), &self.metrics, revision);
        let built = built.and_then(|(loaded, plan, mut faults)| match adopt(&loaded.config, &plan) {
            Ok(()) => Ok((loaded, plan, faults)),
            Err(fault) => {
                faults.add(gatekeeper_model::Fault::saying(Default::default(), fault));
                Err(faults)
            }
        });
        self.metrics.reloaded(built.is_ok());
        *self.last_fault.lock() = built.as_ref().err().map(ToString::to_string);
        let (loaded, plan, faults) = built?;
        self.metrics.retain(
            &plan.routes.iter().map(|route| &*route.name).collect(),
            &plan.services.keys().map(|n| &**n).collect(),
        );
        plan.edge.rates.settle_in();
        self.plan.store(Arc::new(plan));
        self.metrics.set_plan_revision(revision);
        self.revisions.send_replace(revision);
        Ok(Report {
            revision,
            lints: faults.lints().iter().map(ToString::to_string).collect(),
            needs_restart: needs_restart(&started_with, &loaded.config),
        })
    }
}

type Built = (Loaded, Plan, Faults);

fn build(file: &std::path::Path, previous: Option<&Plan>, metrics: &Metrics, revision: u64) -> Result<Built, Faults> {
    let (loaded, mut faults) = load(file);
    let Some(loaded) = loaded else { return Err(faults) };
    let none = HashMap::new();
    let names = names(&loaded.config, previous);
    let hosts = hosts(&loaded.config);
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let addresses = names.as_ref().map(|names| names.look_up_all(&hosts, LOOK_UPS)).unwrap_or_default();
    let context = BuildContext {
        addresses,
        names,
        previous: previous.map_or(&none, |plan| &plan.services),
        edge: previous.map(|plan| &*plan.edge),
        metrics,
    };
    match compile(&loaded.config, &context, revision, &mut faults) {
        Some(plan) => {
            for host in hosts.iter().filter(|host| !context.addresses.contains_key(**host)) {
                log::warn!("the target {host:?} has no address now");
            }
            Ok((loaded, plan, faults))
        }
        None => Err(faults),
    }
}

/// Changed settings that the running process can't take over.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let settings = |config: &Config| {
        [
            ("listen", serde_json::json!(config.listen.iter().map(|listen| &listen.address).collect::<Vec<_>>())),
            ("http2.concurrent_streams", serde_json::json!(config.http2.concurrent_streams)),
            ("http2.header_list_bytes", serde_json::json!(config.http2.header_list_bytes)),
            ("admin.address", serde_json::json!(config.admin.address)),
            ("threads", serde_json::json!(config.threads)),
            ("state_dir", serde_json::json!(config.state_dir)),
            ("drain", serde_json::json!(config.drain)),
            ("upstream_pool.size", serde_json::json!(config.upstream_pool.size)),
            ("access_log.queue", serde_json::json!(config.access_log.queue)),
        ]
    };
    let pairs = settings(old).into_iter().zip(settings(new));
    pairs.filter(|(old, new)| old != new).map(|((name, _), _)| name).collect()
}

/// How long looking up the names of targets may take before a plan is built without those that are not known by then.
const LOOK_UPS: Duration = Duration::from_secs(5);

/// How names are looked up, kept from the plan before if nothing changed. Faults are told when the plan is compiled.
fn names(config: &Config, previous: Option<&Plan>) -> Option<Arc<Names>> {
    let names = Arc::new(Names::compile(&config.dns, &Place::new("dns"), &mut Faults::default())?);
    Some(previous.map(|plan| plan.edge.names.clone()).filter(|kept| *kept == names).unwrap_or(names))
}

/// The names of all targets.
fn hosts(config: &Config) -> BTreeSet<String> {
    let of_services = config.services.values().flat_map(|service| &service.targets).map(Target::url);
    let of_routes = config.routes.iter().filter_map(|route| route.target_url.as_deref());
    let places = of_services.chain(of_routes).filter_map(|url| Url::parse(url).ok());
    places.filter_map(|place| place.name().map(String::from)).collect()
}
