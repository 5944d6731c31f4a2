//! The route table: which route a request takes.
//!
//! All routes stand in one total order (`rank`). The winner is the first of those whose host and path match that also
//! accepts the listener, the method, the headers and the query; so a route that refuses a request lets the next one try.
//! If none takes it, but some would with another method, the answer is 405 with those methods; otherwise 404. On a
//! listener that is not among its own a route does not exist: there it makes no 405 either.
//!
//! A method list with GET allows HEAD too. The cost of a search does not grow with the number of routes; `index`
//! states its bounds. Nothing is allocated for a request that a route takes, unless its conditions must decode the
//! query.

use std::fmt;

use http::{HeaderMap, Method};

use super::conditions::Conditions;
use super::host::HostPattern;
use super::index::{Claim, Hosts, Index, PathCursor};
use super::lint::{self, Clash};
use super::listener::ListenerId;
use super::rank::{Rule, Standing};

/// What of a request decides its route.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// The canonical host; without one only routes for any host match.
    pub host: Option<&'a str>,
    /// The canonical path.
    pub path: &'a str,
    /// The listener it came by.
    pub listener: ListenerId,
    /// The method; for a preflight, the one it asks for.
    pub method: &'a Method,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The query, as sent, without `?`.
    pub query: Option<&'a str>,
}

/// What became of a search. Routes are numbered in the order they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This route.
    Route(usize),
    /// 405: these methods would be taken.
    MethodNotAllowed(Allow),
    /// 404.
    NotFound,
}

/// The methods of an `Allow` header, sorted, each once; written as the header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Box<[Method]>);

/// A route whose host and path match a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'t> {
    /// Which.
    pub route: usize,
    /// The first condition that does not hold; `None` if it accepts the request.
    pub failed: Option<Failed<'t>>,
    /// For the winner: the rule that put it before the next candidate which accepts the request, if there is one.
    pub won_by: Option<Rule>,
}

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed<'t> {
    /// The one on the listener.
    Listener,
    /// The one on this header.
    Header(&'t str),
    /// The one on this query parameter.
    Query(&'t str),
    /// The method's. It is looked at last: this candidate makes the answer a 405 if nothing else wins.
    Method,
}

/// The compiled routes.
#[derive(Debug)]
pub struct Table {
    pub(super) routes: Box<[Conditions]>,
    /// Each route for each of its hosts, in the total order: a rank is a place in this list.
    pub(super) ranked: Box<[Ranked]>,
    pub(super) index: Index,
}

/// A route, and which of its hosts; `None` for any host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked {
    pub route: u32,
    host: Option<u32>,
}

impl Table {
    /// Builds the table, unless routes are equal in all conditions.
    pub fn build(routes: Vec<Conditions>) -> Result<Self, Vec<Clash>> {
        let clashes = lint::clashes(&routes);
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let ranked = ranked(&routes);
        let mut index = Index::default();
        for (rank, entry) in ranked.iter().enumerate() {
            if let Some(route) = routes.get(entry.route as usize) {
                let claim = Claim { rank: rank as u32, route: entry.route, plain: route.is_plain() };
                index.insert(entry.host_of(route), &route.path, claim);
            }
        }
        Ok(Table { routes: routes.into(), ranked, index })
    }

    /// The route a request takes.
    pub fn find(&self, lookup: &Lookup<'_>) -> Found {
        let accepts = |claim: &Claim| claim.plain || self.accepts(claim, lookup);
        match self.index.best(lookup.hosts(), PathCursor(lookup.path), u32::MAX, accepts) {
            Some(claim) => Found::Route(claim.route as usize),
            None => self.refusal(lookup),
        }
    }

