//! Whose tokens are taken: judges a token (RFC 7519 7.2, RFC 8725).
//!
//! * A token is judged by the entries that name its `iss`, then by those that name no issuer, in the order they are
//!   written. The first that accepts it decides; else whose refusal came last in a judgement.
//! * Judging never waits. Where a key is missing, it asks for a fetch (`Verdict::Ask`), at most as often as the provider
//!   allows. A token whose key the last good keys lack is wrong then; it is `Unavailable` only where there never were any.
//! * Whom no entry takes for its own is `Foreign`: someone else may be asked.
//! * A user whose token an entry without issuer accepts never counts as one of an issuer that another entry names: its
//!   issuer is `jwt` then.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use jsonwebtoken::Algorithm;
use serde_json::Value;
use tokio::time::timeout_at;

use super::Method;
use super::cache::{Cache, Seen};
use super::claims::{self, Demands, Holder};
use super::identity::{Claims, Identity};
use super::key_set::{KeySet, Verified};
use super::provider::{Doubt, Provider, Want};
use super::rejection::{Reason, Rejection};
use super::token::{LONGEST, Token, Unread};
use gatekeeper_model::raw;

/// Whose tokens are taken.
pub struct Issuers {
    pub(super) entries: Box<[Entry]>,
    pub(super) providers: Box<[Arc<Provider>]>,
    pub(super) cache: Arc<Cache>,
}

/// One entry of the list of issuers.
pub(super) struct Entry {
    /// As it is written, and what its file held.
    pub written: (raw::Issuer, Option<String>),
    pub demands: Demands,
    pub algorithms: Box<[Algorithm]>,
    pub keys: Keys,
}

/// Where an issuer's keys are.
pub(super) enum Keys {
    /// In the configuration.
    Given(KeySet),
    /// With a provider.
    Fetched(Arc<Provider>),
}

/// What comes of judging a token.
#[derive(Debug)]
pub enum Verdict {
    /// It is good.
    Accepted(Arc<Identity>),
    /// It is not.
    Rejected(Rejection),
    /// Keys must be fetched to say: wait for that and judge again.
    Ask(Question),
    /// It is no token of a listed issuer; this is what to say if nobody else can be asked.
    Foreign(Reason),
}

/// A fetch that a token needs.
#[derive(Debug)]
pub struct Question {
    /// Who is asked.
    pub provider: Arc<Provider>,
    doubt: Doubt,
    /// What is to be said of the token if nobody answers.
    otherwise: Reason,
}

impl Question {
    /// Waits until the keys were fetched, or until that takes too long.
    pub async fn wait(&self) {
        self.provider.ask(self.doubt).await;
    }
}

impl Issuers {
    /// Those who fetch keys; each is to be kept by a task ([`Provider::keep`]).
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// The name of the first issuer that has one.
    pub fn first_name(&self) -> Option<&str> {
        self.entries.iter().find_map(|entry| entry.demands.issuer.as_deref())
    }

