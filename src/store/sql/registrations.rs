//! Instances that registered themselves.

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor};

use super::rows::{json, kept, number, optional_number, text, time};
use crate::Result;
use crate::failure::Failure;
use crate::registration::Registration;

pub async fn put(connection: &mut AnyConnection, registration: Registration) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO registration (service, target, weight, metadata, ttl_ms, created_at, seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (service, target) DO UPDATE SET weight = excluded.weight, metadata = excluded.metadata, \
         ttl_ms = excluded.ttl_ms, seen_at = excluded.seen_at",
    );
    let query = query.bind(registration.service).bind(registration.target).bind(i64::from(registration.weight));
    let query = query.bind(Value::Object(registration.metadata).to_string()).bind(registration.ttl_ms.map(kept));
    let query = query.bind(registration.created_at).bind(registration.seen_at);
    connection.execute(query).await?;
    Ok(())
}

pub async fn renew(connection: &mut AnyConnection, service: &str, target: &str, now: i64) -> Result<bool> {
    let query = sqlx::query(
        "UPDATE registration SET seen_at = $3 WHERE service = $1 AND target = $2 AND (ttl_ms IS NULL OR seen_at + ttl_ms >= $3)",
    );
    let query = query.bind(service.to_owned()).bind(target.to_owned()).bind(now);
    Ok(connection.execute(query).await?.rows_affected() > 0)
}

pub async fn remove(connection: &mut AnyConnection, service: &str, target: &str) -> Result<bool> {
    let query = sqlx::query("DELETE FROM registration WHERE service = $1 AND target = $2");
    let query = query.bind(service.to_owned()).bind(target.to_owned());
    Ok(connection.execute(query).await?.rows_affected() > 0)
}

pub async fn living(connection: &mut AnyConnection, now: i64) -> Result<Vec<Registration>> {
    let query = sqlx::query(
        "SELECT * FROM registration WHERE ttl_ms IS NULL OR seen_at + ttl_ms >= $1 ORDER BY service, target",
    );
    let rows = query.bind(now).fetch_all(connection).await?;
    rows.iter().map(registration).collect()
}

pub async fn forget(connection: &mut AnyConnection, now: i64) -> Result<u64> {
    let query = sqlx::query("DELETE FROM registration WHERE ttl_ms IS NOT NULL AND seen_at + ttl_ms < $1").bind(now);
    Ok(connection.execute(query).await?.rows_affected())
}

fn registration(row: &AnyRow) -> Result<Registration> {
    let Value::Object(metadata) = json(row, "metadata")? else {
        return Err(Failure::Damaged("the metadata of a registration is no object".into()));
    };
    Ok(Registration {
        service: text(row, "service")?,
        target: text(row, "target")?,
        weight: number(row, "weight")?,
        metadata,
        ttl_ms: optional_number(row, "ttl_ms")?,
        created_at: time(row, "created_at")?,
        seen_at: time(row, "seen_at")?,
    })
}
