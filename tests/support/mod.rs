//! What the tests stand on: the gateway as a process, real upstreams on free loopback ports, real clients.
//!
//! Nothing here sleeps for a guess: whatever takes time is polled with a deadline, and every read has one.

pub mod administrator;
pub mod client;
pub mod crowd;
pub mod dns;
pub mod frames;
pub mod gateway;
pub mod grpc;
pub mod load;
pub mod modules;
pub mod origin;
pub mod pattern;
pub mod peer;
pub mod postgres;
pub mod raw;
pub mod recorder;
pub mod script;
pub mod target;
pub mod tls;
pub mod websocket;

use std::time::{Duration, Instant};

pub use administrator::Administrator;
pub use client::{Answer, Ask, Body, Client, full};
pub use gateway::Gateway;
pub use http::Request;
pub use origin::{Origin, Seen};
pub use peer::{Browser, Provider};
pub use raw::{Raw, RawOrigin};
pub use recorder::Recorder;
pub use script::{Act, Fleet, Refusing};

/// How long anything that should happen at once may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until the probe answers; panics with `what` when the patience is over.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "it never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Panics with `what` if the future takes longer than anything may.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("it took too long: {what}");
    };
    done
}
