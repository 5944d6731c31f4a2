//! What all writes have in common: their parameters, the road that they take, and what they answer with.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use gatekeeper_client::{Applied, REVISION_HEADER};
use serde::Deserialize;

use crate::Control;
use crate::actor::Actor;
use crate::desk::proposal::Proposal;
use crate::desk::{Done, Held, Keeping};
use crate::problem::Problem;

/// The header that tells which revision serves.
pub const REVISION: HeaderName = HeaderName::from_static(REVISION_HEADER);

/// The parameters of a write.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Writing {
    dry_run: Switch,
    prune: Switch,
    take_over: Switch,
    /// Looked at where the answer passes (`everywhere`).
    #[serde(rename = "wait")]
    _wait: Option<String>,
    #[serde(rename = "nodes")]
    _nodes: Option<String>,
}

/// A parameter that is on if it is there, unless its value is `false`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct Switch(bool);

impl TryFrom<String> for Switch {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "" | "true" | "1" => Ok(Switch(true)),
            "false" | "0" => Ok(Switch(false)),
            _ => Err("expected true or false"),
        }
    }
}

impl Writing {
    /// A write that changes nothing.
    pub fn rehearsal() -> Self {
        Writing { dry_run: Switch(true), ..Writing::default() }
    }

    /// Nothing is changed: the answer tells what would be.
    pub fn dry_run(&self) -> bool {
        self.dry_run.0
    }

    /// Objects that a declarative file does not name any more are removed.
    pub fn prune(&self) -> bool {
        self.prune.0
    }

    /// A declarative file takes over objects that were made one by one.
    pub fn take_over(&self) -> bool {
        self.take_over.0
    }
}

impl Control {
    /// Brings a change on its road.
    pub async fn write(
        self: &Arc<Self>,
        actor: Actor,
        writing: &Writing,
        propose: impl Fn(&Held) -> Result<Proposal, Problem> + Send + 'static,
    ) -> Result<Done, Problem> {
        if !self.process.may_reload() {
            return Err(Problem::upgrading());
        }
        let (desk, rehearse) = (self.desk.clone(), writing.dry_run());
        let changed = tokio::task::spawn_blocking(move || desk.change(&actor, rehearse, propose)).await;
        changed.map_err(Problem::internal)?
    }

    /// Where objects are kept.
    pub fn kept(&self) -> Result<&Keeping, Problem> {
        self.desk.keeping().ok_or_else(Problem::no_store)
    }

    /// Whether a write must say which version it changes.
    pub fn requires_if_match(&self) -> Result<bool, Problem> {
        Ok(self.desk.held().joined()?.config.admin.require_if_match.0)
    }
}

impl Done {
    /// What changed, as an answer.
    pub fn report(self) -> Response {
        let applied = Applied { revision: self.held.revision.number, changes: self.changes, warnings: self.warnings };
        (StatusCode::OK, [(REVISION, applied.revision.to_string())], Json(applied)).into_response()
    }

    /// The revision that serves, as a header.
    pub fn revision(&self) -> [(HeaderName, String); 1] {
        [(REVISION, self.held.revision.number.to_string())]
    }
}
