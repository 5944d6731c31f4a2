//! The store in a database: SQLite in one file, or PostgreSQL for several gateways.
//!
//! Both get the same statements, written out and never put together from what comes from outside. They differ in how a
//! transaction that writes begins: in SQLite it takes the file, in PostgreSQL a lock that all gateways know. So writes are one
//! after the other, and each sees the one before.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};
use uuid::Uuid;

use crate::answer::Answer;
use crate::audit::{Author, Entry, Recorded};
use crate::failure::Failure;
use crate::node::Node;
use crate::registration::Registration;
use crate::revision::{Change, Changed, Revision};
use crate::token::Token;
use crate::{News, Result, State, Store};
use gatekeeper_model::raw::StoreUrl;
use gatekeeper_model::secret::Secret;

mod answers;
mod audit;
mod many;
mod migrations;
mod news;
mod nodes;
mod registrations;
mod revisions;
mod rows;
mod tokens;

pub use migrations::Schema;

/// How long a statement waits for a connection, and a transaction of SQLite for the one before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections to the database.
const CONNECTIONS: u32 = 8;

/// What all gateways lock to write.
const LOCK: i64 = 0x6761_7465;

/// The store in a database.
pub struct Sql {
    pool: AnyPool,
    dialect: Dialect,
    /// Where it is; of PostgreSQL alone.
    url: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

impl Sql {
    /// Opens the store at a URL, and brings its tables to the schema of this version. The file of `sqlite:FILE` is relative to
    /// the folder, and is made if it is not there.
    pub async fn open(url: &str, folder: &Path) -> Result<Sql> {
        let store = Sql::connect(url, folder).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Opens the store as it is.
    pub async fn connect(url: &str, folder: &Path) -> Result<Sql> {
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        if let Some(file) = sqlite_file(url, folder)? {
            make_private(&file)?;
            let url = format!("sqlite:{}", encoded(&file));
            // A pool would try again and again, and not say why.
            let mut first = AnyConnection::connect(&url).await?;
            prepare(&mut first).await?;
            first.close().await?;
            let pool = options.after_connect(|connection, _| Box::pin(prepare(connection))).connect(&url).await?;
            return Ok(Sql { pool, dialect: Dialect::Sqlite, url: None });
        }
        // It need not answer now: a gateway serves on without it.
        Ok(Sql { pool: options.connect_lazy(url)?, dialect: Dialect::Postgres, url: Some(url.into()) })
    }

    /// Copies the store to a file of SQLite that does not exist yet, while it is used.
    pub async fn back_up(&self, to: &Path) -> Result<()> {
        if self.dialect == Dialect::Postgres {
            return Err(Failure::Url("a store in PostgreSQL is backed up with pg_dump".into()));
        }
        make_private_new(to)?;
        // The statement takes the name as a parameter, and writes to an empty file.
        let copy = sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned());
        self.pool.execute(copy).await?;
        Ok(())
    }

    /// A transaction that reads one state, whatever is written meanwhile.
    async fn reading(&self) -> Result<Transaction<'static, Any>> {
        let begin = match self.dialect {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    /// A transaction that writes. No other one does until it ends.
    async fn writing(&self) -> Result<Transaction<'static, Any>> {
        match self.dialect {
            Dialect::Sqlite => Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?),
            Dialect::Postgres => {
                let mut transaction = self.pool.begin().await?;
                let lock = sqlx::query("SELECT 1 FROM pg_advisory_xact_lock($1)").bind(LOCK);
                transaction.execute(lock).await?;
                Ok(transaction)
            }
        }
    }
}

/// The file of a URL of SQLite; none for PostgreSQL.
fn sqlite_file(url: &str, folder: &Path) -> Result<Option<PathBuf>> {
    match StoreUrl::read(url) {
        Some(StoreUrl::Postgres(_)) => Ok(None),
        Some(StoreUrl::Sqlite(file)) => Ok(Some(folder.join(file))),
        // A URL may hold a password: it is not repeated.
        Some(StoreUrl::None) | None => {
            Err(Failure::Url("expected sqlite:FILE or postgres://USER@HOST/DATABASE".into()))
        }
    }
}

