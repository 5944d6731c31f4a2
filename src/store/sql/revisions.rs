//! Objects and their revisions.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor, Row};
use uuid::Uuid;

use super::rows::{id, json, kept, kind, number, optional_json, optional_text, text, time};
use super::{audit, many};
use crate::digest::Sum;
use crate::failure::Failure;
use crate::object::Object;
use crate::revision::{Change, Changed, Edit, Revision};
use crate::{Result, State};

/// Rows of one statement.
const TOGETHER: usize = 100;

pub async fn head(connection: &mut AnyConnection) -> Result<Revision> {
    let newest = sqlx::query("SELECT * FROM revision ORDER BY number DESC LIMIT 1");
    match newest.fetch_optional(connection).await? {
        Some(row) => revision(&row),
        None => Ok(Revision::first()),
    }
}

pub async fn state(connection: &mut AnyConnection) -> Result<State> {
    let revision = head(&mut *connection).await?;
    let rows = sqlx::query("SELECT * FROM object ORDER BY kind, name").fetch_all(connection).await?;
    let objects = rows.iter().map(object).collect::<Result<_>>()?;
    Ok(State { revision, objects })
}

pub async fn one(connection: &mut AnyConnection, wanted: u64) -> Result<Option<Revision>> {
    let row =
        sqlx::query("SELECT * FROM revision WHERE number = $1").bind(kept(wanted)).fetch_optional(connection).await?;
    row.as_ref().map(revision).transpose()
}

pub async fn before(connection: &mut AnyConnection, before: u64, limit: u32) -> Result<Vec<Revision>> {
    let query = sqlx::query("SELECT * FROM revision WHERE number < $1 ORDER BY number DESC LIMIT $2");
    let rows = query.bind(kept(before)).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(revision).collect()
}

pub async fn between(connection: &mut AnyConnection, from: u64, to: u64) -> Result<Vec<Changed>> {
    let query = sqlx::query(
        "SELECT first.id, first.kind, first.name_before, last.name, first.before, last.after \
         FROM (SELECT id, MIN(revision) AS first, MAX(revision) AS last FROM change \
               WHERE revision > $1 AND revision <= $2 GROUP BY id) AS span \
         JOIN change AS first ON first.id = span.id AND first.revision = span.first \
         JOIN change AS last ON last.id = span.id AND last.revision = span.last \
         ORDER BY first.kind, last.name",
    );
    let rows = query.bind(kept(from)).bind(kept(to)).fetch_all(connection).await?;
    let mut changes = rows.iter().map(changed).collect::<Result<Vec<_>>>()?;
    // What came and went again, or is as it was, has not changed.
    changes.retain(|change| change.before != change.after || change.name_before.as_ref() != Some(&change.name));
    changes.retain(|change| change.before.is_some() || change.after.is_some());
    Ok(changes)
}

/// Makes a change within a transaction that writes.
pub async fn commit(connection: &mut AnyConnection, change: Change, now: i64) -> Result<Revision> {
    let head = head(&mut *connection).await?;
    if head.number != change.parent {
        return Err(Failure::Stale { parent: change.parent, head: head.number });
    }
    let held = held(&mut *connection, &change.edits).await?;
    let changes = changes(&held, change.edits);
    let mut sum = Sum::read(&head.hash)?;
    changes.iter().for_each(|change| settle(&mut sum, change));
    let revision = Revision {
        number: head.number + 1,
        created_at: now,
        actor: change.author.name.clone(),
        summary: change.summary,
        hash: sum.text(),
        file_hash: change.file_hash,
    };
    write_revision(&mut *connection, &revision).await?;
    write_changes(&mut *connection, &changes, revision.number).await?;
    write_objects(&mut *connection, &changes, &held, &revision).await?;
    audit::write(&mut *connection, &change.author, &change.entries, Some(revision.number), now).await?;
    Ok(revision)
}

/// The objects that are to be changed, as they are.
async fn held(connection: &mut AnyConnection, edits: &[Edit]) -> Result<HashMap<Uuid, Object>> {
    let mut held = HashMap::new();
    for edits in edits.chunks(TOGETHER) {
        let statement = format!("SELECT * FROM object WHERE id IN {}", many::list(edits.len()));
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
        for edit in edits {
            query = query.bind(edit.id().to_string());
        }
        for row in query.fetch_all(&mut *connection).await? {
            let object = object(&row)?;
            held.insert(object.id, object);
        }
    }
    Ok(held)
}

/// What the edits do to what is there. An edit that does nothing is left out.
fn changes(held: &HashMap<Uuid, Object>, edits: Vec<Edit>) -> Vec<Changed> {
    let changed = edits.into_iter().filter_map(|edit| {
        let before = held.get(&edit.id());
        let (name_before, body_before) =
            (before.map(|object| object.name.clone()), before.map(|object| object.body.clone()));
        match edit {
            Edit::Put { name, body, .. }
                if name_before.as_ref() == Some(&name) && body_before.as_ref() == Some(&body) =>
            {
                None
            }
            Edit::Put { id, kind, name, body } => Some(Changed {
                id,
                kind: before.map_or(kind, |object| object.kind),
                name_before,
                name,
                before: body_before,
                after: Some(body),
            }),
            Edit::Remove { id } => before.map(|object| Changed {
                id,
                kind: object.kind,
                name_before,
                name: object.name.clone(),
                before: body_before,
                after: None,
            }),
        }
    });
    changed.collect()
}

