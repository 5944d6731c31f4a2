//! Why the store did not do what it was asked.

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another change was committed since the revision that this one is based on.
    #[error("the store is at revision {head}, and the change is based on revision {parent}")]
    Stale {
        /// The revision that the change is based on.
        parent: u64,
        /// The newest revision.
        head: u64,
    },
    /// A name that something else has.
    #[error("the name {name:?} is taken")]
    Taken {
        /// The name.
        name: String,
    },
    /// A newer gatekeeper made the tables.
    #[error(
        "the store has schema {found}, and this version of gatekeeper knows schemas up to {known}: install the newer version again"
    )]
    TooNew {
        /// The schema of the store.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A database that was restored to an older state, or another one.
    #[error(
        "the store went back from revision {known} to {head}: it was restored, or is another one; restart the gateway to take what it has"
    )]
    WentBack {
        /// The revision that was seen.
        known: u64,
        /// The newest that there is.
        head: u64,
    },
    /// A revision that does not serve at this gateway.
    #[error("revision {revision} does not serve here: {why}")]
    NotServing {
        /// The revision.
        revision: u64,
        /// What is wrong with it.
        why: String,
    },
    /// What the store holds cannot be understood.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The URL of the store.
    #[error("store.url: {0}")]
    Url(String),
    /// The database cannot be reached, or refuses.
    #[error("the database: {0}")]
    Database(#[source] sqlx::Error),
}

impl Failure {
    /// Whether the same request may succeed later, without anything being changed in it.
    pub fn is_passing(&self) -> bool {
        match self {
            Failure::Database(error) => match error {
                sqlx::Error::Database(error) => error.code().is_some_and(|code| is_passing(&code)),
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// SQLite is busy or locked; PostgreSQL has a conflict of transactions, shuts down, starts, or takes no more connections.
fn is_passing(code: &str) -> bool {
    matches!(code, "5" | "6" | "261" | "517" | "40001" | "40P01" | "53300" | "57P01" | "57P02" | "57P03")
        || code.starts_with("08")
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Database(error)
    }
}
