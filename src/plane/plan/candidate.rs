//! A configuration that may come to serve, and the plan it would be.
//!
//! Whoever changes something brings a candidate: the file, a registration, a draft that is only judged. Compiling it touches
//! nothing that serves; a plan takes over what is known of its services, counters and limits when it comes to serve
//! (`live`), and not before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatekeeper_model::fault::Faults;
use gatekeeper_model::load::load;
use gatekeeper_model::raw::Config;
use gatekeeper_model::{Fault, Loaded, Origins, Place, quoted};

use super::Plan;
use super::compile::{Context, compile};
use crate::observe::{Claims, Metrics};
use crate::upstream::names::{Answer, Names};
use crate::upstream::target::{Target, Url};

/// A configuration that may come to serve.
pub struct Candidate {
    /// What is wanted.
    pub config: Config,
    /// Who declared what.
    pub origins: Arc<Origins>,
    /// Who wants it, for the log.
    pub by: String,
    /// Its revision in the store, if there is one.
    pub revision: Option<u64>,
    /// Whether the names of all targets are looked up, or only those that are new.
    pub renews_names: bool,
    /// What can hardly be meant, as far as reading it showed.
    faults: Faults,
}

/// A candidate that compiles: a plan that does not serve.
pub struct Draft<'m> {
    /// The plan.
    pub plan: Plan,
    /// What it is made of.
    pub config: Config,
    /// Who wants it.
    pub by: String,
    /// What can hardly be meant.
    pub faults: Faults,
    claims: Claims<'m>,
    addresses: HashMap<String, Answer>,
}

impl Candidate {
    /// What the files say now.
    pub fn read(file: &Path) -> Result<Candidate, Faults> {
        match load(file) {
            (Some(loaded), faults) => Ok(Candidate::of(loaded, faults, "its file")),
            (None, faults) => Err(faults),
        }
    }

    /// What was loaded, and who wants it. Faults of loading are told with those of compiling.
    pub fn of(loaded: Loaded, faults: Faults, by: impl Into<String>) -> Candidate {
        Candidate {
            config: loaded.config,
            origins: loaded.origins,
            by: by.into(),
            revision: None,
            renews_names: true,
            faults,
        }
    }

    /// The same with some objects changed: the names of all others have been looked up.
    pub fn changed(loaded: Loaded, faults: Faults, by: impl Into<String>) -> Candidate {
        Candidate { renews_names: false, ..Candidate::of(loaded, faults, by) }
    }

    /// Compiles it without looking anything up: to judge it.
    pub fn judge(self, metrics: &Metrics) -> Result<Draft<'_>, Faults> {
        self.compile(None, None, HashMap::new(), metrics)
    }

    /// Compiles it to take the place of a plan that serves. Blocks: names are looked up.
    pub(super) fn succeed<'m>(self, previous: Option<&Plan>, metrics: &'m Metrics) -> Result<Draft<'m>, Faults> {
        let names = names(&self.config, previous);
        let hosts = hosts(&self.config, previous.filter(|_| !self.renews_names));
        let wanted: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let answers = names.as_ref().map(|names| names.look_up_all(&wanted, LOOK_UPS)).unwrap_or_default();
        let (mut addresses, mut unresolved) = (HashMap::with_capacity(answers.len()), Vec::new());
        for (host, answer) in answers {
            match answer {
                Ok(answer) => drop(addresses.insert(host, answer)),
                Err(why) => unresolved.push(format!("{host} does not resolve: {why}")),
            }
        }
        let draft = self.compile(previous, names, addresses, metrics)?;
        unresolved.iter().for_each(|sentence| log::warn!("{sentence}"));
        Ok(draft)
    }

    /// Compiles it to judge it, and adds warnings of what is missing around it: names that do not resolve, the folder of the
    /// access log. Blocks: names are looked up.
    pub fn examine(self, metrics: &Metrics) -> Result<Draft<'_>, Faults> {
        let mut draft = self.judge(metrics)?;
        if let Some(folder) = missing_folder(&draft.config.access_log.to) {
            let place = Place::new("access_log").key("to");
            draft.faults.warn(Fault::saying(place, format!("there is no folder {}", quoted(&folder))));
        }
        // A variable that is not filled in has a warning of its own.
        let targets = named_targets(&draft.config).filter(|(_, host)| !host.contains('$'));
        let targets: Vec<(Place<'static>, String)> = targets.collect();
        let hosts: BTreeSet<&str> = targets.iter().map(|(_, host)| host.as_str()).collect();
        let wanted: Vec<&str> = hosts.into_iter().collect();
        let answers = draft.plan.edge.names.look_up_all(&wanted, LOOK_UPS);
        for (place, host) in targets {
            if let Some(Err(why)) = answers.get(&host) {
                draft.faults.warn(Fault::saying(place, format!("{host:?} does not resolve: {why}")));
            }
        }
        draft.faults.locate();
        Ok(draft)
    }

    fn compile<'m>(
        self,
        previous: Option<&Plan>,
        names: Option<Arc<Names>>,
        addresses: HashMap<String, Answer>,
        metrics: &'m Metrics,
    ) -> Result<Draft<'m>, Faults> {
        let Candidate { config, origins, by, revision, mut faults, .. } = self;
        let (claims, owners) = (metrics.claims(), origins.owners());
        let context = Context { previous, names, claims: &claims, owners: &owners };
        let plan = compile(&config, &context, &mut faults);
        faults.locate();
        let Some(mut plan) = plan else { return Err(faults) };
        plan.revision = revision.unwrap_or_default();
        Ok(Draft { plan, config, by, faults, claims, addresses })
    }
}

