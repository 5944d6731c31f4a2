//! The objects of the store as one file: exported, checked, applied as a whole.
//!
//! Applying makes the objects what the file says, all of them or none. Objects that the file does not name stay, unless `prune`
//! removes those that a file applied before. Objects that were made one by one belong to whoever made them: a file changes them
//! only with `take_over`, and removes them only with both. What the gateway's own file declares cannot be applied.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use gatekeeper_model::object::{Declared, Kind, Written, declared};
use gatekeeper_model::{Faults, show};
use serde_json::{Map, Value, json};

use crate::Control;
use crate::actor::Actor;
use crate::desk::Held;
use crate::desk::objects::{Made, Manager};
use crate::desk::proposal::{Edit, Proposal};
use crate::input::{Parameters, Text};
use crate::objects::made_by;
use crate::problem::Problem;
use crate::writes::{REVISION, Writing};

/// The effective configuration: files and objects together, with defaults and without secrets.
pub async fn effective(State(control): State<Arc<Control>>) -> Result<Json<Value>, Problem> {
    let held = control.desk.held();
    Ok(Json(show::effective_json(held.joined()?)))
}

/// The objects of the store as a file that can be applied: the same state is always the same text.
pub async fn export(State(control): State<Arc<Control>>, headers: HeaderMap) -> Response {
    let held = control.desk.held();
    let exported = exported(&held);
    let revision = [(REVISION, held.revision.number.to_string())];
    let wants_json = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|a| a.contains("json"));
    match wants_json {
        true => (revision, Json(exported)).into_response(),
        false => (revision, [(CONTENT_TYPE, "application/yaml")], show::yaml(&exported)).into_response(),
    }
}

fn exported(held: &Held) -> Value {
    let shown = |made: &Made| {
        let mut text = masked(made.written(), &made.body.shown());
        text.sort_all_objects();
        text
    };
    let list = |kind| Value::Array(held.objects.of_kind(kind).map(|made| shown(made)).collect());
    let services: Map<String, Value> =
        held.objects.of_kind(Kind::Service).map(|made| (made.name.to_string(), shown(made))).collect();
    let mut exported =
        json!({"version": 1, "services": services, "routes": list(Kind::Route), "rate_limits": list(Kind::RateLimit)});
    if let Some(cors) = held.objects.of_kind(Kind::Cors).next() {
        exported["cors"] = shown(cors);
    }
    exported
}

/// What was written, without its secrets.
fn masked(written: Value, shown: &Value) -> Value {
    match (written, shown) {
        (Value::String(text), Value::String(shown)) if shown.contains("***") && *shown != text => shown.clone().into(),
        (Value::Array(list), Value::Array(shown)) => {
            let rest = std::iter::repeat(&Value::Null);
            list.into_iter().zip(shown.iter().chain(rest)).map(|(value, shown)| masked(value, shown)).collect()
        }
        (Value::Object(map), shown) => {
            let masked = |(key, value): (String, Value)| {
                let shown = shown.get(&key).unwrap_or(&Value::Null);
                (key.clone(), masked(value, shown))
            };
            Value::Object(map.into_iter().map(masked).collect())
        }
        (value, _) => value,
    }
}

/// Applies a file.
pub async fn apply(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Parameters(writing): Parameters<Writing>,
    Text(text): Text,
) -> Result<Response, Problem> {
    let wanted = writing.clone();
    let done = control.write(actor, &writing, move |held| proposal(held, &text, &wanted)).await?;
    Ok(done.report())
}

/// Tells what applying a file would do, and changes nothing.
pub async fn validate(
    State(control): State<Arc<Control>>,
    actor: Actor,
    Parameters(writing): Parameters<Writing>,
    Text(text): Text,
) -> Result<Response, Problem> {
    let (wanted, rehearsal) = (writing.clone(), Writing::rehearsal());
    let done = control.write(actor, &rehearsal, move |held| proposal(held, &text, &wanted)).await?;
    Ok(done.report())
}

/// What makes the objects what a file says.
fn proposal(held: &Held, text: &str, writing: &Writing) -> Result<Proposal, Problem> {
    // With `prune`, nothing would be everything.
    if text.trim().is_empty() {
        return Err(Problem::empty_file());
    }
    let mut faults = Faults::default();
    let Declared { objects, tests } = declared(text, &mut faults);
    let mut edits = Vec::with_capacity(objects.len());
    let mut named = std::collections::HashSet::with_capacity(objects.len());
    for (kind, mut written) in objects {
        let before = held.objects.get(kind, &written.name);
        if let Some(place) = held.declared(kind, &written.name) {
            return Err(Problem::owned_by_file(kind, &written.name, &place));
        }
        unmask(kind, &mut written, before, &mut faults);
        named.insert((kind, written.name.clone()));
        edits.push(edit(kind, written, before, writing)?);
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(&faults));
    }
    if writing.prune() {
        let gone = held.objects.all().filter(|(kind, made)| !named.contains(&(*kind, made.name.to_string())));
        let gone = gone.filter(|(_, made)| made.manager == Manager::Apply || writing.take_over());
        edits.extend(gone.map(|(_, made)| Edit::Remove(made.clone())));
    }
    Ok(Proposal { edits, summary: None, tests })
}

fn unmask(kind: Kind, written: &mut Written, before: Option<&Arc<Made>>, faults: &mut Faults) {
    let text_before = before.map(|made| made.written());
    let known = text_before.as_ref().zip(before.map(|made| &made.body));
    let mut text = written.text.clone();
    Written::unmask(&mut text, known, faults);
    if text != written.text
        && let Some(unmasked) = Written::read(kind, Some(&written.name), text, faults)
    {
        *written = unmasked;
    }
}

fn edit(kind: Kind, written: Written, before: Option<&Arc<Made>>, writing: &Writing) -> Result<Edit, Problem> {
    let Some(made) = before else { return Ok(made_by(Manager::Apply, written)) };
    let is_foreign = made.manager == Manager::Api && !writing.take_over();
    let manager = if is_foreign { Manager::Api } else { Manager::Apply };
    if is_foreign && made.written() != written.text {
        return Err(Problem::made_by_hand(kind, &made.name));
    }
    Ok(Edit::Put { id: made.id, manager, written, before: Some(made.clone()) })
}
