//! Fetches the keys of issuers: a task for each provider of the plan that serves. One that a reload kept keeps its task.

use std::sync::Arc;

use gatekeeper_background::Following;

use crate::plan::live::Live;
use crate::policy::auth::provider::Provider;

/// Looks after the providers of keys.
pub struct KeyKeeper(Arc<Live>);

impl KeyKeeper {
    /// Looks after those of the plan that serves.
    pub fn new(live: Arc<Live>) -> Self {
        KeyKeeper(live)
    }

    /// Goes on for ever.
    pub async fn keep(self) {
        let mut generations = self.0.generations();
        let mut following = Following::new(Arc::ptr_eq);
        loop {
            generations.borrow_and_update();
            let providers: Vec<_> = self.0.plan().edge.providers().cloned().collect();
            following.follow(providers, |provider: &Arc<Provider>| {
                let of = provider.clone();
                (format!("issuer {}: the refresh of its keys", provider.name()), move || of.clone().keep())
            });
            following.until(generations.changed()).await;
        }
    }
}
