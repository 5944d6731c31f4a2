//! Where the objects of the API are found.

use serde::{Deserialize, Serialize};

/// The objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Routes.
    Routes,
    /// Services, as they are declared. How they stand is told by `Client::services`.
    Services,
    /// Rate limits.
    RateLimits,
}

impl Collection {
    /// The path below the base, to read.
    pub(crate) fn path(self) -> &'static [&'static str] {
        match self {
            Collection::Routes => &["routes"],
            Collection::Services => &["config", "services"],
            Collection::RateLimits => &["config", "rate-limits"],
        }
    }

    /// The path below the base, to write.
    pub(crate) fn written(self) -> &'static [&'static str] {
        match self {
            Collection::Services => &["services"],
            collection => collection.path(),
        }
    }
}

/// How a declarative file is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Applying {
    /// Change nothing; tell what would change.
    pub dry_run: bool,
    /// Remove objects that a file applied before, and that this one does not name.
    pub prune: bool,
    /// Take over objects that were made one by one.
    pub take_over: bool,
}
