//! The connections that came in by the same rule of a listener: they end together when the rule changes, or the gateway stops.

use std::sync::atomic::{AtomicU8, Ordering};

use pingora::server::ShutdownWatch;
use tokio::sync::watch;

/// Connections that came in by the same rule.
#[derive(Debug)]
pub struct Cohort {
    stage: AtomicU8,
    /// Told `true` when they are to end: the framework takes no more requests on them.
    end: watch::Sender<bool>,
}

const SERVED: u8 = 0;
const ENDING: u8 = 1;
const OUTDATED: u8 = 2;

impl Default for Cohort {
    fn default() -> Self {
        Cohort { stage: AtomicU8::new(SERVED), end: watch::Sender::new(false) }
    }
}

impl Cohort {
    /// The gateway stops: each connection ends when it is idle.
    pub fn end(&self) {
        self.stage.fetch_max(ENDING, Ordering::Relaxed);
        self.end.send_replace(true);
    }

    /// Its rule holds no longer: nothing more is served on its connections but the requests on their way.
    pub fn outdate(&self) {
        self.stage.fetch_max(OUTDATED, Ordering::Relaxed);
        self.end.send_replace(true);
    }

    /// Whether its connections are to end, whyever.
    pub fn is_ending(&self) -> bool {
        self.stage.load(Ordering::Relaxed) >= ENDING
    }

    /// Whether its rule holds no longer.
    pub fn is_outdated(&self) -> bool {
        self.stage.load(Ordering::Relaxed) >= OUTDATED
    }

    /// Tells when its connections are to end.
    pub fn watch(&self) -> ShutdownWatch {
        self.end.subscribe()
    }
}
