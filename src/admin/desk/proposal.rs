//! What somebody wants to change.

use std::sync::Arc;

use gatekeeper_client::ObjectChange;
use gatekeeper_model::fault::Lint;
use gatekeeper_model::object::{Kind, Written};
use gatekeeper_model::{Faults, raw};
use gatekeeper_store::audit::{Author, Entry};
use gatekeeper_store::revision::{self, Change};
use serde_json::Value;
use uuid::Uuid;

use super::Held;
use super::difference::Difference;
use super::objects::{Made, Manager, Objects, fingerprinted, kept};
use crate::actor::Actor;
use crate::problem::Problem;

/// What somebody wants to change. An object is named once at most.
#[derive(Default)]
pub struct Proposal {
    /// What happens to each object.
    pub edits: Vec<Edit>,
    /// What it is, in a sentence, if the changes do not say it.
    pub summary: Option<String>,
    /// Tests that must pass with it, beside those of the files.
    pub tests: Vec<raw::RouteTest>,
}

/// What happens to an object.
pub enum Edit {
    /// It is made, or changed.
    Put {
        /// Its id.
        id: Uuid,
        /// Who manages it.
        manager: Manager,
        /// What it is to be.
        written: Written,
        /// What it is, if it is there.
        before: Option<Arc<Made>>,
    },
    /// It is removed.
    Remove(Arc<Made>),
}

impl Edit {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Edit::Put { written, .. } => written.body.kind(),
            Edit::Remove(made) => made.body.kind(),
        }
    }

    /// The name that the object has in the end.
    pub fn name(&self) -> &str {
        match self {
            Edit::Put { written, .. } => &written.name,
            Edit::Remove(made) => &made.name,
        }
    }

    /// Whether it does something.
    fn changes(&self) -> bool {
        match self {
            Edit::Put { written, manager, before: Some(before), .. } => {
                *before.name != *written.name || before.manager != *manager || before.written() != written.text
            }
            Edit::Put { before: None, .. } | Edit::Remove(_) => true,
        }
    }

    fn before(&self) -> Option<&Arc<Made>> {
        match self {
            Edit::Put { before, .. } => before.as_ref(),
            Edit::Remove(made) => Some(made),
        }
    }

    fn after(&self) -> Option<Value> {
        match self {
            Edit::Put { written, .. } => Some(fingerprinted(written.body.shown(), &written.text)),
            Edit::Remove(_) => None,
        }
    }
}

/// A proposal, seen against what there is: what comes of it.
pub struct Weighed {
    edits: Vec<Edit>,
    /// The names of the objects that it is about, also of those that it leaves as they are.
    pub names: Vec<String>,
    /// Tests that must pass with it, beside those of the files.
    pub tests: Vec<raw::RouteTest>,
    /// What changes, field by field.
    pub changes: Vec<ObjectChange>,
    entries: Vec<Entry>,
    summary: String,
}

impl Proposal {
    /// Leaves out what does nothing, and tells what the rest does.
    pub fn weigh(self) -> Weighed {
        let names = self.edits.iter().map(|edit| edit.name().to_owned()).collect();
        let edits: Vec<Edit> = self.edits.into_iter().filter(Edit::changes).collect();
        let (mut changes, mut entries) = (Vec::with_capacity(edits.len()), Vec::with_capacity(edits.len()));
        for edit in &edits {
            let (before, after) = (edit.before().map(|made| made.told()), edit.after());
            let difference =
                Difference { kind: edit.kind(), name: edit.name(), before: before.as_ref(), after: after.as_ref() };
            changes.push(difference.told());
            let action = match (&before, &after) {
                (None, _) => "create",
                (_, None) => "delete",
                _ => "change",
            };
            entries.push(Entry {
                action: action.into(),
                kind: edit.kind().as_str().into(),
                name: edit.name().into(),
                before,
                after,
            });
        }
        let summary = self.summary.unwrap_or_else(|| summary(&changes));
        Weighed { edits, names, tests: self.tests, changes, entries, summary }
    }
}

/// What changes, in a sentence.
fn summary(changes: &[ObjectChange]) -> String {
    match changes {
        [] => "nothing changed".into(),
        [one] => one.to_string(),
        [one, _] => format!("{one}, and 1 more change"),
        [one, rest @ ..] => format!("{one}, and {} more changes", rest.len()),
    }
}

impl Weighed {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// What it is about.
    pub fn touched(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.edits.iter().map(|edit| (edit.kind(), edit.name()))
    }

    /// The names that are not used any more, because their objects are removed or renamed.
    pub fn left(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.edits.iter().filter_map(|edit| match edit {
            Edit::Remove(made) => Some((made.body.kind(), &*made.name)),
            Edit::Put { written, before: Some(before), .. } if *before.name != *written.name => {
                Some((before.body.kind(), &*before.name))
            }
            Edit::Put { .. } => None,
        })
    }

    /// Those of the warnings that are about what is changed.
    pub fn warnings(&self, lints: Vec<Lint>) -> Vec<String> {
        let of_edit = |lint: &Lint| {
            let mut within = self.touched().filter_map(|(kind, name)| lint.place.within(kind.section(), name));
            within.next().is_some()
        };
        lints.into_iter().filter(of_edit).map(|lint| lint.to_string()).collect()
    }

    /// The change is refused for these faults. Those of a single object have their places within it.
    pub fn refused(&self, faults: &Faults) -> Problem {
        let mut touched = self.touched();
        match (touched.next(), touched.next()) {
            (Some((kind, name)), None) => Problem::of_object(faults, kind, name),
            _ => Problem::of_change(faults),
        }
    }

    /// The objects as they come to be.
    pub fn objects(&self, held: &Held, now: i64) -> Objects {
        let mut objects = held.objects.clone();
        for made in self.edits.iter().filter_map(Edit::before) {
            objects.remove(made.body.kind(), &made.name);
        }
        for edit in &self.edits {
            if let Edit::Put { id, manager, written, before } = edit {
                let created_at = before.as_ref().map_or(now, |made| made.created_at);
                objects.put(*id, *manager, written.clone(), (created_at, now));
            }
        }
        objects
    }

    /// The same in the words of the store.
    pub fn change(&self, held: &Held, actor: &Actor) -> Change {
        let edits = self.edits.iter().map(|edit| match edit {
            Edit::Put { id, manager, written, .. } => revision::Edit::Put {
                id: *id,
                kind: written.body.kind(),
                name: written.name.clone(),
                body: kept(*manager, written.text.clone()),
            },
            Edit::Remove(made) => revision::Edit::Remove { id: made.id },
        });
        Change {
            parent: held.revision.number,
            author: actor.author(),
            summary: self.summary.clone(),
            edits: edits.collect(),
            file_hash: Some(held.files.fingerprint().to_owned()),
            entries: self.entries.clone(),
        }
    }
}

/// What the files say has changed.
pub fn of_files(parent: u64, fingerprint: String) -> Change {
    let author = Author { name: "file".into(), role: "admin".into(), address: None };
    let summary = "the configuration files changed".into();
    Change { parent, author, summary, edits: Vec::new(), file_hash: Some(fingerprint), entries: Vec::new() }
}

/// Whether the body of a route refers to a service or a rate limit.
pub fn refers(body: &raw::Route, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Service => {
            let shares = body.split.iter().flat_map(|split| &split.services);
            body.target_service.as_deref() == Some(name) || shares.into_iter().any(|share| share.service == name)
        }
        Kind::RateLimit => body.rate_limits.iter().any(|rule| rule == name),
        Kind::Route | Kind::Cors => false,
    }
}
