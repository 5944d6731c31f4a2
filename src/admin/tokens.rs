//! Tokens of the API: who has one, what it permits, until when. A token is shown once, when it is made; the store knows its
//! digest.
//!
//! Known inaccuracy: a token that was revoked at another gateway is accepted for a moment longer where the store does not answer, and
//! its last use is told to the minute.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use gatekeeper_client::{NewToken, Token as Shown, TokenMade};
use gatekeeper_model::secret::Secret;
use gatekeeper_model::{Faults, Place, quoted};
use gatekeeper_store::failure::Failure;
use gatekeeper_store::token::Token;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use crate::Control;
use crate::actor::{Actor, Role};
use crate::desk::{moment, now};
use crate::input::{At, Body};
use crate::problem::Problem;

/// What tokens of the store begin with.
const PREFIX: &str = "gk_";
/// The last use of a token is written down at most this often, in milliseconds.
const USE_TOLD: i64 = 60_000;
/// Tokens that are remembered for when the store does not answer.
const REMEMBERED: usize = 1000;

/// The tokens that were shown lately, by their digests.
#[derive(Default)]
pub struct Remembered(Mutex<HashMap<String, Token>>);

impl Remembered {
    fn note(&self, digest: &str, token: &Token) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest.to_owned(), token.clone());
    }

    fn get(&self, digest: &str) -> Option<Token> {
        self.0.lock().get(digest).cloned()
    }

    fn forget(&self, id: Uuid) {
        self.0.lock().retain(|_, token| token.id != id);
    }
}

/// Whose token this is, if it is one of the store.
pub async fn identify(control: &Control, shown: &[u8]) -> Option<(Arc<str>, Role)> {
    let shown = std::str::from_utf8(shown).ok().filter(|shown| shown.starts_with(PREFIX))?;
    let store = &control.desk.keeping()?.store;
    let digest = digest_of(shown);
    let now = now();
    let token = match store.token(&digest).await {
        Ok(found) => found?,
        Err(failure) => {
            log::warn!("administration: the store does not answer for a token: {failure}");
            control.tokens.get(&digest)?
        }
    };
    if token.expires_at.is_some_and(|end| end <= now) {
        return None;
    }
    control.tokens.note(&digest, &token);
    if token.last_used_at.is_none_or(|last| now - last > USE_TOLD) {
        let (store, id) = (store.clone(), token.id);
        tokio::spawn(async move { store.token_used(id, now).await });
    }
    Some((token.name.into(), Role::of_name(&token.role)?))
}

/// All tokens, by their names.
pub async fn list(State(control): State<Arc<Control>>) -> Result<Json<Vec<Shown>>, Problem> {
    let tokens = control.kept()?.store.tokens().await.map_err(Problem::of_store)?;
    Ok(Json(tokens.into_iter().map(shown).collect()))
}

/// Makes a token.
pub async fn create(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Body(wanted): Body<NewToken>,
) -> Result<Response, Problem> {
    let token = compile(&wanted)?;
    let secret = random()?;
    let store = &control.kept()?.store;
    store.add_token(token.clone(), digest_of(secret.reveal())).await.map_err(|failure| match failure {
        Failure::Taken { name } => {
            Problem::new(StatusCode::CONFLICT, "taken", format!("there is a token {}", quoted(&name)))
        }
        failure => Problem::of_store(failure),
    })?;
    control.record(&actor, "create", "token", &token.name).await;
    let made = TokenMade { token: shown(token), secret: secret.reveal().clone() };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Makes another secret for a token; the one before does not open anything any more.
pub async fn rotate(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(key): At<String>,
) -> Result<Json<TokenMade>, Problem> {
    let (store, token) = (&control.kept()?.store, find(&control, &key).await?);
    let secret = random()?;
    let token = Token { id: Uuid::now_v7(), created_at: now(), last_used_at: None, ..token };
    store.replace_token(token.clone(), digest_of(secret.reveal())).await.map_err(Problem::of_store)?;
    control.tokens.0.lock().retain(|_, known| known.name != token.name);
    control.record(&actor, "rotate", "token", &token.name).await;
    Ok(Json(TokenMade { token: shown(token), secret: secret.reveal().clone() }))
}

/// Takes a token away.
pub async fn revoke(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(key): At<String>,
) -> Result<StatusCode, Problem> {
    let token = find(&control, &key).await?;
    control.kept()?.store.revoke_token(token.id).await.map_err(Problem::of_store)?;
    control.tokens.forget(token.id);
    control.record(&actor, "revoke", "token", &token.name).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The token with this id or name.
async fn find(control: &Control, key: &str) -> Result<Token, Problem> {
    let tokens = control.kept()?.store.tokens().await.map_err(Problem::of_store)?;
    let found = tokens.into_iter().find(|token| token.name == key || token.id.to_string() == key);
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "unknown_token", format!("there is no token {}", quoted(key)));
    found.ok_or_else(unknown)
}

fn compile(wanted: &NewToken) -> Result<Token, Problem> {
    let (mut faults, now) = (Faults::default(), now());
    let NewToken { name, role, expires_in } = wanted;
    let is_name = (1..=128).contains(&name.len()) && !name.chars().any(char::is_control);
    if !is_name || name.parse::<Uuid>().is_ok() {
        faults.push(Place::new("name"), quoted(name), "a name of 1 to 128 bytes, without control characters");
    }
    if Role::of_name(role).is_none() {
        faults.push(Place::new("role"), quoted(role), Role::ALL.map(Role::as_str).join(", "));
    }
    let lifetime = expires_in.map(|period| i64::try_from(period.0.as_millis()).unwrap_or(i64::MAX));
    if lifetime.is_some_and(|lifetime| !(1000..=LONGEST_LIFE).contains(&lifetime)) {
        faults.push(Place::new("expires_in"), "a time out of range", "1s to 3650d");
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(&faults));
    }
    Ok(Token {
        id: Uuid::now_v7(),
        name: name.clone(),
        role: role.clone(),
        created_at: now,
        expires_at: lifetime.map(|lifetime| now.saturating_add(lifetime)),
        last_used_at: None,
    })
}

/// Ten years, in milliseconds.
const LONGEST_LIFE: i64 = 3650 * 24 * 3600 * 1000;

fn random() -> Result<Secret, Problem> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::internal("the system provides no random numbers"))?;
    Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)).into())
}

fn digest_of(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(token: Token) -> Shown {
    Shown {
        id: token.id.to_string(),
        name: token.name,
        role: token.role,
        created_at: moment(token.created_at),
        expires_at: token.expires_at.map(moment),
        last_used_at: token.last_used_at.map(moment),
    }
}
