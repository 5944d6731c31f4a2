//! Where clients connect: our own application and listening service around the framework's.

pub mod certificate;
pub mod door;
pub mod proxy_protocol;
pub mod socket;
mod tap;
pub mod wire;
