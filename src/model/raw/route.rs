//! Routes and their tests, as they may be written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::Link;
use super::super::usual::{Preset, Usual};
use super::super::value::{Period, Setting, Word};
use super::access::Access;
use super::cors::RouteCors;
use super::service::default_weight;
use super::shadow::Policy;
use super::shield::RouteShields;

/// A route: which requests it matches, and what happens to them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The name, unique; `path_pattern` if absent.
    #[serde(default)]
    pub name: String,
    /// The path: `/exact`, `/users/{id}`, `/api/*/users` or `/prefix/*`.
    pub path_pattern: String,
    /// The hosts: `api.example.org` or `*.example.org`. Any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The listeners that it exists on, by name or address. All if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// The methods; `GET` includes `HEAD`. Any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Conditions on request headers, all of which must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Condition>,
    /// Conditions on query parameters, all of which must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Condition>,
    /// The route with the higher priority wins, before anything else is compared.
    #[serde(default)]
    pub priority: i32,
    /// `false`: the route matches nothing.
    #[serde(default)]
    pub is_active: Setting<true>,
    /// The service that requests are sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_service: Option<String>,
    /// A single target, instead of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<Link>,
    /// A weighted choice of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Box<Split>>,
    /// A redirect as the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Box<Redirect>>,
    /// A fixed response as the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Box<Respond>>,
    /// Leading segments that are removed from the path before it is sent to the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// The path that is sent to the service; `{name}` is a capture, `{*}` what a trailing `/*` matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// The Host that is sent to the service: `preserve`, `target` or a name.
    #[serde(default = "default_host")]
    pub host: Cow<'static, str>,
    /// What happens to `%2F`, `%5C`, `%3B`, `%25`, `%3F`, `%23` and `;` in a path.
    #[serde(default)]
    pub encoded_reserved: EncodedReserved,
    /// The time for the whole exchange, with all its attempts (1ms to 7d). It does not apply to a connection after an
    /// upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Timeouts of single steps.
    #[serde(default)]
    pub timeouts: Usual<Timeouts>,
    /// Retries of a request whose first attempt failed (0 to 10).
    #[serde(default = "default_retry_count")]
    #[schemars(range(min = 0, max = 10))]
    pub retry_count: u32,
    /// When requests are retried.
    #[serde(default)]
    pub retry: Usual<Retry>,
    /// `false`: requests of this route ignore the circuit breaker of the service and do not count.
    #[serde(default)]
    pub circuit_breaker_enabled: Setting<true>,
    /// `true`: the route needs no credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_public: Option<bool>,
    /// The authentication methods that are accepted: `jwt`, `introspection`, `api_key`, `certificate`, `forward`. The
    /// first one whose credential is present decides. All that `auth` sets up if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth: Vec<String>,
    /// Where else the token may be, beside `Authorization`: `cookie:NAME`, or `subprotocol` for websockets (`bearer`
    /// and the token as two of the requested protocols).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<String>,
    /// The conditions that a user must fulfil (authorisation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Box<Access>>,
    /// Rate limits that apply here, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<String>,
    /// CORS settings that differ from the gateway's `cors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Box<RouteCors>>,
    /// Policies in shadow mode: they report what they would refuse, and refuse nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Policy>,
    /// Whether responses and websockets end when their token expires (at its `exp` plus the leeway).
    #[serde(default)]
    pub close_at_expiry: Setting<false>,
    /// What the route refuses.
    #[serde(default)]
    pub shields: Usual<RouteShields>,
    /// Timeouts of websockets.
    #[serde(default)]
    pub websocket: Usual<Websocket>,
    /// Overrides `compression.enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Setting<false>>,
}

/// A condition on a header or query parameter: a text that it must equal, or one of the forms below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Condition {
    /// The value equals this text.
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
    /// The value contains this.
    Contains(String),
    /// The whole value matches this regular expression.
    Regex(String),
    /// `true`: it is present, with any value. `false`: it is absent.
    Present(bool),
}

/// A weighted choice of services.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The services and their shares.
    pub services: Vec<SplitShare>,
    /// What keeps a client at the chosen service: `ip`, `user` (the authenticated user, else the client certificate,
    /// else the address), `header:NAME` or `cookie:NAME`. gatekeeper hashes a cookie that exists; it does not set one.
    /// Random if absent, and for clients without that header or cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_by: Option<String>,
}

/// A service's share of a split.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitShare {
    /// The service.
    pub service: String,
    /// Its share in relation to the others' (0 to 1000).
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
}

/// A redirect.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "default_redirect")]
    pub status: u16,
    /// The new URL; `{name}`, `{*}`, `{host}`, `{path}` and `{query}` (with its `?`) are filled in.
    pub to: String,
}

