//! Keys that an issuer publishes: fetched by one task, so never twice at a time (RFC 7517 5, OpenID Connect Discovery 4).
//!
//! * Keys are fetched when the task starts and again before they get stale: after four fifths of what Cache-Control
//!   allows (60 s to 24 h; 10 min if it says nothing), or of a period that is set.
//! * A fetch fails if the answer is late, longer than 512 KiB, not 200 (redirects too), or no set of keys. Then it is
//!   tried again after 1 s, doubling up to 60 s, with jitter; meanwhile the last good keys serve, for ever if need be.
//! * A set without a usable key is the issuer's word like any other: the keys before it are withdrawn, and an alarm is given.
//! * A token whose key is not there may have a fetch made, from a bucket of 5 that gains one in 30 s (`desk`). Only a fetch
//!   that began after the question answers it; tokens with the same key wait for the same one. A key that such a fetch did not bring, or that could not be fetched, is not
//!   there for 30 s, and longer if others use up the fetches. A question that may not have a fetch made waits for the one
//!   under way, if any; then the key is not there. Only where no fetch ever succeeded can nothing be said of a token.
//! * Where an issuer's OpenID configuration says that its keys are, is believed only as far as it leads no nearer to this
//!   machine, and no less safely, than the issuer's own address (`fetch::address_by`).
//!
//! Known inaccuracy: an issuer that changes a key and keeps its name is noticed at the next regular fetch only. Of the last
//! 1024 questions the answers are kept.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ahash::RandomState;
use arc_swap::ArcSwapOption;
use http::header::{ACCEPT, AGE, CACHE_CONTROL};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use reqwest::Url;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::fetch::{Answer, Authorities, Client, address_by};
use super::json;
use super::key_set::{self, KeySet};
use desk::Desk;

mod desk;

/// Keys that an issuer publishes.
pub struct Provider {
    settings: Settings,
    client: Client,
    pace: Pace,
    fetched: ArcSwapOption<Fetched>,
    desk: watch::Sender<Desk>,
    /// What was asked lately: which fetch answers it, and when that was asked for.
    asked: Cache<Doubt, (u64, Instant)>,
    hasher: RandomState,
    standing: Mutex<Standing>,
}

/// Where keys are and how they are fetched. A provider whose settings did not change is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where they are.
    pub source: Source,
    /// How often they are fetched, whatever the answers say.
    pub refresh: Option<Duration>,
    /// Also without TLS from other machines.
    pub allow_http: bool,
    /// Whom the server may be certified by, beside the system's authorities.
    pub authorities: Option<Authorities>,
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// There.
    Keys(Url),
    /// Where this issuer's OpenID configuration says.
    Issuer(String),
}

/// How fast things go.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long a fetch may take, all of it.
    pub timeout: Duration,
    /// How many fetches tokens may have made at once.
    pub bucket: u32,
    /// In what time there is one more of these.
    pub demand: Duration,
    /// How long keys may be fresh.
    pub fresh: RangeInclusive<Duration>,
    /// When a failed fetch is tried again.
    pub again: RangeInclusive<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Pace {
            timeout: seconds(5),
            bucket: 5,
            demand: seconds(30),
            fresh: seconds(60)..=seconds(24 * 3600),
            again: seconds(1)..=seconds(60),
        }
    }
}

/// How long keys are fresh if nobody says.
const FRESH: Duration = Duration::from_secs(600);
/// How many questions are remembered.
const ASKED: usize = 1024;
/// No longer OpenID configuration is read.
const LONGEST_CONFIGURATION: usize = 64 * 1024;

/// Keys that were fetched.
pub struct Fetched {
    /// The keys.
    pub keys: KeySet,
    /// Counts how often they changed.
    pub generation: u64,
    digest: [u8; 32],
}

/// How a provider does.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// How many keys there are.
    pub keys: usize,
    /// When they were fetched.
    pub fetched: Option<SystemTime>,
    /// When a fetch failed the last time, and why.
    pub failed: Option<(SystemTime, String)>,
    /// How many fetches succeeded.
    pub good: u64,
    /// How many of these brought no key that can be used.
    pub empty: u64,
    /// How many failed.
    pub bad: u64,
}

/// The hash of a key's name, or of a token that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Doubt(u64);

/// Whether a fetch helps to judge a token whose key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It does.
    Fetch,
    /// It does not: there was one in vain, or there may be none now.
    Settled,
}

impl Provider {
    /// A provider; its keys are fetched as soon as [`Provider::keep`] runs.
    pub fn new(settings: Settings, client: Client) -> Self {
        Provider::paced(settings, client, Pace::default())
    }

