//! gatekeeper: an API gateway and reverse proxy for the edge, built on Pingora.
//!
//! A request's walk. Each step is a plain function on compiled data; a refusal is a value, not an error.
//!
//! ```text
//!  1 accept        listen::door          the connection is counted
//!  2 inspect       plan::walk            malformed Host or target: 400 and close
//!  3 canonicalise  route::path           one canonical path for everything after; client address; request id
//!  4 route         route::table          host, path, method, headers, query, priority; 404, 405
//!  5 admit         proxy::admit          the service's breaker, its cap and queue; 503
//!  6 balance       upstream::pool        an endpoint of the service; a retry (proxy::retry) picks another
//!  7 forward       proxy::headers        header hygiene on the upstream's copy, rewrite, timeouts
//!  8 respond       proxy::headers        response headers, request id, compression (compress)
//!  9 settle        proxy::settle         where every request ends: verdicts (proxy::verdict), metrics, log record
//!
//!   meanwhile      upstream::keeper      names are looked up again, targets are asked whether they are well
//! ```
//!
//! From the file to that walk: `config` (what a person may write) is compiled by `plan::compile` into a `plan::Plan`
//! (immutable), which `plan::live` swaps in while requests go on.

pub mod admin;
mod alarm;
pub mod cli;
pub mod compress;
pub mod config;
pub mod drain;
pub mod gateway;
pub mod listen;
pub mod plan;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod route;
pub mod state;
pub mod succession;
pub mod supervision;
pub mod upstream;
