//! The index: from a host and a path to the routes that match both, without looking at the others.
//!
//! Per host there is a hash table of the paths without wildcards and a tree of the other patterns, a level per
//! segment, made so that a walk touches little memory: with many routes it is in nobody's cache. A request's walk costs
//! a look-up per host level (the host, each of its parent domains, any host), and in the tree one step per segment, down
//! to the longest pattern. It branches only where a literal and a wildcard sibling both fit: a tree of k such levels can
//! cost 2^k steps, never more than it has nodes; only the configuration can bring that about, not a request. The routes
//! that share one pattern are walked one by one, in the order of their ranks.
//!
//! A walk carries a limit, the best rank found so far: what only holds ranks beyond it is not entered.

use std::collections::HashMap;
use std::iter::{once, successors};

use compact_str::CompactString;
use smallvec::SmallVec;

use super::host::HostPattern;
use super::pattern::{PathPattern, Segment, Segments, is_nameless, next_segment};

/// Keys are usually short and lie in the map itself.
type Map<V> = HashMap<CompactString, V, ahash::RandomState>;

/// One route for one of its hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Its place in the total order.
    pub rank: u32,
    pub route: u32,
    /// It has no conditions beside its host and path.
    pub plain: bool,
}

/// What a walk is for: a host, or all hosts that a pattern matches.
#[derive(Clone, Copy)]
pub(super) enum Hosts<'a> {
    Exact(&'a str),
    Under(&'a str),
    Any,
}

/// A path, or all paths that a pattern matches, taken segment by segment.
pub(super) trait Cursor<'a>: Copy {
    /// The path as a whole, if it is one.
    fn whole(&self) -> Option<&str>;
    /// The next segment (`None` stands for any) and what comes after it.
    fn step(self) -> Option<(Option<&'a str>, Self)>;
    /// Whether anything may follow after the last segment.
    fn is_open(&self) -> bool;
}

/// A canonical path, from one of its slashes on.
#[derive(Clone, Copy)]
pub(super) struct PathCursor<'a>(pub &'a str);

/// The segments of a pattern, from one of them on.
#[derive(Clone, Copy)]
pub(super) struct PatternCursor<'a> {
    whole: Option<&'a str>,
    segments: Segments<'a>,
    is_open: bool,
}

/// All routes, by host and path.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: Map<Paths>,
    under: Map<Paths>,
    any: Paths,
}

/// The routes of one host, by path.
#[derive(Debug, Default)]
struct Paths {
    literal: Map<Claims>,
    tree: Node,
}

/// The patterns that begin with the same segments.
#[derive(Debug)]
struct Node {
    /// The best rank in this node and below; none has the greatest, which only an empty root keeps.
    best: u32,
    /// So many of the claims are of routes whose pattern ends here; those of the others go on with `/*`.
    ends: u32,
    claims: Claims,
    literal: Children,
    one: Option<Box<Node>>,
}

/// A walk fetches each node from memory.
const _: () = assert!(size_of::<Node>() <= 64);

/// In the order of their ranks.
type Claims = SmallVec<[Claim; 1]>;

/// Nodes by their segment. Few are found sooner by looking at each.
#[derive(Debug)]
enum Children {
    Few(Vec<(CompactString, Node)>),
    Many(Box<Map<Node>>),
}

/// So many are few.
const FEW: usize = 4;

impl Index {
    /// Adds a route for one of its hosts. Claims come in the order of their ranks.
    pub(super) fn insert(&mut self, host: Option<&HostPattern>, pattern: &PathPattern, claim: Claim) {
        let paths = match host {
            Some(HostPattern::Exact(name)) => self.exact.entry((&**name).into()).or_default(),
            Some(HostPattern::Under(suffix)) => self.under.entry((&**suffix).into()).or_default(),
            None => &mut self.any,
        };
        if pattern.is_exact() {
            paths.literal.entry(pattern.as_str().into()).or_default().push(claim);
        } else {
            paths.tree.insert(pattern.segments(), pattern.is_prefix(), claim);
        }
    }

    /// The claim with the best rank below the limit that is accepted.
    pub(super) fn best<'a>(
        &self,
        hosts: Hosts<'_>,
        path: impl Cursor<'a>,
        limit: u32,
        accepts: impl Fn(&Claim) -> bool,
    ) -> Option<Claim> {
        let mut best = None;
        self.walk(hosts, path, limit, |claims, limit| {
            match claims.iter().take_while(|claim| claim.rank < limit).find(|claim| accepts(claim)) {
                Some(claim) => best.insert(*claim).rank,
                None => limit,
            }
        });
        best
    }

    /// Shows `visit` all lists of claims that match every host and path in question and may hold a rank below the
    /// limit. `visit` returns the new limit; so does the walk.
    pub(super) fn walk<'a>(
        &self,
        hosts: Hosts<'_>,
        path: impl Cursor<'a>,
        limit: u32,
        mut visit: impl FnMut(&[Claim], u32) -> u32,
    ) -> u32 {
        self.levels(hosts).fold(limit, |limit, paths| paths.walk(path, limit, &mut visit))
    }

    /// The host's own paths, those of `*.parent` for each of its parents, those of any host.
    fn levels(&self, hosts: Hosts<'_>) -> impl Iterator<Item = &Paths> {
        let (own, name) = match hosts {
            Hosts::Exact(name) => (self.exact.get(name), name),
            Hosts::Under(suffix) => (self.under.get(suffix), suffix),
            Hosts::Any => (None, ""),
        };
        let parents = successors(parent(name).filter(|_| !self.under.is_empty()), |name| parent(name));
        own.into_iter().chain(parents.filter_map(|name| self.under.get(name))).chain(once(&self.any))
    }
}

fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

impl Paths {
    fn walk<'a>(&self, path: impl Cursor<'a>, limit: u32, visit: &mut impl FnMut(&[Claim], u32) -> u32) -> u32 {
        let literal = path.whole().and_then(|whole| self.literal.get(whole));
        let limit = literal.map_or(limit, |claims| visit(claims, limit));
        self.tree.walk(path, limit, visit)
    }
}

impl Node {
    fn insert(&mut self, mut segments: Segments<'_>, is_prefix: bool, claim: Claim) {
        self.best = self.best.min(claim.rank);
        match segments.next() {
            Some(Segment::Literal(text)) => self.literal.of(text).insert(segments, is_prefix, claim),
            Some(Segment::One(_)) => self.one.get_or_insert_default().insert(segments, is_prefix, claim),
            None if is_prefix => self.claims.push(claim),
            None => {
                self.claims.insert(self.ends as usize, claim);
                self.ends += 1;
            }
        }
    }

    fn walk<'a>(&self, path: impl Cursor<'a>, mut limit: u32, visit: &mut impl FnMut(&[Claim], u32) -> u32) -> u32 {
        if self.best >= limit {
            return limit;
        }
        let (ends, prefixes) = self.claims.split_at_checked(self.ends as usize).unwrap_or_default();
        match path.step() {
            Some((segment, after)) => {
                if let Some(child) = segment.and_then(|text| self.literal.get(text)) {
                    limit = child.walk(after, limit, visit);
                }
                if let Some(child) = self.one.as_ref().filter(|_| !segment.is_some_and(is_nameless)) {
                    limit = child.walk(after, limit, visit);
                }
            }
            None if !path.is_open() => limit = visit(ends, limit),
            None => {}
        }
        visit(prefixes, limit)
    }
}

impl Default for Node {
    fn default() -> Self {
        Node { best: u32::MAX, ends: 0, claims: Claims::new(), literal: Children::default(), one: None }
    }
}

impl Default for Children {
    fn default() -> Self {
        Children::Few(Vec::new())
    }
}

impl Children {
    fn get(&self, segment: &str) -> Option<&Node> {
        match self {
            Children::Few(few) => few.iter().find(|(text, _)| text == segment).map(|(_, node)| node),
            Children::Many(many) => many.get(segment),
        }
    }

    /// The node of a segment, new or as it is.
    fn of(&mut self, segment: &str) -> &mut Node {
        if let Children::Few(few) = self
            && few.len() == FEW
            && !few.iter().any(|(text, _)| text == segment)
        {
            *self = Children::Many(Box::new(few.drain(..).collect()));
        }
        match self {
            Children::Many(many) => many.entry(segment.into()).or_default(),
            Children::Few(few) => {
                let place = few.iter().position(|(text, _)| text == segment).unwrap_or(few.len());
                if place == few.len() {
                    few.reserve_exact(1);
                    few.push((segment.into(), Node::default()));
                }
                &mut few[place].1
            }
        }
    }
}

impl<'a> Hosts<'a> {
    /// The hosts that a pattern matches.
    pub(super) fn of(pattern: Option<&'a HostPattern>) -> Self {
        match pattern {
            Some(HostPattern::Exact(name)) => Hosts::Exact(name),
            Some(HostPattern::Under(suffix)) => Hosts::Under(suffix),
            None => Hosts::Any,
        }
    }
}

impl<'a> Cursor<'a> for PathCursor<'a> {
    fn whole(&self) -> Option<&str> {
        Some(self.0)
    }

    fn step(self) -> Option<(Option<&'a str>, Self)> {
        next_segment(self.0).map(|(segment, after)| (Some(segment), PathCursor(after)))
    }

    fn is_open(&self) -> bool {
        false
    }
}

impl<'a> PatternCursor<'a> {
    pub(super) fn new(pattern: &'a PathPattern) -> Self {
        let whole = pattern.is_exact().then_some(pattern.as_str());
        PatternCursor { whole, segments: pattern.segments(), is_open: pattern.is_prefix() }
    }
}

impl<'a> Cursor<'a> for PatternCursor<'a> {
    fn whole(&self) -> Option<&str> {
        self.whole
    }

    fn step(self) -> Option<(Option<&'a str>, Self)> {
        let mut segments = self.segments;
        let segment = segments.next()?;
        Some((segment.literal(), PatternCursor { segments, ..self }))
    }

    fn is_open(&self) -> bool {
        self.is_open
    }
}
