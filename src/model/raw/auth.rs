//! Who may pass: how a client shows who it is, as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::{Link, Secret};
use super::super::value::{Period, Setting};

/// How clients authenticate. With one method or more, every route that is not public requires a credential.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The realm in `WWW-Authenticate`.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The issuers whose signed tokens (JWT) are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<Issuer>,
    /// A service that judges tokens which are not a JWT of a listed issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// API keys, which clients send in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// Client certificates that are accepted as credentials (see `listen[].tls.client_auth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// A service of yours that decides on each request (forward authentication).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardAuth>,
    /// Request headers that tell services about the user: the name of the header, and the claim that it contains, such
    /// as `sub`, `email` or `realm_access.roles`. `roles` and `scopes` are those that access rules see. Headers of
    /// these names are deleted from what clients send.
    #[serde(default = "default_headers")]
    pub headers: BTreeMap<String, String>,
    /// Whether the token or key is deleted before the request is sent to the service.
    #[serde(default)]
    pub hide_credentials: Setting<false>,
    /// How many wrong credentials an address may send before it is refused for a while (429).
    #[serde(default)]
    pub failures: Failures,
    /// A PEM file with certificate authorities, beside those of the system, for the services that gatekeeper asks for
    /// keys and decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca: Option<String>,
}

/// An issuer of tokens. Its keys come from one of `secret`, `public_key`, `jwks_file` and `jwks_url`; without any of
/// them, the OpenID configuration of the issuer says where its keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` of its tokens. Without it, every token that the key verifies is accepted, whatever its `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must contain. Not checked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The algorithms that are accepted: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
    /// EdDSA. If empty: HS256 with a secret, else RS256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// A shared secret, at least as long as the algorithm's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A public key: PEM text, a JWK, or a file with one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub public_key: Option<String>,
    /// A file with a key set (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub jwks_file: Option<String>,
    /// The URL of the issuer's key set: https, or http on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<Link>,
    /// Whether keys may be fetched without TLS from other hosts.
    #[serde(default)]
    pub allow_http: Setting<false>,
    /// How often keys are fetched, whatever their `Cache-Control` says (5s to 24h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_refresh: Option<Period>,
    /// How far clocks may differ (at most 300s; 30s if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Period>,
    /// Claims that a token must have, beside `exp` and `sub`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<String>,
    /// The claim that names the user (`sub` if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_claim: Option<String>,
    /// The claim with the user's roles, such as `roles` (if absent) or `realm_access.roles`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
}

/// A service that judges tokens which are not a JWT, or belong to an issuer that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// The URL.
    pub url: Link,
    /// How the service is asked.
    #[serde(default)]
    pub style: IntrospectionStyle,
    /// The client id of the gateway (HTTP Basic), with style `rfc7662`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// How long to wait for an answer (at most 60s).
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// How long an answer is remembered, within the token's own lifetime (at most 1h). A revoked token may pass until
    /// then.
    #[serde(default = "default_cache")]
    pub cache: Period,
    /// The claim with the user's roles (`roles` if absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
    /// Whether the URL may be http on other hosts than this one.
    #[serde(default)]
    pub allow_http: Setting<false>,
}

/// How the introspection service is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IntrospectionStyle {
    /// The token is posted, and the answer says `active` (RFC 7662).
    #[default]
    Rfc7662,
    /// A GET with the token in `Authorization`. The answer is 200 with a JSON object of the user's claims, or 401 or
    /// 403.
    Bearer,
}

/// API keys, which clients send in a header.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// The header.
    #[serde(default = "default_key_header")]
    pub header: String,
    /// The keys.
    #[serde(default)]
    pub keys: Vec<ApiKey>,
}

/// A key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The owner, who is the user.
    pub owner: String,
    /// `sha256:` and the hash of the key, as `gatekeeper key` prints it.
    pub hash: String,
    /// The owner's roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The owner's scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When the key expires: `2027-01-31T00:00:00Z` or `2027-01-31`. Never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Rate limits that apply to the key, beside those of the route, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<String>,
}

/// Client certificates that are accepted as credentials.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// The subjects that are accepted. The first entry that fits counts.
    pub subjects: Vec<CertificateSubject>,
}

/// A certificate's subject.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSubject {
    /// The subject in the form of `X-Gatekeeper-Client-Subject`, such as `CN=partner`; `*` for every certificate that
    /// the listener accepts.
    pub subject: String,
    /// Its roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Its scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A service of yours that decides on each request (forward authentication).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// The URL.
    pub url: Link,
    /// How long to wait for an answer (at most 60s).
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// The request headers that the service receives.
    #[serde(default = "default_sent")]
    pub request_headers: Vec<String>,
    /// Headers of its answer that are sent to the target service. They are deleted from what clients send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
    /// The header of its answer that names the user.
    #[serde(default = "default_subject_header")]
    pub subject_header: String,
    /// Whether the URL may be http on other hosts than this one.
    #[serde(default)]
    pub allow_http: Setting<false>,
}

/// How many wrong credentials an address may send before it is refused for a while (429).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// How many wrong credentials (1 to 100000).
    #[serde(default = "default_failures")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max: u32,
    /// In any window of this length (1s to 24h).
    #[serde(default = "default_failure_window")]
    pub window: Period,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { max: default_failures(), window: default_failure_window() }
    }
}

fn default_realm() -> String {
    "gatekeeper".into()
}

fn default_headers() -> BTreeMap<String, String> {
    [("X-User-Id", "sub"), ("X-User-Roles", "roles")].map(|(name, claim)| (name.into(), claim.into())).into()
}

fn default_key_header() -> String {
    "X-API-Key".into()
}

fn default_sent() -> Vec<String> {
    ["Authorization", "Cookie"].map(String::from).into()
}

fn default_subject_header() -> String {
    "X-User-Id".into()
}

fn default_timeout() -> Period {
    Period::from_secs(5)
}

fn default_cache() -> Period {
    Period::from_secs(30)
}

fn default_failures() -> u32 {
    60
}

fn default_failure_window() -> Period {
    Period::from_secs(60)
}
