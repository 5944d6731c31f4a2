//! The gatekeeper binary: parse, dispatch.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: gatekeeper::allocator::Allocator = gatekeeper::allocator::Allocator;

fn main() -> ExitCode {
    gatekeeper::cli::main()
}
