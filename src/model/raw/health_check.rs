//! Active health checks, as they may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::{Link, Secret};
use super::super::value::{Period, Word};

/// An active health check of the targets of a service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// The kind of check.
    pub kind: CheckKind,
    /// The path of an `http` check, with its query.
    pub path: Link,
    /// The method of an `http` check: GET or HEAD.
    pub method: String,
    /// The Host of an `http` or `grpc` check; the target's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers of an `http` or `grpc` check.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// The statuses of a good answer (200 to 599): single ones or ranges, such as `200-299`. Redirects are not
    /// followed.
    pub statuses: Vec<Word>,
    /// A text that the first 64 KiB of a good answer's body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// The service name of a `grpc` check (grpc.health.v1); the whole server if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grpc_service: String,
    /// The time between two checks of a target (10ms to 1d).
    pub interval: Period,
    /// How much the interval varies at random in both directions (1ms to 1d); a tenth of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Period>,
    /// How long a check may take (1ms to 10m).
    pub timeout: Period,
    /// A good check that takes longer (1ms to 10m) makes a target degraded.
    pub slow: Period,
    /// The number of good checks in a row that make a target healthy (1 to 100).
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
    /// The number of bad checks in a row that make a target unhealthy (1 to 100).
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
}

/// The kind of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// An HTTP request.
    #[default]
    Http,
    /// A TCP connection, with TLS for `https://` targets.
    Tcp,
    /// The gRPC health protocol (grpc.health.v1).
    Grpc,
}

impl Default for HealthCheck {
    fn default() -> Self {
        HealthCheck {
            kind: CheckKind::Http,
            path: "/".into(),
            method: "GET".into(),
            host: None,
            headers: BTreeMap::new(),
            statuses: vec!["200-299".into()],
            body_contains: None,
            grpc_service: String::new(),
            interval: Period::from_secs(10),
            jitter: None,
            timeout: Period::from_secs(5),
            slow: Period::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}
