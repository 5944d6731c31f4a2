//! RAW configuration: exactly what a person may write, in the vocabulary of the file, the API and the README.
//!
//! The doc comments below are the texts an editor shows (they become the JSON Schema). Nothing here is checked
//! beyond its shape: what the values mean is judged where the plan is compiled, so that one run finds all errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Period, Setting};

mod access;
mod auth;
mod cors;
mod dns;
mod drain;
mod health_check;
mod http2;
mod listen;
mod log;
mod rate_limit;
mod resilience;
mod route;
mod service;
mod shadow;
mod shield;

pub use access::{Access, ClaimCondition, ClaimForm};
pub use auth::{
    ApiKey, ApiKeys, Auth, CertificateSubject, Certificates, Failures, ForwardAuth, Introspection, IntrospectionStyle,
    Issuer,
};
pub use cors::{Cors, RouteCors};
pub use dns::Dns;
pub use drain::Drain;
pub use health_check::{CheckKind, HealthCheck};
pub use http2::Http2;
pub use listen::{CertificateFiles, ClientAuth, Limits, Listen, Tls, TlsVersion};
pub use log::{AccessLog, ClientAddress, LogFormat};
pub use rate_limit::{Algorithm, RateLimitHeaders, RateLimitRule, Reset};
pub use resilience::{CircuitBreaker, Ejection, FailureRatio, Queue, RetryBudget};
pub use route::{
    Backoff, Condition, ConditionForm, EncodedReserved, Expectation, ExpectedAuth, NonIdempotent, Redirect, Respond,
    Retry, Route, RouteTest, Split, SplitShare, Timeouts, Websocket,
};
pub use service::{Protocol, Service, ServiceForm, Target, UpstreamTls, WeightedTarget};
pub use shadow::{Mode, Policy};
pub use shield::{Flood, RouteShields, SecurityHeaders, Shields};

/// The configuration of a gatekeeper.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "gatekeeper configuration")]
pub struct Config {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Where clients connect.
    #[serde(default = "default_listen")]
    pub listen: Vec<Listen>,
    /// What connections may take before a route is known.
    #[serde(default)]
    pub limits: Limits,
    /// What one client's HTTP/2 connection may take. What does too much is closed.
    #[serde(default)]
    pub http2: Http2,
    /// The folder an ACME client writes its challenges to (its webroot): `/.well-known/acme-challenge/` is answered from
    /// it on every listener, before redirects and routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub acme_webroot: Option<String>,
    /// The administration listener.
    #[serde(default)]
    pub admin: Admin,
    /// Where the gateway keeps what it must remember (the administration token); see the README for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub state_dir: Option<String>,
    /// Threads that serve requests; as many as there are cores when absent. Needs a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What the gateway says of itself on standard error: error, warn, info, debug, trace or off.
    #[serde(default)]
    pub log_level: LogLevel,
    /// How the gateway ends.
    #[serde(default)]
    pub drain: Drain,
    /// Networks whose X-Forwarded-*, Forwarded and X-Request-Id are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Request headers that tell an upstream who the user is: deleted from what clients send. A trailing `*` is a wildcard.
    #[serde(default = "default_identity_headers")]
    pub identity_headers: Vec<String>,
    /// How request paths are canonicalised.
    #[serde(default)]
    pub paths: Paths,
    /// The gateway's own paths on the public listeners.
    #[serde(default)]
    pub own_paths: OwnPaths,
    /// Whom the gateway turns away before it chooses a route.
    #[serde(default)]
    pub shields: Shields,
    /// How clients show who they are. Without it everyone may take every route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which web pages may read the answers, where a route does not say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Limits on how often clients may come.
    #[serde(default)]
    pub rate_limits: Vec<RateLimitRule>,
    /// What responses tell of limits.
    #[serde(default)]
    pub rate_limit_headers: RateLimitHeaders,
    /// Compression of responses.
    #[serde(default)]
    pub compression: Compression,
    /// The pool of idle connections to upstreams.
    #[serde(default)]
    pub upstream_pool: UpstreamPool,
    /// How the names of targets become addresses.
    #[serde(default)]
    pub dns: Dns,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// The services behind the gateway, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ServiceForm>")]
    pub services: BTreeMap<String, Service>,
    /// Which request goes where.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Checked by `gatekeeper check` and before every apply.
    #[serde(default)]
    pub tests: Vec<RouteTest>,
}

/// The administration listener: /health, /ready, /metrics, reload, status.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `127.0.0.1:8001` or `unix:/run/gatekeeper/admin.sock`.
    #[serde(default = "default_admin")]
    pub address: String,
    /// Names by which it may be asked, such as `gateway.internal` or `*.internal`, besides `localhost` and every IP address.
    /// Requests for others are refused: a web page can give its own name this address. Not needed on a unix socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What the gateway says of itself on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How request paths are canonicalised.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// `//` counts as `/`.
    #[serde(default)]
    pub merge_slashes: Setting<true>,
}

/// The gateway's own paths on the public listeners.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPaths {
    /// This process is alive.
    #[serde(default = "default_health")]
    pub health: String,
    /// The plan is loaded, the listeners are up, the gateway is not stopping.
    #[serde(default = "default_ready")]
    pub ready: String,
    /// Answer them on the public listeners too; the administration listener always does.
    #[serde(default)]
    pub public: Setting<true>,
}

/// Compression of responses, in what the client accepts of br, zstd and gzip.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Compress where a route does not say otherwise.
    #[serde(default)]
    pub enabled: Setting<false>,
    /// 1 (fast) to 9 (small); br goes no further than 5.
    #[serde(default = "default_level")]
    pub level: u32,
}

/// The pool of idle connections to upstreams.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamPool {
    /// Idle connections kept in all. Needs a restart.
    #[serde(default = "default_pool_size")]
    pub size: usize,
    /// An idle connection is closed after this time (1ms to 1h); keep it below what the upstreams themselves allow.
    #[serde(default = "default_pool_idle")]
    pub idle_timeout: Period,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { address: default_admin(), hosts: Vec::new() }
    }
}

impl Default for OwnPaths {
    fn default() -> Self {
        OwnPaths { health: default_health(), ready: default_ready(), public: Setting::default() }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression { enabled: Setting::default(), level: default_level() }
    }
}

impl Default for UpstreamPool {
    fn default() -> Self {
        UpstreamPool { size: default_pool_size(), idle_timeout: default_pool_idle() }
    }
}

fn default_listen() -> Vec<Listen> {
    vec![Listen::default()]
}

fn default_admin() -> String {
    "127.0.0.1:8001".into()
}

fn default_identity_headers() -> Vec<String> {
    ["X-User-*", "X-Consumer-*", "X-Gatekeeper-*"].map(String::from).to_vec()
}

fn default_health() -> String {
    "/health".into()
}

fn default_ready() -> String {
    "/ready".into()
}

fn default_level() -> u32 {
    4
}

fn default_pool_size() -> usize {
    1024
}

fn default_pool_idle() -> Period {
    Period::from_secs(4)
}
