//! The sinks that were named when the gateway was built.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gatekeeper_core::event::Event;
use gatekeeper_core::sink::{DropReason, Drops, Sink};

/// The sinks that were named when the gateway was built.
#[derive(Default)]
pub struct Sinks(Box<[Arc<dyn Sink>]>);

impl Sinks {
    /// These, and no others later.
    pub fn new(sinks: Vec<Arc<dyn Sink>>) -> Sinks {
        Sinks(sinks.into())
    }

    /// What they dropped.
    pub fn drops(&self) -> impl Iterator<Item = &Drops> {
        self.0.iter().filter_map(|sink| sink.drops())
    }
}

impl Sink for Sinks {
    /// A sink that panics costs its own record: a request that is settled because its task panicked must not panic again.
    fn take(&self, event: &Event<'_>) {
        for sink in &self.0 {
            let panicked = catch_unwind(AssertUnwindSafe(|| sink.take(event))).is_err();
            if let Some(drops) = sink.drops().filter(|_| panicked) {
                drops.add(DropReason::Panicked, 1);
            }
        }
    }
}
