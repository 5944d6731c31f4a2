//! What is heard of commits: PostgreSQL tells those who listen. SQLite has one gateway, which knows what it commits.

use async_trait::async_trait;
use gatekeeper_model::secret::Secret;
use sqlx::postgres::PgListener;
use sqlx::{AnyConnection, Executor};

use crate::{News, Result};

/// The channel.
const CHANNEL: &str = "gatekeeper";

/// Tells of a revision once its transaction is committed.
pub async fn tell(connection: &mut AnyConnection, revision: u64) -> Result<()> {
    // The statement takes no parameters; a number needs none.
    let tell = format!("NOTIFY {CHANNEL}, '{revision}'");
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(tell))).await?;
    Ok(())
}

/// What is heard at a URL of PostgreSQL; nothing ever without one.
pub async fn of(url: Option<&Secret>) -> Result<Box<dyn News>> {
    let Some(url) = url else { return Ok(Box::new(Silence)) };
    let mut listener = PgListener::connect(url.reveal()).await?;
    listener.listen(CHANNEL).await?;
    Ok(Box::new(Listening(listener)))
}

struct Silence;

struct Listening(PgListener);

#[async_trait]
impl News for Silence {
    async fn next(&mut self) -> Result<()> {
        std::future::pending().await
    }
}

#[async_trait]
impl News for Listening {
    async fn next(&mut self) -> Result<()> {
        // A connection that was lost is news, too: something may have been missed.
        self.0.try_recv().await?;
        Ok(())
    }
}
