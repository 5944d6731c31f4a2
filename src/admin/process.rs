//! What administration can have done to the process.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gatekeeper_model::fault::Faults;
use gatekeeper_plane::plan::live::Report;

/// An upgrade under way: the process id of the successor, once it serves.
pub type Upgrade = Pin<Box<dyn Future<Output = Result<u32, NoUpgrade>> + Send>>;

/// The process that serves.
pub trait Process: Send + Sync {
    /// The file of its configuration, from the root of the file system.
    fn configuration(&self) -> PathBuf;

    /// Reads the configuration again. Blocks.
    fn reload(&self) -> Result<Report, Faults>;

    /// Whether the configuration may be read again: not while an upgrade is under way, nor after one.
    fn may_reload(&self) -> bool;

    /// Starts a successor, which may take so long until it serves.
    fn upgrade(self: Arc<Self>, patience: Duration) -> Upgrade;
}

/// Why there was no upgrade.
#[derive(Debug)]
pub enum NoUpgrade {
    /// There is one under way.
    Busy,
    /// There can't be one.
    Impossible,
    /// The successor did not come to serve, in a sentence.
    Failed(String),
}