    fn paced(settings: Settings, client: Client, pace: Pace) -> Self {
        Provider {
            settings,
            client,
            pace,
            fetched: ArcSwapOption::empty(),
            // The first fetch is on its way before the task runs.
            desk: watch::Sender::new(Desk { demanded: 1, ..Desk::default() }),
            asked: Cache::new(ASKED),
            hasher: RandomState::new(),
            standing: Mutex::default(),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address or the issuer.
    pub fn name(&self) -> &str {
        match &self.settings.source {
            // A query may hold a secret.
            Source::Keys(url) => url.as_str().split('?').next().unwrap_or_default(),
            Source::Issuer(issuer) => issuer,
        }
    }

    /// How it does.
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// The keys, if they were ever fetched.
    pub fn keys(&self) -> Option<Arc<Fetched>> {
        self.fetched.load_full()
    }

    /// How often the keys changed.
    pub fn generation(&self) -> u64 {
        self.fetched.load().as_ref().map_or(0, |fetched| fetched.generation)
    }

    /// What a question is about: the name of a key, or a token that names none.
    pub fn doubt(&self, text: &str) -> Doubt {
        Doubt(self.hasher.hash_one(text))
    }

    /// Whether a fetch is to be made, or waited for, because a key is not there.
    pub fn want(&self, doubt: Doubt) -> Want {
        let (now, desk) = (Instant::now(), *self.desk.borrow());
        match self.asked.get(&doubt) {
            Some((number, _)) if number > desk.ended => Want::Fetch,
            Some((_, at)) if now.saturating_duration_since(at) < self.pace.demand => Want::Settled,
            _ if desk.ticket(now, &self.pace).is_some() => Want::Fetch,
            _ => Want::Settled,
        }
    }

    /// Has a fetch made, or waits for the one that is due or under way; no longer than a fetch may take.
    pub async fn ask(&self, doubt: Doubt) {
        let mut desk = self.desk.subscribe();
        let asked = self.asked.get(&doubt).map(|(number, _)| number).filter(|number| *number > desk.borrow().ended);
        let Some(number) = asked.or_else(|| self.take_ticket(doubt)) else { return };
        let _ = timeout(self.pace.timeout, desk.wait_for(|desk| desk.ended >= number)).await;
    }

    /// The number of the fetch to wait for. One that begins only now answers the question, for all who have the same.
    fn take_ticket(&self, doubt: Doubt) -> Option<u64> {
        let (now, mut taken) = (Instant::now(), None);
        self.desk.send_if_modified(|desk| {
            let Some(ticket) = desk.ticket(now, &self.pace) else { return false };
            taken = Some((ticket.number, ticket.number > desk.begun));
            if ticket.is_new_demand {
                desk.demand(ticket.number, now, &self.pace);
            }
            ticket.is_new_demand
        });
        let (number, answers) = taken?;
        if answers {
            self.asked.insert(doubt, (number, now));
        }
        Some(number)
    }

    /// Fetches the keys again and again.
    pub async fn keep(self: Arc<Self>) {
        let mut desk = self.desk.subscribe();
        let mut failures = 0;
        loop {
            let pause = self.fetch_once(&mut failures).await;
            let demanded = async { desk.wait_for(|desk| desk.demanded > desk.begun).await.is_ok() };
            tokio::select! {
                () = sleep(pause) => {}
                _ = demanded => {}
            }
        }
    }

    /// Fetches the keys; tells how long to wait for the next time.
    async fn fetch_once(&self, failures: &mut u32) -> Duration {
        self.desk.send_modify(|desk| desk.begun += 1);
        let outcome = timeout(self.pace.timeout, self.fetch()).await;
        let outcome = outcome.unwrap_or_else(|_| Err("the answer took too long".into()));
        let is_good = outcome.is_ok();
        let pause = match outcome {
            Ok((keys, digest, fresh)) => {
                self.publish(keys, digest, *failures > 0);
                *failures = 0;
                spread(fresh.mul_f64(0.75), fresh.mul_f64(0.85))
            }
            Err(why) => {
                self.note_failure(why, *failures == 0);
                *failures = failures.saturating_add(1);
                pause_after(*failures, &self.pace.again)
            }
        };
        self.desk.send_modify(|desk| {
            desk.ended = desk.begun;
            if is_good {
                desk.good = desk.begun;
            }
        });
        pause
    }

    fn publish(&self, keys: KeySet, digest: [u8; 32], had_failed: bool) {
        let mut standing = self.standing.lock();
        standing.keys = keys.len();
        standing.fetched = Some(SystemTime::now());
        standing.good += 1;
        standing.empty += u64::from(keys.is_empty());
        drop(standing);
        let before = self.fetched.load();
        let is_same = before.as_ref().is_some_and(|before| before.digest == digest);
        if !is_same {
            self.tell(&keys);
            let generation = before.as_ref().map_or(1, |before| before.generation + 1);
            self.fetched.store(Some(Arc::new(Fetched { keys, generation, digest })));
        } else if had_failed {
            log::info!("issuer {}: fetching keys works again", self.name());
        }
    }

    /// Tells of new keys.
    fn tell(&self, keys: &KeySet) {
        let name = self.name();
        match keys.emptiness() {
            Some(why) => {
                log::error!("issuer {name} publishes no usable key, all of its tokens are rejected: {why}")
            }
            None => log::info!("issuer {name}: {} keys", keys.len()),
        }
        keys.weak().iter().for_each(|why| log::warn!("issuer {name}: {why}"));
    }

    fn note_failure(&self, why: String, is_first: bool) {
        if is_first {
            let meanwhile = match self.keys() {
                Some(_) => "the last good ones stay in use",
                None => "its tokens cannot be checked until then",
            };
            log::warn!("issuer {}: cannot fetch keys, {meanwhile}: {why}", self.name());
        }
        let mut standing = self.standing.lock();
        standing.failed = Some((SystemTime::now(), why));
        standing.bad += 1;
    }

    async fn fetch(&self) -> Result<(KeySet, [u8; 32], Duration), String> {
        let url = match &self.settings.source {
            Source::Keys(url) => url.clone(),
            Source::Issuer(issuer) => self.discover(issuer).await?,
        };
        let answer = self.get(url, key_set::LONGEST).await?;
        let keys = KeySet::read(&answer.body)?;
        let fresh = self.settings.refresh.unwrap_or_else(|| self.fresh_for(&answer.headers, keys.is_empty()));
        let digest = ring::digest::digest(&ring::digest::SHA256, &answer.body);
        Ok((keys, digest.as_ref().try_into().unwrap_or_default(), fresh))
    }

    async fn discover(&self, issuer: &str) -> Result<Url, String> {
        let url = configuration_of(issuer).ok_or("the issuer is not a URL")?;
        let answer = self.get(url.clone(), LONGEST_CONFIGURATION).await?;
        let configuration = json::object(&answer.body).ok_or("the OpenID configuration is not a JSON object")?;
        let text = |name| configuration.get(name).and_then(serde_json::Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err("the OpenID configuration belongs to another issuer".into());
        }
        let keys = text("jwks_uri").ok_or("the OpenID configuration has no jwks_uri")?;
        address_by(&url, keys, self.settings.allow_http).map_err(|why| format!("its jwks_uri {why}"))
    }

    /// How long keys are fresh. Who has withdrawn all is looked at again soon.
    fn fresh_for(&self, headers: &HeaderMap, is_empty: bool) -> Duration {
        let (shortest, longest) = (*self.pace.fresh.start(), *self.pace.fresh.end());
        if is_empty { shortest } else { fresh_for(headers).clamp(shortest, longest) }
    }

    async fn get(&self, url: Url, longest: usize) -> Result<Answer, String> {
        let request = self.client.request(Method::GET, url).header(ACCEPT, "application/json");
        let answer =
            self.client.send(request, self.pace.timeout, longest).await.map_err(|failure| failure.to_string())?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            status => Err(format!("the answer has status {}", status.as_u16())),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.name())
    }
}

/// Where an issuer's OpenID configuration is.
pub(super) fn configuration_of(issuer: &str) -> Option<Url> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let url = Url::parse(&format!("{issuer}/.well-known/openid-configuration")).ok()?;
    (url.query().is_none() && url.fragment().is_none()).then_some(url)
}

/// How long an answer is fresh (RFC 9111 4.2): its max-age less its age. One that is not to be kept is not fresh at all.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let texts = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = FRESH;
    for directive in texts.flat_map(|text| text.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"').parse().ok()) {
            ("no-store" | "no-cache", _) => return Duration::ZERO,
            ("max-age", Some(seconds)) => fresh = Duration::from_secs(seconds),
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    fresh.saturating_sub(Duration::from_secs(age))
}

/// How long to wait after so many failures in a row.
fn pause_after(failures: u32, again: &RangeInclusive<Duration>) -> Duration {
    let doubled = again.start().saturating_mul(1 << failures.saturating_sub(1).min(16)).min(*again.end());
    spread((doubled / 2).max(*again.start()), doubled)
}

fn spread(shortest: Duration, longest: Duration) -> Duration {
    shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
