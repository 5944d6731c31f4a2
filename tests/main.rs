//! The gateway as its users meet it: the real binary between real clients and real upstreams.
//!
//! One module per behaviour; every test starts what it needs on free ports and depends on no other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

mod admin;
mod answers;
mod auth;
mod auth_abuse;
mod balancing;
mod breaker;
mod checks;
mod cli;
mod compression;
mod connections;
mod cors;
mod deadlines;
mod dependencies;
mod documents;
mod examples;
mod faults;
mod finding;
mod fleet;
mod forward;
mod fresh;
mod fuzz;
mod grpc;
mod h2;
mod h2_abuse;
mod h2_upstream;
mod hangs;
mod headers;
mod hops;
mod killed;
mod life;
mod limits;
mod listeners;
mod log;
mod malformed;
mod many_routes;
mod mistakes;
mod objects;
mod oidc;
mod one_walk;
mod openapi;
mod posts;
mod proxy_protocol;
mod reasons;
mod refused;
mod reload;
mod reload_load;
mod requests;
mod retries;
mod routing;
mod selftest;
mod services;
mod shields;
mod sinks;
mod sse;
mod stalled;
mod store;
mod stream;
mod supervision;
mod systemd;
mod taking;
mod tls;
mod tokens;
mod untaken;
mod upgrade;
mod upheaval;
mod upstream_tls;
mod websocket;
