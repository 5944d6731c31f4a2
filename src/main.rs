//! The gatekeeper binary.
fn main() {}
