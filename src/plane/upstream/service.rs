//! A service as requests see it: its endpoints, and what protects it and its clients.
//!
//! A service that a reload did not change is kept. One that changed keeps its [`Memory`], and with it what is known of
//! the endpoints that stay, who was drained and who registered; its breaker and its retry budget if their own settings did not
//! change. Connections are kept in any case where an endpoint is still reached in the same way, because the pool of
//! connections belongs to the gateway and not to the plan.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use http::request::Parts;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::endpoint::{Endpoint, Manner, Slot, Standing};
use super::gate::Gate;
use super::health::{Outcome, State, Thresholds, Transition};
use super::memory::Memory;
use super::memory::bequest::Bequest;
use super::names::Answer;
use super::pool::{Balancing, Choice, Pool};
use super::settings::Settings;
use super::sticky::Who;
use super::target::{ALLOWED, Speech, Target, Url};
use super::tls::ClientTls;
use crate::observe::metrics::{ServiceMetrics, What};
use gatekeeper_core::breaker::{self, Breaker};
use gatekeeper_core::retry::Budget;
use gatekeeper_model::{Fault, Faults, Origin, Place, raw};

/// The version of a memory of which no endpoints were made yet.
const NOTHING: u64 = u64::MAX;

/// A service, ready for requests.
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Its metrics.
    pub metrics: ServiceMetrics,
    /// Its targets, as they were written.
    pub targets: Box<[Target]>,
    /// How it is treated.
    pub settings: Settings,
    /// What refuses its requests for a while.
    pub breaker: Option<Arc<Breaker>>,
    /// What its retries may still cost.
    pub budget: Arc<Budget>,
    /// Who is in it.
    pub gate: Arc<Gate>,
    /// What it knows whatever its settings are.
    pub memory: Arc<Memory>,
    pool: ArcSwap<Pool>,
    /// The version of the memory that the endpoints were made of.
    made_of: AtomicU64,
    renewals: Notify,
    speech: Speech,
    source: Source,
}

/// All that makes a service what it is.
#[derive(PartialEq)]
struct Source {
    origin: Origin,
    raw: raw::Service,
    idle_timeout: Duration,
    tls_group: u64,
}

/// Where a service comes from.
pub struct Lineage<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who declared it.
    pub origin: Origin,
    /// The service of this name that serves now.
    pub previous: Option<&'a Arc<Service>>,
    /// What is counted of it.
    pub metrics: ServiceMetrics,
}

impl Service {
    /// Builds a service, or keeps the one that serves if nothing changed. It touches nothing of that one, and has no endpoints until it
    /// begins to serve. Faults are reported below `at`.
    pub fn build(
        lineage: Lineage<'_>,
        raw: &raw::Service,
        defaults: &raw::UpstreamPool,
        at: &Place<'_>,
        faults: &mut Faults,
    ) -> Option<Arc<Service>> {
        let Lineage { name, origin, previous, metrics } = lineage;
        let tls = read_tls(raw, at, faults);
        let targets = understand(raw, at, faults);
        let settings = Settings::compile(raw, at, faults);
        let (tls, targets, settings) = (tls?, targets?, settings?);
        let idle_timeout = raw.idle_timeout.unwrap_or(defaults.idle_timeout).0;
        let source = Source { origin, raw: raw.clone(), idle_timeout, tls_group: tls.group_key() };
        if let Some(kept) = previous.filter(|service| service.source == source) {
            return Some(kept.clone());
        }
        let now = Instant::now();
        let kept = previous.filter(|service| service.settings.breaker == settings.breaker);
        let kept_breaker = kept.map(|service| service.breaker.clone());
        let budget = previous.filter(|service| service.settings.allowance == settings.allowance);
        let speech = Speech { protocol: raw.protocol, tls, idle_timeout };
        let pool = Pool::new(Vec::new(), &settings.balancing, settings.ejection);
        let service = Service {
            name: name.into(),
            breaker: kept_breaker
                .unwrap_or_else(|| settings.breaker.map(|policy| breaker(policy, name, &metrics, now))),
            budget: budget.map_or_else(|| Arc::new(Budget::new(settings.allowance, now)), |kept| kept.budget.clone()),
            gate: previous.map(|service| service.gate.clone()).unwrap_or_default(),
            metrics,
            targets,
            settings,
            memory: previous.map(|service| service.memory.clone()).unwrap_or_default(),
            pool: ArcSwap::from_pointee(pool),
            made_of: AtomicU64::new(NOTHING),
            renewals: Notify::new(),
            speech,
            source,
        };
        Some(Arc::new(service))
    }

    /// Begins to serve, or goes on, with what names were found to lead to. New endpoints of a service that was there before
    /// come in slowly.
    pub fn begin(&self, addresses: &HashMap<String, Answer>, was_there: bool, now: Instant) {
        for host in self.targets.iter().filter_map(Target::name) {
            if let Some(answer) = addresses.get(host) {
                self.memory.learn(host, answer);
            }
        }
        if self.made_of.load(Ordering::Relaxed) == NOTHING {
            self.renew(was_there, now);
        }
    }