impl Draft<'_> {
    /// What is said of it if it must not serve because of this.
    pub(crate) fn refused(&mut self, why: String) -> Faults {
        let mut faults = std::mem::take(&mut self.faults);
        faults.add(Fault::saying(Place::default(), why));
        faults
    }

    /// The revision that it is in the store.
    pub(super) fn settle(&mut self, revision: Option<u64>) {
        self.plan.revision = revision.unwrap_or(self.plan.revision);
    }

    /// The plan comes to serve as the next one after `previous`: it takes over what is known of its services and limits, and
    /// its counters are shown.
    pub(super) fn commit(self, previous: Option<&Plan>) -> (Plan, Config, Faults) {
        let Draft { mut plan, config, faults, claims, addresses, .. } = self;
        plan.generation = previous.map_or(0, |plan| plan.generation) + 1;
        if plan.revision == 0 {
            plan.revision = plan.generation;
        }
        let now = Instant::now();
        for (name, service) in &plan.services {
            let was_there = previous.is_some_and(|plan| plan.services.contains_key(name));
            service.begin(&addresses, was_there, now);
        }
        plan.edge.rates.settle_in();
        claims.show();
        (plan, config, faults)
    }
}

/// How long looking up the names of targets may take before a plan is built without those that are not known by then.
const LOOK_UPS: Duration = Duration::from_secs(5);

/// How names are looked up, kept from the plan before if nothing changed. Faults are told when the plan is compiled.
fn names(config: &Config, previous: Option<&Plan>) -> Option<Arc<Names>> {
    let names = Arc::new(Names::compile(&config.dns, &Place::new("dns"), &mut Faults::default())?);
    Some(previous.map(|plan| plan.edge.names.clone()).filter(|kept| *kept == names).unwrap_or(names))
}

/// The folder of a file that is to be written, if it does not exist.
fn missing_folder(file: &str) -> Option<String> {
    let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())?;
    Some(folder.to_string_lossy().into_owned())
}

/// The names of all targets, without those that a service has in the plan before.
fn hosts(config: &Config, known: Option<&Plan>) -> BTreeSet<String> {
    let known = known.into_iter().flat_map(|plan| plan.services.values()).flat_map(|service| {
        let names = service.targets.iter().filter_map(Target::name);
        names.map(|host| (&*service.name, host))
    });
    let known: HashSet<(&str, &str)> = known.collect();
    let of_services = config.services.iter().flat_map(|(name, service)| {
        let targets = service.targets.iter().filter_map(|target| host(target.url()));
        targets.map(move |host| (name.as_str(), host))
    });
    let of_routes =
        config.routes.iter().filter_map(|route| Some((route.name.as_str(), host(route.target_url.as_deref()?)?)));
    let new = of_services.chain(of_routes).filter(|(name, host)| !known.contains(&(*name, host.as_str())));
    new.map(|(_, host)| host).collect()
}

/// The name in the URL of a target.
fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.name().map(String::from)
}

/// The targets that have names, and where they are written.
fn named_targets(config: &Config) -> impl Iterator<Item = (Place<'static>, String)> {
    let of_services = config.services.iter().flat_map(|(name, service)| {
        let place = Place::new("services").key(name).key("targets");
        let targets = service.targets.iter().enumerate();
        targets.map(move |(index, target)| (place.index(index), target.url()))
    });
    let routes = config.routes.iter().enumerate();
    let of_routes = routes.filter_map(|(index, route)| {
        Some((Place::new("routes").index(index).key("target_url"), route.target_url.as_deref()?))
    });
    let named = |(place, url): (Place<'_>, &str)| Some((place.into_owned(), host(url)?));
    of_services.chain(of_routes).filter_map(named)
}
