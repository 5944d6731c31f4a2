//! Routes and their tests, as they may be written.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::Link;
use super::super::value::{Period, Setting, Word};
use super::access::Access;
use super::cors::RouteCors;
use super::service::default_weight;
use super::shadow::Policy;
use super::shield::RouteShields;

/// A route: what a request must look like, and what happens to it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, unique. Without one its pattern is its name.
    #[serde(default)]
    pub name: String,
    /// `/exact`, `/users/{id}`, `/api/*/users`, `/prefix/*`.
    pub path_pattern: String,
    /// `api.example.org` or `*.example.org`; any host when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The listeners it answers on, by name or address; on another one it does not exist. All when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
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
    pub target_url: Option<Link>,
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
    /// What becomes of %2F %5C %3B %25 %3F %23 and `;` in a path.
    #[serde(default)]
    pub encoded_reserved: EncodedReserved,
    /// The longest a request may take in all, with all its attempts (1ms to 7d). Not applied to a connection that was upgraded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Timeouts of single steps.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Further attempts for a request whose first one failed (0 to 10).
    #[serde(default = "default_retry_count")]
    pub retry_count: u32,
    /// When there are further attempts.
    #[serde(default)]
    pub retry: Retry,
    /// false: requests of this route pass, and count for nothing, whatever the service's circuit breaker says.
    #[serde(default)]
    pub circuit_breaker_enabled: Setting<true>,
    /// true: nobody has to show who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    /// Methods by which a client may show who it is: `jwt`, `introspection`, `api_key`, `certificate`, `forward`. The first one
    /// whose credential is there decides. All that `auth` sets up when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth: Vec<String>,
    /// Where else the token may be, if not in Authorization: `cookie:NAME`, or `subprotocol` for websockets (`bearer` and the token
    /// as two of the protocols asked for).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<String>,
    /// What the user must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Limits that hold here, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<String>,
    /// What is different from the gateway's `cors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<RouteCors>,
    /// Policies that tell what they would refuse, and refuse nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Policy>,
    /// Close responses and websockets when the token is no longer taken by which they were let in: at its `exp` and the leeway.
    #[serde(default)]
    pub close_at_expiry: Setting<false>,
    /// Whom and what the route turns away.
    #[serde(default)]
    pub shields: RouteShields,
    /// What bounds a websocket, once it is one.
    #[serde(default)]
    pub websocket: Websocket,
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
    /// What keeps a client at the service once chosen: `ip`, `user` (who the client has proved to be, else its certificate,
    /// else its address), `header:NAME` or `cookie:NAME`. Random when absent, and for clients without that header or cookie.
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

/// What becomes of %2F %5C %3B %25 %3F %23 and `;` in a path.
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
    /// For connecting to a target, its TLS handshake included (1ms to 10m); anew with each attempt.
    #[serde(default = "default_connect")]
    pub connect: Period,
    /// For the beginning of the upstream's response, from the end of the request (1ms to 1d); anew with each attempt. `idle` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Period>,
    /// For silence in the middle of a request or a response (1ms to 30d).
    #[serde(default = "default_idle")]
    pub idle: Period,
}

/// When a request is tried once more, with another target if there is one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// After what: `connect` (also when an HTTP/2 target did not process the request), `reset` (before a response),
    /// `timeout` (of an attempt, before a response), or a status.
    #[serde(default = "default_retry_on")]
    pub on: Vec<Word>,
    /// Whether requests may be executed twice whose method does not say that it is harmless. Any may be tried again
    /// after a failed connect.
    #[serde(default)]
    pub non_idempotent: NonIdempotent,
    /// How long to wait before.
    #[serde(default)]
    pub backoff: Backoff,
}

/// Whether requests may be executed twice whose method is not GET, HEAD, OPTIONS, TRACE, PUT or DELETE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NonIdempotent {
    /// They may not.
    #[default]
    Never,
    /// Those with an `Idempotency-Key`.
    Keyed,
    /// All of them.
    Always,
}

/// How long to wait before another attempt: a random part of a time that doubles.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The longest wait before the second attempt (1ms to 10m).
    #[serde(default = "default_backoff")]
    pub base: Period,
    /// The longest wait of all (10m at most).
    #[serde(default = "default_longest_backoff")]
    pub max: Period,
}

/// What bounds a websocket.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Websocket {
    /// The silence of both sides after which it ends (1ms to 30d); `timeouts.idle` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Period>,
    /// The longest it may live (1ms to 365d).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_life: Option<Period>,
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
    /// The listener it comes by, by name or address. If absent: the first one that speaks the scheme of the request's
    /// URL; for a path without a URL, the first one that does more than redirect to https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The client's address. Address lists are passed over when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
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
    /// Whether the route asks who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ExpectedAuth>,
    /// The limits that hold, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<String>>,
    /// The status the gateway itself answers with (404, 405, 400, 403, 413, 415, a redirect's, a fixed response's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Whether a route asks who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedAuth {
    /// It does.
    Required,
    /// It does not.
    Public,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: default_connect(), first_byte: None, idle: default_idle() }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Retry { on: default_retry_on(), non_idempotent: NonIdempotent::default(), backoff: Backoff::default() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: default_backoff(), max: default_longest_backoff() }
    }
}

fn default_retry_count() -> u32 {
    2
}

fn default_retry_on() -> Vec<Word> {
    ["connect", "reset", "timeout", "502", "503", "504"].map(Word::from).into()
}

fn default_backoff() -> Period {
    Period(Duration::from_millis(25))
}

fn default_longest_backoff() -> Period {
    Period::from_secs(1)
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
