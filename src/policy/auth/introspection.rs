//! Tokens that can't be judged here, and who is asked about them: an introspection endpoint (RFC 7662), or an auth service that
//! knows its own tokens (SEMANTICS 4.6).
//!
//! An answer, good or bad, holds for a short time; a token is asked about once however many requests bring it meanwhile. The
//! cache knows tokens by their SHA-256 alone. No answer lets nobody in.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::ACCEPT;
use http::{Method, StatusCode};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use reqwest::{RequestBuilder, Url};
use serde_json::Value;

use super::api_key::{Hash, hash};
use super::fetch::{Answer as Reply, Client};
use super::identity::{Claims, Identity, claim, text, texts};
use super::remote::{Remote, Unavailable};
use crate::config::model::IntrospectionStyle;

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
}

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
        Introspection { settings, remote, known: Cache::with_weighter(USUAL, CAPACITY, Bytes) }
    }

    /// How it is asked.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known of a token without asking.
    pub fn known(&self, token: &str) -> Option<Opinion> {
        self.known.get(&hash(token.as_bytes())).filter(Answer::holds).map(Answer::opinion)
    }

    /// Asks about a token, or waits for who asks already.
    pub async fn ask(&self, token: &str) -> Result<Opinion, Unavailable> {
        let key = hash(token.as_bytes());
        if self.known.get(&key).is_some_and(|answer| !answer.holds()) {
            self.known.remove(&key);
        }
        self.known.get_or_insert_async(&key, self.answer(token)).await.map(Answer::opinion)
    }

    async fn answer(&self, token: &str) -> Result<Answer, Unavailable> {
        let reply = self.remote.ask(self.question(token)).await?;
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
            status => return Err(Unavailable(format!("it answered {status}"))),
        }
        let no_object = || Unavailable("its answer is no JSON object".into());
        let claims: Claims = serde_json::from_slice(&reply.body).map_err(|_| no_object())?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(None),
            None if bearer => {}
            _ => return Err(Unavailable("its answer does not say whether the token is active".into())),
        }
        self.identity(claims).map(Some)
    }

    fn identity(&self, claims: Claims) -> Result<Identity, Unavailable> {
        let names = ["sub", "user_id", "id", "username", "client_id"];
        let subject = names.iter().find_map(|name| text(claims.get(*name)?)).map(|subject| Box::<str>::from(&*subject));
        let subject = subject.filter(|subject| !subject.is_empty() && !subject.chars().any(char::is_control));
        let subject = subject.ok_or_else(|| Unavailable("its answer names no user".into()))?;
        let time = |name: &str| match claims.get(name) {
            Some(time) if !time.is_null() => {
                time.as_f64().and_then(seconds).map(Some).ok_or(Unavailable(format!("its {name} is no time")))
            }
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
