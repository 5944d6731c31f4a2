//! What may refuse a request, and how a refusal is said.

pub mod flood;
pub mod refusal;
pub mod shield;
