//! The audit over the administration API: who did what, from where. What is secret is there as a fingerprint.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::LINK;
use axum::response::{IntoResponse, Response};
use gatekeeper_client::{AuditEntry, BASE};
use gatekeeper_store::audit::{Entry, Recorded};
use serde::Deserialize;
use uuid::Uuid;

use crate::Control;
use crate::actor::Actor;
use crate::desk::{moment, now};
use crate::input::Parameters;
use crate::problem::Problem;

/// Which entries are listed: those before one, so many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    before: Option<Uuid>,
    limit: u32,
}

impl Default for Window {
    fn default() -> Self {
        Window { before: None, limit: 100 }
    }
}

/// Entries, the newest first.
pub async fn list(
    State(control): State<Arc<Control>>,
    Parameters(window): Parameters<Window>,
) -> Result<Response, Problem> {
    let limit = Problem::check_limit(window.limit)?;
    let entries = control.kept()?.store.audit(window.before, limit).await.map_err(Problem::of_store)?;
    let next = entries.last().filter(|_| entries.len() == limit as usize);
    let next = next.map(|last| format!("<{BASE}/audit?before={}&limit={limit}>; rel=\"next\"", last.id));
    let mut response = Json(entries.into_iter().map(shown).collect::<Vec<_>>()).into_response();
    response.headers_mut().extend(next.and_then(|next| Some((LINK, next.parse().ok()?))));
    Ok(response)
}

fn shown(recorded: Recorded) -> AuditEntry {
    AuditEntry {
        id: recorded.id.to_string(),
        at: moment(recorded.at),
        actor: recorded.author.name,
        role: recorded.author.role,
        address: recorded.author.address.map(|address| address.to_string()),
        action: recorded.entry.action,
        kind: recorded.entry.kind,
        name: recorded.entry.name,
        before: recorded.entry.before,
        after: recorded.entry.after,
        revision: recorded.revision,
    }
}

impl Control {
    /// Writes down what somebody did that made no revision. What runs does not wait for the store.
    pub async fn record(&self, actor: &Actor, action: &str, kind: &str, name: &str) {
        let Some(keeping) = self.desk.keeping() else { return };
        let entry = Entry { action: action.into(), kind: kind.into(), name: name.into(), before: None, after: None };
        if let Err(failure) = keeping.store.record(actor.author(), entry, now()).await {
            log::warn!("the audit lacks an entry: {actor}: {action} {kind} {name}: {failure}");
        }
    }
}
