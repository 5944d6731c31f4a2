//! Gives back the memory of limits, and of the budget of failures, whose subjects no longer come: their tables look at themselves only when they grow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::sleep;

use crate::gateway::Shared;
use crate::persistence::persist;

const EVERY: Duration = Duration::from_secs(60);

/// Sweeps the limits of the plan that serves.
pub struct Sweeper(Arc<Shared>);

impl Sweeper {
    /// Sweeps this gateway's.
    pub fn new(shared: Arc<Shared>) -> Self {
        Sweeper(shared)
    }

    async fn keep(&self) {
        loop {
            sleep(EVERY).await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        let plan = self.0.live.plan();
        let failures = plan.edge.auth.iter().map(|auth| auth.failures.counts());
        let limits = plan.edge.rates.all.iter().map(|limit| &*limit.rule.counts);
        limits.chain(failures).for_each(|counts| counts.sweep(Instant::now()));
    }
}

#[async_trait]
impl BackgroundService for Sweeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = persist("the sweeper of limits", || self.keep()) => {}
            _ = shutdown.changed() => {}
        }
    }
}
