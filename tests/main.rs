//! The gateway as its users meet it: the real binary between real clients and real upstreams.
//!
//! One module per behaviour; every test starts what it needs on free ports and depends on no other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

mod answers;
mod cli;
mod compression;
mod examples;
mod forward;
mod grpc;
mod h2;
mod headers;
mod life;
mod log;
mod malformed;
mod reload;
mod reload_load;
mod routing;
mod selftest;
mod shields;
mod sse;
mod stream;
mod supervision;
mod systemd;
mod upgrade;
mod upstream_tls;
mod websocket;
