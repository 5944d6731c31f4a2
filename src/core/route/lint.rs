//! Routes that cannot be told apart, and routes that no request can reach.
//!
//! A route is found shadowed when, for each of its hosts, one route that goes before it accepts all it accepts: host
//! and path cover its own, the listeners and methods are a superset, the header and query conditions are among its own. What only
//! several routes together cover, or conditions of different text that mean the same, goes unnoticed. The search
//! walks the index along the route's own pattern; only among routes that share one pattern is it quadratic.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};

use super::conditions::Conditions;
use super::host::HostPattern;
use super::index::{Claim, Hosts, PatternCursor};
use super::listener::ListenerId;
use super::table::Table;

/// Two routes that are equal in all conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The one given first.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// The host they share; `None` if they are for any host.
    pub host: Option<HostPattern>,
}

/// A route that no request can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Which.
    pub route: usize,
    /// What goes before it: one route for each of its hosts, each named once.
    pub by: Vec<usize>,
}

/// All that decides whether a request takes a route, for one of its hosts on one of its listeners.
struct Key<'a> {
    host: Option<&'a HostPattern>,
    listener: Option<ListenerId>,
    route: &'a Conditions,
}

/// The clashes among routes in their normal form, each pair once, with the first host they share.
#[expect(clippy::mutable_key_type, reason = "an expression's text is hashed, not its caches")]
pub(super) fn clashes(routes: &[Conditions]) -> Vec<Clash> {
    let mut taken: HashMap<Key<'_>, usize, ahash::RandomState> = HashMap::default();
    let mut clashes: Vec<Clash> = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        let pairs = route.each_host().flat_map(|host| route.each_listener().map(move |listener| (host, listener)));
        for (host, listener) in pairs {
            match taken.entry(Key { host, listener, route }) {
                Entry::Vacant(place) => {
                    place.insert(second);
                }
                Entry::Occupied(place) => {
                    clashes.push(Clash { first: *place.get(), second, host: host.cloned() });
                }
            }
        }
    }
    clashes.sort_by_key(|clash| (clash.first, clash.second));
    clashes.dedup_by_key(|clash| (clash.first, clash.second));
    clashes
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (self.route, other.route);
        (self.host, self.listener) == (other.host, other.listener)
            && (&one.path, &one.methods, one.priority) == (&two.path, &two.methods, two.priority)
            && one.further.headers() == two.further.headers()
            && one.further.query() == two.further.query()
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Conditions { path, methods, priority, further, .. } = self.route;
        (self.host, self.listener, path, methods, priority).hash(state);
        (further.headers(), further.query()).hash(state);
    }
}

impl Table {
    /// The routes that no request can reach.
    pub fn shadowed(&self) -> Vec<Shadow> {
        let mut shadows: Vec<Option<Vec<usize>>> = vec![Some(Vec::new()); self.routes.len()];
        for (rank, entry) in self.ranked.iter().enumerate() {
            if let Some(shadow) = shadows.get_mut(entry.route as usize) {
                let cover = self.cover(rank);
                *shadow = shadow.take().zip(cover).map(|(by, cover)| [by, vec![cover]].concat());
            }
        }
        let named = shadows.into_iter().enumerate().filter_map(|(route, by)| {
            let mut by = by?;
            by.sort_unstable();
            by.dedup();
            Some(Shadow { route, by })
        });
        named.collect()
    }

    /// The first route before this rank that accepts all that the route of this rank accepts for its host.
    fn cover(&self, rank: usize) -> Option<usize> {
        let (route, host) = self.entry(rank as u32)?;
        let path = PatternCursor::new(&route.path);
        let covers = |before: &Claim| self.claimed(before).is_some_and(|before| before.covers(route));
        self.index.best(Hosts::of(host), path, rank as u32, covers).map(|claim| claim.route as usize)
    }
}

impl Conditions {
    /// Whether its conditions beside host and path accept all that the other's accept.
    fn covers(&self, other: &Conditions) -> bool {
        let (own, others) = (&self.further, &other.further);
        let is_everywhere = own.listeners().is_empty();
        let listeners = is_everywhere
            || !others.listeners().is_empty() && others.listeners().iter().all(|one| own.listeners().contains(one));
        self.methods.cover(&other.methods)
            && listeners
            && own.headers().iter().all(|condition| others.headers().contains(condition))
            && own.query().iter().all(|condition| others.query().contains(condition))
    }
}
