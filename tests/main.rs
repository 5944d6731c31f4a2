//! The gateway as its users meet it: the real binary between real clients and real upstreams.
//!
//! One module per behaviour; every test starts what it needs on free ports and depends on no other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

mod support;

mod selftest;