    /// Who users of tokens are known by: the issuers that have a name, and the word for those without one.
    pub(super) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.entries.iter().map(|entry| entry.demands.issuer.clone().unwrap_or_else(|| Method::Jwt.name().into()))
    }

    /// The user of a token of an issuer, the first one if it is not listed, that would say this.
    pub fn pretended(&self, issuer: &str, subject: &str, claims: Claims) -> Option<Identity> {
        let named = |entry: &&Entry| entry.demands.issuer.as_deref() == Some(issuer);
        let entry = self.entries.iter().find(named).or(self.entries.first())?;
        Some(entry.demands.identity(subject.into(), None, issuer.into(), claims))
    }

    /// About how many bytes the tokens weigh that are remembered.
    pub fn remembered(&self) -> u64 {
        self.cache.weight()
    }

    /// Judges a token without waiting.
    pub fn judge(&self, text: &str, now: SystemTime) -> Verdict {
        if text.len() > LONGEST {
            return Verdict::Rejected(Reason::TooLong.into());
        }
        if let Some(identity) = self.recognise(text.as_bytes(), now) {
            return Verdict::Accepted(identity);
        }
        match Token::read(text) {
            Ok(token) => self.examine(text, token, now),
            Err(Unread::Foreign) => Verdict::Foreign(Reason::Malformed),
            Err(Unread::Bad(why)) => Verdict::Rejected(why.into()),
        }
    }

    /// Judges a token, waiting until then at most for keys where they are missing: never `Ask`.
    pub async fn settle(&self, text: &str, now: SystemTime, until: Instant) -> Verdict {
        let mut otherwise = Reason::Unavailable;
        let settled = timeout_at(until.into(), async {
            // Each may be waited for twice: for a fetch under way, then for one of its own.
            for _ in 0..=2 * self.providers.len() {
                match self.judge(text, now) {
                    Verdict::Ask(question) => {
                        otherwise = question.otherwise;
                        question.wait().await;
                    }
                    verdict => return Some(verdict),
                }
            }
            None
        });
        settled.await.ok().flatten().unwrap_or(Verdict::Rejected(otherwise.into()))
    }

    /// Whose token this is, if it was verified lately.
    pub fn recognise(&self, token: &[u8], now: SystemTime) -> Option<Arc<Identity>> {
        let seen = self.cache.get(token)?;
        let entry = self.entries.get(seen.entry)?;
        (now < seen.until && entry.generation() == seen.generation).then_some(seen.identity)
    }

    fn examine(&self, text: &str, token: Token, now: SystemTime) -> Verdict {
        let iss = match token.claims.get("iss") {
            None => None,
            Some(Value::String(iss)) => Some(Arc::from(iss.as_str())),
            Some(other) => return Verdict::Rejected(claims::wrong("iss", other, "a text")),
        };
        let (mut worst, mut ask): (Option<Rejection>, _) = (None, None);
        for (index, entry) in self.candidates(iss.as_deref()) {
            match entry.examine(text, &token, now) {
                Found::Good { holder, generation } => {
                    let until = holder.until;
                    let issuer = self.issuer_of(entry, iss.as_ref());
                    let identity = Arc::new(entry.demands.identity(holder.subject, Some(until), issuer, token.claims));
                    self.cache
                        .keep(text.as_bytes(), Seen { identity: identity.clone(), until, entry: index, generation });
                    return Verdict::Accepted(identity);
                }
                Found::Bad(why) => worst = Some(why.furthest(worst)),
                Found::Ask(question) => {
                    worst = Some(Rejection::from(question.otherwise).furthest(worst));
                    ask = ask.or(Some(question));
                }
            }
        }
        match (ask, worst) {
            // Whose signature is right needs no other keys.
            (_, Some(why)) if why.reason >= Reason::Claim => Verdict::Rejected(why),
            (Some(question), worst) => {
                let otherwise = worst.map_or(question.otherwise, |worst| worst.reason);
                Verdict::Ask(Question { otherwise, ..question })
            }
            (None, Some(why)) => Verdict::Rejected(why),
            (None, None) => Verdict::Foreign(Reason::Issuer),
        }
    }

    /// The entries that name this issuer, then those that name none, each with its place.
    fn candidates<'i>(&'i self, iss: Option<&'i str>) -> impl Iterator<Item = (usize, &'i Entry)> {
        let entries = self.entries.iter().enumerate();
        let named = entries.clone().filter(move |(_, entry)| iss.is_some() && entry.demands.issuer.as_deref() == iss);
        named.chain(entries.filter(|(_, entry)| entry.demands.issuer.is_none()))
    }

    fn issuer_of(&self, entry: &Entry, iss: Option<&Arc<str>>) -> Arc<str> {
        let is_listed = |iss| self.entries.iter().any(|entry| entry.demands.issuer.as_ref() == Some(iss));
        match (&entry.demands.issuer, iss) {
            (Some(issuer), _) => issuer.clone(),
            (None, Some(iss)) if !is_listed(iss) => iss.clone(),
            _ => "jwt".into(),
        }
    }
}

/// What an entry makes of a token.
enum Found {
    Good { holder: Holder, generation: u64 },
    Bad(Rejection),
    Ask(Question),
}

impl Entry {
    fn generation(&self) -> u64 {
        match &self.keys {
            Keys::Given(_) => 0,
            Keys::Fetched(provider) => provider.generation(),
        }
    }

    fn wrong_algorithm(&self, token: &Token) -> Rejection {
        let cause = format!("the issuer may use {:?}, the token uses {:?}", self.algorithms, token.algorithm);
        Rejection::because(Reason::Algorithm, cause)
    }

    fn examine(&self, text: &str, token: &Token, now: SystemTime) -> Found {
        if !self.algorithms.contains(&token.algorithm) {
            return Found::Bad(self.wrong_algorithm(token));
        }
        let verified = match &self.keys {
            Keys::Given(keys) => match keys.verify(token) {
                Verified::Yes => Ok(0),
                Verified::No(why) | Verified::Unknown(why) => Err(Found::Bad(why.into())),
            },
            Keys::Fetched(provider) => verify_with(provider, text, token),
        };
        match verified.map(|generation| (generation, self.demands.check(&token.claims, now))) {
            Ok((generation, Ok(holder))) => Found::Good { holder, generation },
            Ok((_, Err(why))) => Found::Bad(why),
            Err(found) => found,
        }
    }
}

/// The generation of the keys with which a token was verified, or what to do about it.
fn verify_with(provider: &Arc<Provider>, text: &str, token: &Token) -> Result<u64, Found> {
    loop {
        let fetched = provider.keys();
        let generation = fetched.as_ref().map_or(0, |fetched| fetched.generation);
        let settled = match fetched.map(|fetched| fetched.keys.verify(token)) {
            Some(Verified::Yes) => return Ok(generation),
            Some(Verified::No(why)) => return Err(Found::Bad(why.into())),
            Some(Verified::Unknown(why)) => why,
            None => Reason::Unavailable,
        };
        let found = look_up(provider, text, token, settled);
        // What was settled meanwhile was settled with other keys than those that were tried.
        if provider.generation() == generation {
            return Err(found);
        }
    }
}

/// What to do about a key that is not there: fetch, or refuse if that was done already or may not be done now.
fn look_up(provider: &Arc<Provider>, text: &str, token: &Token, otherwise: Reason) -> Found {
    let doubt = provider.doubt(token.kid.as_deref().unwrap_or(text));
    match provider.want(doubt) {
        Want::Fetch => Found::Ask(Question { provider: provider.clone(), doubt, otherwise }),
        Want::Settled => Found::Bad(otherwise.into()),
    }
}

#[cfg(test)]
mod tests;
