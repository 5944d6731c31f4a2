//! Tokens that can't be judged here, and who is asked about them: an introspection endpoint (RFC 7662), or an auth service that
//! knows its own tokens (SEMANTICS 4.6).
//!
//! An answer, good or bad, holds for a short time; a token is asked about once however many requests bring it meanwhile, and
//! all of them share what comes of it, no answer too. The cache knows tokens by their SHA-256 alone. No answer lets nobody in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use http::header::ACCEPT;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use reqwest::{RequestBuilder, Url};
use serde_json::Value;

use super::api_key::{Hash, hash};
use super::fetch::{Answer as Reply, Client};
use super::identity::{Claims, Identity, claim, text, texts};
use super::json;
use super::remote::{Remote, Unavailable};
use gatekeeper_model::raw::IntrospectionStyle;

/// How many bytes all answers that are kept may weigh, and how many answers that usually are.
const CAPACITY: u64 = 16 << 20;
const USUAL: usize = 8192;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// Who is asked about tokens.
pub struct Introspection {
    settings: Settings,
    remote: Remote,
    known: Cache<Hash, Answer, Bytes>,
    flights: Mutex<Flights>,
}

/// The questions under way, by their tokens.
#[derive(Default)]
struct Flights {
    /// How many there ever were.
    count: u64,
    /// Each with its number.
    under_way: HashMap<Hash, (u64, WeakShared<Asking>)>,
}

/// A question under way. It ends when nobody waits for it any more.
type Asking = BoxFuture<'static, Result<Answer, Unavailable>>;

/// How it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where.
    pub url: Url,
    /// How.
    pub style: IntrospectionStyle,
    /// What the gateway shows of itself: an id and a secret.
    pub credentials: Option<(String, String)>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long it holds.
    pub holds: Duration,
    /// The claim with a user's roles.
    pub roles_claim: String,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Hash, Answer> for Bytes {
    fn weight(&self, _: &Hash, answer: &Answer) -> u64 {
        answer.weight
    }
}

#[derive(Clone)]
struct Answer {
    /// `None` if the token is not good.
    user: Option<Arc<Identity>>,
    until: Instant,
    weight: u64,
}

/// What there is about a token.
#[derive(Debug)]
pub enum Opinion {
    /// It is good, and whose it is.
    Good(Arc<Identity>),
    /// It is not.
    Bad,
}

impl Introspection {
    /// Asks by this client.
    pub fn new(settings: Settings, client: Client) -> Self {
        let remote = Remote::new("introspection", settings.url.clone(), settings.timeout, client);
        let known = Cache::with_weighter(USUAL, CAPACITY, Bytes);
        Introspection { settings, remote, known, flights: Mutex::default() }
    }

    /// How it is asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known of a token without asking.
    pub fn known(&self, token: &str) -> Option<Opinion> {
        self.known.get(&hash(token.as_bytes())).filter(Answer::holds).map(Answer::opinion)
    }

    /// When a question has to be answered that comes up now, and until when it is worth while to wait for a turn to ask it.
    pub fn deadline(&self) -> (Instant, Instant) {
        let deadline = self.remote.deadline();
        (deadline, self.remote.worth_while(deadline))
    }

    /// The opinion of a token that was asked for already, when it comes.
    pub fn awaited(&self, token: &str) -> Option<impl Future<Output = Result<Opinion, Unavailable>> + Send + use<>> {
        let flight = self.flights.lock().get(&hash(token.as_bytes()))?;
        Some(flight.map(|answer| answer.map(Answer::opinion)))
    }

    /// Asks about a token, unless somebody else does already or knows the answer by now.
    pub async fn ask(self: &Arc<Self>, token: &str, deadline: Instant) -> Result<Opinion, Unavailable> {
        match self.known(token) {
            Some(opinion) => Ok(opinion),
            None => self.take_off(token, deadline).await.map(Answer::opinion),
        }
    }

