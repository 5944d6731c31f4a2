//! The endpoints of a service at one moment, and which of them a request goes to.
//!
//! The order of preference comes from a selector of pingora-load-balancing (round robin, random, a Ketama ring), or from
//! the least load. The selectors are used bare: `LoadBalancer::select_with` around them clones a backend and fills a set
//! for each candidate.
//!
//! * First choice: the selector's first that is available, has room and was not tried by this request. One that has
//!   only just come back is passed over by chance, the more the less of its share it has.
//! * Else any that is available, has room and was not tried; else one that was: a service of one target is tried again.
//! * Each endpoint has the weight of its target.
//!
//! Known inaccuracy: the least load is looked for among [`LOOKED_AT`] endpoints, neighbours in the list from a random one on.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};

use super::endpoint::{Endpoint, Slot};
use super::outlier::{self, Group};
use super::shares::{reduced, stable_hash};
use super::sticky::Sticky;

/// How a service's requests are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// One after the other, by weight.
    RoundRobin,
    /// By chance and weight.
    Random,
    /// To the one with the fewest in flight, by weight.
    LeastRequests,
    /// Each client always to the same, as long as that is available.
    Hash(Sticky),
}

/// The forms it may have, for error texts.
pub const ALLOWED: &str =
    "round_robin, random, least_requests, hash:user, hash:ip, hash:header:NAME or hash:cookie:NAME";

impl Balancing {
    /// Understands the text that names it.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "round_robin" => Some(Balancing::RoundRobin),
            None if text == "random" => Some(Balancing::Random),
            None if text == "least_requests" => Some(Balancing::LeastRequests),
            Some(("hash", by)) => Sticky::parse(by).map(Balancing::Hash),
            _ => None,
        }
    }
}

/// The endpoints of a service at one moment.
pub struct Pool {
    /// All of them, available or not.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Those of them that are ejected.
    pub group: Group,
    selector: Selector,
}

enum Selector {
    RoundRobin(Arc<RoundRobin>),
    Random(Arc<Random>),
    Least,
    Hash(Arc<Consistent>),
}

/// What came of the choice of an endpoint.
pub enum Choice {
    /// This one is taken.
    Taken(Slot),
    /// Some are available, but none has room.
    Busy,
    /// None is available.
    Nobody,
}

/// Endpoints among which the least load is looked for.
const LOOKED_AT: usize = 8;

/// Where an endpoint stands in the pool, as its backend knows it.
#[derive(Clone, Copy)]
struct Place(usize);

impl Pool {
    pub(super) fn new(
        endpoints: Vec<Arc<Endpoint>>,
        balancing: &Balancing,
        ejection: outlier::Policy,
        now: Instant,
    ) -> Self {
        let conducts = endpoints.iter().map(|endpoint| endpoint.standing.conduct.clone()).collect();
        let selector = match balancing {
            Balancing::RoundRobin => Selector::RoundRobin(Arc::new(BackendSelection::build(&in_order(&endpoints)))),
            Balancing::Random => Selector::Random(Arc::new(BackendSelection::build(&in_order(&endpoints)))),
            Balancing::LeastRequests => Selector::Least,
            Balancing::Hash(_) => Selector::Hash(Arc::new(BackendSelection::build(&by_name(&endpoints)))),
        };
        Pool { group: Group::new(ejection, conducts, now), endpoints: endpoints.into(), selector }
    }

    /// An endpoint for a request, by the hash of what its client is recognised by and the ids of those it tried.
    pub fn choose(&self, key: Option<u64>, tried: &[u32], now: Instant) -> Choice {
        let fresh = |endpoint: &Arc<Endpoint>| endpoint.available(now) && !tried.contains(&endpoint.standing.id);
        if let Some(slot) = self.preferred(key, now, fresh) {
            return Choice::Taken(slot);
        }
        let start = fastrand::usize(..self.endpoints.len().max(1));
        let any = |wanted: &dyn Fn(&Arc<Endpoint>) -> bool| {
            self.from(start).filter(|endpoint| wanted(endpoint)).find_map(Endpoint::take)
        };
        if let Some(slot) = any(&fresh).or_else(|| any(&|endpoint| !tried.is_empty() && endpoint.available(now))) {
            return Choice::Taken(slot);
        }
        if self.endpoints.iter().any(|endpoint| endpoint.available(now)) { Choice::Busy } else { Choice::Nobody }
    }

