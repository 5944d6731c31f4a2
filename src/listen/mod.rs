//! Where clients connect: our own application and listening service around the framework's.

pub mod door;
pub mod socket;
mod tap;
pub mod wire;
