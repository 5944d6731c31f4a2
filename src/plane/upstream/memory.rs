//! What a service knows whatever its settings are: of its endpoints, of names, of those that were drained or registered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::endpoint::Standing;
use super::line::Line;
use super::names::{self, Answer};
use super::target::{ALLOWED, Target, Url};
use gatekeeper_model::{Faults, Place, quoted, raw};

pub mod bequest;

/// What a service knows whatever its settings are.
#[derive(Default)]
pub struct Memory {
    /// Who waits for room at an endpoint.
    pub line: Arc<Line>,
    news: Notify,
    others: Notify,
    drained: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Counts what changed of that which endpoints are made of.
    version: u64,
    /// By URL and address; a unix socket has none.
    standings: HashMap<(Arc<str>, Option<IpAddr>), Arc<Standing>>,
    last_id: u32,
    /// The addresses that a name had last.
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Why names were not found when they were last looked up.
    unknown: HashMap<String, String>,
    /// The URLs of targets that get no new requests.
    drained: BTreeSet<Arc<str>>,
    registrations: BTreeMap<Arc<str>, Registration>,
}

/// A target that registered itself.
struct Registration {
    target: Target,
    ttl: Option<Duration>,
    expires: Option<Instant>,
}

/// A target that registers itself.
pub struct Registering {
    target: Target,
    ttl: Option<Duration>,
    /// How long ago it was heard of.
    age: Duration,
}

/// A registration as it is told.
pub struct Registered {
    /// The target's URL.
    pub url: Arc<str>,
    /// After how long it goes unless it is renewed.
    pub ttl: Option<Duration>,
    /// How much of that is left.
    pub left: Option<Duration>,
}

/// The longest that a registration may last without being renewed.
const LONGEST_TTL: u64 = 30 * 86400;

impl Registering {
    /// The same, of which was heard so long ago.
    pub fn heard(self, age: Duration) -> Self {
        Registering { age, ..self }
    }

    /// Understands what an instance says of itself, by the names the administration has for it.
    pub fn compile(url: &str, weight: u32, ttl_seconds: Option<u64>, faults: &mut Faults) -> Option<Self> {
        let place = Url::parse(url);
        if let Err(why) = place {
            faults.push(Place::new("service_url"), format!("{} ({why})", quoted(url)), ALLOWED);
        }
        if !(1..=1000).contains(&weight) {
            faults.push(Place::new("weight"), weight.to_string(), "1 to 1000");
        }
        if let Some(seconds) = ttl_seconds.filter(|seconds| !(1..=LONGEST_TTL).contains(seconds)) {
            faults.push(Place::new("ttl_seconds"), seconds.to_string(), format!("1 to {LONGEST_TTL}"));
        }
        let place = place.ok().filter(|_| faults.is_empty())?;
        let raw = raw::WeightedTarget { url: url.into(), weight, max_in_flight: None };
        let target = Target::new(&raw::Target::Weighted(raw), place);
        Some(Registering { target, ttl: ttl_seconds.map(Duration::from_secs), age: Duration::ZERO })
    }
}

impl Memory {
    /// The last addresses of a name.
    pub(super) fn addresses(&self, host: &str) -> Vec<IpAddr> {
        self.known.lock().addresses.get(host).cloned().unwrap_or_default()
    }

    /// Takes the addresses of a name that was looked up; without any it keeps its last ones.
    pub(super) fn learn(&self, host: &str, answer: &Answer) {
        let known = &mut *self.known.lock();
        known.unknown.remove(host);
        let last = known.addresses.get(host);
        let mut addresses = answer.addresses.clone();
        if !answer.is_whole {
            // Of the kind that nobody answered for, the last ones stay.
            let is_answered = |address: &IpAddr| addresses.iter().any(|found| found.is_ipv4() == address.is_ipv4());
            let kept: Vec<IpAddr> = last.into_iter().flatten().copied().filter(|last| !is_answered(last)).collect();
            addresses.extend(kept);
            addresses.sort_unstable();
            addresses.truncate(names::MOST);
        }
        if !addresses.is_empty() && last != Some(&addresses) {
            known.addresses.insert(host.into(), addresses);
            known.version += 1;
            self.news.notify_one();
        }
    }

    /// Remembers why a name was not found.
    pub(super) fn miss(&self, host: &str, why: &str) {
        self.known.lock().unknown.insert(host.into(), why.into());
    }

    /// Forgets why names were not found that nobody asks for any more.
    pub(super) fn miss_only(&self, asked: impl Fn(&str) -> bool) {
        self.known.lock().unknown.retain(|host, _| asked(host));
    }

