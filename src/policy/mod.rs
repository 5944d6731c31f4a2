//! What may refuse a request, and how a refusal is said.

pub mod flood;
pub mod problem;
pub mod refusal;
pub mod shield;
