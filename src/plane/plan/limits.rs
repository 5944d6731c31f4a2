//! Compiles limits, and which of them hold for a route.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use http::HeaderValue;
use smallvec::SmallVec;

use crate::observe::Claims;
use crate::policy::auth::api_key::ApiKey;
use crate::policy::limit::{LIMIT_TYPES, Limit, Subject};
use gatekeeper_core::limit::Rule;
use gatekeeper_core::limit::Table;
use gatekeeper_core::limit::headers;
use gatekeeper_core::limit::{Algorithm, Quota};
use gatekeeper_core::route::PathPattern;
use gatekeeper_model::raw::{self, Config, Mode, Policy};
use gatekeeper_model::{Fault, Faults, Origin, Owners, Place, did_you_mean};

/// The limits of a configuration.
#[derive(Debug, Default)]
pub struct Limits {
    /// All of them, in their order.
    pub all: Vec<Arc<Limit>>,
    /// Those that hold for everything, or for their paths: nothing names them.
    everywhere: HashSet<Arc<str>>,
    /// Those that hold for nothing.
    inactive: HashSet<Arc<str>>,
}

/// Which limits hold for a route.
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// These, where their path fits.
    pub limits: Box<[Arc<Limit>]>,
    /// Some hold for some paths only.
    by_path: bool,
    /// What `RateLimit-Policy` says where all of them hold; `None` if that depends on more.
    pub policy: Option<HeaderValue>,
    /// All of them only tell that they would refuse.
    pub shadow: bool,
}

const REQUESTS: RangeInclusive<u32> = 1..=1_000_000_000;
const SECONDS: RangeInclusive<u32> = 1..=31_536_000;
const SUBJECTS: RangeInclusive<u32> = 1_000..=100_000_000;

/// Compiles all limits. One whose name, subject, window and algorithm are as before goes on with its counts.
pub fn compile(
    config: &Config,
    previous: Option<&Limits>,
    claims: &Claims,
    owners: &Owners,
    faults: &mut Faults,
) -> Limits {
    let named = named(config);
    let (mut limits, mut names) = (Limits::default(), HashSet::new());
    for (index, raw) in config.rate_limits.iter().enumerate() {
        let place = Place::new("rate_limits").index(index);
        if raw.rule_name.is_empty() || raw.rule_name.chars().any(char::is_control) {
            faults.push(place.key("rule_name"), format!("{:?}", raw.rule_name), "a name");
        }
        if !names.insert(raw.rule_name.as_str()) {
            let text = format!("there are two rules {:?}", raw.rule_name);
            faults.add(Fault::saying(place.key("rule_name"), text));
        }
        let Some(limit) = limit(raw, previous, claims, owners.of(&place), &place, faults) else { continue };
        if !named.contains(raw.rule_name.as_str()) {
            limits.everywhere.insert(limit.name.clone());
        }
        if !raw.is_active.0 {
            limits.inactive.insert(limit.name.clone());
        }
        limits.all.push(Arc::new(limit));
    }
    limits
}

fn named(config: &Config) -> HashSet<&str> {
    let by_routes = config.routes.iter().flat_map(|route| &route.rate_limits);
    let keys = config.auth.iter().flat_map(|auth| &auth.api_keys).flat_map(|keys| &keys.keys);
    by_routes.chain(keys.flat_map(|key| &key.rate_limits)).map(String::as_str).collect()
}

fn limit(
    raw: &raw::RateLimitRule,
    previous: Option<&Limits>,
    claims: &Claims,
    origin: Origin,
    place: &Place,
    faults: &mut Faults,
) -> Option<Limit> {
    let before = faults.len();
    let mut within = |key: &str, found: u32, range: RangeInclusive<u32>| {
        if !range.contains(&found) {
            faults.push(place.key(key), found.to_string(), format!("{} to {}", range.start(), range.end()));
        }
    };
    within("max_requests", raw.max_requests, REQUESTS);
    within("window_seconds", raw.window_seconds.0, SECONDS);
    within("burst", raw.burst.unwrap_or(1), REQUESTS);
    within("max_subjects", raw.max_subjects, SUBJECTS);
    let algorithm = match raw.algorithm {
        raw::Algorithm::Gcra => Algorithm::Gcra { burst: raw.burst.unwrap_or(raw.max_requests) },
        raw::Algorithm::Window => Algorithm::Window,
    };
    if raw.burst.is_some() && algorithm == Algorithm::Window {
        let fault = Fault::saying(place.key("burst"), "a window has no burst");
        faults.add(fault.with_hint("algorithm: gcra, or leave it out"));
    }
    let subject = Subject::parse(&raw.limit_type);
    if subject.is_none() {
        faults.push(place.key("limit_type"), format!("{:?}", raw.limit_type), LIMIT_TYPES);
    }
    let path = raw.path_pattern.as_deref().map(PathPattern::parse).transpose();
    let path = path.map_err(|fault| faults.add(Fault::saying(place.key("path_pattern"), fault))).ok();
    let (true, Some(subject), Some(path)) = (faults.len() == before, subject, path) else { return None };
    let quota = Quota { max: raw.max_requests, window: Duration::from_secs(raw.window_seconds.0.into()), algorithm };
    if let Algorithm::Gcra { burst } = algorithm
        && burst > quota.largest_burst()
    {
        let allowed =
            format!("1 to {} at this rate: a burst has to be whole again within 100 years", quota.largest_burst());
        faults.push(place.key("burst"), burst.to_string(), allowed);
        return None;
    }
    let (counts, hasher) = counts(raw, &subject, quota, previous);
    Some(Limit {
        name: raw.rule_name.as_str().into(),
        origin,
        rule: Rule::new(&raw.rule_name, quota, counts),
        max_subjects: raw.max_subjects,
        subject,
        path,
        shadow: raw.mode == Mode::Shadow,
        hasher,
        metrics: claims.policy("rate_limit", &raw.rule_name),
    })
}

