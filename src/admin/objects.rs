//! Routes, services, rate limits and the CORS policy: reading and writing single objects. What differs is their kind.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use gatekeeper_client::{BASE, Changed, Object};
use gatekeeper_model::object::{Kind, Written};
use gatekeeper_model::{Faults, raw};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::Control;
use crate::actor::Actor;
use crate::desk::objects::{Made, Manager};
use crate::desk::proposal::{Edit, Proposal};
use crate::desk::{Done, Held};
use crate::entry::{self, Entry};
use crate::input::{At, Document, Parameters};
use crate::listing::{Listed, Listing};
use crate::problem::Problem;
use crate::writes::{REVISION, Writing};

/// The fields that the gateway adds. What is read can be written back: they are passed over.
const ADDED: [&str; 7] = ["id", "managed_by", "etag", "created_at", "updated_at", "warnings", "changes"];

impl Listed for Entry<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn shown(&self) -> Value {
        serde_json::to_value(Entry::shown(self)).unwrap_or_default()
    }
}

/// A page of the objects of a kind.
pub async fn list(kind: Kind, State(control): State<Arc<Control>>, listing: Listing) -> Result<Response, Problem> {
    listing.check_fields(|| fields(kind))?;
    let held = control.desk.held();
    let mut entries = entry::all(&held, kind)?;
    if let Some(q) = &listing.q {
        entries.retain(|entry| entry.mentions(q));
    }
    let mut response = listing.page(entries)?;
    let etag = format!("\"r{}-{}\"", held.revision.number, held.files.fingerprint());
    response.headers_mut().extend(etag.parse().map(|etag: HeaderValue| (ETAG, etag)));
    Ok(response)
}

