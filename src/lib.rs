//! gatekeeper: an API gateway and reverse proxy for the edge, built on Pingora.

pub mod config;
pub mod record;
pub mod route;
