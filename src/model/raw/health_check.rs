//! Active health checks, as they may be written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::secret::{Link, Secret};
use super::super::value::{Period, Word};

/// How the targets of a service are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// What is spoken.
    pub kind: CheckKind,
    /// What an `http` check asks for, its query included.
    pub path: Link,
    /// The method of an `http` check: GET or HEAD.
    pub method: String,
    /// The Host of an `http` or `grpc` check; the target's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further headers of an `http` or `grpc` check.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// Statuses (200 to 599) of a good answer: single ones or ranges, such as `200-299`. Redirects are not followed.
    pub statuses: Vec<Word>,
    /// A text that must stand in the first 64 KiB of a good answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// The service that a `grpc` check asks after (grpc.health.v1); the server as a whole when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub grpc_service: String,
    /// The time from one check of a target to the next (10ms to 1d).
    pub interval: Period,
    /// How much longer or shorter that time may be at random (1ms to 1d); a tenth of it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Period>,
    /// The longest a check may take (1ms to 10m).
    pub timeout: Period,
    /// A good answer that took longer (1ms to 10m) makes a target degraded.
    pub slow: Period,
    /// So many good checks in a row make a target healthy (1 to 100).
    pub rise: u32,
    /// So many bad checks in a row make a target unhealthy (1 to 100).
    pub fall: u32,
}

/// What a check speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// A request and its answer.
    #[default]
    Http,
    /// A connection, with TLS for `https://` targets.
    Tcp,
    /// The gRPC health protocol.
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
