//! The services behind the gateway: their targets, how one is chosen, how it is reached, what happens when it fails.

pub mod breaker;
pub mod endpoint;
pub mod gate;
pub mod health;
pub mod memory;
pub mod outlier;
pub mod pool;
pub mod retry;
pub mod service;
pub mod settings;
pub mod shares;
pub mod sticky;
pub mod target;
mod tls;
