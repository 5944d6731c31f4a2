//! Compression of responses: which encoding a client prefers, which responses gain by it, and the encoders.
//!
//! The framework has a module of its own for this. It takes the first encoding a client names, whatever weight the client
//! gave it (even none), and never writes the last block of a brotli stream.

mod encoder;
mod module;
mod negotiate;

pub use module::{Builder, Compression};
