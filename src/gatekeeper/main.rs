//! gatekeeper: an API gateway and reverse proxy for the edge, built on Pingora. This is the binary: the command line
//! (`cli`), the wiring of all parts of a gateway (`gateway`), and the life of its process (`life`).

use std::process::ExitCode;

mod allocator;
mod cli;
mod gateway;
mod life;
mod store;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    cli::main()
}
