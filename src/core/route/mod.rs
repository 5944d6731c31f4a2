//! Route choice: from a request's listener, host, path, method, headers and query to one route.
//!
//! Everything here is pure: no sessions, no clock, no configuration but the raw form of a condition. The way of a
//! request:
//!
//! ```text
//! path::canonicalise      the one path that everything after sees
//! host::canonical_host    the one host
//! Table::find             the route; or 405 with its methods, or 404
//! PathPattern::captures   what the route's pattern captured, only when a rewrite or redirect asks
//! Template::expand        the path upstream (or path::strip_prefix), then path::canonicalise_derived
//! ```
//!
//! | file | what |
//! |---|---|
//! | `path`, `host` | canonical forms, and what is refused |
//! | `pattern`, `template` | path patterns with captures, and the texts that captures are put into |
//! | `conditions` | all that a request must be like to take a route |
//! | `condition`, `listener` | conditions on headers and query parameters, and on the listener a request came by |
//! | `table` | the search, and `explain` |
//! | `rank` | which of two routes goes first, and by which rule |
//! | `index` | hosts and paths to routes, in time that does not grow with their number |
//! | `lint` | routes that are equal, routes that cannot be reached |

mod condition;
mod conditions;
mod host;
mod index;
mod lint;
mod listener;
pub mod path;
mod pattern;
mod rank;
#[cfg(test)]
mod servlet;
mod table;
mod template;
#[cfg(test)]
mod tests;

pub use condition::{HeaderCondition, QueryCondition};
pub use conditions::{Conditions, Further, Methods};
pub use host::{HostFault, HostPattern, canonical_host};
pub use lint::{Clash, Shadow};
pub use listener::ListenerId;
pub use path::PathFault;
pub use pattern::{Captures, PathPattern};
pub use rank::Rule;
pub use table::{Allow, Candidate, Failed, Found, Lookup, Table};
pub use template::Template;
