//! What is recorded of requests: the access log, the metrics, the last refusals, and what others record ([`sinks`]); all of
//! them together are the [`Observers`].
//!
//! Each of them is told of a request once, when it has ended, by the same [`Event`](gatekeeper_core::event::Event). None of them can slow a request down:
//! the log copies the event into a bounded queue that a thread of its own empties, the metrics are a few atomic additions.

pub mod access_log;
pub mod claims;
pub mod metrics;
pub mod observers;
pub mod policies;
pub mod refusals;
pub mod sinks;
pub mod turned_away;

mod board;
mod format;
mod mask;
mod process;
mod record;
#[cfg(test)]
mod samples;
mod tally;
mod writer;

pub use access_log::AccessLog;
pub use claims::Claims;
pub use mask::is_credential_header;
pub use metrics::{Metrics, Open, RouteMetrics, ServiceMetrics};
pub use observers::Observers;
pub use policies::PolicyMetrics;
pub use refusals::Refusals;
pub use sinks::Sinks;
pub use turned_away::TurnedAway;
