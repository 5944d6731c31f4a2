//! Listeners and what connections may take, as they may be written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::size::Size;
use super::super::value::{Period, Setting};

/// One address clients connect to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// What routes and tests call it; its address if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `0.0.0.0:8000`, `[::]:8000` (IPv6 alone: list both for both) or `unix:/run/gatekeeper/http.sock`.
    pub address: String,
    /// Accept HTTP/2 without TLS (prior knowledge) beside HTTP/1.1.
    #[serde(default)]
    pub h2c: Setting<false>,
    /// Speak TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Peers in `trusted_proxies` begin with a PROXY protocol header (version 1 or 2); from others one is refused. A client
    /// without an address in it (`UNKNOWN`) counts as 0.0.0.0 and is never trusted; `LOCAL` is the load balancer itself.
    #[serde(default)]
    pub proxy_protocol: Setting<false>,
    /// Answer every request with a redirect to https at this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub redirect_https: Option<u16>,
}

/// TLS of a listener. Files that changed are taken in by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificates; each is chosen by the names it holds, the first one where none fits.
    pub certificates: Vec<CertificateFiles>,
    /// `1.2` or `1.3`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// IANA's names of the cipher suites, the preferred first; all safe ones when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Offer HTTP/2 before HTTP/1.1.
    #[serde(default)]
    pub http2: Setting<true>,
    /// Ask clients for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first (a PEM file).
    #[schemars(extend("format" = "path"))]
    pub cert: String,
    /// The private key (a PEM file).
    #[schemars(extend("format" = "path"))]
    pub key: String,
}

/// The oldest TLS version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    V12,
    #[serde(rename = "1.3")]
    V13,
}

/// How clients show who they are. Upstreams are told in X-Gatekeeper-Client-Subject and -Fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// The authorities that clients' certificates come from (a PEM file).
    #[schemars(extend("format" = "path"))]
    pub ca: String,
    /// false: a client may come without a certificate, but not with a wrong one.
    #[serde(default)]
    pub required: Setting<true>,
}

/// What connections may take before a route is known.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections in all; more wait to be accepted.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Connections of one address (IPv6: of a /64); more are closed at once. Those of trusted proxies are not counted.
    #[serde(default = "default_connections_per_address")]
    pub connections_per_address: usize,
    /// Memory for answers that clients have not taken yet, in all (16MiB to 1TiB). When it is used up, further answers are
    /// not read from their services until there is room, and clients that take nothing lose theirs.
    #[serde(default = "default_buffered_answers")]
    pub buffered_answers: Size,
    /// For a PROXY header and TLS handshake, and again for each request's head to arrive whole (at most 60s).
    #[serde(default = "default_head_timeout")]
    pub head_timeout: Period,
    /// Bytes of a request's head (1024 to 1048576); more are answered with 431.
    #[serde(default = "default_head_bytes")]
    pub head_bytes: usize,
    /// Fields of a request's head (8 to 256); more are answered with 431.
    #[serde(default = "default_head_fields")]
    pub head_fields: usize,
    /// Bytes of a request's target (64 to 65000); more are answered with 414.
    #[serde(default = "default_uri_bytes")]
    pub uri_bytes: usize,
    /// How long a connection may be silent between requests (1ms to 1d).
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Period,
    /// Requests on one HTTP/1 connection; the last one is told that it is the last. Unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_requests: Option<u64>,
    /// The age (1s to 30d) at which a connection takes no more requests; those on their way finish. It varies by a tenth, downwards.
    /// A websocket may live longer (`websocket.max_life`). Unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_max_age: Option<Period>,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            name: None,
            address: "127.0.0.1:8000".into(),
            h2c: Setting::default(),
            tls: None,
            proxy_protocol: Setting::default(),
            redirect_https: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: default_connections(),
            connections_per_address: default_connections_per_address(),
            buffered_answers: default_buffered_answers(),
            head_timeout: default_head_timeout(),
            head_bytes: default_head_bytes(),
            head_fields: default_head_fields(),
            uri_bytes: default_uri_bytes(),
            keep_alive: default_keep_alive(),
            keep_alive_requests: None,
            connection_max_age: None,
        }
    }
}

fn default_connections() -> usize {
    100_000
}

fn default_connections_per_address() -> usize {
    10_000
}

fn default_buffered_answers() -> Size {
    Size(1 << 30)
}

fn default_head_timeout() -> Period {
    Period::from_secs(10)
}

fn default_head_bytes() -> usize {
    32 * 1024
}

fn default_head_fields() -> usize {
    100
}

fn default_uri_bytes() -> usize {
    8 * 1024
}

fn default_keep_alive() -> Period {
    Period::from_secs(75)
}

impl<'de> Deserialize<'de> for TlsVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TlsVersionVisitor)
    }
}

/// YAML takes an unquoted 1.2 for a number.
struct TlsVersionVisitor;

impl Visitor<'_> for TlsVersionVisitor {
    type Value = TlsVersion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1.2 or 1.3")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<TlsVersion, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TlsVersion, E> {
        match text {
            "1.2" => Ok(TlsVersion::V12),
            "1.3" => Ok(TlsVersion::V13),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

impl JsonSchema for TlsVersion {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TlsVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["1.2", "1.3", 1.2, 1.3] })
    }
}