    fn from(&self, start: usize) -> impl Iterator<Item = &Arc<Endpoint>> {
        let (before, from) = self.endpoints.split_at_checked(start).unwrap_or((&[], &self.endpoints));
        from.iter().chain(before)
    }

    fn preferred(&self, key: Option<u64>, now: Instant, fresh: impl Fn(&Arc<Endpoint>) -> bool) -> Option<Slot> {
        let drawn = |endpoint: &Arc<Endpoint>| {
            let ramp = endpoint.ramp(now);
            ramp >= 1.0 || fastrand::f32() < ramp
        };
        let wanted = |endpoint: &Arc<Endpoint>| fresh(endpoint) && drawn(endpoint);
        match &self.selector {
            Selector::RoundRobin(list) => self.first(list.iter(&[]), self.endpoints.len() + 1, wanted),
            Selector::Random(list) => self.first(list.iter(&[]), 2 * self.endpoints.len(), wanted),
            Selector::Hash(ring) => {
                let key = key.unwrap_or_else(|| fastrand::u64(..));
                // Neighbours on the ring are often the same one's.
                self.first(ring.iter(&key.to_le_bytes()), 8 * self.endpoints.len() + 32, wanted)
            }
            Selector::Least => {
                let start = fastrand::usize(..self.endpoints.len().max(1));
                let looked_at = self.from(start).filter(|endpoint| fresh(endpoint)).take(LOOKED_AT);
                looked_at.min_by(|a, b| a.load(now).total_cmp(&b.load(now))).and_then(Endpoint::take)
            }
        }
    }

    /// The first one that is wanted and has room. A selector goes round for ever, so it ends after so many turns.
    fn first(&self, mut turns: impl BackendIter, most: usize, wanted: impl Fn(&Arc<Endpoint>) -> bool) -> Option<Slot> {
        for _ in 0..most {
            let place = turns.next()?.ext.get::<Place>()?;
            let endpoint = self.endpoints.get(place.0)?;
            if wanted(endpoint)
                && let Some(slot) = endpoint.take()
            {
                return Some(slot);
            }
        }
        None
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.peer._address.to_string()).collect();
        if addresses.is_empty() { f.write_str("no address") } else { f.write_str(&addresses.join(", ")) }
    }
}

/// Backends in the order of the endpoints. Which address they have does not matter: they are never connected to.
fn in_order(endpoints: &[Arc<Endpoint>]) -> BTreeSet<Backend> {
    backends(endpoints, |place, _| place as u128)
}

/// Backends whose place on a ring follows from URL and address alone, so that it stays when others come and go.
fn by_name(endpoints: &[Arc<Endpoint>]) -> BTreeSet<Backend> {
    backends(endpoints, |_, endpoint| {
        let name = format!("{} {}", endpoint.url, endpoint.peer._address);
        u128::from(stable_hash(name.as_bytes())) << 64 | u128::from(stable_hash(format!("{name}'").as_bytes()))
    })
}

fn backends(endpoints: &[Arc<Endpoint>], name: impl Fn(usize, &Endpoint) -> u128) -> BTreeSet<Backend> {
    let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
    let weights = reduced(&weights);
    let numbered = endpoints.iter().zip(weights).enumerate();
    let backend = |(place, (endpoint, weight)): (usize, (&Arc<Endpoint>, u32))| {
        let address = SocketAddrV6::new(Ipv6Addr::from_bits(name(place, endpoint)), 0, 0, 0);
        let mut ext = pingora_load_balancing::Extensions::new();
        ext.insert(Place(place));
        Backend { addr: SocketAddr::V6(address).into(), weight: weight as usize, ext }
    };
    numbered.map(backend).collect()
}
