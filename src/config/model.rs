//! RAW configuration: exactly what a person may write, in the vocabulary of the file, the API and the README.
//!
//! The doc comments below are the texts an editor shows (they become the JSON Schema). Nothing here is checked
//! beyond its shape: what the values mean is judged where the plan is compiled, so that one run finds all errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Period, Setting};

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
    /// The administration listener.
    #[serde(default)]
    pub admin: Admin,
    /// Where the gateway keeps what it must remember (the administration token); see the README for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,
    /// Threads that serve requests; as many as there are cores when absent. Needs a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What the gateway says of itself on standard error: error, warn, info, debug, trace or off.
    #[serde(default)]
    pub log_level: LogLevel,
    /// How long a stopping gateway waits for requests in flight.
    #[serde(default = "default_grace")]
    pub grace: Period,
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
    /// Compression of responses.
    #[serde(default)]
    pub compression: Compression,
    /// The pool of idle connections to upstreams.
    #[serde(default)]
    pub upstream_pool: UpstreamPool,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// The services behind the gateway, by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// Which request goes where.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Checked by `gatekeeper check` and before every apply.
    #[serde(default)]
    pub tests: Vec<RouteTest>,
}

/// One address clients connect to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// `0.0.0.0:8000`, `[::]:8000` or `unix:/run/gatekeeper/http.sock`.
    pub address: String,
    /// Accept HTTP/2 without TLS (prior knowledge) beside HTTP/1.1.
    #[serde(default)]
    pub h2c: Setting<false>,
}

/// The administration listener: /health, /ready, /metrics, reload, status.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `127.0.0.1:8001` or `unix:/run/gatekeeper/admin.sock`.
    #[serde(default = "default_admin")]
    pub address: String,
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
    /// 1 (fast) to 9 (small).
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
    /// An idle connection is closed after this time; keep it below what the upstreams themselves allow.
    #[serde(default = "default_pool_idle")]
    pub idle_timeout: Period,
}

/// The access log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `off` or a file; USR1 reopens the file.
    #[serde(default = "default_log_to")]
    pub to: String,
    /// JSON lines or the combined format.
    #[serde(default)]
    pub format: LogFormat,
    /// Records that may wait for the writer; more are dropped and counted.
    #[serde(default = "default_log_queue")]
    pub queue: usize,
    /// How client addresses are written.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Request headers that are written. Credentials are refused here.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// Query parameters whose values are written; those of others are masked.
    #[serde(default)]
    pub query_parameters: Vec<String>,
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Json,
    Combined,
}

/// How client addresses are written to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAddress {
    /// As it is.
    #[default]
    Full,
    /// IPv4 by /24, IPv6 by /48.
    Truncated,
    /// A keyed hash; the key lives as long as the process.
    Hashed,
}

/// A service: a set of equivalent targets.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where it runs. Requests are spread over all targets by weight.
    pub targets: Vec<Target>,
    /// The HTTP version spoken with the targets.
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS towards `https://` targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Overrides `upstream_pool.idle_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Period>,
}

/// A target: its URL alone, or with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    /// `http://10.0.0.5:8003`, `https://id.example` or `unix:/run/app.sock`.
    Url(String),
    /// A target with a weight.
    Weighted(WeightedTarget),
}

/// A target with a weight.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedTarget {
    /// `http://10.0.0.5:8003`, `https://id.example` or `unix:/run/app.sock`.
    pub url: String,
    /// Its share beside the other targets' weights (1 to 1000).
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// The HTTP version spoken with a service's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 in the clear; over TLS what the target chooses (h2 or HTTP/1.1).
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge (h2c) in the clear. gRPC needs it.
    H2,
}

/// TLS towards a service's targets. Certificates are verified unless `verify: false`.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// A PEM file of the authorities that are believed, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name sent as SNI and expected in the certificate, instead of the target's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file with the certificate (and its chain) shown to the targets; needs `client_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// A PEM file with the certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key: Option<String>,
    /// false: any certificate passes. For development only.
    #[serde(default)]
    pub verify: Setting<true>,
}

