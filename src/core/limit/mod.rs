//! How often a client may come (SEMANTICS 5).
//!
//! A rule gives each of its subjects a quota. What the subjects have spent stands in the rule's table, and a ledger
//! decides about a request: all its rules are looked at, then it is counted by all of them or by none.
//!
//! ```text
//! Ledger::charge --> Charge { rule, key } --> Table --> shard --> Account: Window | Gcra
//!      |                                                  \----> Sketch, for subjects there is no room for
//!      v
//! Decision { admitted, standings } --> LimitHeaders
//! ```

mod account;
mod gcra;
pub mod headers;
mod ledger;
mod local;
mod quota;
mod shard;
mod sketch;
mod slots;
mod table;
mod window;

#[cfg(test)]
mod tests;

pub use headers::LimitHeaders;
pub use ledger::{Answer, Charge, Decision, Ledger, Rule};
pub use local::Local;
pub use quota::{Algorithm, Quota, Standing};
pub use table::Table;