    /// Who declared it.
    pub fn origin(&self) -> &Origin {
        &self.source.origin
    }

    /// The file of the certificate that its targets are shown, and until when it is valid, in seconds since 1970.
    pub fn client_certificate(&self) -> Option<(&str, i64)> {
        self.speech.tls.valid_until()
    }

    /// Its endpoints now.
    pub fn pool(&self) -> Guard<Arc<Pool>> {
        self.pool.load()
    }

    /// What the client of a request is recognised by, where that decides on its endpoint.
    pub fn key(&self, request: &Parts, client: Who) -> Option<u64> {
        match &self.settings.balancing {
            Balancing::Hash(sticky) => sticky.hash(request, client),
            _ => None,
        }
    }

    /// An endpoint for a request, by its key and the ids of those it tried.
    pub fn choose(&self, key: Option<u64>, tried: &[u32], now: Instant) -> Choice {
        self.pool.load().choose(key, tried, now)
    }

    /// An endpoint for a request that has only so much time, as soon as there is room.
    pub async fn room(&self, key: Option<u64>, time: Option<Duration>) -> Result<Slot, NoSlot> {
        let take = || match self.choose(key, &[], Instant::now()) {
            Choice::Taken(slot) => Some(Ok(slot)),
            Choice::Nobody => Some(Err(NoSlot::Nobody)),
            Choice::Busy => None,
        };
        let more = || self.pool().endpoints.iter().any(|endpoint| endpoint.has_room(Instant::now()));
        let waited = self.memory.line.wait(self.settings.queue.within(time), take, more).await;
        waited.unwrap_or(Err(NoSlot::Busy))
    }

    /// Instances of it may register.
    pub fn takes_registrations(&self) -> bool {
        self.source.raw.registered.0
    }

    /// Its targets: those that were written, then those that registered.
    pub fn all_targets(&self) -> Vec<Target> {
        let registered = if self.takes_registrations() { self.memory.registered() } else { Vec::new() };
        let is_new = |target: &Target| !self.targets.iter().any(|written| written.url == target.url);
        self.targets.iter().cloned().chain(registered.into_iter().filter(is_new)).collect()
    }

    /// Says that a target gets no new requests, or does again. Whether there is such a target.
    pub fn drain_target(&self, url: &str, drain: bool, now: Instant) -> bool {
        let target = self.all_targets().into_iter().find(|target| *target.url == *url);
        target.inspect(|target| self.memory.drain_target(&target.url, drain, now)).is_some()
    }

    /// Ends the ejections of its targets, or those of one of them; the addresses that get requests again by that.
    pub fn readmit(&self, url: Option<&str>, now: Instant) -> Vec<String> {
        let pool = self.pool.load();
        let meant = pool.endpoints.iter().filter(|endpoint| url.is_none_or(|url| *endpoint.url == *url));
        let ended = meant.filter(|endpoint| pool.group.readmit(&endpoint.standing.conduct, now));
        let addresses = ended.map(|endpoint| endpoint.peer._address.to_string()).collect();
        self.memory.line.call_all();
        addresses
    }

    /// An attempt at an endpoint succeeded, or not.
    pub fn judge(&self, endpoint: &Endpoint, succeeded: bool) {
        let conduct = &endpoint.standing.conduct;
        if succeeded {
            return conduct.succeeded();
        }
        if let Some(time) = self.pool.load().group.failed(conduct, Instant::now()) {
            self.metrics.count(What::Ejection, "");
            let (address, failures) = (&endpoint.peer._address, self.settings.ejection.failures);
            log::warn!("service {}: target {address} is ejected for {time:?} after {failures} failures", self.name);
        }
    }

    /// Whether what an endpoint lost speaks against the whole service: while another one answers, it is ejection's business.
    pub fn suffers(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let answers = |other: &Arc<Endpoint>| {
            other.standing.id != endpoint.standing.id && other.standing.conduct.answers() && other.available(now)
        };
        !(self.settings.ejection.is_on() && self.pool.load().endpoints.iter().any(answers))
    }

    /// A check of an endpoint came to this.
    pub(super) fn observe(
        &self,
        endpoint: &Endpoint,
        answer: Result<Duration, String>,
        thresholds: &Thresholds,
        now: Instant,
    ) {
        let (outcome, label) = match &answer {
            Ok(took) => (Outcome::Good(*took), "good"),
            Err(_) => (Outcome::Bad, "bad"),
        };
        self.metrics.count(What::Check, label);
        let standing = &endpoint.standing;
        let Some(Transition { from, to }) = standing.health.observe(outcome, thresholds, now) else { return };
        if from == State::Unhealthy {
            standing.came_back(now);
            self.memory.line.call_all();
        }
        let why = answer.err().map(|why| format!(": {why}")).unwrap_or_default();
        let address = &endpoint.peer._address;
        let level = if to == State::Healthy { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "service {}: target {address} changed from {} to {}{why}", self.name, from.name(), to.name());
    }