    /// Every route whose host and path match, in order, with what became of it.
    pub fn explain(&self, lookup: &Lookup<'_>) -> Vec<Candidate<'_>> {
        let claims = self.candidates(lookup);
        let judged = claims.iter().filter_map(|claim| Some((claim, self.claimed(claim)?.failed(lookup))));
        let mut accepting = judged.clone().filter(|(_, failed)| failed.is_none()).map(|(claim, _)| claim.rank);
        let (winner, runner_up) = (accepting.next(), accepting.next());
        let rule = winner.zip(runner_up).and_then(|(winner, other)| self.tie_break(winner, other));
        let candidate = |(claim, failed): (&Claim, _)| {
            let won_by = rule.filter(|_| winner == Some(claim.rank));
            Candidate { route: claim.route as usize, failed, won_by }
        };
        judged.map(candidate).collect()
    }

    /// A route's conditions, with the host it is ranked for.
    pub(super) fn entry(&self, rank: u32) -> Option<(&Conditions, Option<&HostPattern>)> {
        let entry = self.ranked.get(rank as usize)?;
        let route = self.routes.get(entry.route as usize)?;
        Some((route, entry.host_of(route)))
    }

    /// The conditions of the route that makes a claim.
    pub(super) fn claimed(&self, claim: &Claim) -> Option<&Conditions> {
        self.routes.get(claim.route as usize)
    }

    fn tie_break(&self, winner: u32, other: u32) -> Option<Rule> {
        let standing = |rank| self.entry(rank).map(|(route, host)| Standing::new(route, host));
        Some(standing(winner)?.rule_against(&standing(other)?))
    }

    fn accepts(&self, claim: &Claim, lookup: &Lookup<'_>) -> bool {
        // The method costs least, so it goes first here; the outcome is that of `failed`.
        self.claimed(claim)
            .is_some_and(|route| route.methods.allow(lookup.method) && route.failed_beside_method(lookup).is_none())
    }

    /// Nothing accepts the request: 405 if a candidate failed by its method alone.
    fn refusal(&self, lookup: &Lookup<'_>) -> Found {
        let candidates = self.candidates(lookup);
        let routes = candidates.iter().filter_map(|claim| self.claimed(claim));
        let refusing = routes.filter(|route| route.failed(lookup) == Some(Failed::Method));
        let mut methods: Vec<Method> = refusing.flat_map(|route| route.methods.iter()).collect();
        sort_methods(&mut methods);
        if methods.is_empty() { Found::NotFound } else { Found::MethodNotAllowed(Allow(methods.into())) }
    }

    /// All claims whose host and path match, in order, each route once.
    fn candidates(&self, lookup: &Lookup<'_>) -> Vec<Claim> {
        let mut all = Vec::new();
        self.index.walk(lookup.hosts(), PathCursor(lookup.path), u32::MAX, |claims, limit| {
            all.extend_from_slice(claims);
            limit
        });
        all.sort_unstable_by_key(|claim| (claim.route, claim.rank));
        all.dedup_by_key(|claim| claim.route);
        all.sort_unstable_by_key(|claim| claim.rank);
        all
    }
}

impl Ranked {
    fn host_of<'a>(&self, route: &'a Conditions) -> Option<&'a HostPattern> {
        self.host.and_then(|host| route.further.hosts().get(host as usize))
    }
}

impl<'a> Lookup<'a> {
    fn hosts(&self) -> Hosts<'a> {
        self.host.map_or(Hosts::Any, Hosts::Exact)
    }
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Listener => f.write_str("listener"),
            Failed::Header(name) => write!(f, "header {name}"),
            Failed::Query(name) => write!(f, "query {name}"),
            Failed::Method => f.write_str("method"),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(place, method)| {
            f.write_str(if place == 0 { "" } else { ", " })?;
            f.write_str(method.as_str())
        })
    }
}

/// Each route for each of its hosts, in the total order.
fn ranked(routes: &[Conditions]) -> Box<[Ranked]> {
    let entries = (0..).zip(routes).flat_map(|(route, conditions)| {
        (0..).zip(conditions.each_host()).map(move |(place, host)| {
            (Standing::new(conditions, host), Ranked { route, host: host.is_some().then_some(place) })
        })
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn sort_methods(methods: &mut Vec<Method>) {
    methods.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    methods.dedup();
}
