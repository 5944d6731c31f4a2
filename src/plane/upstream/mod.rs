//! The services behind the gateway: their targets, how one is chosen, how it is reached, what happens when it fails.

pub mod admission;
pub mod check;
pub mod endpoint;
pub mod gate;
pub mod gauges;
pub mod health;
pub mod keeper;
pub mod lane;
pub mod line;
pub mod memory;
pub mod names;
pub mod pool;
pub mod sentence;
pub mod service;
pub mod settings;
pub mod shares;
mod socket;
pub mod sticky;
pub mod target;
mod tls;
