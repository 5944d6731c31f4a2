//! The services behind the gateway: their targets, how one is chosen, how it is reached.

pub mod breaker;
pub mod check;
pub mod health;
pub mod outlier;
pub mod retry;
pub mod service;
pub mod shares;
pub mod target;
mod tls;
