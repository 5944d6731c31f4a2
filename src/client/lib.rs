//! The administration API of a gateway: its types, and a client with one method for each endpoint.
//!
//! The command line uses it, and so can any Rust program. A [`Client`] needs the address of a gateway's administration listener
//! (`127.0.0.1:8001`, or `unix:/run/gatekeeper/admin.sock`) and its token, which a running gateway keeps in the file
//! `admin.token` of its state directory:
//!
//! ```no_run
//! use gatekeeper_client::{Client, Failure, Secret};
//!
//! # async fn drain() -> Result<(), Box<dyn std::error::Error>> {
//! let token = std::fs::read_to_string("/var/lib/gatekeeper/admin.token")?;
//! let gateway = Client::new("127.0.0.1:8001", Secret::from(token.trim()))?;
//!
//! let status = gateway.status().await?;
//! println!("{} routes, up for {} s", status.routes, status.uptime_seconds);
//!
//! match gateway.drain("content", None).await {
//!     Ok(service) => println!("{} requests are still in flight", service.in_flight),
//!     Err(Failure::Refused(problem)) if problem.code == "unknown_service" => println!("{problem}"),
//!     Err(failure) => return Err(failure.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The administration listener speaks HTTP/1.1 without TLS; a URL with `https` is for a listener behind a TLS proxy. The client
//! ignores the proxy settings of the environment. A clone shares its connections.

mod api;
mod call;
mod client;
mod failure;
mod objects;
#[cfg(test)]
mod tests;

pub use api::change::{Applied, Reloaded, Upgraded};
pub use api::collection::{Applying, Collection};
pub use api::explain::Inquiry;
pub use api::health::{AggregatedHealth, ServiceHealth, TargetHealth};
pub use api::limits::RuleState;
pub use api::node::Node;
pub use api::object::{Changed, Object};
pub use api::parameters::{Instance, Page, Part, Subject, Upgrading};
pub use api::problem::{FaultAt, Problem};
pub use api::registration::Registration;
pub use api::revision::{Action, FieldChange, ObjectChange, Revision};
pub use api::status::{Listener, Status};
pub use api::token::{AuditEntry, NewToken, Token, TokenMade};
pub use client::{Client, Services};
pub use failure::Failure;
pub use gatekeeper_core::breaker::State as CircuitState;
pub use gatekeeper_core::health::State as HealthState;
pub use gatekeeper_core::reports::{Answered, Considered, Explanation, Judged, LimitStanding, Refused, Sent};
pub use gatekeeper_model::secret::Secret;
pub use gatekeeper_model::value::Period;

/// The common prefix of all paths of the API.
pub const BASE: &str = "/api/v1/gateway";
/// The header with the total length of a list that is sent in pages.
pub const TOTAL_COUNT: &str = "x-total-count";
/// The header with the revision that serves after a write.
pub const REVISION_HEADER: &str = "x-gatekeeper-revision";