/// A path as a part of a URL.
fn encoded(file: &Path) -> String {
    let text = file.to_string_lossy();
    text.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// The file holds secrets: it is its owner's from the beginning.
fn make_private(file: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    let cause = |error| Failure::Url(format!("cannot open {}: {error}", file.display()));
    made.map(drop).map_err(cause)
}

/// A new file for a copy, which holds the same secrets.
fn make_private_new(file: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    made.map(drop).map_err(|error| Failure::Url(format!("cannot make {}: {error}", file.display())))
}

/// A connection to SQLite: readers do not wait for the writer, and what is committed is on the disk.
async fn prepare(connection: &mut sqlx::AnyConnection) -> sqlx::Result<()> {
    connection.execute("PRAGMA busy_timeout = 5000").await?;
    connection.execute("PRAGMA journal_mode = WAL").await?;
    connection.execute("PRAGMA synchronous = FULL").await?;
    connection.execute("PRAGMA foreign_keys = ON").await?;
    Ok(())
}

#[async_trait]
impl Store for Sql {
    async fn head(&self) -> Result<Revision> {
        revisions::head(&mut *self.pool.acquire().await?).await
    }

    async fn state(&self) -> Result<State> {
        revisions::state(&mut *self.reading().await?).await
    }

    async fn commit(&self, change: Change, now: i64) -> Result<Revision> {
        let mut transaction = self.writing().await?;
        let revision = revisions::commit(&mut transaction, change, now).await?;
        if self.dialect == Dialect::Postgres {
            news::tell(&mut transaction, revision.number).await?;
        }
        transaction.commit().await?;
        Ok(revision)
    }

    async fn revision(&self, number: u64) -> Result<Option<Revision>> {
        revisions::one(&mut *self.pool.acquire().await?, number).await
    }

    async fn revisions(&self, before: u64, limit: u32) -> Result<Vec<Revision>> {
        revisions::before(&mut *self.pool.acquire().await?, before, limit).await
    }

    async fn between(&self, from: u64, to: u64) -> Result<Vec<Changed>> {
        revisions::between(&mut *self.pool.acquire().await?, from, to).await
    }

    async fn record(&self, author: Author, entry: Entry, now: i64) -> Result<()> {
        audit::write(&mut *self.pool.acquire().await?, &author, &[entry], None, now).await
    }

    async fn audit(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Recorded>> {
        audit::before(&mut *self.pool.acquire().await?, before, limit).await
    }

    async fn add_token(&self, token: Token, digest: String) -> Result<()> {
        tokens::add(&mut *self.pool.acquire().await?, token, digest).await
    }

    async fn replace_token(&self, token: Token, digest: String) -> Result<()> {
        let mut transaction = self.writing().await?;
        tokens::remove_name(&mut transaction, &token.name).await?;
        tokens::add(&mut transaction, token, digest).await?;
        Ok(transaction.commit().await?)
    }

    async fn tokens(&self) -> Result<Vec<Token>> {
        tokens::all(&mut *self.pool.acquire().await?).await
    }

    async fn token(&self, digest: &str) -> Result<Option<Token>> {
        tokens::with_digest(&mut *self.pool.acquire().await?, digest).await
    }

    async fn token_used(&self, id: Uuid, now: i64) -> Result<()> {
        tokens::used(&mut *self.pool.acquire().await?, id, now).await
    }

    async fn revoke_token(&self, id: Uuid) -> Result<bool> {
        tokens::revoke(&mut *self.pool.acquire().await?, id).await
    }

    async fn register(&self, registration: Registration) -> Result<()> {
        registrations::put(&mut *self.pool.acquire().await?, registration).await
    }

    async fn renew(&self, service: &str, target: &str, now: i64) -> Result<bool> {
        registrations::renew(&mut *self.pool.acquire().await?, service, target, now).await
    }

    async fn deregister(&self, service: &str, target: &str) -> Result<bool> {
        registrations::remove(&mut *self.pool.acquire().await?, service, target).await
    }

    async fn registrations(&self, now: i64) -> Result<Vec<Registration>> {
        registrations::living(&mut *self.pool.acquire().await?, now).await
    }

    async fn forget_ended(&self, now: i64) -> Result<u64> {
        registrations::forget(&mut *self.pool.acquire().await?, now).await
    }

    async fn report(&self, node: Node) -> Result<()> {
        nodes::put(&mut *self.pool.acquire().await?, node).await
    }

    async fn nodes(&self, since: i64) -> Result<Vec<Node>> {
        nodes::since(&mut *self.pool.acquire().await?, since).await
    }

    async fn answer(&self, token: &str, key: &str) -> Result<Option<Answer>> {
        answers::find(&mut *self.pool.acquire().await?, token, key).await
    }

    async fn remember(&self, token: &str, key: &str, answer: Answer) -> Result<Answer> {
        answers::put(&mut *self.pool.acquire().await?, token, key, answer).await
    }

    async fn news(&self) -> Result<Box<dyn News>> {
        news::of(self.url.as_ref()).await
    }

    async fn make_ready(&self) -> Result<()> {
        if let Some(url) = &self.url {
            let reached = tokio::time::timeout(PATIENCE, AnyConnection::connect(url.reveal())).await;
            reached.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await?;
        }
        self.migrate().await.map(drop)
    }

    fn is_shared(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    async fn forget_answers(&self, before: i64) -> Result<u64> {
        answers::forget(&mut *self.pool.acquire().await?, before).await
    }
}
