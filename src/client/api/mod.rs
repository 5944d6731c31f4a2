//! The types of requests and answers of the API. The server uses the same types.

pub mod change;
pub mod collection;
pub mod explain;
pub mod health;
pub mod limits;
pub mod node;
pub mod object;
pub mod parameters;
pub mod problem;
pub mod registration;
pub mod revision;
pub mod status;
pub mod token;
