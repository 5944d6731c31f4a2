//! Gives back the memory of limits, and of the budget of failures, whose subjects no longer come: their tables look at themselves only when they grow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatekeeper_background::persist;
use tokio::time::sleep;

use crate::plan::live::Live;

const EVERY: Duration = Duration::from_secs(60);

/// Sweeps the limits of the plan that serves.
pub struct Sweeper(Arc<Live>);

impl Sweeper {
    /// Sweeps those of the plan that serves.
    pub fn new(live: Arc<Live>) -> Self {
        Sweeper(live)
    }

    /// Goes on for ever.
    pub async fn keep(self) {
        persist("the cleanup of rate limit counts", || self.go_on()).await;
    }

    async fn go_on(&self) {
        loop {
            sleep(EVERY).await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        let plan = self.0.plan();
        let failures = plan.edge.auth.iter().map(|auth| auth.failures.counts());
        let limits = plan.edge.rates.all.iter().map(|limit| &*limit.rule.counts);
        limits.chain(failures).for_each(|counts| counts.sweep(Instant::now()));
    }
}
