//! What may refuse a request, and how a refusal is said.

pub mod refusal;
