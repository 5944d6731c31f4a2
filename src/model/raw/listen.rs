//! Listeners and what connections may take, as they may be written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::size::Size;
use super::super::value::{Period, Setting};

/// An address that clients connect to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The name that routes and tests use; the address if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address: `0.0.0.0:8000`, `[::]:8000` (IPv6 only: list both for both) or `unix:/run/gatekeeper/http.sock`.
    pub address: String,
    /// Whether HTTP/2 without TLS (by prior knowledge) is accepted beside HTTP/1.1.
    #[serde(default)]
    pub h2c: Setting<false>,
    /// TLS, if the listener speaks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether peers in `trusted_proxies` must begin with a PROXY protocol header (version 1 or 2). A header of other
    /// peers is refused. A client without an address in the header (`UNKNOWN`) counts as 0.0.0.0 and is never trusted;
    /// `LOCAL` is the load balancer itself.
    #[serde(default)]
    pub proxy_protocol: Setting<false>,
    /// Every request is redirected to https at this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub redirect_https: Option<u16>,
}

/// TLS of a listener. A reload takes in files that changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificates. The one that contains the requested name is used, else the first.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest TLS version: `1.2` or `1.3`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// The cipher suites by their IANA names, the preferred first. All safe ones if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Whether HTTP/2 is offered before HTTP/1.1.
    #[serde(default)]
    pub http2: Setting<true>,
    /// Client certificates (mutual TLS).
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

/// Client certificates. Services receive the subject and fingerprint in `X-Gatekeeper-Client-Subject` and
/// `-Fingerprint`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// A PEM file with the authorities that issue the clients' certificates.
    #[schemars(extend("format" = "path"))]
    pub ca: String,
    /// `false`: a client may connect without a certificate, but not with a wrong one.
    #[serde(default)]
    pub required: Setting<true>,
}

/// The limits of connections before a route is known.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections in all. More wait to be accepted.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections: usize,
    /// Connections of one address (IPv6: of a /64). More are closed at once. Trusted proxies are exempt.
    #[serde(default = "default_connections_per_address")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections_per_address: usize,
    /// Memory for responses that clients have not read yet, in all (16MiB to 1TiB). When it is used up, further
    /// responses are not read from their services until there is room, and clients that read nothing lose theirs.
    #[serde(default = "default_buffered_answers")]
    pub buffered_answers: Size,
    /// The time for a PROXY header and TLS handshake, and again for each request's head to arrive completely (at most
    /// 60s).
    #[serde(default = "default_head_timeout")]
    pub head_timeout: Period,
    /// Bytes of a request's head (1024 to 1048576). More is answered with 431.
    #[serde(default = "default_head_bytes")]
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub head_bytes: usize,
    /// Header fields of a request (8 to 256). More is answered with 431.
    #[serde(default = "default_head_fields")]
    #[schemars(range(min = 8, max = 256))]
    pub head_fields: usize,
    /// Bytes of a request's target (64 to 65000). More is answered with 414.
    #[serde(default = "default_uri_bytes")]
    #[schemars(range(min = 64, max = 65_000))]
    pub uri_bytes: usize,
    /// The idle timeout of a connection between requests (1ms to 1d).
    #[serde(default = "default_keep_alive")]
    pub keep_alive: Period,
    /// Requests on one HTTP/1 connection; the last response closes it. Unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub keep_alive_requests: Option<u64>,
    /// The age (1s to 30d) at which a connection accepts no more requests; those in progress finish. It varies by a
    /// tenth downwards. A websocket may live longer (`websocket.max_life`). Unlimited if absent.
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
