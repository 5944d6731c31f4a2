//! Revisions over the administration API: what was changed, by whom, and the way back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gatekeeper_client::{BASE, ObjectChange, Revision as Shown};
use gatekeeper_store::revision::{Changed, Revision};
use serde::Deserialize;
use serde_json::Value;

use crate::Control;
use crate::actor::Actor;
use crate::desk::difference::Difference;
use crate::desk::objects::{fingerprinted, understand};
use crate::desk::proposal::{Edit, Proposal};
use crate::desk::{Held, Keeping, moment};
use crate::input::{At, Parameters};
use crate::problem::Problem;
use crate::writes::Writing;

/// Which revisions are listed: those before one, so many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    before: u64,
    limit: u32,
}

impl Default for Window {
    fn default() -> Self {
        Window { before: i64::MAX.unsigned_abs(), limit: 100 }
    }
}

/// Revisions, the newest first.
pub async fn list(
    State(control): State<Arc<Control>>,
    Parameters(window): Parameters<Window>,
) -> Result<Response, Problem> {
    let limit = Problem::check_limit(window.limit)?;
    let revisions = control.kept()?.store.revisions(window.before, limit).await.map_err(Problem::of_store)?;
    let next = revisions.last().filter(|last| revisions.len() == limit as usize && last.number > 1);
    let next = next.map(|last| format!("<{BASE}/config/revisions?before={}&limit={limit}>; rel=\"next\"", last.number));
    let shown: Vec<Shown> = revisions.iter().map(|revision| shown(revision, None)).collect();
    let mut response = Json(shown).into_response();
    response.headers_mut().extend(next.and_then(|next| Some((axum::http::header::LINK, next.parse().ok()?))));
    Ok(response)
}

/// A revision and what it changed.
pub async fn show(State(control): State<Arc<Control>>, At(number): At<u64>) -> Result<Json<Shown>, Problem> {
    let store = &control.kept()?.store;
    let found = store.revision(number).await.map_err(Problem::of_store)?;
    let revision = found.ok_or_else(|| Problem::unknown_revision(number))?;
    let changes = store.between(number.saturating_sub(1), number).await.map_err(Problem::of_store)?;
    Ok(Json(shown(&revision, Some(told(&changes)))))
}

/// What is different in another revision.
pub async fn difference(
    State(control): State<Arc<Control>>,
    At((from, to)): At<(u64, u64)>,
) -> Result<Json<Vec<ObjectChange>>, Problem> {
    let store = &control.kept()?.store;
    let head = store.head().await.map_err(Problem::of_store)?.number;
    for number in [from, to] {
        if number > head {
            return Err(Problem::unknown_revision(number));
        }
    }
    let mut changes = store.between(from.min(to), from.max(to)).await.map_err(Problem::of_store)?;
    if from > to {
        changes.iter_mut().for_each(turn_back);
    }
    Ok(Json(told(&changes)))
}

/// Makes the objects what they were in a revision. That is a new revision.
pub async fn roll_back(
    State(control): State<Arc<Control>>,
    actor: Actor,
    At(number): At<u64>,
    Parameters(writing): Parameters<Writing>,
) -> Result<Response, Problem> {
    let keeping = control.kept()?.clone();
    let done = control.write(actor, &writing, move |held| way_back(&keeping, held, number)).await?;
    Ok(done.report())
}

/// What leads back to a revision.
pub fn way_back(keeping: &Keeping, held: &Held, number: u64) -> Result<Proposal, Problem> {
    if number > held.revision.number {
        return Err(Problem::unknown_revision(number));
    }
    let changes = keeping.wait(keeping.store.between(number, held.revision.number)).map_err(Problem::of_store)?;
    let mut edits = Vec::with_capacity(changes.len());
    for change in changes {
        let now = held.objects.get(change.kind, &change.name).filter(|made| made.id == change.id).cloned();
        match (change.before, now) {
            (Some(text), before) => {
                let name = change.name_before.unwrap_or(change.name);
                let (manager, written) = understand(change.kind, &name, text).map_err(Problem::of_store)?;
                edits.push(Edit::Put { id: change.id, manager, written, before });
            }
            (None, Some(made)) => edits.push(Edit::Remove(made)),
            (None, None) => {}
        }
    }
    Ok(Proposal { edits, summary: Some(format!("back to revision {number}")), tests: Vec::new() })
}

fn turn_back(change: &mut Changed) {
    std::mem::swap(&mut change.before, &mut change.after);
    if let Some(before) = &mut change.name_before {
        std::mem::swap(before, &mut change.name);
    }
}

/// Changes of the store, as they may be shown.
pub fn told(changes: &[Changed]) -> Vec<ObjectChange> {
    let told = |change: &Changed| {
        let shown = |name: &str, text: &Value| match understand(change.kind, name, text.clone()) {
            Ok((_, written)) => fingerprinted(written.body.shown(), &written.text),
            // Another version of the gateway wrote it: nothing of it may be shown that could be secret.
            Err(_) => Value::Null,
        };
        let before =
            change.before.as_ref().map(|text| shown(change.name_before.as_deref().unwrap_or(&change.name), text));
        let after = change.after.as_ref().map(|text| shown(&change.name, text));
        Difference { kind: change.kind, name: &change.name, before: before.as_ref(), after: after.as_ref() }.told()
    };
    changes.iter().map(told).collect()
}

/// A revision as the API shows it.
pub fn shown(revision: &Revision, changes: Option<Vec<ObjectChange>>) -> Shown {
    Shown {
        number: revision.number,
        created_at: moment(revision.created_at),
        actor: revision.actor.clone(),
        summary: revision.summary.clone(),
        hash: revision.hash.clone(),
        file_hash: revision.file_hash.clone(),
        changes,
    }
}
