//! The endpoints of a service at one moment, and which of them a request goes to.
//!
//! The order of preference comes from shares that are dealt in turn, from a selector of pingora-load-balancing (random, a
//! Ketama ring), or from the least load. Its selectors are used bare: `LoadBalancer::select_with` around them clones a
//! backend and fills a set for each candidate; and its round robin gives each backend all of its weight at a stretch.
//!
//! * First choice: the selector's first that is available, has room and was not tried by this request. One that has
//!   only just come back is passed over by chance, the more the less of its share it has.
//! * Else any that is available, has room and was not tried.
//! * Else, for a request that others failed already, one that is ejected: it may be back while those are not.
//! * Else one that was tried: a service of one target is tried again.
//! * When none is available, one that is only ejected.
//! * Each endpoint has the weight of its target.
//!
//! Known inaccuracy: the least load is looked for among [`LOOKED_AT`] endpoints, neighbours in the list from a random one on.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Instant;

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random};

use super::endpoint::{Endpoint, Slot};
use super::shares::{Shares, reduced, stable_hash};
use super::sticky::Sticky;
use gatekeeper_core::outlier::{self, Group};

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
    /// None if there are no endpoints.
    RoundRobin(Option<Shares>),
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

/// What would come of the choice of an endpoint for a request that has tried none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// One would be taken.
    Room,
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
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>, balancing: &Balancing, ejection: outlier::Policy) -> Self {
        let conducts = endpoints.iter().map(|endpoint| endpoint.standing.conduct.clone()).collect();
        let selector = match balancing {
            Balancing::RoundRobin => Selector::RoundRobin(Shares::new(&weights(&endpoints))),
            Balancing::Random => Selector::Random(Arc::new(BackendSelection::build(&in_order(&endpoints)))),
            Balancing::LeastRequests => Selector::Least,
            Balancing::Hash(_) => Selector::Hash(Arc::new(BackendSelection::build(&by_name(&endpoints)))),
        };
        Pool { group: Group::new(ejection, conducts), endpoints: endpoints.into(), selector }
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
        let is_retry = !tried.is_empty();
        let untried = |endpoint: &Arc<Endpoint>| !tried.contains(&endpoint.standing.id);
        let ejected = |endpoint: &Arc<Endpoint>| is_retry && endpoint.is_in_service() && untried(endpoint);
        let again = |endpoint: &Arc<Endpoint>| is_retry && endpoint.available(now);
        if let Some(slot) = any(&fresh).or_else(|| any(&ejected)).or_else(|| any(&again)) {
            return Choice::Taken(slot);
        }
        if self.endpoints.iter().any(|endpoint| endpoint.available(now)) {
            return Choice::Busy;
        }
        // An ejection is a guess, and no better than nobody.
        any(&|endpoint| endpoint.is_in_service()).map_or(Choice::Nobody, Choice::Taken)
    }

    /// What would come of a choice now. None is taken.
    pub fn outlook(&self, now: Instant) -> Outlook {
        let any = |wanted: fn(&Endpoint, Instant) -> bool| self.endpoints.iter().any(|endpoint| wanted(endpoint, now));
        if any(Endpoint::has_room) {
            Outlook::Room
        } else if any(Endpoint::available) {
            Outlook::Busy
        } else if any(|endpoint, _| endpoint.is_in_service()) {
            Outlook::Room
        } else {
            Outlook::Nobody
        }
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
        let place = |backend: &Backend| backend.ext.get::<Place>().map(|place| place.0);
        // Each turn is drawn anew: a selector's own second choice knows no weights.
        let few = 2 * self.endpoints.len() + 8;
        match &self.selector {
            Selector::RoundRobin(shares) => self.first(|| shares.as_ref().map(Shares::next), few, wanted),
            Selector::Random(list) => self.first(|| list.iter(&[]).next().and_then(place), few, wanted),
            Selector::Hash(ring) => {
                let key = key.unwrap_or_else(|| fastrand::u64(..));
                // Neighbours on the ring are often the same one's.
                let mut turns = ring.iter(&key.to_le_bytes());
                self.first(|| turns.next().and_then(place), 4 * few, wanted)
            }
            Selector::Least => {
                let start = fastrand::usize(..self.endpoints.len().max(1));
                let looked_at = self.from(start).filter(|endpoint| fresh(endpoint)).take(LOOKED_AT);
                looked_at.min_by(|a, b| a.load(now).total_cmp(&b.load(now))).and_then(Endpoint::take)
            }
        }
    }

    /// The first one that is wanted and has room. A selector goes round for ever, so it ends after so many turns.
    fn first(
        &self,
        mut turn: impl FnMut() -> Option<usize>,
        most: usize,
        wanted: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<Slot> {
        for _ in 0..most {
            let endpoint = self.endpoints.get(turn()?)?;
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
        if addresses.is_empty() { f.write_str("none") } else { f.write_str(&addresses.join(", ")) }
    }
}

fn weights(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
    endpoints.iter().map(|endpoint| endpoint.weight).collect()
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
    let weights = reduced(&weights(endpoints));
    let numbered = endpoints.iter().zip(weights).enumerate();
    let backend = |(place, (endpoint, weight)): (usize, (&Arc<Endpoint>, u32))| {
        let address = SocketAddrV6::new(Ipv6Addr::from_bits(name(place, endpoint)), 0, 0, 0);
        let mut ext = pingora_load_balancing::Extensions::new();
        ext.insert(Place(place));
        Backend { addr: SocketAddr::V6(address).into(), weight: weight as usize, ext }
    };
    numbered.map(backend).collect()
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::tests::endpoint;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum State {
        Free,
        Full,
        Drained,
        Ejected,
        /// Free, and back only just now.
        New,
    }

    fn pool(endpoints: Vec<Arc<Endpoint>>, balancing: &str) -> Pool {
        let ejection = outlier::Policy { failures: 1, ..outlier::Policy::default() };
        Pool::new(endpoints, &Balancing::parse(balancing).unwrap(), ejection)
    }

    fn states() -> impl Strategy<Value = Vec<(State, u32, bool)>> {
        use State::{Drained, Ejected, Free, Full, New};
        let state = prop_oneof![Just(Free), Just(Full), Just(Drained), Just(Ejected), Just(New)];
        proptest::collection::vec((state, 1_u32..20, any::<bool>()), 0..12)
    }

    proptest! {
        #[test]
        fn one_that_has_room_is_found_and_if_possible_one_that_was_not_tried(
            states in states(),
            balancing in prop_oneof![Just("round_robin"), Just("random"), Just("least_requests"), Just("hash:ip")],
            key in proptest::option::of(any::<u64>()),
        ) {
            let now = Instant::now();
            let numbered = || (1_u32..).zip(&states);
            let slow_start = Some(Duration::from_secs(100));
            let endpoints: Vec<_> =
                numbered().map(|(id, (_, weight, _))| endpoint(id, *weight, Some(1), slow_start, now)).collect();
            let pool = pool(endpoints.clone(), balancing);
            let mut held = Vec::new();
            for (endpoint, (state, ..)) in endpoints.iter().zip(&states) {
                match state {
                    State::Free => {}
                    State::Full => held.extend(endpoint.take()),
                    State::Drained => endpoint.standing.drain(true, now),
                    State::Ejected => _ = pool.group.failed(&endpoint.standing.conduct, now),
                    State::New => endpoint.standing.came_back(now),
                }
            }
            let tried: Vec<u32> = numbered().filter(|(_, (.., tried))| *tried).map(|(id, _)| id).collect();
            let available: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.available(now)).collect();
            let ids = |wanted: &dyn Fn(u32) -> bool| -> Vec<u32> {
                let with_room = available.iter().filter(|endpoint| endpoint.standing.in_flight() == 0);
                with_room.map(|endpoint| endpoint.standing.id).filter(|id| wanted(*id)).collect()
            };
            let (fresh, any) = (ids(&|id| !tried.contains(&id)), ids(&|_| true));
            let ejected = endpoints.iter().map(|endpoint| &endpoint.standing).filter(|standing| {
                let is_spare = !tried.is_empty() && !tried.contains(&standing.id);
                is_spare && standing.conduct.is_ejected(now) && standing.in_flight() == 0
            });
            let ejected: Vec<_> = ejected.map(|standing| standing.id).collect();
            let in_service = endpoints.iter().filter(|endpoint| available.is_empty() && endpoint.is_in_service());
            let with_room = in_service.map(|endpoint| &endpoint.standing).filter(|standing| standing.in_flight() == 0);
            let last: Vec<_> = with_room.map(|standing| standing.id).collect();
            match pool.choose(key, &tried, now) {
                Choice::Taken(slot) => {
                    let id = slot.endpoint.standing.id;
                    let wanted = [&fresh, &ejected, &any].into_iter().find(|ids| !ids.is_empty()).unwrap_or(&last);
                    prop_assert!(wanted.contains(&id), "{id} of {wanted:?}");
                    prop_assert_eq!(slot.endpoint.standing.in_flight(), 1);
                }
                Choice::Busy => prop_assert!(any.is_empty() && ejected.is_empty() && !available.is_empty()),
                Choice::Nobody => prop_assert!(available.is_empty() && ejected.is_empty() && last.is_empty()),
            }
            prop_assert_eq!(endpoints.iter().map(|one| one.standing.in_flight() as usize).sum::<usize>(), held.len());
        }
    }

    #[test]
    fn turns_are_exact_and_mixed() {
        let now = Instant::now();
        let weights = [7, 2, 1];
        let endpoints = (1..).zip(weights).map(|(id, weight)| endpoint(id, weight * 50, None, None, now)).collect();
        let pool = pool(endpoints, "round_robin");
        for _ in 0..5 {
            let mut counts = [0; 3];
            for _ in 0..10 {
                let Choice::Taken(slot) = pool.choose(None, &[], now) else { panic!("nobody") };
                counts[slot.endpoint.standing.id as usize - 1] += 1;
            }
            assert_eq!(counts, weights);
        }
    }

    #[test]
    fn the_least_load_counts_by_weight() {
        let now = Instant::now();
        let endpoints = vec![endpoint(1, 3, None, None, now), endpoint(2, 1, None, None, now)];
        let pool = pool(endpoints.clone(), "least_requests");
        let _held: Vec<_> = (0..8).map(|_| pool.choose(None, &[], now)).collect();
        assert_eq!([endpoints[0].standing.in_flight(), endpoints[1].standing.in_flight()], [6, 2]);
    }
}
