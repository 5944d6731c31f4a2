//! Fetches the keys of issuers: a task for each provider of the plan that serves. One that a reload kept keeps its task.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::{AbortHandle, JoinSet};

use super::provider::Provider;
use crate::gateway::Shared;
use crate::persistence::persist;

/// Looks after the providers of keys.
pub struct KeyKeeper(Arc<Shared>);

/// A provider that is looked after.
struct Kept {
    provider: Arc<Provider>,
    task: AbortHandle,
}

impl KeyKeeper {
    /// Looks after this gateway's.
    pub fn new(shared: Arc<Shared>) -> Self {
        KeyKeeper(shared)
    }

    /// Begins with what is new, ends with what is gone.
    fn follow(&self, tasks: &mut JoinSet<()>, kept: Vec<Kept>) -> Vec<Kept> {
        let plan = self.0.live.plan();
        let providers: Vec<Arc<Provider>> = plan.edge.providers().cloned().collect();
        let alive = kept.into_iter().filter(|kept| !kept.task.is_finished());
        let (mut stay, gone): (Vec<_>, Vec<_>) =
            alive.partition(|kept| providers.iter().any(|provider| Arc::ptr_eq(provider, &kept.provider)));
        gone.iter().for_each(|kept| kept.task.abort());
        for provider in providers {
            if !stay.iter().any(|kept| Arc::ptr_eq(&kept.provider, &provider)) {
                let what = format!("issuer {}: the keeper of its keys", provider.name());
                let of = provider.clone();
                let task = tasks.spawn(persist(what, move || of.clone().keep()));
                stay.push(Kept { provider, task });
            }
        }
        stay
    }
}

#[async_trait]
impl BackgroundService for KeyKeeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut revisions = self.0.live.revisions();
        let mut tasks = JoinSet::new();
        let mut kept = Vec::new();
        loop {
            revisions.borrow_and_update();
            kept = self.follow(&mut tasks, kept);
            tokio::select! {
                _ = revisions.changed() => {}
                Some(_) = tasks.join_next() => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