/// The fields that objects of a kind may be shown with.
fn fields(kind: Kind) -> Vec<String> {
    let schema = match kind {
        Kind::Route => schemars::schema_for!(raw::Route),
        Kind::Service => schemars::schema_for!(raw::Service),
        Kind::RateLimit => schemars::schema_for!(raw::RateLimitRule),
        Kind::Cors => schemars::schema_for!(raw::Cors),
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let written = properties.into_iter().flat_map(|properties| properties.keys().cloned());
    written.chain(ADDED.map(String::from)).chain([String::from("service_name")]).collect()
}

/// An object.
pub async fn show(kind: Kind, State(control): State<Arc<Control>>, At(key): At<String>) -> Result<Response, Problem> {
    let held = control.desk.held();
    let entry = entry::find(&held, kind, &key)?.ok_or_else(|| Problem::unknown_object(kind, &key))?;
    Ok((etag_of(&entry), Json(entry.shown())).into_response())
}

/// Makes an object.
pub async fn create(
    kind: Kind,
    State(control): State<Arc<Control>>,
    actor: Actor,
    Parameters(writing): Parameters<Writing>,
    Document(text): Document,
) -> Result<Response, Problem> {
    let text = without_added(kind, text);
    let propose = move |held: &Held| {
        let written = read(kind, None, text.clone(), None)?;
        if let Some(entry) = entry::find(held, kind, &written.name)? {
            return Err(Problem::taken(kind, entry.name, entry.managed_by()));
        }
        Ok(Proposal { edits: vec![made_by(Manager::Api, written)], ..Proposal::default() })
    };
    let done = control.write(actor, &writing, propose).await?;
    answer(kind, done, &writing, StatusCode::CREATED)
}

/// Makes an object what is written, by its id or its name. A name that is new makes an object.
pub async fn replace(
    kind: Kind,
    State(control): State<Arc<Control>>,
    actor: Actor,
    key: String,
    Parameters(writing): Parameters<Writing>,
    headers: HeaderMap,
    Document(text): Document,
) -> Result<Response, Problem> {
    let conditions = Conditions::of(&headers, control.requires_if_match()?);
    let text = without_added(kind, text);
    let is_new = entry::find(&control.desk.held(), kind, &key)?.is_none();
    let propose = move |held: &Held| {
        let Some(entry) = entry::find(held, kind, &key)? else {
            if key.parse::<uuid::Uuid>().is_ok() {
                return Err(Problem::unknown_object(kind, &key));
            }
            conditions.of_nothing()?;
            let written = read(kind, Some(&key), text.clone(), None)?;
            if written.name != key && entry::find(held, kind, &written.name)?.is_some() {
                return Err(Problem::taken(kind, &written.name, "another object"));
            }
            return Ok(Proposal { edits: vec![made_by(Manager::Api, written)], ..Proposal::default() });
        };
        let made = writable(held, &entry)?;
        conditions.of_entry(&entry)?;
        let written = read(kind, Some(&made.name), text.clone(), Some(made))?;
        Ok(Proposal { edits: vec![put(held, kind, made, written)?], ..Proposal::default() })
    };
    let done = control.write(actor, &writing, propose).await?;
    answer(kind, done, &writing, if is_new { StatusCode::CREATED } else { StatusCode::OK })
}

/// Changes some fields of an object (RFC 7396).
pub async fn patch(
    kind: Kind,
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(key): At<String>,
    Parameters(writing): Parameters<Writing>,
    headers: HeaderMap,
    Document(changes): Document,
) -> Result<Response, Problem> {
    let conditions = Conditions::of(&headers, control.requires_if_match()?);
    let changes = without_added(kind, changes);
    let propose = move |held: &Held| {
        let entry = entry::find(held, kind, &key)?.ok_or_else(|| Problem::unknown_object(kind, &key))?;
        let made = writable(held, &entry)?;
        conditions.of_entry(&entry)?;
        let mut text = made.written();
        merge(&mut text, &changes);
        let written = read(kind, Some(&made.name), text, Some(made))?;
        Ok(Proposal { edits: vec![put(held, kind, made, written)?], ..Proposal::default() })
    };
    let done = control.write(actor, &writing, propose).await?;
    answer(kind, done, &writing, StatusCode::OK)
}

/// Removes an object.
pub async fn delete(
    kind: Kind,
    State(control): State<Arc<Control>>,
    actor: Actor,
    key: String,
    Parameters(writing): Parameters<Writing>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let conditions = Conditions::of(&headers, control.requires_if_match()?);
    let propose = move |held: &Held| {
        let entry = entry::find(held, kind, &key)?.ok_or_else(|| Problem::unknown_object(kind, &key))?;
        let made = writable(held, &entry)?;
        conditions.of_entry(&entry)?;
        Ok(Proposal { edits: vec![Edit::Remove(made.clone())], ..Proposal::default() })
    };
    let done = control.write(actor, &writing, propose).await?;
    match writing.dry_run() {
        true => Ok(done.report().into_response()),
        false => Ok((StatusCode::NO_CONTENT, done.revision()).into_response()),
    }
}

/// What the store has of an object, unless a file owns it.
fn writable<'h>(held: &Held, entry: &Entry<'h>) -> Result<&'h Arc<Made>, Problem> {
    entry.made.ok_or_else(|| {
        let place = held.declared(entry.kind, entry.name).unwrap_or_else(|| entry.managed_by().to_owned());
        Problem::owned_by_file(entry.kind, entry.name, &place)
    })
}

fn put(held: &Held, kind: Kind, made: &Arc<Made>, written: Written) -> Result<Edit, Problem> {
    if *made.name != *written.name
        && let Some(entry) = entry::find(held, kind, &written.name)?
    {
        return Err(Problem::taken(kind, entry.name, entry.managed_by()));
    }
    Ok(Edit::Put { id: made.id, manager: made.manager, written, before: Some(made.clone()) })
}

/// What is written, understood. Secrets that it shows masked are those that were there.
fn read(kind: Kind, name: Option<&str>, mut text: Value, before: Option<&Arc<Made>>) -> Result<Written, Problem> {
    let mut faults = Faults::default();
    let written_before = before.map(|made| made.written());
    let before = written_before.as_ref().zip(before.map(|made| &made.body));
    Written::unmask(&mut text, before, &mut faults);
    let written = Written::read(kind, name, text, &mut faults);
    written.filter(|_| faults.is_empty()).ok_or_else(|| Problem::invalid(&faults))
}

