//! How often a client may come: the limits of the configuration, by whose requests they count together (SEMANTICS 5).

mod applied;
mod report;
mod subject;

pub use applied::{Charges, Limit, note, told};
pub use subject::{Counted, Endpoint, LIMIT_TYPES, Subject};
