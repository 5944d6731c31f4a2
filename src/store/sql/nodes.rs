//! The gateways that share the store.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor};

use super::rows::{id, kept, number, optional_text, text, time};
use crate::Result;
use crate::node::Node;

pub async fn put(connection: &mut AnyConnection, node: Node) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO node (id, name, address, version, revision, hash, fault, seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, address = excluded.address, version = excluded.version, \
         revision = excluded.revision, hash = excluded.hash, fault = excluded.fault, seen_at = excluded.seen_at",
    );
    let query = query.bind(node.id.to_string()).bind(node.name).bind(node.address).bind(node.version);
    let query = query.bind(kept(node.revision)).bind(node.hash).bind(node.fault).bind(node.seen_at);
    connection.execute(query).await?;
    Ok(())
}

pub async fn since(connection: &mut AnyConnection, since: i64) -> Result<Vec<Node>> {
    let rows = sqlx::query("SELECT * FROM node WHERE seen_at >= $1 ORDER BY name, id")
        .bind(since)
        .fetch_all(connection)
        .await?;
    rows.iter().map(node).collect()
}

fn node(row: &AnyRow) -> Result<Node> {
    Ok(Node {
        id: id(row, "id")?,
        name: text(row, "name")?,
        address: text(row, "address")?,
        version: text(row, "version")?,
        revision: number(row, "revision")?,
        hash: text(row, "hash")?,
        fault: optional_text(row, "fault")?,
        seen_at: time(row, "seen_at")?,
    })
}
