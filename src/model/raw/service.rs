//! Services, their targets and how they are chosen, as they may be written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::Link;
use super::super::value::{Period, Setting};
use super::health_check::HealthCheck;
use super::resilience::{CircuitBreaker, Ejection, Queue, RetryBudget};

/// How a service may be written: its URL alone, or all that there is to say.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, missing_docs, reason = "it only describes what the short form becomes")]
pub enum ServiceForm {
    /// The URL of its only target: `http://10.0.0.5:8003`, `https://id.example` or `unix:/run/app.sock`.
    Url(String),
    Whole(Box<Service>),
}

/// A service: a set of equivalent targets.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The targets. Requests are spread over all of them by weight.
    pub targets: Vec<Target>,
    /// The HTTP version spoken with the targets.
    #[serde(default)]
    pub protocol: Protocol,
    /// TLS towards `https://` targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Overrides `upstream_pool.idle_timeout` (1ms to 1h).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Period>,
    /// The load balancing algorithm: `round_robin`, `random`, `least_requests`, `hash:user` (the authenticated user,
    /// else the client certificate, else the address), `hash:ip`, `hash:header:NAME` or `hash:cookie:NAME`.
    #[serde(default = "default_balancing")]
    pub load_balancing: String,
    /// The time in which a target that comes back gets a growing share of the requests (1ms to 1d). At once if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Period>,
    /// The active health check. Without it, targets count as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// The circuit breaker of the service.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// Ejection of single targets that fail.
    #[serde(default)]
    pub ejection: Ejection,
    /// The budget for retries.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// The most requests in flight. Unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_in_flight: Option<u32>,
    /// The queue of requests that exceed `max_in_flight`.
    #[serde(default)]
    pub queue: Queue,
    /// `true`: instances of the service may register at run time, beside the targets here.
    #[serde(default)]
    pub registered: Setting<false>,
}

/// A target: its URL alone, or with a weight.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Target {
    /// `http://10.0.0.5:8003`, `https://id.example` or `unix:/run/app.sock`.
    Url(Link),
    /// A target with a weight.
    Weighted(WeightedTarget),
}

/// A target with a weight.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedTarget {
    /// `http://10.0.0.5:8003`, `https://id.example` or `unix:/run/app.sock`.
    pub url: Link,
    /// Its share in relation to the other targets' weights (0 to 1000).
    #[serde(default = "default_weight")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u32,
    /// The most requests in flight to each of its addresses. Unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
}

/// The HTTP version spoken with a service's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 for `http://`; for `https://`, what the target chooses (HTTP/2 or HTTP/1.1).
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge (h2c) without TLS. gRPC needs it.
    H2,
}

/// TLS towards a service's targets. Certificates are verified unless `verify: false`.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// A PEM file with the authorities that are trusted, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub ca: Option<String>,
    /// The name sent as SNI and expected in the certificate, instead of the target's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file with the certificate (and its chain) shown to the targets; needs `client_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub client_certificate: Option<String>,
    /// A PEM file with the certificate's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub client_key: Option<String>,
    /// `false`: any certificate is accepted. For development only.
    #[serde(default)]
    pub verify: Setting<true>,
}

impl Target {
    /// The target's URL.
    pub fn url(&self) -> &str {
        match self {
            Target::Url(url) => url,
            Target::Weighted(target) => &target.url,
        }
    }

    /// Its share in relation to the other targets' weights (1 to 1000).
    pub fn weight(&self) -> u32 {
        match self {
            Target::Url(_) => default_weight(),
            Target::Weighted(target) => target.weight,
        }
    }

    /// The most requests in flight to each of its addresses. Unlimited if absent.
    pub fn max_in_flight(&self) -> Option<u32> {
        match self {
            Target::Url(_) => None,
            Target::Weighted(target) => target.max_in_flight,
        }
    }
}

impl Service {
    /// A service of these targets, all else being as it is when nothing is written.
    pub fn of(targets: Vec<Target>) -> Self {
        Service {
            targets,
            protocol: Protocol::default(),
            tls: None,
            idle_timeout: None,
            load_balancing: default_balancing(),
            slow_start: None,
            health_check: None,
            circuit_breaker: CircuitBreaker::default(),
            ejection: Ejection::default(),
            retry_budget: RetryBudget::default(),
            max_in_flight: None,
            queue: Queue::default(),
            registered: Setting::default(),
        }
    }
}

fn default_balancing() -> String {
    "round_robin".into()
}

pub(super) fn default_weight() -> u32 {
    1
}
