//! Which web pages may read the answers, as it may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::value::{Period, Setting};

/// Which web pages of other origins may read responses (CORS). The gateway answers preflights itself and replaces what
/// services say.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// The origins: `https://app.example.org`, `https://*.example.org` (subdomains of one level or more), `null`, or
    /// `*` for any.
    pub allow_origins: Vec<String>,
    /// The methods that pages may use; `*` for any. If empty: the route's methods, else GET, HEAD, POST, PUT, PATCH and
    /// DELETE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// The request headers that pages may set; `*` for any but Authorization.
    #[serde(default = "default_headers")]
    pub allow_headers: Vec<String>,
    /// Response headers that pages may read, beside those that the gateway itself sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Whether pages may send cookies.
    #[serde(default)]
    pub allow_credentials: Setting<false>,
    /// How long a browser may remember the answer to a preflight (at most 24h).
    #[serde(default = "default_max_age")]
    pub max_age: Period,
}

/// The settings of a route that differ from the `cors` of the gateway. Absent settings are the same.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteCors {
    /// `false`: the gateway leaves CORS to the service.
    #[serde(default)]
    pub enabled: Setting<true>,
    /// Instead of `cors.allow_origins`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_origins: Option<Vec<String>>,
    /// Instead of `cors.allow_methods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_methods: Option<Vec<String>>,
    /// Instead of `cors.allow_headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_headers: Option<Vec<String>>,
    /// Instead of `cors.expose_headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
    /// Instead of `cors.allow_credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,
    /// Instead of `cors.max_age`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
}

impl Default for Cors {
    fn default() -> Self {
        Cors {
            allow_origins: Vec::new(),
            allow_methods: Vec::new(),
            allow_headers: default_headers(),
            expose_headers: Vec::new(),
            allow_credentials: Setting::default(),
            max_age: default_max_age(),
        }
    }
}

fn default_headers() -> Vec<String> {
    ["Authorization", "Content-Type"].map(String::from).into()
}

fn default_max_age() -> Period {
    Period::from_secs(600)
}
