//! The health of a target or a service.

use serde::{Deserialize, Serialize};

/// Whether a target or a service works, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not checked often enough.
    #[default]
    Unknown,
    /// It answers.
    Healthy,
    /// It answers slowly.
    Degraded,
    /// It does not answer, or not as it should.
    Unhealthy,
}

impl State {
    /// Its name in the administration API.
    pub fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
        }
    }
}
