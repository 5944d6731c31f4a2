//! The data plane. A request's walk, which is written once (`plan::walk`). Each step is a plain function on compiled data; a
//! refusal is a value, not an error.
//!
//! ```text
//!  1 accept        listen::door          the connection is counted
//!  2 inspect       plan::asked           malformed Host or target: 400 and close
//!  3 canonicalise  route::path           one canonical path for everything after; client address; request id
//!  4 front shields policy::shield        addresses, methods, the flood guard
//!  5 route         route::table          host, path, method, headers, query, priority; 404, 405
//!  6 route shields policy::shield        addresses, media types, length
//!  7 cors          policy::cors          a preflight is answered here
//!  8 authenticate  policy::auth          budget of failures, token, key, certificate; who has to be asked; 401
//!  9 authorise     policy::access        scopes, roles, claims; 403
//! 10 admit         proxy::admit          breaker, cap and queue, a target; then policy::limit charges all or none; 429, 503
//! 11 balance       upstream::pool        an endpoint of the service; a retry (proxy::retry) picks another
//! 12 forward       proxy::headers        header hygiene on the upstream's copy, who the user is, rewrite, timeouts
//! 13 respond       proxy::response       response headers, limits, CORS, request id, compression (compress)
//! 14 settle        proxy::settle         where every request ends: verdicts (proxy::verdict), metrics, log record
//!
//!   meanwhile      keep::services        names are looked up again, targets are asked whether they are well
//!                  keep::keys            keys of issuers are fetched before they are old
//!                  keep::counts          subjects of limits that no longer come are forgotten
//!                  listen::trimmer       answers that nobody takes make room for others
//! ```
//!
//! From the file to that walk: what a person may write (the crate `model`) is compiled by `plan::compile` into a `plan::Plan`
//! (immutable), which `plan::live` swaps in while requests go on. What decides without input or output is in the crate `core`.

mod alarm;
pub mod compress;
pub mod estate;
mod keep;
pub mod listen;
pub mod observe;
pub mod plan;
pub mod plane;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod upstream;

pub use plane::Plane;
