//! Work that goes on behind requests.

mod following;
mod persistence;

pub use following::Following;
pub use persistence::persist;
