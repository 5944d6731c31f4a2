//! Answers that a repeated write gets again.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Executor};

use super::rows::{number, text, time};
use crate::Result;
use crate::answer::Answer;
use crate::failure::Failure;

pub async fn find(connection: &mut AnyConnection, token: &str, key: &str) -> Result<Option<Answer>> {
    let query = sqlx::query("SELECT * FROM answer WHERE token = $1 AND key = $2");
    let row = query.bind(token.to_owned()).bind(key.to_owned()).fetch_optional(connection).await?;
    row.as_ref().map(answer).transpose()
}

pub async fn put(connection: &mut AnyConnection, token: &str, key: &str, answer: Answer) -> Result<Answer> {
    let query = sqlx::query(
        "INSERT INTO answer (token, key, digest, status, body, at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (token, key) DO NOTHING",
    );
    let query = query.bind(token.to_owned()).bind(key.to_owned()).bind(answer.digest).bind(i64::from(answer.status));
    connection.execute(query.bind(answer.body).bind(answer.at)).await?;
    let kept = find(connection, token, key).await?;
    kept.ok_or_else(|| Failure::Damaged("an answer was not written".into()))
}

pub async fn forget(connection: &mut AnyConnection, before: i64) -> Result<u64> {
    let query = sqlx::query("DELETE FROM answer WHERE at < $1").bind(before);
    Ok(connection.execute(query).await?.rows_affected())
}

fn answer(row: &AnyRow) -> Result<Answer> {
    Ok(Answer {
        digest: text(row, "digest")?,
        status: number(row, "status")?,
        body: text(row, "body")?,
        at: time(row, "at")?,
    })
}
