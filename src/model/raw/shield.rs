//! Shields: whom and what the gateway turns away at once, as they may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::size::Size;
use super::super::usual::Preset;
use super::super::value::{Period, Setting};
use super::shadow::Mode;

/// What the gateway refuses before it chooses a route.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shields {
    /// The client addresses and networks that are served, such as `10.0.0.0/8`; `unix` for unix sockets. All if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// The client addresses and networks that are refused, even if `allow` contains them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The longest request body, unless the route says otherwise: 1TiB at most. Any length if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// The methods that are accepted at all. Any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Security headers for browsers, added to responses that do not have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<SecurityHeaders>,
    /// The flood guard: how many requests a client may make in a short time. A client is an IPv4 address or an IPv6
    /// network of 64 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flood: Option<Flood>,
    /// Whether these shields refuse requests or only report what they would refuse.
    #[serde(default)]
    pub mode: Mode,
}

/// The flood guard: how many requests a client may make in a short time. A client is an IPv4 address or an IPv6 network
/// of 64 bits.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// The number of requests (1 to 1000000).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// The length of the window (1s to 60s).
    #[serde(default = "default_window")]
    pub window: Period,
}

/// What a route refuses.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteShields {
    /// The client addresses and networks that may use the route; `unix` for unix sockets. All if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// The client addresses and networks that are refused, even if `allow` contains them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The media types that a request body may have: `application/json`, `image/*`. Any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content_types: Vec<String>,
    /// The longest request body (1TiB at most), instead of `shields.max_body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// Instead of `shields.security_headers`, as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<SecurityHeaders>,
}

/// Security headers for browsers. An empty text leaves a header out.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security`, on TLS listeners.
    #[serde(default = "default_hsts")]
    pub hsts: String,
    /// `X-Content-Type-Options: nosniff`.
    #[serde(default)]
    pub nosniff: Setting<true>,
    /// `X-Frame-Options`: `DENY` or `SAMEORIGIN`.
    #[serde(default = "default_frame")]
    pub frame: String,
    /// `Referrer-Policy`.
    #[serde(default = "default_referrer")]
    pub referrer: String,
}

impl Preset for RouteShields {
    fn preset() -> &'static Self {
        static PRESET: RouteShields = RouteShields {
            allow: Vec::new(),
            deny: Vec::new(),
            content_types: Vec::new(),
            max_body: None,
            security_headers: None,
        };
        &PRESET
    }
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
