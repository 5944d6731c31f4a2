//! Keys that an issuer publishes: fetched by one task, so never twice at a time (RFC 7517 5, OpenID Connect Discovery 4).
//!
//! * Keys are fetched when the task starts and again before they get stale: after four fifths of what Cache-Control
//!   allows (60 s to 24 h; 10 min if it says nothing), or of a period that is set.
//! * A fetch fails if the answer is late, longer than 512 KiB, not 200 (redirects too), or has no usable key. Then it is
//!   tried again after 1 s, doubling up to 60 s, with jitter; meanwhile the last good keys serve, for ever if need be.
//! * A token whose key is not there may have a fetch made, if the last one made so began 30 s ago or earlier. Fetches are
//!   numbered: only one that began after the question answers it. What such a fetch did not bring is settled for 30 s, and
//!   longer if others use up the fetches. A question that may not have a fetch made waits for the one under way, if any, and
//!   is then open: the token can't be judged, and nobody says that it is wrong.
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

use super::fetch::{Answer, Authorities, Client, address};
use super::json;
use super::key_set::{self, KeySet};

/// Keys that an issuer publishes.
pub struct Provider {
    settings: Settings,
    client: Client,
    pace: Pace,
    fetched: ArcSwapOption<Fetched>,
    desk: watch::Sender<Desk>,
    settled: Cache<Doubt, Instant>,
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
    /// How long after the start of a fetch that a token had made another may be.
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
            demand: seconds(30),
            fresh: seconds(60)..=seconds(24 * 3600),
            again: seconds(1)..=seconds(60),
        }
    }
}

/// How long keys are fresh if nobody says.
const FRESH: Duration = Duration::from_secs(600);
/// How many answers to questions are kept.
const SETTLED: usize = 1024;
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
    /// How many failed.
    pub bad: u64,
}

/// The fetches, numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Desk {
    /// The last that began.
    begun: u64,
    /// The last that ended.
    ended: u64,
    /// The last that succeeded.
    good: u64,
    /// The last that was asked for.
    demanded: u64,
    /// When a token had one made.
    demanded_at: Option<Instant>,
}

/// A fetch that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticket {
    number: u64,
    is_new_demand: bool,
}

/// The hash of a key's name, or of a token that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Doubt(u64);

/// Whether a fetch helps to judge a token whose key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It does.
    Fetch,
    /// There was one, in vain.
    Settled,
    /// It would, but there may be none now.
    Later,
}

impl Desk {
    /// The fetch that a question may wait for.
    fn ticket(&self, now: Instant, pace: &Pace) -> Option<Ticket> {
        let is_under_way = self.begun > self.ended;
        let wait_for = |number| Some(Ticket { number, is_new_demand: false });
        if self.demanded > self.begun {
            return wait_for(self.demanded);
        }
        if is_under_way && self.good == 0 {
            return wait_for(self.begun);
        }
        if self.demanded_at.is_none_or(|at| now.saturating_duration_since(at) >= pace.demand) {
            return Some(Ticket { number: self.begun + 1, is_new_demand: true });
        }
        is_under_way.then_some(self.begun).and_then(wait_for)
    }
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
            settled: Cache::new(SETTLED),
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
        let now = Instant::now();
        let settled = self.settled.get(&doubt);
        if settled.is_some_and(|at| now.saturating_duration_since(at) < self.pace.demand) {
            return Want::Settled;
        }
        match (self.desk.borrow().ticket(now, &self.pace), settled) {
            (Some(_), _) => Want::Fetch,
            (None, Some(_)) => Want::Settled,
            (None, None) => Want::Later,
        }
    }

    /// Has a fetch made, or waits for the one that is due or under way; no longer than a fetch may take.
    pub async fn ask(&self, doubt: Doubt) {
        let mut desk = self.desk.subscribe();
        let Some((number, answers)) = self.take_ticket() else { return };
        let ended = async { desk.wait_for(|desk| desk.ended >= number).await.is_ok_and(|desk| desk.good >= number) };
        let was_good = timeout(self.pace.timeout, ended).await.unwrap_or(false);
        if was_good && answers {
            self.settled.insert(doubt, Instant::now());
        }
    }

    /// The number of the fetch to wait for, and whether it begins only now and so answers a question of now.
    fn take_ticket(&self) -> Option<(u64, bool)> {
        let mut taken = None;
        self.desk.send_if_modified(|desk| {
            let now = Instant::now();
            let Some(ticket) = desk.ticket(now, &self.pace) else { return false };
            taken = Some((ticket.number, ticket.number > desk.begun));
            if ticket.is_new_demand {
                (desk.demanded, desk.demanded_at) = (ticket.number, Some(now));
            }
            ticket.is_new_demand
        });
        taken
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
        drop(standing);
        let before = self.fetched.load();
        let is_same = before.as_ref().is_some_and(|before| before.digest == digest);
        if !is_same {
            log::info!("issuer {}: {} keys", self.name(), keys.len());
            let generation = before.as_ref().map_or(1, |before| before.generation + 1);
            self.fetched.store(Some(Arc::new(Fetched { keys, generation, digest })));
        } else if had_failed {
            log::info!("issuer {}: keys are fetched again", self.name());
        }
    }

    fn note_failure(&self, why: String, is_first: bool) {
        if is_first {
            log::warn!("issuer {}: keys can't be fetched, the last good ones serve, if any: {why}", self.name());
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
        let fresh = self.settings.refresh.unwrap_or_else(|| fresh_for(&answer.headers));
        let fresh = fresh.clamp(*self.pace.fresh.start(), *self.pace.fresh.end());
        let digest = ring::digest::digest(&ring::digest::SHA256, &answer.body);
        Ok((keys, digest.as_ref().try_into().unwrap_or_default(), fresh))
    }

    async fn discover(&self, issuer: &str) -> Result<Url, String> {
        let url = configuration_of(issuer).ok_or("the issuer is no address")?;
        let answer = self.get(url, LONGEST_CONFIGURATION).await?;
        let configuration = json::object(&answer.body).ok_or("the OpenID configuration is no JSON object")?;
        let text = |name| configuration.get(name).and_then(serde_json::Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err("the OpenID configuration is of another issuer".into());
        }
        let keys = text("jwks_uri").ok_or("the OpenID configuration has no jwks_uri")?;
        address(keys, self.settings.allow_http).ok_or_else(|| "its jwks_uri is not https".into())
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
