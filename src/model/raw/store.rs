//! The store, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::Link;

/// The store: routes, services and other objects that are made through the administration API, with their revisions; tokens and the
/// audit log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `sqlite:FILE` (relative to the state directory), `postgres://USER:PASSWORD@HOST/DATABASE` for several gateways that share
    /// it, or `none`: then the file alone configures the gateway, and the API changes nothing. A change needs a restart.
    #[serde(default = "default_url")]
    pub url: Link,
}

/// Where a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreUrl<'u> {
    /// There is none.
    None,
    /// In this file of SQLite.
    Sqlite(&'u str),
    /// In PostgreSQL, at this URL.
    Postgres(&'u str),
}

impl Store {
    /// Where it is, if the URL is one of a store.
    pub fn location(&self) -> Option<StoreUrl<'_>> {
        StoreUrl::read(&self.url)
    }
}

impl<'u> StoreUrl<'u> {
    /// Understands a URL, if it is one of a store.
    pub fn read(url: &'u str) -> Option<StoreUrl<'u>> {
        match url.split_once(':') {
            None if url == "none" => Some(StoreUrl::None),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Some(StoreUrl::Postgres(url)),
            Some(("sqlite", file)) => {
                let file = file.strip_prefix("//").unwrap_or(file);
                let is_plain = !file.is_empty() && file != ":memory:" && !file.contains('?');
                is_plain.then_some(StoreUrl::Sqlite(file))
            }
            _ => None,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Store { url: default_url() }
    }
}

fn default_url() -> Link {
    "sqlite:gatekeeper.db".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_a_server_or_nothing() {
        let location = |url: &str| format!("{:?}", Store { url: url.into() }.location());
        for (url, expected) in [
            ("none", "Some(None)"),
            ("sqlite:a.db", "Some(Sqlite(\"a.db\"))"),
            ("sqlite:///var/a.db", "Some(Sqlite(\"/var/a.db\"))"),
            ("postgres://u:p@h/d", "Some(Postgres(\"postgres://u:p@h/d\"))"),
            ("sqlite:", "None"),
            ("sqlite::memory:", "None"),
            ("sqlite:a?mode=ro", "None"),
            ("mysql://h", "None"),
            ("", "None"),
        ] {
            assert_eq!(location(url), expected, "{url}");
        }
    }
}