fn settle(sum: &mut Sum, change: &Changed) {
    if let (Some(name), Some(body)) = (&change.name_before, &change.before) {
        sum.remove(change.kind, change.id, name, body);
    }
    if let Some(body) = &change.after {
        sum.add(change.kind, change.id, &change.name, body);
    }
}

async fn write_revision(connection: &mut AnyConnection, revision: &Revision) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO revision (number, created_at, actor, summary, hash, file_hash) VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let query = query.bind(kept(revision.number)).bind(revision.created_at).bind(revision.actor.clone());
    let query = query.bind(revision.summary.clone()).bind(revision.hash.clone()).bind(revision.file_hash.clone());
    connection.execute(query).await?;
    Ok(())
}

async fn write_changes(connection: &mut AnyConnection, changes: &[Changed], revision: u64) -> Result<()> {
    for changes in changes.chunks(TOGETHER) {
        let rows = many::rows(7, changes.len());
        let statement =
            format!("INSERT INTO change (revision, id, kind, name_before, name, before, after) VALUES {rows}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
        for change in changes {
            query = query.bind(kept(revision)).bind(change.id.to_string()).bind(change.kind.as_str());
            query = query.bind(change.name_before.clone()).bind(change.name.clone());
            query = query
                .bind(change.before.as_ref().map(Value::to_string))
                .bind(change.after.as_ref().map(Value::to_string));
        }
        connection.execute(query).await?;
    }
    Ok(())
}

/// The objects as they come to be. All that change are taken out first, so that two of them may swap their names.
async fn write_objects(
    connection: &mut AnyConnection,
    changes: &[Changed],
    held: &HashMap<Uuid, Object>,
    revision: &Revision,
) -> Result<()> {
    for changes in changes.chunks(TOGETHER) {
        let statement = format!("DELETE FROM object WHERE id IN {}", many::list(changes.len()));
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
        for change in changes {
            query = query.bind(change.id.to_string());
        }
        connection.execute(query).await?;
    }
    let kept_ones: Vec<(&Changed, &Value)> =
        changes.iter().filter_map(|change| Some((change, change.after.as_ref()?))).collect();
    for changes in kept_ones.chunks(TOGETHER) {
        insert_objects(&mut *connection, changes, held, revision).await?;
    }
    Ok(())
}

async fn insert_objects(
    connection: &mut AnyConnection,
    changes: &[(&Changed, &Value)],
    held: &HashMap<Uuid, Object>,
    revision: &Revision,
) -> Result<()> {
    let rows = many::rows(7, changes.len());
    let statement = format!(
        "INSERT INTO object (id, kind, name, body, revision, created_at, updated_at) VALUES {rows} ON CONFLICT (kind, name) DO NOTHING"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for (change, body) in changes {
        let created_at = held.get(&change.id).map_or(revision.created_at, |object| object.created_at);
        query = query
            .bind(change.id.to_string())
            .bind(change.kind.as_str())
            .bind(change.name.clone())
            .bind(body.to_string());
        query = query.bind(kept(revision.number)).bind(created_at).bind(revision.created_at);
    }
    let written = connection.execute(query).await?.rows_affected();
    if written == changes.len() as u64 { Ok(()) } else { Err(taken(connection, changes).await?) }
}

/// Whose name is taken, of objects of which one was not written.
async fn taken(connection: &mut AnyConnection, changes: &[(&Changed, &Value)]) -> Result<Failure> {
    for (change, _) in changes {
        let query = sqlx::query("SELECT COUNT(*) AS found FROM object WHERE id = $1").bind(change.id.to_string());
        let found: i64 = query.fetch_one(&mut *connection).await?.try_get("found")?;
        if found == 0 {
            return Ok(Failure::Taken { name: change.name.clone() });
        }
    }
    Ok(Failure::Damaged("an object was not written".into()))
}

fn revision(row: &AnyRow) -> Result<Revision> {
    Ok(Revision {
        number: number(row, "number")?,
        created_at: time(row, "created_at")?,
        actor: text(row, "actor")?,
        summary: text(row, "summary")?,
        hash: text(row, "hash")?,
        file_hash: optional_text(row, "file_hash")?,
    })
}

fn object(row: &AnyRow) -> Result<Object> {
    Ok(Object {
        id: id(row, "id")?,
        kind: kind(row, "kind")?,
        name: text(row, "name")?,
        body: json(row, "body")?,
        revision: number(row, "revision")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn changed(row: &AnyRow) -> Result<Changed> {
    Ok(Changed {
        id: id(row, "id")?,
        kind: kind(row, "kind")?,
        name_before: optional_text(row, "name_before")?,
        name: text(row, "name")?,
        before: optional_json(row, "before")?,
        after: optional_json(row, "after")?,
    })
}
