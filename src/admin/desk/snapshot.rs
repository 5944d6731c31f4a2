//! The newest state of a shared store that this gateway has seen, on its own disk: it starts with it while the store does not
//! answer. The file is replaced as a whole, and has the hash of what it holds.

use std::fs;
use std::io;
use std::path::Path;

use gatekeeper_model::object::Kind;
use gatekeeper_store::State;
use gatekeeper_store::object::Object;
use gatekeeper_store::revision::Revision;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Held;
use super::objects::kept;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    number: u64,
    created_at: i64,
    actor: String,
    summary: String,
    hash: String,
    file_hash: Option<String>,
    objects: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
struct Item {
    id: Uuid,
    kind: Kind,
    name: String,
    body: Value,
    created_at: i64,
    updated_at: i64,
}

/// Writes what is held.
pub fn write(file: &Path, held: &Held) -> io::Result<()> {
    let revision = held.revision.clone();
    let objects = held.objects.all().map(|(kind, made)| Item {
        id: made.id,
        kind,
        name: made.name.to_string(),
        body: kept(made.manager, made.written()),
        created_at: made.created_at,
        updated_at: made.updated_at,
    });
    let snapshot = Snapshot {
        number: revision.number,
        created_at: revision.created_at,
        actor: revision.actor,
        summary: revision.summary,
        hash: revision.hash,
        file_hash: revision.file_hash,
        objects: objects.collect(),
    };
    let new = file.with_extension("new");
    // It holds the secrets of the objects.
    let _ = fs::remove_file(&new);
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.write(true).create_new(true).open(&new)?;
    serde_json::to_writer(&mut opened, &snapshot)?;
    opened.sync_all()?;
    fs::rename(new, file)
}

/// Reads a state; nothing if there is none, or if it is not whole.
pub fn read(file: &Path) -> Option<State> {
    let snapshot: Snapshot = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let Snapshot { number, created_at, actor, summary, hash, file_hash, objects } = snapshot;
    let object = |Item { id, kind, name, body, created_at, updated_at }| Object {
        id,
        kind,
        name,
        body,
        revision: number,
        created_at,
        updated_at,
    };
    let revision = Revision { number, created_at, actor, summary, hash, file_hash };
    let state = State { revision, objects: objects.into_iter().map(object).collect() };
    state.is_whole().then_some(state)
}
