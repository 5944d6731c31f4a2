//! The audit.

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor};
use uuid::Uuid;

use super::many;
use super::rows::{id, kept, optional_json, optional_number, optional_text, text, time};
use crate::Result;
use crate::audit::{Author, Entry, Recorded};
use crate::failure::Failure;

/// Rows of one statement.
const TOGETHER: usize = 100;

pub async fn write(
    connection: &mut AnyConnection,
    author: &Author,
    entries: &[Entry],
    revision: Option<u64>,
    now: i64,
) -> Result<()> {
    for entries in entries.chunks(TOGETHER) {
        let rows = many::rows(11, entries.len());
        let statement = format!(
            "INSERT INTO audit (id, at, actor, role, address, action, kind, name, before, after, revision) VALUES {rows}"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
        for entry in entries {
            query =
                query.bind(Uuid::now_v7().to_string()).bind(now).bind(author.name.clone()).bind(author.role.clone());
            query = query.bind(author.address.map(|address| address.to_string())).bind(entry.action.clone());
            query = query.bind(entry.kind.clone()).bind(entry.name.clone());
            query = query
                .bind(entry.before.as_ref().map(Value::to_string))
                .bind(entry.after.as_ref().map(Value::to_string));
            query = query.bind(revision.map(kept));
        }
        connection.execute(query).await?;
    }
    Ok(())
}

pub async fn before(connection: &mut AnyConnection, before: Option<Uuid>, limit: u32) -> Result<Vec<Recorded>> {
    let query = sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2");
    let before = before.unwrap_or(Uuid::max()).to_string();
    let rows = query.bind(before).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}

fn recorded(row: &AnyRow) -> Result<Recorded> {
    let address = optional_text(row, "address")?;
    let address = address.map(|text| text.parse().map_err(|_| Failure::Damaged(format!("address is {text:?}"))));
    Ok(Recorded {
        id: id(row, "id")?,
        at: time(row, "at")?,
        author: Author { name: text(row, "actor")?, role: text(row, "role")?, address: address.transpose()? },
        entry: Entry {
            action: text(row, "action")?,
            kind: text(row, "kind")?,
            name: text(row, "name")?,
            before: optional_json(row, "before")?,
            after: optional_json(row, "after")?,
        },
        revision: optional_number(row, "revision")?,
    })
}