    /// Makes the endpoints anew if something else is known than when they were made. Whether it is.
    pub(super) fn follow_memory(&self, now: Instant) -> bool {
        let news = self.memory.version() != self.made_of.load(Ordering::Relaxed);
        if news {
            self.renew(true, now);
            self.settle_in(now);
            self.forget();
        }
        news
    }

    /// Takes over what another process knew.
    pub fn inherit(&self, bequest: Bequest, now: Instant) {
        self.memory.inherit(bequest, self.takes_registrations(), now);
        self.follow_memory(now);
    }

    /// Told when the endpoints are made anew.
    pub(super) fn renewed(&self) -> Notified<'_> {
        self.renewals.notified()
    }

    /// Makes the endpoints of what is known now; those that are new come in slowly if others are there already.
    fn renew(&self, slowly: bool, now: Instant) {
        self.made_of.store(self.memory.version(), Ordering::Relaxed);
        let newcomer = |standing: &Standing| {
            if slowly {
                standing.came_back(now);
            }
        };
        let targets = self.all_targets();
        let endpoints =
            targets.iter().filter(|target| target.weight > 0).flat_map(|target| self.endpoints(target, newcomer, now));
        let pool = Pool::new(endpoints.collect(), &self.settings.balancing, self.settings.ejection);
        self.pool.store(Arc::new(pool));
        self.renewals.notify_one();
        self.memory.line.call_all();
    }

    /// Counts from now on: no more than half of the endpoints stay ejected.
    pub(super) fn settle_in(&self, now: Instant) {
        self.pool.load().group.keep_to_half(now);
        self.gate.line.call_all();
    }

    /// Forgets the endpoints that are no more.
    fn forget(&self) {
        let pool = self.pool.load();
        self.memory.retain(|standing| pool.endpoints.iter().any(|endpoint| endpoint.standing.id == standing.id));
    }

    fn endpoints(&self, target: &Target, newcomer: impl Fn(&Standing), now: Instant) -> Vec<Arc<Endpoint>> {
        let addresses = target.name().map(|host| self.memory.addresses(host)).unwrap_or_default();
        let manner = Manner {
            checked: self.settings.check.is_some(),
            slow_start: self.settings.slow_start,
            most: target.most,
            line: self.memory.line.clone(),
        };
        let endpoint = |peer: pingora::upstreams::peer::HttpPeer| {
            let address = peer._address.as_inet().map(|address| address.ip());
            Arc::new(Endpoint {
                url: target.url.clone(),
                authority: target.authority.clone(),
                standing: self.memory.standing(&target.url, address, &newcomer, now),
                peer,
                weight: target.weight,
                manner: manner.clone(),
            })
        };
        self.speech.peers(&target.place, &addresses).into_iter().map(endpoint).collect()
    }
}

/// Why there was no endpoint for a request that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlot {
    /// None had room, or too many wait already.
    Busy,
    /// None is available.
    Nobody,
}

fn breaker(policy: breaker::Policy, name: &str, metrics: &ServiceMetrics, now: Instant) -> Arc<Breaker> {
    let (name, metrics) = (name.to_owned(), metrics.clone());
    Arc::new(Breaker::new(policy, now, move |transition| {
        metrics.count(What::Transition, transition.name());
        log::warn!("service {name}: circuit breaker {transition}");
    }))
}

fn read_tls(raw: &raw::Service, at: &Place<'_>, faults: &mut Faults) -> Option<ClientTls> {
    let Some(tls) = &raw.tls else { return Some(ClientTls::default()) };
    let read = ClientTls::read(tls);
    for (key, fault) in read.as_ref().err().into_iter().flatten() {
        faults.add(Fault::saying(at.key("tls").key(key), fault));
    }
    read.ok()
}

fn understand(raw: &raw::Service, at: &Place<'_>, faults: &mut Faults) -> Option<Box<[Target]>> {
    let mut targets = Vec::with_capacity(raw.targets.len());
    for (index, target) in raw.targets.iter().enumerate() {
        let here = at.key("targets").index(index);
        if target.weight() > 1000 {
            faults.push(here.key("weight"), target.weight().to_string(), "0 to 1000");
        }
        if let Some(first) = raw.targets.iter().take(index).position(|other| other.url() == target.url()) {
            let fault = format!("the same as targets[{first}]");
            faults.add(Fault::saying(here.clone(), fault).with_hint("give one of them a weight"));
        }
        if target.max_in_flight() == Some(0) {
            faults.push(here.key("max_in_flight"), "0", "1 or more");
        }
        match Url::parse(target.url()) {
            Ok(place) => targets.push(Target::new(target, place)),
            Err(why) => faults.push(here, format!("{:?} ({why})", target.url()), ALLOWED),
        }
    }
    if !raw.registered.0 && raw.targets.iter().all(|target| target.weight() == 0) {
        let found = if raw.targets.is_empty() { "an empty list" } else { "no target with a weight above 0" };
        faults.push(at.key("targets"), found, "at least one target");
        return None;
    }
    (targets.len() == raw.targets.len()).then(|| targets.into())
}
