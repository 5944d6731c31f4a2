//! The tables, brought from any schema to the newest.
//!
//! All that is missing is done in one transaction that writes: of two gateways that start at once, the second one finds it
//! done. A schema that is newer than this version is left alone.

use sqlx::{Any, AnyConnection, Executor, Row, Transaction};

use super::{Dialect, Sql};
use crate::Result;
use crate::failure::Failure;

/// What brings the tables from one schema to the next.
const STEPS: [&str; 1] = [include_str!("../migrations/1.sql")];

/// Which schema the tables have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The one that is there; 0 if there are no tables.
    pub found: i64,
    /// The newest that this version knows.
    pub known: i64,
}

impl Sql {
    /// Which schema the tables have.
    pub async fn schema(&self) -> Result<Schema> {
        let mut transaction = self.reading().await?;
        found(&mut transaction, self.dialect).await.map(|found| Schema { found, known: known() })
    }

    /// Brings the tables to the newest schema, and returns the one that they had.
    pub async fn migrate(&self) -> Result<Schema> {
        let mut transaction = self.writing().await?;
        let schema = Schema { found: found(&mut transaction, self.dialect).await?, known: known() };
        if schema.found > schema.known {
            return Err(Failure::TooNew { found: schema.found, known: schema.known });
        }
        if schema.found < schema.known {
            bring_up(&mut transaction, schema).await?;
            transaction.commit().await?;
        }
        Ok(schema)
    }
}

fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

async fn found(connection: &mut AnyConnection, dialect: Dialect) -> Result<i64> {
    let look = match dialect {
        Dialect::Sqlite => {
            "SELECT COUNT(*) AS tables FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"
        }
        Dialect::Postgres => {
            "SELECT COUNT(*) AS tables FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_version'"
        }
    };
    let tables: i64 = sqlx::query(look).fetch_one(&mut *connection).await?.try_get("tables")?;
    if tables == 0 {
        return Ok(0);
    }
    let row = sqlx::query("SELECT number FROM schema_version").fetch_one(&mut *connection).await?;
    Ok(row.try_get("number")?)
}

async fn bring_up(transaction: &mut Transaction<'static, Any>, schema: Schema) -> Result<()> {
    if schema.found == 0 {
        transaction.execute("CREATE TABLE schema_version (number BIGINT NOT NULL)").await?;
        transaction.execute("INSERT INTO schema_version (number) VALUES (0)").await?;
    }
    let done = usize::try_from(schema.found).unwrap_or_default();
    for step in STEPS.iter().skip(done) {
        sqlx::raw_sql(*step).execute(&mut **transaction).await?;
    }
    let number = sqlx::query("UPDATE schema_version SET number = $1").bind(schema.known);
    transaction.execute(number).await?;
    Ok(())
}
