//! A service as requests see it: equivalent targets and the turn they are taken in.
//!
//! A service that a reload did not change is kept: the same raw text, the same addresses, the same certificates. Its
//! connections are kept in any case where a target is still reached in the same way, because the pool of connections
//! belongs to the gateway and not to the plan.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::upstreams::peer::HttpPeer;

use super::shares::Shares;
use super::target::{ALLOWED, Manner, Target, Url, Way};
use super::tls::ClientTls;
use crate::config::model;
use crate::config::{Fault, Faults, Place};
use crate::policy::flood::Flood;
use crate::record::metrics::{Metrics, ServiceMetrics};

/// Turns the name of a target into addresses. Blocks: never on the path of a request.
pub trait Resolve {
    /// The addresses of a host, the preferred one first; none if the name is not known now.
    fn resolve(&self, host: &str, port: u16) -> Vec<SocketAddr>;
}

/// A service, ready for requests.
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Its metrics.
    pub metrics: ServiceMetrics,
    /// Its targets.
    pub targets: Box<[Target]>,
    turns: Shares,
    source: Source,
}

/// All that makes a service what it is.
#[derive(PartialEq)]
struct Source {
    raw: model::Service,
    idle_timeout: Duration,
    addresses: Vec<Vec<SocketAddr>>,
    tls_group: u64,
}

impl Service {
    /// Builds a service, or keeps `previous` if nothing changed. Faults are reported below `at`.
    pub fn build(
        name: &str,
        raw: &model::Service,
        defaults: &model::UpstreamPool,
        context: &BuildContext,
        at: &Place<'_>,
        faults: &mut Faults,
    ) -> Option<Arc<Service>> {
        let tls = read_tls(raw, at, faults);
        let places = understand(raw, at, faults);
        let weights: Vec<u32> = raw.targets.iter().map(model::Target::weight).collect();
        let turns = Shares::new(&weights);
        if turns.is_none() {
            faults.push(at.key("targets"), "no target with a weight above 0", "at least one target");
        }
        let (tls, places, turns) = (tls?, places?, turns?);
        let previous = context.previous.get(name);
        let known = previous.filter(|service| service.source.raw == *raw).map(|service| &service.source.addresses);
        let addresses = places.iter().enumerate().map(|(index, place)| {
            // A name that stops resolving keeps its last addresses.
            let last = || known.and_then(|known| known.get(index)).cloned().unwrap_or_default();
            Some(context.addresses(place)).filter(|found| !found.is_empty()).unwrap_or_else(last)
        });
        let source = Source {
            raw: raw.clone(),
            idle_timeout: raw.idle_timeout.unwrap_or(defaults.idle_timeout).0,
            addresses: addresses.collect(),
            tls_group: tls.group_key(),
        };
        if let Some(kept) = previous.filter(|service| service.source == source) {
            return Some(kept.clone());
        }
        let manner = Manner { protocol: raw.protocol, tls: &tls, idle_timeout: source.idle_timeout };
        let targets = raw.targets.iter().zip(&places).zip(&source.addresses);
        Some(Arc::new(Service {
            name: name.into(),
            metrics: context.metrics.service(name),
            targets: targets
                .map(|((raw, place), addresses)| Target::new(raw.url(), place, addresses, &manner))
                .collect(),
            turns,
            source,
        }))
    }

    /// The target whose turn it is, or the next one that can be reached at all, by its index.
    pub fn next_target(&self) -> Option<usize> {
        self.from(self.turns.next())
    }

    /// Another target than this one, if there is another; else the same.
    pub fn target_after(&self, index: usize) -> Option<usize> {
        self.from(index + 1)
    }

    fn from(&self, first: usize) -> Option<usize> {
        let reachable = |index: &usize| self.targets.get(*index).is_some_and(|target| !target.peers.is_empty());
        let all = (first..self.targets.len()).chain(0..first.min(self.targets.len()));
        all.filter(|index| self.turns.takes_part(*index)).find(reachable)
    }
}

impl Target {
    /// The way to this target on the `attempt`th try: its addresses take turns.
    pub fn peer(&self, attempt: usize) -> Option<&HttpPeer> {
        self.peers.get(attempt % self.peers.len().max(1))
    }
}

/// What building services needs beside their texts.
pub struct BuildContext<'a> {
    /// How names become addresses; absent when only the texts are checked.
    pub resolver: Option<&'a dyn Resolve>,
    /// The services of the plan that serves now.
    pub previous: &'a HashMap<Arc<str>, Arc<Service>>,
    /// The flood guard of the plan that serves now.
    pub flood: Option<&'a Arc<Flood>>,
    /// Where metrics are kept.
    pub metrics: &'a Metrics,
}

impl BuildContext<'_> {
    fn addresses(&self, place: &Url) -> Vec<SocketAddr> {
        match &place.way {
            Way::Tcp(host, port) => match host.parse() {
                Ok(address) => vec![SocketAddr::new(address, *port)],
                Err(_) => self.resolver.map(|resolver| resolver.resolve(host, *port)).unwrap_or_default(),
            },
            Way::Unix(_) => Vec::new(),
        }
    }
}

fn read_tls(raw: &model::Service, at: &Place<'_>, faults: &mut Faults) -> Option<ClientTls> {
    let Some(tls) = &raw.tls else { return Some(ClientTls::default()) };
    let read = ClientTls::read(tls);
    for (key, fault) in read.as_ref().err().into_iter().flatten() {
        faults.add(Fault::saying(at.key("tls").key(key), fault));
    }
    read.ok()
}

fn understand(raw: &model::Service, at: &Place<'_>, faults: &mut Faults) -> Option<Vec<Url>> {
    let mut places = Vec::with_capacity(raw.targets.len());
    for (index, target) in raw.targets.iter().enumerate() {
        let here = at.key("targets").index(index);
        if target.weight() > 1000 {
            faults.push(here.key("weight"), target.weight().to_string(), "0 to 1000");
        }
        match Url::parse(target.url()) {
            Ok(place) => places.push(place),
            Err(why) => faults.push(here, format!("{:?} ({why})", target.url()), ALLOWED),
        }
    }
    (places.len() == raw.targets.len()).then_some(places)
}
