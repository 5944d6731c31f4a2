//! Who may pass: how a client shows who it is, as it may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::{Link, Secret};
use super::super::value::{Period, Setting};

/// How clients show who they are. With one method or more, every route that is not public asks for a credential.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// What `WWW-Authenticate` calls the place that is protected.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// Whose signed tokens are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<Issuer>,
    /// Who is asked about tokens that can't be judged here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// Keys that clients send in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<ApiKeys>,
    /// Certificates that clients show (`listen[].tls.client_auth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// A service of yours that decides on each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardAuth>,
    /// Request headers that tell upstreams of the user: the name, and the claim it holds, such as `sub`, `email` or
    /// `realm_access.roles`; `roles` and `scopes` are what access rules see. Deleted from what clients send.
    #[serde(default = "default_headers")]
    pub headers: BTreeMap<String, String>,
    /// Delete the token or key by which a request was let in before it is sent upstream.
    #[serde(default)]
    pub hide_credentials: Setting<false>,
    /// How many wrong credentials an address may show before it has to wait.
    #[serde(default)]
    pub failures: Failures,
    /// Authorities (a PEM file) that the providers of keys and decisions may be certified by, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca: Option<String>,
}

/// An issuer of tokens, and how their signatures are checked: one of secret, public_key, jwks_file, jwks_url. With none of
/// them, the issuer's OpenID configuration tells where its keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What `iss` must be, to the letter. Without it any token that the key fits is taken, whatever its `iss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must contain. Not looked at when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA. HS256 with a secret, else RS256
    /// when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// A shared secret, at least as long as the algorithm's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A public key: PEM text, a JWK, or a file with one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub public_key: Option<String>,
    /// A file with a set of keys (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub jwks_file: Option<String>,
    /// Where the issuer publishes its keys: https, or http on loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<Link>,
    /// Also fetch keys without TLS from other machines.
    #[serde(default)]
    pub allow_http: Setting<false>,
    /// How often keys are fetched again, whatever their Cache-Control says (5s to 24h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_refresh: Option<Period>,
    /// How far clocks may differ (at most 300s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leeway: Option<Period>,
    /// Claims a token must have, beside `exp` and `sub`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<String>,
    /// The claim that says who the user is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_claim: Option<String>,
    /// The claim with the user's roles, such as `roles` or `realm_access.roles`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
}

/// Who is asked about tokens that can't be judged here: those that are no JWT, or of an issuer that is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where.
    pub url: Link,
    /// How.
    #[serde(default)]
    pub style: IntrospectionStyle,
    /// What the gateway shows of itself (HTTP Basic), with style rfc7662.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// And its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// How long an answer may take (at most 60s).
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// How long an answer holds, within the token's own life (at most 1h): a token that is revoked is let in until then.
    #[serde(default = "default_cache")]
    pub cache: Period,
    /// The claim with the user's roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles_claim: Option<String>,
    /// Also ask without TLS on other machines.
    #[serde(default)]
    pub allow_http: Setting<false>,
}

/// How a token is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IntrospectionStyle {
    /// The token is posted, the answer says `active` (RFC 7662).
    #[default]
    Rfc7662,
    /// A GET with the token as it came: 200 and a JSON object with the user's claims, or 401 or 403.
    Bearer,
}

/// Keys that clients send in a header.
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
    /// Whose it is.
    pub owner: String,
    /// `sha256:` and the hash of the key, as `gatekeeper key` prints it.
    pub hash: String,
    /// What its owner is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What it was given for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// When it ends: `2027-01-31T00:00:00Z` or `2027-01-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Rules that hold for it beside those of the route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<String>,
}

/// Certificates that clients show.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Whose certificates are taken; the first that fits counts.
    pub subjects: Vec<CertificateSubject>,
}

/// A certificate's subject.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSubject {
    /// As X-Gatekeeper-Client-Subject says it, such as `CN=partner`; `*` for any that the listener takes.
    pub subject: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A service of yours that decides on each request: it is sent a GET with the request's headers and
/// X-Forwarded-Method, -Proto, -Host and -Uri. 2xx lets it pass; another answer below 500 is the client's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// Where.
    pub url: Link,
    /// How long an answer may take (at most 60s).
    #[serde(default = "default_timeout")]
    pub timeout: Period,
    /// Request headers it is sent.
    #[serde(default = "default_sent")]
    pub request_headers: Vec<String>,
    /// Headers of its answer that go upstream. Deleted from what clients send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<String>,
    /// The header of its answer that says who the user is.
    #[serde(default = "default_subject_header")]
    pub subject_header: String,
    /// Also ask without TLS on other machines.
    #[serde(default)]
    pub allow_http: Setting<false>,
}

/// How many wrong credentials an address may show before it has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// So many (1 to 100000).
    #[serde(default = "default_failures")]
    pub max: u32,
    /// In any time of this length (1s to 24h).
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