    /// Why a name was not found when it was last looked up.
    pub fn why_unknown(&self, host: &str) -> Option<String> {
        self.known.lock().unknown.get(host).cloned()
    }

    /// Told when others may have registered, whose names are not known.
    pub(super) fn others(&self) -> Notified<'_> {
        self.others.notified()
    }

    /// Counts what changed of that which endpoints are made of.
    pub(super) fn version(&self) -> u64 {
        self.known.lock().version
    }

    /// Told when there may be something new to make endpoints of.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Says that there may be something new to make endpoints of.
    pub fn tell_news(&self) {
        self.news.notify_one();
        self.others.notify_one();
    }

    /// What is known of an endpoint; `newcomer` hears of one that is new.
    pub(super) fn standing(
        &self,
        url: &Arc<str>,
        address: Option<IpAddr>,
        newcomer: impl Fn(&Standing),
        now: Instant,
    ) -> Arc<Standing> {
        let Known { standings, last_id, drained, .. } = &mut *self.known.lock();
        let new = || {
            *last_id += 1;
            let standing = Standing::new(*last_id, now);
            newcomer(&standing);
            standing.drain(drained.contains(url), now);
            Arc::new(standing)
        };
        standings.entry((url.clone(), address)).or_insert_with(new).clone()
    }

    pub(super) fn retain(&self, wanted: impl Fn(&Standing) -> bool) {
        self.known.lock().standings.retain(|_, standing| wanted(standing) || Arc::strong_count(standing) > 1);
    }

    /// The whole service gets no new requests.
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Says that the service gets no new requests, or does again.
    pub fn drain(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Says that a target gets no new requests, or does again.
    pub(super) fn drain_target(&self, url: &Arc<str>, drain: bool, now: Instant) {
        let Known { standings, drained, .. } = &mut *self.known.lock();
        for (_, standing) in standings.iter().filter(|((of, _), _)| of == url) {
            standing.drain(drain, now);
        }
        if drain {
            drained.insert(url.clone())
        } else {
            drained.remove(url)
        };
    }

    /// A target gets no new requests.
    pub fn is_target_drained(&self, url: &str) -> bool {
        self.known.lock().drained.contains(url)
    }

    /// Adds a target, or renews it. Whether it is new: then nothing that was said of another by its name counts.
    pub fn register(&self, Registering { target, ttl, age }: Registering, now: Instant) -> bool {
        let known = &mut *self.known.lock();
        let url = target.url.clone();
        let registration = Registration { expires: ttl.map(|ttl| now + ttl.saturating_sub(age)), ttl, target };
        let previous = known.registrations.get(&url).filter(|previous| previous.is_valid(now));
        let is_new = previous.is_none();
        known.version +=
            u64::from(previous.is_none_or(|previous| previous.target.weight != registration.target.weight));
        if is_new && known.drained.remove(&url) {
            let standings = known.standings.iter().filter(|((of, _), _)| *of == url);
            standings.for_each(|(_, standing)| standing.drain(false, now));
        }
        known.registrations.insert(url, registration);
        self.tell_news();
        is_new
    }

    /// Renews a target that registered. Whether it is still known.
    pub fn heartbeat(&self, url: &str, now: Instant) -> bool {
        let known = &mut *self.known.lock();
        let Some(registration) = known.registrations.get_mut(url).filter(|known| known.is_valid(now)) else {
            return false;
        };
        registration.expires = registration.ttl.map(|ttl| now + ttl);
        true
    }

    /// Takes back a registration. Whether there was one.
    pub fn deregister(&self, url: &str) -> bool {
        let known = &mut *self.known.lock();
        let removed = known.registrations.remove(url).is_some();
        known.version += u64::from(removed);
        self.tell_news();
        removed
    }

    /// Forgets the registrations that were not renewed. When the next one will be too old.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let Known { registrations, version, .. } = &mut *self.known.lock();
        let before = registrations.len();
        registrations.retain(|_, registration| registration.is_valid(now));
        *version += (before - registrations.len()) as u64;
        registrations.values().filter_map(|registration| registration.expires).min()
    }

    /// The registrations, as they are told.
    pub fn registrations(&self, now: Instant) -> Vec<Registered> {
        let registered = |registration: &Registration| Registered {
            url: registration.target.url.clone(),
            ttl: registration.ttl,
            left: registration.expires.map(|expires| expires.saturating_duration_since(now)),
        };
        self.known.lock().registrations.values().map(registered).collect()
    }

    /// The targets that registered.
    pub fn registered(&self) -> Vec<Target> {
        self.known.lock().registrations.values().map(|registration| registration.target.clone()).collect()
    }
}

impl Registration {
    fn is_valid(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}