fn without_added(kind: Kind, mut text: Value) -> Value {
    if let Value::Object(map) = &mut text {
        map.retain(|key, _| !ADDED.contains(&key.as_str()));
        // A service has its name from the path.
        if kind == Kind::Service {
            map.shift_remove("service_name");
        }
    }
    text
}

/// A merge patch: what is null is removed, maps are merged, all else is replaced.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(map) = value else { return };
    for (key, change) in patch {
        match change {
            Value::Null => drop(map.shift_remove(key)),
            change => merge(map.entry(key.clone()).or_insert(Value::Null), change),
        }
    }
}

/// What a client demands of the version of an object.
#[derive(Clone)]
struct Conditions {
    if_match: Option<String>,
    if_none_match: bool,
    required: bool,
}

impl Conditions {
    fn of(headers: &HeaderMap, required: bool) -> Self {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        Conditions {
            if_match: headers.get(IF_MATCH).map(text),
            if_none_match: headers.get(IF_NONE_MATCH).is_some_and(|value| value == "*"),
            required,
        }
    }

    /// There is no such object so far.
    fn of_nothing(&self) -> Result<(), Problem> {
        match self.if_match {
            Some(_) => Err(Problem::other_version("none: there is no such object")),
            None => Ok(()),
        }
    }

    fn of_entry(&self, entry: &Entry<'_>) -> Result<(), Problem> {
        if self.if_none_match {
            return Err(Problem::already_there(entry.kind, entry.name));
        }
        let etag = entry.etag();
        match &self.if_match {
            Some(wanted) if wanted.trim() == "*" || wanted.split(',').any(|wanted| wanted.trim() == etag) => Ok(()),
            Some(_) => Err(Problem::other_version(&etag)),
            None if self.required => Err(Problem::if_match_required()),
            None => Ok(()),
        }
    }
}

fn etag_of(entry: &Entry<'_>) -> HeaderMap {
    entry.etag().parse().map(|etag: HeaderValue| (ETAG, etag)).into_iter().collect()
}

/// The object as it came to be.
fn answer(kind: Kind, done: Done, writing: &Writing, status: StatusCode) -> Result<Response, Problem> {
    let name = done.names.first().map(String::as_str).unwrap_or_default();
    let made = done.held.objects.get(kind, name);
    let made = made.ok_or_else(|| Problem::internal(format!("the {kind} {name} is not there after its write")))?;
    let entry = entry::of_made(made);
    let changes = writing.dry_run().then(|| done.changes.clone());
    let body: Changed<Object> = Changed { subject: entry.shown(), warnings: done.warnings.clone(), changes };
    let status = if writing.dry_run() { StatusCode::OK } else { status };
    let mut response = (status, etag_of(&entry), Json(body)).into_response();
    let headers = response.headers_mut();
    if !writing.dry_run() {
        headers.insert(REVISION, done.held.revision.number.into());
    }
    if status == StatusCode::CREATED
        && let Ok(location) = location(kind, &entry).parse()
    {
        headers.insert(LOCATION, location);
    }
    Ok(response)
}

fn location(kind: Kind, entry: &Entry<'_>) -> String {
    match kind {
        Kind::Service => format!("{BASE}/services/{}", utf8_percent_encode(entry.name, NON_ALPHANUMERIC)),
        Kind::Route => format!("{BASE}/routes/{}", entry.id()),
        Kind::RateLimit => format!("{BASE}/config/rate-limits/{}", entry.id()),
        Kind::Cors => format!("{BASE}/config/cors"),
    }
}

/// A new object of this manager.
pub fn made_by(manager: Manager, written: Written) -> Edit {
    Edit::Put { id: uuid::Uuid::now_v7(), manager, written, before: None }
}
