//! RAW configuration: exactly what a person may write, in the vocabulary of the file, the API and the documents.
//!
//! The doc comments below are the texts an editor shows (they become the JSON Schema). Nothing here is checked
//! beyond its shape: what the values mean is judged where the plan is compiled, so that one run finds all errors.

use std::collections::BTreeMap;
use std::sync::Arc;

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
mod store;
mod text_or_map;

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
pub use store::{Store, StoreUrl};

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
    /// The limits of connections before a route is known.
    #[serde(default)]
    pub limits: Limits,
    /// The limits of a client's HTTP/2 connection. A connection that exceeds them is closed.
    #[serde(default)]
    pub http2: Http2,
    /// The folder (webroot) that an ACME client writes its challenges to: `/.well-known/acme-challenge/` is answered
    /// from it on every listener, before redirects and routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub acme_webroot: Option<String>,
    /// The administration listener.
    #[serde(default)]
    pub admin: Admin,
    /// The store for what is made through the administration API.
    #[serde(default)]
    pub store: Store,
    /// The state directory, with the administration token and the store. If absent: `$STATE_DIRECTORY`, else
    /// `gatekeeper-state` in the working directory. A change needs a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub state_dir: Option<String>,
    /// The number of threads that serve requests; as many as there are cores if absent. A change needs a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<usize>,
    /// The level of the gateway's own log on standard error.
    #[serde(default)]
    pub log_level: LogLevel,
    /// How the gateway shuts down. A change needs a restart.
    #[serde(default)]
    pub drain: Drain,
    /// The addresses and networks of your load balancers (`unix` for unix sockets). Their `X-Forwarded-*` and
    /// `X-Request-Id` are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<String>,
    /// Request headers that tell services who the user is. They are deleted from what clients send. A trailing `*` is a
    /// wildcard.
    #[serde(default = "default_identity_headers")]
    pub identity_headers: Vec<String>,
    /// How request paths are canonicalised.
    #[serde(default)]
    pub paths: Paths,
    /// The gateway's own paths on the public listeners.
    #[serde(default)]
    pub own_paths: OwnPaths,
    /// What the gateway refuses before it chooses a route.
    #[serde(default)]
    pub shields: Shields,
    /// How clients authenticate. Without it, every route is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which web pages of other origins may read responses (CORS), unless a route says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Rate limits.
    #[serde(default)]
    pub rate_limits: Vec<RateLimitRule>,
    /// The rate limit headers of responses.
    #[serde(default)]
    pub rate_limit_headers: RateLimitHeaders,
    /// Compression of responses.
    #[serde(default)]
    pub compression: Compression,
    /// The pool of idle connections to services.
    #[serde(default)]
    pub upstream_pool: UpstreamPool,
    /// How host names of targets are resolved.
    #[serde(default)]
    pub dns: Dns,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// The services behind the gateway, by name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ServiceForm>")]
    pub services: BTreeMap<String, Arc<Service>>,
    /// The routes: which requests go where.
    #[serde(default)]
    pub routes: Vec<Arc<Route>>,
    /// Tests of routes. `gatekeeper check` runs them, and so does every reload.
    #[serde(default)]
    pub tests: Vec<RouteTest>,
}

/// The administration listener: `/health`, `/ready`, `/metrics` and the administration API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The address: `127.0.0.1:8001` or `unix:/run/gatekeeper/admin.sock`. A change needs a restart.
    #[serde(default = "default_admin")]
    pub address: String,
    /// Host names that requests may use, such as `gateway.internal` or `*.internal`, beside `localhost` and every IP
    /// address. Requests for other names are refused, because a web page can give its own name this address. Not needed
    /// on a unix socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Whether writes must say which version of an object they change (`If-Match`). Without it, the last write wins.
    #[serde(default)]
    pub require_if_match: Setting<false>,
}

/// The level of the gateway's own log.
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
    /// Whether `//` counts as `/`.
    #[serde(default)]
    pub merge_slashes: Setting<true>,
}

/// The gateway's own paths on the public listeners.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPaths {
    /// The path that answers with 200 while the process is alive.
    #[serde(default = "default_health")]
    pub health: String,
    /// The path that answers with 200 while the gateway accepts requests.
    #[serde(default = "default_ready")]
    pub ready: String,
    /// Whether the public listeners answer them; the administration listener always does.
    #[serde(default)]
    pub public: Setting<true>,
}

/// Compression of responses with br, zstd or gzip, as the client accepts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Whether responses are compressed, unless a route says otherwise.
    #[serde(default)]
    pub enabled: Setting<false>,
    /// 1 (fast) to 9 (small); br goes no further than 5.
    #[serde(default = "default_level")]
    #[schemars(range(min = 1, max = 9))]
    pub level: u32,
}

/// The pool of idle connections to services.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamPool {
    /// The number of idle connections in all. A change needs a restart.
    #[serde(default = "default_pool_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub size: usize,
    /// An idle connection is closed after this time (1ms to 1h). Keep it below the idle timeout of the services.
    #[serde(default = "default_pool_idle")]
    pub idle_timeout: Period,
}

impl Default for Admin {
    fn default() -> Self {
        Admin { address: default_admin(), hosts: Vec::new(), require_if_match: Setting::default() }
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
