//! Benchmarks of the cores, by criterion: `cargo bench --bench cores [-- FILTER]`, and what limits take in memory:
//! `cargo bench --bench cores -- --memory`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::env;

use criterion::Criterion;

#[path = "../../src/gatekeeper/allocator.rs"]
#[allow(dead_code, unused_imports)]
mod allocator;
mod limit;
mod record;
mod route;
mod wire;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--memory"] => return limit::memories(),
        ["--memory", requests] => return limit::memory(requests.parse().unwrap()),
        _ => {}
    }
    limit::benches();
    record::benches();
    route::benches();
    wire::benches();
    Criterion::default().configure_from_args().final_summary();
}
