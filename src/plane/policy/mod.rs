//! What may refuse a request, and how a refusal is said.

pub mod access;
pub mod acme;
pub mod auth;
pub mod cors;
pub mod flood;
pub mod limit;
pub mod security_headers;
pub mod shield;
pub mod via;
