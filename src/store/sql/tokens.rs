//! Tokens of the API.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor};
use uuid::Uuid;

use super::rows::{id, is_taken, optional_time, text, time};
use crate::Result;
use crate::failure::Failure;
use crate::token::Token;

pub async fn add(connection: &mut AnyConnection, token: Token, digest: String) -> Result<()> {
    let query = sqlx::query(
        "INSERT INTO token (id, name, role, digest, created_at, expires_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    );
    let query = query.bind(token.id.to_string()).bind(token.name.clone()).bind(token.role).bind(digest);
    let query = query.bind(token.created_at).bind(token.expires_at).bind(token.last_used_at);
    match connection.execute(query).await {
        Err(error) if is_taken(&error) => Err(Failure::Taken { name: token.name }),
        written => Ok(written.map(drop)?),
    }
}

pub async fn all(connection: &mut AnyConnection) -> Result<Vec<Token>> {
    let rows = sqlx::query("SELECT * FROM token ORDER BY name").fetch_all(connection).await?;
    rows.iter().map(token).collect()
}

pub async fn with_digest(connection: &mut AnyConnection, digest: &str) -> Result<Option<Token>> {
    let query = sqlx::query("SELECT * FROM token WHERE digest = $1").bind(digest.to_owned());
    query.fetch_optional(connection).await?.as_ref().map(token).transpose()
}

pub async fn used(connection: &mut AnyConnection, id: Uuid, now: i64) -> Result<()> {
    let query = sqlx::query("UPDATE token SET last_used_at = $2 WHERE id = $1").bind(id.to_string()).bind(now);
    connection.execute(query).await?;
    Ok(())
}

pub async fn revoke(connection: &mut AnyConnection, id: Uuid) -> Result<bool> {
    let query = sqlx::query("DELETE FROM token WHERE id = $1").bind(id.to_string());
    Ok(connection.execute(query).await?.rows_affected() > 0)
}

pub async fn remove_name(connection: &mut AnyConnection, name: &str) -> Result<()> {
    connection.execute(sqlx::query("DELETE FROM token WHERE name = $1").bind(name.to_owned())).await?;
    Ok(())
}

fn token(row: &AnyRow) -> Result<Token> {
    Ok(Token {
        id: id(row, "id")?,
        name: text(row, "name")?,
        role: text(row, "role")?,
        created_at: time(row, "created_at")?,
        expires_at: optional_time(row, "expires_at")?,
        last_used_at: optional_time(row, "last_used_at")?,
    })
}
