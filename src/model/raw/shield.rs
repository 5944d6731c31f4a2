//! Shields: whom and what the gateway turns away at once, as they may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::size::Size;
use super::super::value::{Period, Setting};
use super::shadow::Mode;

/// Whom the gateway turns away before it chooses a route.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shields {
    /// Networks of the clients that are served, such as `10.0.0.0/8`; `unix` for unix sockets. Everyone when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Networks of clients that are refused, also when `allow` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The longest body of a request where its route does not say otherwise: bytes, or `64KiB`, `10MiB`, `1GiB`; 1TiB
    /// at most. Any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// Methods that are taken at all. Any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// What browsers are told to be careful with, where a response does not say it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<SecurityHeaders>,
    /// How many requests one client may make in a short time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<Flood>,
    /// Whether all of this refuses, or only tells that it would.
    #[serde(default)]
    pub mode: Mode,
}

/// How many requests one client may make in a short time. A client is an IPv4 address or an IPv6 network of 64 bits.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// 1 to 1000000.
    pub requests: u32,
    /// 1s to 60s.
    #[serde(default = "default_window")]
    pub window: Period,
}

/// Whom and what a route turns away.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteShields {
    /// Networks of the clients that may use the route; `unix` for unix sockets. Everyone when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Networks of clients that are refused, also when `allow` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Media types a request's body may have: `application/json`, `image/*`. Any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// The longest body of a request (1TiB at most), instead of `shields.max_body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// Instead of `shields.security_headers`, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<SecurityHeaders>,
}

/// What browsers are told to be careful with. An empty text leaves a header out.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityHeaders {
    /// Strict-Transport-Security, on TLS listeners.
    #[serde(default = "default_hsts")]
    pub hsts: String,
    /// X-Content-Type-Options: nosniff.
    #[serde(default)]
    pub nosniff: Setting<true>,
    /// X-Frame-Options: DENY or SAMEORIGIN.
    #[serde(default = "default_frame")]
    pub frame: String,
    /// Referrer-Policy.
    #[serde(default = "default_referrer")]
    pub referrer: String,
}

fn default_hsts() -> String {
    "max-age=31536000".into()
}

fn default_frame() -> String {
    "DENY".into()
}

fn default_referrer() -> String {
    "strict-origin-when-cross-origin".into()
}

fn default_window() -> Period {
    Period::from_secs(1)
}