/// A route: what a request must look like, and what happens to it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, unique.
    pub name: String,
    /// `/exact`, `/users/{id}`, `/api/*/users`, `/prefix/*`.
    pub path_pattern: String,
    /// `api.example.org` or `*.example.org`; any host when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Any method when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Conditions on request headers; all must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Condition>,
    /// Conditions on query parameters; all must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Condition>,
    /// Higher wins before anything else is compared.
    #[serde(default)]
    pub priority: i32,
    /// false: the route is kept but matches nothing.
    #[serde(default)]
    pub is_active: Setting<true>,
    /// The service requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_service: Option<String>,
    /// A single target, instead of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
    /// A weighted choice of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Answer with a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answer with a fixed response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Removed from the front of the path before it is sent upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// The path sent upstream; `{name}` is a capture, `{*}` what a trailing `/*` matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// The Host sent upstream: `preserve`, `target` or a name.
    #[serde(default = "default_host")]
    pub host: String,
    /// What becomes of %2F %5C %3B %25 %3F %23 in a path.
    #[serde(default)]
    pub encoded_reserved: EncodedReserved,
    /// The longest a request may take in all. Not applied to a connection that was upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Timeouts of single steps.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Overrides `compression.enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Setting<false>>,
}

/// A condition on a header or query parameter: a string it must equal, or one of the forms below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    /// The value is exactly this.
    Equals(String),
    /// Another form.
    Form(ConditionForm),
}

/// The forms of a condition.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConditionForm {
    /// The value is one of these.
    OneOf(Vec<String>),
    /// The value begins with this.
    Prefix(String),
    /// This stands somewhere in the value.
    Contains(String),
    /// The whole value matches this regular expression.
    Regex(String),
    /// true: it is there, with any value; false: it is not there.
    Present(bool),
}

/// A weighted choice of services.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The services and their shares.
    pub services: Vec<SplitShare>,
    /// What keeps a client at the service once chosen: `ip`, `header:NAME` or `cookie:NAME`. Random when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_by: Option<String>,
}

/// A service's share of a split.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitShare {
    /// The service.
    pub service: String,
    /// Its share beside the others' (0 to 1000).
    #[serde(default = "default_weight")]
    pub weight: u32,
}

/// A redirect.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "default_redirect")]
    pub status: u16,
    /// The new place; `{name}`, `{*}`, `{host}`, `{path}` and `{query}` (with its `?`) are filled in.
    pub to: String,
}

/// A fixed response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

/// What becomes of %2F %5C %3B %25 %3F %23 in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodedReserved {
    /// They stay as they are and match no `/`.
    #[default]
    Keep,
    /// The request is refused with 400.
    Reject,
}

/// Timeouts of single steps.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For connecting to a target, its TLS handshake included.
    #[serde(default = "default_connect")]
    pub connect: Period,
    /// For the upstream's silence: before its response and in the middle of it.
    #[serde(default = "default_idle")]
    pub idle: Period,
}

/// A request and what must become of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTest {
    /// `GET /api/v1/content/1` or `GET https://host/path?query`.
    pub request: String,
    /// The request's headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What must become of it.
    pub expect: Expectation,
}

/// What must become of a test's request; what is absent is not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The route's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The service it goes to (one of them, where the route has a split).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The path sent upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The status the gateway itself answers with (404, 405, 400, a redirect's, a fixed response's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl Target {
    /// The target's URL.
    pub fn url(&self) -> &str {
        match self {
            Target::Url(url) => url,
            Target::Weighted(target) => &target.url,
        }
    }

    /// Its share beside the other targets'.
    pub fn weight(&self) -> u32 {
        match self {
            Target::Url(_) => default_weight(),
            Target::Weighted(target) => target.weight,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Listen { address: "0.0.0.0:8000".into(), h2c: Setting::default() }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { address: default_admin() }
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

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog {
            to: default_log_to(),
            format: LogFormat::default(),
            queue: default_log_queue(),
            client_address: ClientAddress::default(),
            request_headers: Vec::new(),
            query_parameters: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: default_connect(), idle: default_idle() }
    }
}

fn default_listen() -> Vec<Listen> {
    vec![Listen::default()]
}

fn default_admin() -> String {
    "127.0.0.1:8001".into()
}

fn default_grace() -> Period {
    Period::from_secs(30)
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

fn default_log_to() -> String {
    "stdout".into()
}

fn default_log_queue() -> usize {
    16_384
}

fn default_weight() -> u32 {
    1
}

fn default_redirect() -> u16 {
    308
}

fn default_host() -> String {
    "preserve".into()
}

fn default_connect() -> Period {
    Period::from_secs(5)
}

fn default_idle() -> Period {
    Period::from_secs(60)
}