    fn take_off(self: &Arc<Self>, token: &str, deadline: Instant) -> Shared<Asking> {
        let key = hash(token.as_bytes());
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&key) {
            return flight;
        }
        flights.count += 1;
        let (landing, token) = (Landing(self.clone(), key, flights.count), token.to_owned());
        let asking = async move {
            let answer = landing.0.answer(&token, deadline).await?;
            landing.0.known.insert(key, answer.clone());
            Ok(answer)
        };
        let (number, flight) = (flights.count, asking.boxed().shared());
        flights.under_way.extend(flight.downgrade().map(|flight| (key, (number, flight))));
        flight
    }

    async fn answer(&self, token: &str, deadline: Instant) -> Result<Answer, Unavailable> {
        let reply = self.remote.ask(self.question(token), deadline).await?;
        let user = self.understand(&reply)?;
        let now = SystemTime::now();
        let life = user.as_ref().and_then(|user| user.expires).map(|end| end.duration_since(now).unwrap_or_default());
        let user = user.filter(|_| life.is_none_or(|life| !life.is_zero()));
        let holds = life.unwrap_or(self.settings.holds).min(self.settings.holds);
        // Parsed, a text takes several times its length.
        let weight = 512 + 8 * reply.body.len() as u64;
        Ok(Answer { user: user.map(Arc::new), until: Instant::now() + holds, weight })
    }

    fn question(&self, token: &str) -> RequestBuilder {
        let Settings { style, credentials, .. } = &self.settings;
        let question = match style {
            IntrospectionStyle::Rfc7662 => {
                self.remote.question(Method::POST).form(&[("token", token), ("token_type_hint", "access_token")])
            }
            IntrospectionStyle::Bearer => self.remote.question(Method::GET).bearer_auth(token),
        };
        let question = question.header(ACCEPT, "application/json");
        match credentials {
            Some((id, secret)) => question.basic_auth(id, Some(secret)),
            None => question,
        }
    }

    /// `None` is a clear no. What is neither yes nor no is no answer.
    fn understand(&self, reply: &Reply) -> Result<Option<Identity>, Unavailable> {
        let bearer = self.settings.style == IntrospectionStyle::Bearer;
        match reply.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if bearer => return Ok(None),
            status => return Err(Unavailable(format!("the service answered {status}"))),
        }
        let no_object = || Unavailable("the answer is not a JSON object, or repeats a name".into());
        let claims: Claims = json::object(&reply.body).ok_or_else(no_object)?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(None),
            None if bearer => {}
            _ => return Err(Unavailable("the answer does not say whether the token is active".into())),
        }
        self.identity(claims).map(Some)
    }

    fn identity(&self, claims: Claims) -> Result<Identity, Unavailable> {
        let names = ["sub", "user_id", "id", "username", "client_id"];
        let subject = names.iter().find_map(|name| text(claims.get(*name)?)).map(|subject| Box::<str>::from(&*subject));
        let subject = subject.filter(|subject| !subject.is_empty() && !subject.chars().any(char::is_control));
        let subject = subject.ok_or_else(|| Unavailable("the answer names no user".into()))?;
        let time = |name: &str| match claims.get(name) {
            Some(time) if !time.is_null() => time
                .as_f64()
                .and_then(seconds)
                .map(Some)
                .ok_or(Unavailable(format!("{name} in the answer is not a time"))),
            _ => Ok(None),
        };
        let (expires, begins) = (time("exp")?, time("nbf")?);
        // What has not begun is as over.
        let expires =
            if begins.is_some_and(|begins| begins > SystemTime::now() + LEEWAY) { Some(UNIX_EPOCH) } else { expires };
        Ok(Identity {
            issuer: claims.get("iss").and_then(Value::as_str).unwrap_or("introspection").into(),
            subject,
            roles: texts(claim(&claims, &self.settings.roles_claim)),
            scopes: texts(claims.get("scope").or(claims.get("scp"))),
            expires,
            claims,
            ..Identity::default()
        })
    }
}

impl Flights {
    fn get(&self, key: &Hash) -> Option<Shared<Asking>> {
        self.under_way.get(key).and_then(|(_, flight)| flight.upgrade())
    }
}

/// Makes room for the next question about a token, however this one ends.
struct Landing(Arc<Introspection>, Hash, u64);

impl Drop for Landing {
    fn drop(&mut self) {
        let flights = &mut self.0.flights.lock().under_way;
        // One that nobody waited for may have been followed by another before it came to be dropped.
        if flights.get(&self.1).is_some_and(|(number, _)| *number == self.2) {
            flights.remove(&self.1);
        }
    }
}

fn seconds(seconds: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

impl Answer {
    fn holds(&self) -> bool {
        Instant::now() < self.until
    }

    fn opinion(self) -> Opinion {
        self.user.map_or(Opinion::Bad, Opinion::Good)
    }
}