fn counts(
    raw: &raw::RateLimitRule,
    subject: &Subject,
    quota: Quota,
    previous: Option<&Limits>,
) -> (Arc<Table>, RandomState) {
    let same = |limit: &&Arc<Limit>| *limit.name == *raw.rule_name && limit.subject == *subject;
    let kept = previous.and_then(|limits| limits.all.iter().find(same));
    match kept.filter(|limit| limit.rule.counts.holds_for(&quota)) {
        Some(limit) => (limit.rule.counts.clone(), limit.hasher.clone()),
        None => (Arc::new(Table::new(quota, raw.max_subjects, Instant::now())), RandomState::new()),
    }
}

fn declared(names: &[&str]) -> String {
    if names.is_empty() { "no rate limits are declared".into() } else { format!("declared: {}", names.join(", ")) }
}

impl PartialEq for RouteLimits {
    fn eq(&self, other: &Self) -> bool {
        let RouteLimits { limits, by_path, policy, shadow } = self;
        limits.len() == other.limits.len()
            && limits.iter().zip(&other.limits).all(|(limit, other)| Arc::ptr_eq(limit, other))
            && (by_path, policy, shadow) == (&other.by_path, &other.policy, &other.shadow)
    }
}

impl RouteLimits {
    /// Those that hold for a path, and for a key that brings its own.
    pub fn holding<'a>(&'a self, path: &str, key: Option<&'a ApiKey>) -> SmallVec<[&'a Arc<Limit>; 4]> {
        if key.is_none() && !self.by_path {
            return self.limits.iter().collect();
        }
        let own = |limit: &&Arc<Limit>| !self.limits.iter().any(|other| Arc::ptr_eq(other, limit));
        let of_key = key.into_iter().flat_map(|key| key.limits.iter().filter(own));
        self.limits.iter().chain(of_key).filter(|limit| limit.holds_for(path)).collect()
    }
}

impl Limits {
    /// The active ones of these; faults for those that there are not.
    pub fn named(&self, names: &[String], place: &Place, faults: &mut Faults) -> Vec<Arc<Limit>> {
        let mut found = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.all.iter().find(|limit| *limit.name == **name) {
                Some(_) if names.iter().take(index).any(|earlier| earlier == name) => {
                    faults.add(Fault::saying(place.index(index), format!("{name:?} is listed twice")));
                }
                Some(limit) => found.extend(Some(limit).filter(|limit| self.is_active(limit)).cloned()),
                None if faults.was_pruned(&Place::new("rate_limits")) => {}
                None => {
                    let known = || self.all.iter().map(|limit| &*limit.name);
                    let hint = did_you_mean(name, known()).unwrap_or_else(|| declared(&known().collect::<Vec<_>>()));
                    let fault = Fault::saying(place.index(index), format!("there is no rate limit {name:?}"));
                    faults.add(fault.with_hint(hint));
                }
            }
        }
        found
    }

    /// Takes over for how many subjects limits are; a plan that did not come to serve must not.
    pub fn settle_in(&self) {
        self.all.iter().for_each(|limit| limit.rule.counts.set_max_subjects(limit.max_subjects));
    }

    /// Those that hold for a route: what it names, and what nothing names.
    pub fn of_route(&self, raw: &raw::Route, place: &Place, faults: &mut Faults) -> RouteLimits {
        let mut limits = self.named(&raw.rate_limits, &place.key("rate_limits"), faults);
        let everywhere = self.all.iter().filter(|limit| self.everywhere.contains(&limit.name) && self.is_active(limit));
        limits.extend(everywhere.cloned());
        let shadow = raw.shadow.contains(&Policy::Limits);
        let by_path = limits.iter().any(|limit| limit.path.is_some());
        let sure = !shadow && !by_path && !limits.iter().any(|limit| limit.shadow);
        let policy = headers::policy(limits.iter().map(|limit| &limit.rule)).filter(|_| sure);
        RouteLimits { limits: limits.into(), by_path, policy, shadow }
    }

    fn is_active(&self, limit: &Limit) -> bool {
        !self.inactive.contains(&limit.name)
    }
}