/// A fixed response.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    #[serde(default)]
    pub body: String,
}

/// What happens to `%2F`, `%5C`, `%3B`, `%25`, `%3F`, `%23` and `;` in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodedReserved {
    /// They stay as they are, and match no `/`.
    #[default]
    Keep,
    /// The request is refused with 400.
    Reject,
}

/// Timeouts of single steps.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Connecting to a target, its TLS handshake included (1ms to 10m); anew for each attempt.
    #[serde(default = "default_connect")]
    pub connect: Period,
    /// From the end of the request to the head of the response (1ms to 1d); anew for each attempt. `idle` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Period>,
    /// A pause within a request or response body (1ms to 30d).
    #[serde(default = "default_idle")]
    pub idle: Period,
}

/// When a request is retried, with another target if there is one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The failures after which to retry: `connect` (also if an HTTP/2 target did not process the request), `reset`
    /// (before a response), `timeout` (of an attempt, before a response), or a status.
    #[serde(default = "default_retry_on")]
    pub on: Cow<'static, [Word]>,
    /// Whether requests with other methods than GET, HEAD, OPTIONS, TRACE, PUT and DELETE may be executed twice. After
    /// a failed connect, every request may be retried.
    #[serde(default)]
    pub non_idempotent: NonIdempotent,
    /// How long to wait before a retry.
    #[serde(default)]
    pub backoff: Backoff,
}

/// Whether requests with other methods than GET, HEAD, OPTIONS, TRACE, PUT and DELETE may be executed twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NonIdempotent {
    /// No.
    #[default]
    Never,
    /// Those with an `Idempotency-Key`.
    Keyed,
    /// All of them.
    Always,
}

/// How long to wait before a retry: a random part of a time that doubles.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The longest wait before the first retry (1ms to 10m).
    #[serde(default = "default_backoff")]
    pub base: Period,
    /// The longest wait (10m at most).
    #[serde(default = "default_longest_backoff")]
    pub max: Period,
}

/// Timeouts of websockets.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Websocket {
    /// The idle timeout: a pause of both sides (1ms to 30d). `timeouts.idle` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Period>,
    /// The longest life of a websocket (1ms to 365d).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_life: Option<Period>,
}

/// A test: a request and what must happen to it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTest {
    /// `GET /api/v1/content/1` or `GET https://host/path?query`.
    pub request: String,
    /// The request's headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The listener that the request comes by, by name or address. If absent: the first one that speaks the scheme of
    /// the request's URL; for a path without a URL, the first one that does more than redirect to https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The client's address. Without it, address lists are not evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What must happen to the request.
    pub expect: Expectation,
}

/// What must happen to a test's request. Absent keys are not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The route's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The service that the request goes to (one of them, if the route has a split).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The path that is sent to the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the route requires a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ExpectedAuth>,
    /// The rate limits that apply, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<String>>,
    /// The status of the gateway's own answer (404, 405, 400, 403, 413, 415, a redirect's, a fixed response's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Whether a route requires a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedAuth {
    /// It does.
    Required,
    /// It does not.
    Public,
}

impl Preset for Timeouts {
    fn preset() -> &'static Self {
        const PRESET: Timeouts = Timeouts { connect: default_connect(), first_byte: None, idle: default_idle() };
        &PRESET
    }
}

impl Preset for Retry {
    fn preset() -> &'static Self {
        static ON: [Word; 6] = [
            Word::new("connect"),
            Word::new("reset"),
            Word::new("timeout"),
            Word::new("502"),
            Word::new("503"),
            Word::new("504"),
        ];
        static PRESET: Retry =
            Retry { on: Cow::Borrowed(&ON), non_idempotent: NonIdempotent::Never, backoff: Backoff::usual() };
        &PRESET
    }
}

impl Preset for Websocket {
    fn preset() -> &'static Self {
        &Websocket { idle: None, max_life: None }
    }
}

impl Backoff {
    const fn usual() -> Self {
        Backoff { base: default_backoff(), max: default_longest_backoff() }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::usual()
    }
}

fn default_retry_count() -> u32 {
    2
}

fn default_retry_on() -> Cow<'static, [Word]> {
    Retry::preset().on.clone()
}

const fn default_backoff() -> Period {
    Period(Duration::from_millis(25))
}

const fn default_longest_backoff() -> Period {
    Period::from_secs(1)
}

fn default_redirect() -> u16 {
    308
}

fn default_host() -> Cow<'static, str> {
    "preserve".into()
}

const fn default_connect() -> Period {
    Period::from_secs(5)
}

const fn default_idle() -> Period {
    Period::from_secs(60)
}
